"""`jaxlab.embedding_dim.estimates`: how wide an embedding must be: the table, the post's numbers,
roots, simulated vectors."""

import math

import jax
import numpy as np
import pytest
from vectors import entropy, vectors

from jaxlab import embedding_dim as ed

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
    with pytest.raises(ValueError, match=r"dim is 10000, .*more than a float holds"):
        ed.vocab_capacity(10_000)


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


def test_traced_sizes_are_refused():
    with pytest.raises(TypeError, match="vocab_size is"):
        jax.jit(lambda n: ed.embedding_dim(n))(1000)
