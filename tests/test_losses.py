"""Losses against float64 NumPy and their theorems: consistency, trajectories, limits."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from jaxlab import losses

K = 5
COUNTS = np.array([100, 40, 20, 5, 1])
PRIOR = (COUNTS / COUNTS.sum()).astype(np.float32)
RNG = np.random.default_rng(0)
LOGITS = (3 * RNG.normal(size=(7, K))).astype(np.float32)
LABELS = np.array([0, 1, 2, 3, 4, 0, 4])


def log_softmax(x):
    x = np.float64(x)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def cross_entropy(logits, labels):
    return -np.take_along_axis(log_softmax(logits), labels[..., None], -1)[..., 0]


def adjusted(logits=LOGITS, labels=LABELS, prior=PRIOR, tau=1.0):
    return losses.logit_adjusted_cross_entropy(logits, labels, class_prior=prior, tau=tau)


# --- Logit adjustment -----------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 3.0])
def test_adjusted_loss_against_numpy(tau):
    expected = cross_entropy(LOGITS + tau * np.log(np.float64(PRIOR)), LABELS)
    np.testing.assert_allclose(adjusted(tau=tau), expected, rtol=2e-6, atol=1e-6)


def test_a_uniform_prior_or_no_strength_is_cross_entropy():
    plain = optax.losses.softmax_cross_entropy_with_integer_labels(LOGITS, LABELS)
    uniform = np.full(K, 1 / K, np.float32)
    np.testing.assert_allclose(adjusted(prior=uniform, tau=2.0), plain, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(adjusted(tau=0.0), plain)


def test_invariances():
    base = adjusted()
    shift = RNG.normal(size=(7, 1)).astype(np.float32)
    np.testing.assert_allclose(adjusted(LOGITS + shift), base, atol=1e-5)
    # Counts are refused when concrete, but under jit their scale cancels.
    scaled = jax.jit(lambda prior: adjusted(prior=prior))(166 * PRIOR)
    np.testing.assert_allclose(scaled, base, atol=1e-5)
    order = np.array([2, 4, 0, 1, 3])
    renamed = adjusted(LOGITS[:, order], np.argsort(order)[LABELS], PRIOR[order])
    np.testing.assert_allclose(renamed, base, rtol=1e-6)  # sums run in another order


def test_the_family_has_these_members():
    tau = 1.3
    pairwise = lambda **kw: losses.pairwise_margin_cross_entropy(LOGITS, LABELS, **kw)
    np.testing.assert_allclose(pairwise(), cross_entropy(LOGITS, LABELS), rtol=1e-5, atol=1e-6)
    margins = losses.logit_adjustment_margins(PRIOR, tau=tau)
    np.testing.assert_allclose(pairwise(margins=margins), adjusted(tau=tau), atol=1e-5)
    weights = losses.inverse_prior_weights(PRIOR)
    np.testing.assert_allclose(
        pairwise(weights=weights), cross_entropy(LOGITS, LABELS) / PRIOR[LABELS], rtol=1e-5
    )
    # Balanced softmax adds the log counts.
    counts = cross_entropy(LOGITS + np.log(COUNTS), LABELS)
    np.testing.assert_allclose(adjusted(), counts, atol=1e-6)
    # The published adaptive combination is a sum of margins.
    both = losses.logit_adjustment_margins(PRIOR) + losses.ldam_margins(PRIOR)
    x = LOGITS + np.log(PRIOR)
    x[np.arange(7), LABELS] -= PRIOR[LABELS] ** -0.25
    np.testing.assert_allclose(pairwise(margins=both), cross_entropy(x, LABELS), rtol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_pairwise_loss_against_its_formula(seed):
    rng = np.random.default_rng(seed)
    margins, weights = rng.normal(size=(K, K)), rng.uniform(0.1, 3, size=K)
    expected = []
    for f, y in zip(np.float64(LOGITS), LABELS, strict=True):
        others = [np.exp(margins[y, j] + f[j] - f[y]) for j in range(K) if j != y]
        expected.append(weights[y] * np.log1p(sum(others)))
    loss = losses.pairwise_margin_cross_entropy(LOGITS, LABELS, weights=weights, margins=margins)
    np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-6)


def test_equalized_and_ldam_margins():
    np.testing.assert_allclose(
        losses.equalized_margins(PRIOR, tau=0.5)[3], 0.5 * np.log(PRIOR), rtol=1e-6
    )
    np.testing.assert_allclose(
        losses.ldam_margins(PRIOR, scale=0.7)[:, 1], 0.7 * PRIOR**-0.25, rtol=1e-6
    )


def test_gradients():
    total = lambda x, y=LABELS, prior=PRIOR: adjusted(x, y, prior).sum()
    grad = jax.jit(jax.grad(total))(LOGITS)
    np.testing.assert_allclose(grad.sum(-1), 0, atol=1e-6)
    softmax = np.exp(log_softmax(LOGITS + np.log(PRIOR)))
    np.testing.assert_allclose(grad, softmax - np.eye(K)[LABELS], atol=1e-6)
    check_grads(jax.jit(lambda x: adjusted(x).mean()), (LOGITS,), order=2, modes=["rev"], rtol=2e-2)
    extreme = jnp.array([[1e4, -1e4, 0, 0, 0], [-3e38, 0, 0, 0, 0]], jnp.float32)
    assert np.isfinite(jax.jit(jax.grad(total))(extreme, LABELS[:2])).all()
    # In the prior too: it may be learnt or tracked.
    assert np.isfinite(jax.jit(jax.grad(lambda p: total(LOGITS, prior=p)))(PRIOR)).all()


def test_half_precision_logits_are_computed_in_float32():
    half = jnp.asarray(LOGITS, jnp.bfloat16)
    loss = adjusted(half)
    assert loss.dtype == jnp.float32
    np.testing.assert_array_equal(loss, adjusted(half.astype(jnp.float32)))
    assert jax.grad(lambda x: adjusted(x).sum())(half).dtype == jnp.bfloat16
    assert losses.adjust_logits(half, class_prior=PRIOR).dtype == jnp.float32


def test_any_leading_axes_vmap_and_jit_agree():
    base = adjusted()
    one = jax.jit(jax.vmap(lambda x, y: adjusted(x, y)))(LOGITS, LABELS)
    np.testing.assert_allclose(one, base, rtol=1e-6)
    np.testing.assert_allclose(adjusted(LOGITS[0], LABELS[0]), base[0], rtol=1e-6)
    empty = adjusted(LOGITS[:0], LABELS[:0])
    assert empty.shape == (0,)
    grid = adjusted(LOGITS[:6].reshape(2, 3, K), LABELS[:6].reshape(2, 3))
    np.testing.assert_allclose(grid.ravel(), base[:6], rtol=1e-6)


def test_tiny_priors_are_not_bent():
    prior = np.array([1 - 1e-6, 1e-6], np.float32)
    offset = losses.initial_bias(prior, tau=3.0)
    np.testing.assert_allclose(offset[1], 3 * np.log(1e-6), rtol=1e-5)  # not -27.63


def test_soft_targets():
    soft = lambda targets: losses.logit_adjusted_soft_cross_entropy(
        LOGITS, targets, class_prior=PRIOR
    )
    hard = np.eye(K, dtype=np.float32)[LABELS]
    np.testing.assert_allclose(soft(hard), adjusted(), rtol=1e-5, atol=1e-6)
    mixed = 0.3 * hard + 0.7 * np.roll(hard, 1, axis=0)
    expected = 0.3 * adjusted() + 0.7 * adjusted(labels=np.roll(LABELS, 1))
    np.testing.assert_allclose(soft(mixed), expected, rtol=1e-5)


def test_known_test_prior():
    q = np.array([0.1, 0.2, 0.3, 0.4, 0.0], np.float32)
    # Cross-entropy models learn log p(x|y) + log pi, adjusted ones log p(x|y), up to a constant.
    likelihood = RNG.normal(size=(3, K)).astype(np.float32)
    with np.errstate(divide="ignore"):
        posterior = np.exp(log_softmax(likelihood + np.log(q)))
    for logits, prior in ((likelihood + np.log(PRIOR), PRIOR), (likelihood, None)):
        shifted = losses.logits_for_prior(logits, test_prior=q, class_prior=prior)
        np.testing.assert_allclose(jax.nn.softmax(shifted), posterior, rtol=1e-5, atol=1e-7)


def test_fisher_consistency_on_a_finite_population():
    """Minimising over free logits: the adjusted loss finds argmax p(x|y), cross-entropy p(y|x)."""
    rng = np.random.default_rng(0)
    classes, points, problems = 4, 6, 20
    prior = rng.dirichlet(np.full(classes, 0.5), size=problems) + 0.01
    prior = (prior / prior.sum(1, keepdims=True)).astype(np.float32)
    likelihood = rng.dirichlet(np.ones(points), size=(problems, classes)).astype(np.float32)
    joint = prior[:, :, None] * likelihood  # [problem, y, x]
    everything = jnp.broadcast_to(jnp.arange(classes), (points, classes))

    def minimum(loss_of_problem):
        def expected(logits, prior, joint):
            rows = jnp.broadcast_to(logits[:, None], (points, classes, classes))
            # Each point counts the same, which moves no minimum and conditions the problem.
            weights = joint.T / joint.T.sum(1, keepdims=True)
            return jnp.sum(weights * loss_of_problem(rows, everything, prior))

        def solve(prior, joint):
            tx = optax.chain(optax.scale_by_adam(b2=0.99), optax.scale(-1.0))
            start = jnp.zeros((points, classes))

            def step(carry, rate):
                logits, state = carry
                updates, state = tx.update(jax.grad(expected)(logits, prior, joint), state)
                return (logits + rate * updates, state), None

            rates = optax.cosine_decay_schedule(0.3, 1500)(jnp.arange(1500))
            return jax.lax.scan(step, (start, tx.init(start)), rates)[0][0]

        return np.asarray(jax.jit(jax.vmap(solve))(prior, joint)).argmax(-1)

    likeliest, most_probable = likelihood.argmax(1), joint.argmax(1)
    la = minimum(lambda x, y, p: losses.logit_adjusted_cross_entropy(x, y, class_prior=p))
    ce = minimum(lambda x, y, p: losses.pairwise_margin_cross_entropy(x, y))
    np.testing.assert_array_equal(la, likeliest)
    np.testing.assert_array_equal(ce, most_probable)
    assert (ce != likeliest).sum() > 30  # the two targets differ on many points


@pytest.mark.parametrize(
    ("optimizer", "same"),
    [
        (lambda: optax.sgd(0.05, momentum=0.9), True),
        (lambda: optax.adam(0.01), True),
        (lambda: optax.adamw(0.01, weight_decay=0.1), False),
    ],
    ids=["momentum", "adam", "decayed bias"],
)
def test_the_adjusted_loss_is_a_bias_initialisation(optimizer, same):
    """The same trajectory as cross-entropy from bias tau log pi, unless the bias is decayed."""
    tau, tx = 1.5, optimizer()
    key = jax.random.key(0)
    x = jax.random.normal(key, (40, 6))
    y = jax.random.categorical(jax.random.key(1), jnp.log(PRIOR), shape=(40,))
    hidden = 0.5 * jax.random.normal(jax.random.key(2), (6, 8))
    head = 0.5 * jax.random.normal(jax.random.key(3), (8, K))
    offset = losses.initial_bias(PRIOR, tau=tau)
    apply = lambda p: jnp.tanh(x @ p["hidden"]) @ p["head"] + p["bias"]

    def train(bias, loss):
        params = {"hidden": hidden, "head": head, "bias": bias}

        def step(carry, _):
            params, state = carry
            grads = jax.grad(lambda p: loss(apply(p)).mean())(params)
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, tx.init(params)), None, length=200)[0][0]

    run = jax.jit(train, static_argnums=1)
    la = run(
        jnp.zeros(K),
        lambda f: losses.logit_adjusted_cross_entropy(f, y, class_prior=PRIOR, tau=tau),
    )
    ce = run(offset, lambda f: losses.pairwise_margin_cross_entropy(f, y))
    difference = float(jnp.abs(apply(la) + offset - apply(ce)).max())
    moved = float(jnp.abs(apply(ce) - jnp.tanh(x @ hidden) @ head - offset).max())
    assert moved > 1
    if same:
        assert difference < 5e-5
    else:
        assert difference > 0.1


# --- Priors and weights ---------------------------------------------------------------------------


def test_prior_estimates():
    labels = np.repeat(np.arange(K), COUNTS)
    np.testing.assert_allclose(losses.estimate_class_prior(labels, K), PRIOR, rtol=1e-6)
    smooth = losses.estimate_class_prior(labels.reshape(2, -1), K + 1, smoothing=2.0)
    expected = (np.append(COUNTS, 0) + 2.0) / (COUNTS.sum() + 12)
    np.testing.assert_allclose(smooth, expected, rtol=1e-6)
    kept = labels != 0
    masked = losses.estimate_class_prior(labels, K, where=kept)
    np.testing.assert_allclose(masked, np.append(0, COUNTS[1:]) / 66, rtol=1e-6)
    nothing = losses.estimate_class_prior(labels, K, where=np.zeros(166, bool))
    np.testing.assert_allclose(nothing, np.full(K, 0.2), rtol=1e-6)
    counted = losses.class_prior_from_counts(COUNTS, smoothing=2.0)
    np.testing.assert_allclose(counted, (COUNTS + 2) / 176, rtol=1e-6)


def test_under_jit_labels_out_of_range_are_left_out_of_the_prior():
    estimate = jax.jit(lambda labels: losses.estimate_class_prior(labels, 2))
    np.testing.assert_array_equal(estimate(jnp.array([0, 1, 1, 1, -1, 2])), [0.25, 0.75])


def test_running_prior():
    batches = jax.random.categorical(jax.random.key(0), jnp.log(PRIOR), shape=(400, 64))
    step = lambda prior, labels: (
        losses.update_class_prior(prior, labels, decay=0.99),
        None,
    )
    prior = jax.jit(lambda: jax.lax.scan(step, jnp.full(K, 1 / K), batches)[0])()
    np.testing.assert_allclose(prior, PRIOR, atol=0.02)
    np.testing.assert_allclose(prior.sum(), 1, rtol=1e-5)
    same = losses.update_class_prior(PRIOR, [0, 1], decay=0.5, where=np.zeros(2, bool))
    np.testing.assert_array_equal(same, PRIOR)


def test_class_balanced_weights():
    reference = (1 - 0.999) / (1 - 0.999 ** np.float64(COUNTS))
    np.testing.assert_allclose(
        losses.class_balanced_weights(COUNTS, beta=0.999), reference / reference.mean(), rtol=1e-5
    )
    np.testing.assert_array_equal(losses.class_balanced_weights(COUNTS, beta=0.0), np.ones(K))
    inverse = losses.class_balanced_weights(COUNTS, beta=1 - 1e-9)
    np.testing.assert_allclose(inverse * COUNTS, inverse[0] * COUNTS[0], rtol=1e-5)


# --- Focal, LDAM, tau-normalisation ---------------------------------------------------------------


def test_focal():
    p = np.exp(-cross_entropy(LOGITS, LABELS))
    for gamma in (0.0, 0.5, 2.0):
        np.testing.assert_allclose(
            losses.focal_cross_entropy(LOGITS, LABELS, gamma=gamma),
            (1 - p) ** gamma * -np.log(p),
            rtol=2e-5,
            atol=1e-6,
        )
    extreme = jnp.array([[1e4, 0, 0, 0, 0], [-1e4, 0, 0, 0, 0]], jnp.float32)
    total = lambda x, gamma: losses.focal_cross_entropy(x, LABELS[[0, 0]], gamma=gamma).sum()
    for gamma in (0.5, 2.0):
        assert np.isfinite(jax.jit(jax.grad(total))(extreme, gamma)).all()


def test_ldam_against_the_published_rule():
    rng = np.random.default_rng(1)
    features, kernel = rng.normal(size=(7, 3)), rng.normal(size=(3, K))
    cosines = losses.cosine_logits(features, kernel)
    unit = lambda x, axis: x / np.linalg.norm(x, axis=axis, keepdims=True)
    np.testing.assert_allclose(cosines, unit(features, 1) @ unit(kernel, 0), atol=1e-6)
    margins = COUNTS**-0.25
    margins = margins * (0.5 / margins.max())
    x = np.float64(cosines)
    x[np.arange(7), LABELS] -= margins[LABELS]
    weights = np.arange(1.0, K + 1)
    loss = losses.ldam_cross_entropy(cosines, LABELS, class_prior=PRIOR, weights=weights)
    expected = weights[LABELS] * cross_entropy(30 * x, LABELS)
    np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-5)
    zero = jax.grad(lambda f: losses.cosine_logits(f, kernel).sum())(jnp.zeros(3))
    assert np.isfinite(zero).all()


def test_tau_normalisation():
    kernel = RNG.normal(size=(3, K)).astype(np.float32)
    kernel[:, 2] = 0
    norms = np.linalg.norm(losses.tau_normalized_kernel(kernel, tau=0.5), axis=0)
    np.testing.assert_allclose(norms, np.linalg.norm(kernel, axis=0) ** 0.5, rtol=1e-5)
    np.testing.assert_array_equal(losses.tau_normalized_kernel(kernel, tau=0.0), kernel)


# --- Reports --------------------------------------------------------------------------------------


def test_balanced_error():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 4, 50), rng.integers(0, 5, 50)
    where = rng.random(50) < 0.7
    error, per_class, present = jax.jit(lambda p, y, w: losses.balanced_error(p, y, 5, where=w))(
        predictions, labels, where
    )
    expected = [(predictions != y)[where & (labels == y)].mean() for y in range(4)]
    np.testing.assert_allclose(per_class, [*expected, 0], rtol=1e-6)
    np.testing.assert_array_equal(present, [True] * 4 + [False])
    np.testing.assert_allclose(error, np.mean(expected), rtol=1e-6)
    nothing = losses.balanced_error(predictions, labels, 5, where=np.zeros(50, bool))
    assert float(nothing.error) == 0
    assert not nothing.present.any()


def test_error_by_frequency():
    report = losses.BalancedError(
        jnp.float32(0), jnp.array([0.1, 0.2, 0.3, 0.5]), jnp.array([True, True, True, False])
    )
    errors = losses.error_by_frequency(report, [101, 100, 20, 19])
    assert list(errors) == ["many", "medium", "few"]
    np.testing.assert_allclose(list(errors.values()), [0.1, 0.25, 0], rtol=1e-6)


# --- Flooding -------------------------------------------------------------------------------------


def test_flood_values_and_gradients():
    d = np.array([0.0, 0.1, 0.3, 0.5], np.float32)
    up, down = losses.flood(0.5 + d, level=0.5), losses.flood(0.5 - d, level=0.5)
    np.testing.assert_allclose(up, 0.5 + d, rtol=1e-6)
    np.testing.assert_allclose(down, up, rtol=1e-6)
    slope = jax.vmap(jax.grad(lambda l: losses.flood(l, level=0.5)))
    np.testing.assert_array_equal(slope(jnp.array([0.6, 0.5, 0.4])), [1, 1, -1])
    plain = jnp.array([0.0, 0.2, 7.0])
    np.testing.assert_array_equal(losses.flood(plain, level=0.0), plain)
    assert losses.flood(jnp.ones((), jnp.bfloat16), level=0.5).dtype == jnp.bfloat16


def test_per_example_flooding_is_never_below_batch_flooding():
    sample = jnp.asarray(RNG.exponential(size=(8, 4)), jnp.float32)
    level = 0.8
    examples = losses.flood(sample, level=level).mean()
    batches = losses.flood(sample.mean(1), level=level).mean()
    everything = losses.flood(sample.mean(), level=level)
    assert everything <= batches <= examples
    assert everything < examples
    equal = jnp.full(4, 0.3)
    np.testing.assert_allclose(
        losses.flood(equal, level=level).mean(), losses.flood(0.3, level=level), rtol=1e-6
    )
    levels = jnp.array([0.1, 0.4])
    np.testing.assert_allclose(losses.flood(equal[:2], level=levels), [0.3, 0.5], rtol=1e-6)


def test_flooding_has_the_smaller_squared_error_below_the_true_risk():
    estimates, risk, level = RNG.normal(1.0, 0.4, size=2000).astype(np.float32), 1.0, 0.9
    flooded = np.asarray(losses.flood(estimates, level=level))
    assert ((flooded - risk) ** 2 <= (estimates - risk) ** 2 + 1e-6).all()
    low = estimates < level
    gain = (risk - estimates) ** 2 - (risk - flooded) ** 2
    np.testing.assert_allclose(gain[low], 4 * (risk - level) * (level - estimates[low]), atol=1e-5)


def test_a_traced_level_does_not_retrace():
    traces = []

    @jax.jit
    def step(loss, level):
        traces.append(1)
        return losses.flood(loss, level=level)

    for level in (0.1, 0.5, 2.0):
        np.testing.assert_allclose(step(1.0, level), abs(1.0 - level) + level, rtol=1e-6)
    assert len(traces) == 1


def test_adaflood_levels():
    m = np.array([0.0, 1e-6, 0.1, 1.0, 10.0, 1e4], np.float32)
    levels = losses.adaflood_levels(m, gamma=0.5)
    np.testing.assert_allclose(levels, -np.log(0.5 * np.exp(-np.float64(m)) + 0.5), atol=1e-6)
    assert (np.diff(levels) >= 0).all()
    assert levels[0] == 0
    np.testing.assert_allclose(levels[-1], np.log(2), rtol=1e-6)
    np.testing.assert_array_equal(losses.adaflood_levels(m, gamma=1.0), np.zeros(6))
    np.testing.assert_allclose(losses.adaflood_levels(m, gamma=0.0), m, rtol=1e-6)
    affine = losses.adaflood_levels(m, gamma=0.0, alpha=2.0, beta=0.5)
    np.testing.assert_allclose(affine, 2 * m + 0.5, rtol=1e-6)
    grad = jax.grad(lambda m: losses.adaflood_levels(m, gamma=0.3).sum())(jnp.asarray(m))
    np.testing.assert_array_equal(grad, np.zeros(6))
    losses.flood(jnp.ones(6), level=levels)  # levels it accepts


def test_flood_level_from_noise():
    rates = np.array([0.2, 0.4], np.float32)
    np.testing.assert_allclose(losses.flood_level_from_noise(0.1, 2), 0.325, atol=5e-4)
    np.testing.assert_allclose(losses.flood_level_from_noise(rates, 10), [0.940, 1.552], atol=5e-4)
    assert losses.flood_level_from_noise(0.0, 10) == 0
    np.testing.assert_allclose(losses.flood_level_from_noise(0.9, 10), np.log(10), rtol=1e-6)


@pytest.mark.parametrize("level", [0.1, 5.0])
def test_value_and_flood_grad_is_the_gradient_of_the_wrapped_loss(level):
    loss_fn = lambda w, scale: (scale * jnp.sum(w**2), "aux")
    w = jnp.array([1.0, -0.5])
    (loss, aux, flooded), grad = losses.value_and_flood_grad(loss_fn, level=level, has_aux=True)(
        w, 1.0
    )
    expected = jax.grad(lambda w: losses.flood(loss_fn(w, 1.0)[0], level=level))(w)
    np.testing.assert_array_equal(grad, expected)
    assert (float(loss), aux, bool(flooded)) == (1.25, "aux", level > 1.25)


@contextlib.contextmanager
def float64():
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", False)


def test_the_two_step_expansion_of_flooding():
    """Down then up at rate e, in either order, descends the squared gradient norm by e^2 / 2."""
    with float64():
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(12, 3)), rng.normal(size=12)
        start = {"a": rng.normal(size=(3, 4)), "b": rng.normal(size=4)}
        loss = lambda p: jnp.mean((jnp.tanh(x @ p["a"]) @ p["b"] - y) ** 2)
        start, unravel = jax.flatten_util.ravel_pytree(jax.tree.map(jnp.asarray, start))
        assert start.dtype == jnp.float64
        gradient = jax.jit(jax.grad(lambda v: loss(unravel(v))))
        curvature = jax.jit(
            jax.grad(lambda v: 0.5 * jnp.sum(jax.grad(lambda u: loss(unravel(u)))(v) ** 2))
        )(start)

        def pair(first, second):
            middle = start - first * gradient(start)
            return (middle - second * gradient(middle)) - start

        def relative(got, expected):
            return float(jnp.linalg.norm(got - expected) / jnp.linalg.norm(expected))

        last = None
        for e in (1e-2, 1e-3):
            down, up, expected = pair(e, -e), pair(-e, e), -(e**2) * curvature
            errors = [relative(down, expected), relative(up, expected)]
            mean = relative((down + up) / 2, expected)
            assert max(errors) < 30 * e  # first order in e for either order
            assert mean < 30 * e**2  # second order for their mean
            if last:
                assert last[0] / max(errors) == pytest.approx(10, rel=0.2)
                assert last[1] / mean == pytest.approx(100, rel=0.2)
            last = max(errors), mean
        assert max(errors) < 1e-2

        e1, e2 = 1e-3, 4e-4
        c = e1 * e2 / (2 * (e1 - e2))
        unequal = -(e1 - e2) * (gradient(start) + 2 * c * curvature)
        assert relative(pair(e1, -e2), unequal) < 1e-5


# --- Errors ---------------------------------------------------------------------------------------

GOOD = {"logits": LOGITS, "labels": LABELS, "class_prior": PRIOR, "tau": 1.0}
ZERO = np.array([0.5, 0.5, 0, 0, 0])
NEGATIVE = np.array([0.5, 0.6, -0.1, 0, 0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"class_prior": ZERO}, r"class_prior is 0.0 for class 2, must be positive: .*smoothing"),
        ({"class_prior": NEGATIVE}, r"class_prior is -0.1 for class 2.*smoothing"),
        ({"class_prior": np.array([np.nan] * K)}, "class_prior is nan for class 0"),
        ({"class_prior": COUNTS}, "class_prior sums to 166, must sum to 1 within 1e-4"),
        ({"class_prior": PRIOR * 1.001}, "must sum to 1"),
        ({"class_prior": PRIOR[:3]}, r"class_prior has shape \(3,\), must have shape \(5,\)"),
        ({"class_prior": np.float32(1.0)}, r"class_prior has shape \(\)"),
        ({"labels": LABELS[:3]}, r"labels has shape \(3,\), logits need labels of shape \(7,\)"),
        ({"labels": LABELS + 1}, r"labels has value 5, must be in \[0, 5\)"),
        ({"labels": LABELS - 1}, "labels has value -1"),
        ({"labels": LABELS.astype(float)}, "labels has dtype float64, must be integer"),
        ({"labels": LABELS > 2}, "labels has dtype bool, must be integer"),
        ({"logits": np.float32(1.0)}, r"logits has shape \(\)"),
        ({"tau": -1.0}, "tau is -1.0, must be at least 0"),
        ({"tau": np.inf}, "tau is inf, must be finite"),
        ({"tau": np.ones(2)}, r"tau has shape \(2,\), must be a scalar"),
        ({"tau": "one"}, "tau is 'one', must be a number"),
    ],
)
def test_wrong_arguments_of_the_adjusted_loss(changed, message):
    arguments = {**GOOD, **changed}
    with pytest.raises(ValueError, match=message):
        losses.logit_adjusted_cross_entropy(
            arguments.pop("logits"), arguments.pop("labels"), **arguments
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.adjust_logits(LOGITS, class_prior=ZERO), "smoothing"),
        (lambda: losses.adjust_logits(1.0, class_prior=PRIOR), r"logits has shape \(\)"),
        (
            lambda: losses.logit_adjusted_soft_cross_entropy(LOGITS, PRIOR, class_prior=PRIOR),
            r"targets has shape \(5,\)",
        ),
        (lambda: losses.logits_for_prior(LOGITS, test_prior=2 * PRIOR), "test_prior sums to 2"),
        (lambda: losses.logits_for_prior(LOGITS, test_prior=NEGATIVE), "test_prior is -0.1"),
        (lambda: losses.estimate_class_prior([], 3), "at least one label"),
        (lambda: losses.estimate_class_prior([0, 3], 3), "labels has value 3"),
        (lambda: losses.estimate_class_prior([0.0], 3), "must be integer"),
        (lambda: losses.estimate_class_prior([0], 3, smoothing=-1), "smoothing is -1"),
        (lambda: losses.estimate_class_prior([0], 3, where=[True, True]), "where has shape"),
        (lambda: losses.class_prior_from_counts([1, -1]), "counts has value -1"),
        (lambda: losses.update_class_prior(PRIOR, [0], decay=1.5), "decay is 1.5"),
        (lambda: losses.class_balanced_weights([3, 0]), "counts is 0 for class 1"),
        (lambda: losses.class_balanced_weights([3, 1], beta=1.0), "beta is 1.0"),
        (
            lambda: losses.pairwise_margin_cross_entropy(LOGITS, LABELS, weights=PRIOR[:2]),
            r"weights has shape \(2,\), must have shape \(5,\)",
        ),
        (
            lambda: losses.pairwise_margin_cross_entropy(LOGITS, LABELS, weights=-PRIOR),
            "must be finite and at least 0",
        ),
        (
            lambda: losses.pairwise_margin_cross_entropy(LOGITS, LABELS, margins=PRIOR),
            r"margins has shape \(5,\), must have shape \(5, 5\)",
        ),
        (lambda: losses.focal_cross_entropy(LOGITS, LABELS, gamma=-1.0), "gamma is -1.0"),
        (lambda: losses.focal_cross_entropy(np.ones((1, 1)), [0]), "needs K >= 2"),
        (
            lambda: losses.ldam_cross_entropy(LOGITS, LABELS, class_prior=PRIOR),
            "use cosine_logits",
        ),
        (lambda: losses.cosine_logits(np.ones(3), np.ones((2, 5))), "must end in 2"),
        (lambda: losses.cosine_logits(np.ones(3), np.ones(3)), r"must be \(..., D\) and \(D, K\)"),
        (lambda: losses.tau_normalized_kernel(PRIOR), "kernel has shape"),
        (lambda: losses.balanced_error(LABELS[:2], LABELS, K), r"predictions has shape \(2,\)"),
        (lambda: losses.balanced_error(LABELS, LABELS + 1, K), "labels has value 5"),
        (lambda: losses.balanced_error(LABELS * 1.0, LABELS, K), "must be integer"),
        (lambda: losses.flood(1.0, level=-0.1), "level is -0.1, must be finite and at least 0"),
        (lambda: losses.flood(1.0, level=np.nan), "level is nan"),
        (lambda: losses.flood(1.0, level=np.ones(3)), r"level has shape \(3,\), must be a scalar"),
        (lambda: losses.flood(np.ones(2), level=np.ones(3)), r"or have shape \(2,\)"),
        (lambda: losses.value_and_flood_grad(jnp.sum, level=np.ones(2)), "must be a scalar"),
        (lambda: losses.adaflood_levels([-1.0]), "aux_losses has value -1.0"),
        (lambda: losses.adaflood_levels([1.0], gamma=1.5), "gamma is 1.5"),
        (lambda: losses.flood_level_from_noise(1.5, 3), "noise_rate is 1.5"),
        (lambda: losses.flood_level_from_noise(0.5, 1), "num_classes is 1"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_cannot_be_checked_under_jit_is_nan():
    loss = jax.jit(adjusted)(LOGITS, np.array([0, -1, 5, 1, 2, 3, 4]), PRIOR, 1.0)
    np.testing.assert_array_equal(np.isnan(loss), [0, 1, 1, 0, 0, 0, 0])
    assert np.isnan(jax.jit(adjusted)(LOGITS, LABELS, ZERO, 1.0)).all()
    # A constant of the traced function is still checked.
    with pytest.raises(ValueError, match="class_prior is 0"):
        jax.jit(lambda x: adjusted(x, prior=ZERO))(LOGITS)


def test_a_masked_bad_label_leaves_gradients_finite():
    labels, where = np.array([0, -1]), np.array([True, False])

    def mean(x, labels):
        return jnp.where(where, adjusted(x, labels), 0.0).sum() / where.sum()

    assert np.isfinite(jax.jit(jax.grad(mean))(LOGITS[:2], labels)).all()
