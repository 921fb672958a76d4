"""The estimate against reference values, closed forms and Monte Carlo, and where it stops."""

import math

import jax
import numpy as np
import pytest

from jaxlab import embedding_dim as ed

PHI = (1 + math.sqrt(5)) / 2

# Computed with Bessel functions of 40 digits; quadrature agrees.
H = {
    2: -0.571555774445,
    3: -0.809150768538,
    4: -1.0470986509,
    8: -2.00437818270,
    16: -3.92641302540,
    32: -7.77470513067,
    48: -11.6239362892,
    64: -15.4734001602,
    96: -23.1725593524,
    128: -30.8718338323,
    256: -61.6692189226,
    512: -123.264246844,
    1024: -246.454431259,
    4096: -985.59576247,
}
SU = {32: "-7.77471", 64: "-15.4734", 96: "-23.1726", 128: "-30.8718", 256: "-61.6692",
      512: "-123.264"}  # fmt: skip
# N: 8 log N, 8.33 log N, exact root (joint), asymptotic, exact root (conditional)
ROOTS = {
    100: (36.84, 38.36, 37.9677, 37.9725, 18.823),
    512: (49.91, 51.97, 51.5443, 51.5478, 25.613),
    1_000: (55.26, 57.54, 57.1092, 57.1124, 28.396),
    10_000: (73.68, 76.72, 76.2499, 76.2523, 37.968),
    30_522: (82.61, 86.02, 85.5256, 85.5277, 42.606),
    50_257: (86.60, 90.17, 89.6711, 89.6731, 44.679),
    100_000: (92.10, 95.90, 95.3902, 95.3922, 47.539),
    1_000_000: (110.52, 115.08, 114.5305, 114.5320, 57.109),
    5_000_000: (123.40, 128.49, 127.9088, 127.9103, 63.799),
}


# --- Entropy of angles ----------------------------------------------------------------------------


@pytest.mark.parametrize("n", H)
def test_angle_entropy_has_its_reference_value(n):
    found = ed.angle_entropy(n)
    assert type(found) is float
    assert found == pytest.approx(H[n], abs=1e-8 if n == 4096 else 1e-9)
    if n in SU:
        assert f"{found:.{len(SU[n].split('.')[1])}f}" == SU[n]


@pytest.mark.parametrize("kappa", [0.01, 0.5, 1.0, 3.0, 50.0])
def test_closed_forms_in_one_and_three_dimensions(kappa):
    one = math.log(math.cosh(kappa)) - kappa * math.tanh(kappa)
    assert ed.angle_entropy(1, kappa=kappa) == pytest.approx(one, rel=1e-10)
    k = 3 * kappa
    three = math.log(math.sinh(k) / k) - k * (1 / math.tanh(k) - 1 / k)
    assert ed.angle_entropy(3, kappa=kappa) == pytest.approx(three, rel=1e-9, abs=1e-13)


@pytest.mark.parametrize(("n", "kappa"), [(4, 1.0), (33.5, 0.3), (50, 2.0), (777, 0.7)])
def test_series_agrees_with_quadrature(n, kappa):
    theta = np.linspace(0, np.pi, 100_001)[1:-1]
    log_q = (n - 2) * np.log(np.sin(theta))
    log_q -= np.logaddexp.reduce(log_q)
    log_p = log_q + kappa * n * np.cos(theta)
    log_p -= np.logaddexp.reduce(log_p)
    expected = -np.sum(np.exp(log_p) * (log_p - log_q))
    assert ed.angle_entropy(n, kappa=kappa) == pytest.approx(expected, rel=1e-9)


def test_entropy_falls_with_dimension_and_with_norm():
    values = [ed.angle_entropy(n) for n in np.arange(1, 301, 0.5)]
    assert np.all(np.diff(values) < 0)
    assert np.all(np.diff([ed.angle_entropy(64, kappa=k) for k in (0.1, 0.5, 1, 2, 9)]) < 0)
    assert (ed.angle_entropy(97) - ed.angle_entropy(95)) / 2 == pytest.approx(-0.24060, abs=1e-5)


def test_golden_ratio():
    slope, constant = ed.asymptotic_coefficients()
    assert slope == pytest.approx(math.log(PHI) / 2, rel=1e-15)
    assert constant == pytest.approx(math.log(PHI) - math.log(5) / 4 - 2 / (5 * PHI**2), rel=1e-12)
    assert 2 / slope == pytest.approx(4 / math.log(PHI), rel=1e-15)
    assert 2 / slope == pytest.approx(8.3123477, abs=1e-7)
    assert 2 * constant / math.log(PHI) == pytest.approx(-0.30728, abs=1e-5)
    angle = math.atan(math.sqrt(PHI))  # the post's saddle point
    assert math.cos(angle) == pytest.approx(1 / PHI)
    assert -(math.log(math.sin(angle)) + math.cos(angle) - 1 / PHI) == pytest.approx(slope)


@pytest.mark.parametrize("kappa", [1e-4, 0.25, 0.5, 1.0, 1.5, 2.0, 10.0])
def test_asymptotic_form_for_any_norm(kappa):
    slope, constant = ed.asymptotic_coefficients(kappa=kappa)
    for n in (32, 100, 1000):
        error = ed.angle_entropy(n, kappa=kappa) + slope * n - constant
        assert abs(error) < (0.0014 if kappa == 1 else 0.11 / n)
    stated = {0.25: 69.8, 0.5: 21.3, 1.0: 8.31, 1.5: 5.46, 2.0: 4.25}
    if kappa in stated:
        assert 2 / slope == pytest.approx(stated[kappa], abs=0.06)


@pytest.mark.parametrize(
    ("n", "variance"),
    [(3, 0.467401), (10, 0.110661), (20, 0.0525832), (50, 0.0204053), (100, 0.0101007)],
)
def test_angle_density(n, variance):
    theta = np.linspace(0, np.pi, 20_001)
    p = ed.angle_density(theta, n)
    assert np.trapezoid(p, theta) == pytest.approx(1, abs=1e-7)
    assert np.trapezoid(p * (theta - np.pi / 2) ** 2, theta) == pytest.approx(variance, abs=1e-6)


# --- The estimate ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ROOTS)
def test_table_of_dimensions(size):
    short, formula, joint, asymptotic, conditional = ROOTS[size]
    root = lambda **options: ed.embedding_dim_root(size, **options)
    assert root(method="formula", coefficient=8.0) == pytest.approx(short, abs=0.006)
    assert root(method="formula") == pytest.approx(formula, abs=0.006)
    assert root() == pytest.approx(joint, abs=6e-5)
    assert root(method="asymptotic") == pytest.approx(asymptotic, abs=6e-5)
    assert root(pairs="conditional") == pytest.approx(conditional, abs=6e-4)
    assert ed.embedding_dim(size, method="entropy") == math.ceil(joint)
    assert ed.embedding_dim(size) == math.ceil(8.33 * math.log(size))


def test_numbers_of_the_post():
    assert ed.embedding_dim(100_000) == 96
    assert ed.embedding_dim(100_000, method="entropy") == 96
    assert ed.embedding_dim(5_000_000) == 129  # the post says "about 128"
    assert ed.embedding_dim(5_000_000, method="entropy") == 128
    assert ed.embedding_dim(512, method="formula", coefficient=8.33) == 52  # attention heads
    assert ed.skipgram_entropy(100_000, 64) == pytest.approx(7.55245, abs=5e-6)


def test_joint_and_conditional_differ_by_a_square():
    for size in (100, 1000):
        joint = ed.embedding_dim_root(size)
        assert ed.embedding_dim_root(size**2, pairs="conditional") == pytest.approx(
            joint, rel=1e-12
        )
    for method in ed.METHODS:
        both = [ed.embedding_dim(10_000, method=method, pairs=p) for p in ed.PAIRS]
        assert abs(both[0] - 2 * both[1]) <= 1


@pytest.mark.parametrize("pairs", ed.PAIRS)
@pytest.mark.parametrize("kappa", [0.25, 1.0, 2.0])
@pytest.mark.parametrize("target", [0.0, 3.5])
def test_the_root_has_the_target_entropy_and_the_integer_is_the_smallest(pairs, kappa, target):
    options = {"pairs": pairs, "kappa": kappa}
    root = ed.embedding_dim_root(20_000, target_entropy=target, **options)
    assert ed.skipgram_entropy(20_000, root, **options) == pytest.approx(target, abs=1e-9)
    dim = ed.embedding_dim(20_000, method="entropy", target_entropy=target, **options)
    assert type(dim) is int
    entropy = lambda n: ed.skipgram_entropy(20_000, n, **options)
    assert entropy(dim) < target <= entropy(dim - 1)
    near = ed.embedding_dim_root(20_000, method="asymptotic", target_entropy=target, **options)
    assert near == pytest.approx(root, abs=0.1)
    post = ed.embedding_dim_root(20_000, method="formula", target_entropy=target, **options)
    assert post == pytest.approx(root, rel=0.03)
    capacity = ed.vocab_capacity(root, target_entropy=target, **options)
    assert capacity == pytest.approx(20_000, rel=1e-9)


def test_capacity():
    expected = {32: 48.8, 64: 2290.9, 96: 107_611, 128: 5_055_144, 256: 2.46e13, 300: 4.90e15}
    for dim, size in expected.items():
        assert ed.vocab_capacity(dim) == pytest.approx(size, rel=2e-3)
    assert ed.vocab_capacity(10_000) == math.inf


def test_a_known_corpus_entropy_asks_for_less():
    # Docstrings of the standard library: 9.453 and 10.832 nats for N = 300 and 1000.
    for size, target, expected in ((300, 9.453, 7.8), (1000, 10.832, 12.1)):
        root = ed.embedding_dim_root(size, target_entropy=target)
        assert root == pytest.approx(expected, abs=0.06)
        rough = (2 * math.log(size) - target - 0.0739) / 0.2406
        assert root == pytest.approx(rough, abs=0.03)
        assert root < ed.embedding_dim_root(size)


def test_small_and_huge_vocabularies():
    assert ed.embedding_dim(2) == 6
    assert ed.embedding_dim(2, method="entropy", kappa=1000.0) == 2
    assert ed.embedding_dim(2, method="entropy", pairs="conditional", target_entropy=0.6) == 1
    assert ed.embedding_dim(10**400, method="entropy") == 7656
    assert ed.embedding_dim(np.int64(100_000)) == 96
    dims = [ed.embedding_dim(n, method="entropy") for n in (2, 10, 100, 10**4, 10**9)]
    assert dims == sorted(set(dims))
    assert ed.embedding_dim(1000, method="entropy", kappa=0.01) == pytest.approx(276_352, abs=5)


def test_multiples():
    for multiple, expected in ((1, 90), (8, 96), (64, 128), (90, 90)):
        assert ed.embedding_dim(50_257, method="entropy", multiple_of=multiple) == expected


# --- Neighbours -----------------------------------------------------------------------------------


def test_johnson_lindenstrauss():
    stated = {0.1: 27_631, 0.5: 1_105, 0.9: 341}  # rounded down there
    for eps, value in stated.items():
        assert ed.johnson_lindenstrauss_dim(100_000, eps) == value + 1
    assert ed.johnson_lindenstrauss_dim(100_000, 0.1, constant=16) == 18_421
    assert math.sqrt(16 / 8.33) == pytest.approx(1.386, abs=1e-3)  # no eps in (0, 1) gives 8.33


def test_entropy_invariant_scale():
    assert ed.entropy_invariant_scale(512, 64) == 1 / 8
    assert ed.entropy_invariant_scale(128, 64, 128) == 1 / 8
    assert ed.entropy_invariant_scale(64, 16) == pytest.approx(math.log(64, 512) / 4)


def test_entropy_of_counts():
    uniform = np.ones((7, 7), np.int64)
    assert ed.empirical_pair_entropy(uniform) == pytest.approx(2 * math.log(7))
    assert ed.empirical_pair_entropy(uniform, pairs="conditional") == pytest.approx(math.log(7))
    assert ed.empirical_pair_entropy(np.eye(5)) == pytest.approx(math.log(5))
    assert ed.empirical_pair_entropy(np.eye(5), pairs="conditional") == pytest.approx(0, abs=1e-12)
    counts = np.random.default_rng(0).poisson(1.0, size=(20, 20))
    p = counts[counts > 0] / counts.sum()
    expected = -np.sum(p * np.log(p))
    assert ed.empirical_pair_entropy(counts) == pytest.approx(expected)
    assert ed.empirical_pair_entropy(counts[counts > 0]) == pytest.approx(expected)
    assert ed.empirical_pair_entropy(dict(np.ndenumerate(counts))) == pytest.approx(expected)


# --- Monte Carlo: where the formula holds, and where it stops -------------------------------------


def vectors(rng, count, n, norm):
    x = rng.normal(size=(count, n)).astype(np.float32)
    return norm * x / np.linalg.norm(x, axis=1, keepdims=True)


def entropy(logits, axis=None):
    """Of softmax(logits), in nats."""
    s = logits - logits.max(axis=axis, keepdims=True)
    e = np.exp(s)
    z = e.sum(axis=axis, dtype=np.float64, keepdims=True)
    return np.squeeze(np.log(z) - (e * s).sum(axis=axis, dtype=np.float64, keepdims=True) / z)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(("n", "draws", "tolerance"), [(8, 1, 0.03), (16, 1, 0.03), (24, 8, 0.06)])
def test_formula_holds_for_independent_vectors(rng, n, draws, tolerance):
    # At n = 24 single draws spread by 0.07 nats (standard deviation), so their mean is compared.
    found = []
    for _ in range(draws):
        u, v = (vectors(rng, 3000, n, math.sqrt(n)) for _ in "uv")
        found.append(entropy(u @ v.T))
    assert np.mean(found) == pytest.approx(ed.skipgram_entropy(3000, n), abs=tolerance)


@pytest.mark.parametrize(("n", "tolerance"), [(8, 0.02), (12, 0.06), (16, 0.2)])
def test_formula_holds_for_rows_up_to_half_the_dimension(rng, n, tolerance):
    # A row has 3000 terms, not 9 million: it freezes at 33 dimensions, and the error grows earlier.
    u, v = (vectors(rng, 3000, n, math.sqrt(n)) for _ in "uv")
    rows = entropy(u[:300] @ v.T, axis=1).mean()
    assert rows == pytest.approx(ed.skipgram_entropy(3000, n, pairs="conditional"), abs=tolerance)


def test_formula_holds_for_other_norms(rng):
    u, v = (vectors(rng, 2000, 48, math.sqrt(24)) for _ in "uv")
    assert entropy(u @ v.T) == pytest.approx(ed.skipgram_entropy(2000, 48, kappa=0.5), abs=0.03)


def test_past_the_freezing_point_entropy_levels_off(rng):
    found = {}
    for n in (48, 64, 96):
        u, v = (vectors(rng, 3000, n, math.sqrt(n)) for _ in "uv")
        found[n] = float(entropy(u @ v.T))
    assert ed.skipgram_entropy(3000, 64) == pytest.approx(0.54, abs=0.01)
    assert ed.skipgram_entropy(3000, 96) == pytest.approx(-7.2, abs=0.05)
    assert 2.2 < found[64] < 4.6
    assert 0.7 < found[96] < 3.3  # no entropy is negative
    assert found[96] - ed.skipgram_entropy(3000, 96) > 7


def test_tied_vectors_sit_at_log_n(rng):
    for n in (32, 64):
        u = vectors(rng, 3000, n, math.sqrt(n))
        assert entropy(u @ u.T) == pytest.approx(math.log(3000), abs=0.01)
    assert ed.skipgram_entropy(3000, 64) < 1  # what the formula says instead


def test_scaled_attention_has_no_threshold(rng):
    # Logits divided by sqrt(d): kappa = 1 / sqrt(d), and the entropy is log L - 1/2 for every d.
    for d in (64, 256, 1024):
        assert ed.angle_entropy(d, kappa=d**-0.5) == pytest.approx(-0.5, abs=0.02)
    q, k = (vectors(rng, 1024, 64, 8.0) for _ in "qk")
    rows = entropy(q @ k.T / 8, axis=1).mean() - math.log(1024)
    assert rows == pytest.approx(ed.angle_entropy(64, kappa=1 / 8), abs=0.01)
    assert ed.angle_entropy(64, kappa=1 / 8) == pytest.approx(-0.489, abs=0.0005)


# --- Errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"vocab_size": 1}, ValueError, "vocab_size is 1, must be at least 2"),
        ({"vocab_size": -5}, ValueError, "vocab_size is -5, must be at least 2"),
        ({"vocab_size": 1000.0}, TypeError, "vocab_size is 1000.0, must be an integer"),
        ({"vocab_size": True}, TypeError, "vocab_size is True, must be an integer"),
        ({"vocab_size": np.True_}, TypeError, "vocab_size is True"),
        ({"vocab_size": "1000"}, TypeError, "vocab_size is '1000', must be an integer"),
        ({"vocab_size": None}, TypeError, "vocab_size is None"),
        ({"kappa": 0}, ValueError, "kappa is 0, must be above 0"),
        ({"kappa": -1.0}, ValueError, "kappa is -1.0, must be above 0"),
        ({"kappa": math.nan}, ValueError, "kappa is nan, must be finite"),
        ({"kappa": "1"}, TypeError, "kappa is '1', must be a number"),
        ({"kappa": True}, TypeError, "kappa is True, must be a number"),
        ({"coefficient": 0.0}, ValueError, "coefficient is 0.0, must be above 0"),
        ({"coefficient": -8.33}, ValueError, "coefficient is -8.33, must be above 0"),
        ({"coefficient": math.inf}, ValueError, "coefficient is inf, must be finite"),
        ({"target_entropy": -0.1}, ValueError, "target_entropy is -0.1, must be at least 0"),
        ({"target_entropy": 13.9}, ValueError, "must be below 2 log N = 13.8155"),
        ({"target_entropy": 7.0, "pairs": "conditional"}, ValueError, "below 1 log N = 6.90776"),
        ({"method": "exact"}, ValueError, "method is 'exact', must be one of formula, asymptotic"),
        ({"pairs": "both"}, ValueError, "pairs is 'both', must be one of joint, conditional"),
        ({"multiple_of": 0}, ValueError, "multiple_of is 0, must be at least 1"),
        ({"multiple_of": 8.0}, TypeError, "multiple_of is 8.0, must be an integer"),
    ],
)
@pytest.mark.parametrize("method", ["formula", "entropy"])
def test_wrong_arguments_are_named(options, error, message, method):
    with pytest.raises(error, match=message.replace("(", r"\(")) as caught:
        ed.embedding_dim(**{"vocab_size": 1000, "method": method, **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ed.angle_entropy(0), ValueError, "n is 0, must be at least 1"),
        (lambda: ed.angle_entropy("8"), TypeError, "n is '8', must be a number"),
        (lambda: ed.angle_entropy(100, kappa=1e9), ValueError, "too large to sum"),
        (lambda: ed.angle_density(0.0, 1), ValueError, "n is 1, must be at least 2"),
        (lambda: ed.skipgram_entropy(100, 0), ValueError, "dim is 0, must be at least 1"),
        (lambda: ed.skipgram_entropy(1, 8), ValueError, "vocab_size is 1"),
        (lambda: ed.vocab_capacity(0.5), ValueError, "dim is 0.5, must be at least 1"),
        (lambda: ed.vocab_capacity(8, pairs="x"), ValueError, "pairs is 'x'"),
        (lambda: ed.johnson_lindenstrauss_dim(1, 0.5), ValueError, "n_points is 1"),
        (lambda: ed.johnson_lindenstrauss_dim(9, 0), ValueError, "eps is 0, must be above 0"),
        (lambda: ed.johnson_lindenstrauss_dim(9, 1.0), ValueError, "eps is 1.0, must be below 1"),
        (lambda: ed.entropy_invariant_scale(512, 0), ValueError, "head_dim is 0"),
        (lambda: ed.entropy_invariant_scale(512, 64, 1), ValueError, "train_length is 1"),
        (lambda: ed.empirical_pair_entropy([]), ValueError, "the corpus is empty"),
        (lambda: ed.empirical_pair_entropy(np.zeros((3, 3))), ValueError, "the corpus is empty"),
        (lambda: ed.empirical_pair_entropy([[1, -1]]), ValueError, "counts have value -1.0"),
        (lambda: ed.empirical_pair_entropy([1.0, np.nan]), ValueError, "must be finite"),
        (lambda: ed.empirical_pair_entropy(["a"]), TypeError, "counts have dtype"),
        (lambda: ed.empirical_pair_entropy([1], pairs="conditional"), ValueError, "a matrix"),
    ],
)
def test_wrong_arguments_of_the_others(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_traced_sizes_are_refused():
    with pytest.raises(TypeError, match="vocab_size is"):
        jax.jit(lambda n: ed.embedding_dim(n))(1000)
