"""`jaxlab.losses.cross_entropies`, `jaxlab.losses.adjustment`, `jaxlab.losses.class_vectors`: logit
adjustment and its family."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads
from long_tail import COUNTS, LABELS, LOGITS, PRIOR, K, adjusted, cross_entropy, log_softmax

from jaxlab import losses

RNG = np.random.default_rng(0)


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


def test_masked_classes_padded_rows_and_labels_out_of_range():
    """What is masked adds 0, to values and gradients; under jit a label out of range gives NaN."""
    x = jnp.array([[0.0, -jnp.inf, 1.0], [jnp.nan, jnp.nan, jnp.nan], [2.0, 1.0, 0.0]])
    targets = jnp.array([[0.25, 0.0, 0.75], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    labels, prior = jnp.array([2, -1, 3]), jnp.array([0.5, 0.25, 0.25])

    @jax.jit
    def found(x, labels):
        hard = lambda x: losses.logit_adjusted_cross_entropy(x, labels, class_prior=prior)
        soft, pull = jax.vjp(lambda x: losses.soft_cross_entropy(x, targets), x)
        focal = losses.focal_cross_entropy(x, labels, gamma=1.0)
        grads = jax.grad(lambda x: jnp.where(labels == 2, hard(x), 0.0).sum())(x)
        return soft, pull(jnp.ones(3))[0], hard(x), focal, grads

    soft, slopes, hard, focal, grads = found(x, labels)
    p = np.exp(1) / (1 + np.exp(1))
    last = np.exp([2.0, 1.0, 0.0]) / np.exp([2.0, 1.0, 0.0]).sum()
    want = -0.25 * np.log(1 - p) - 0.75 * np.log(p)
    np.testing.assert_allclose(soft, [want, 0.0, -np.log(last[1])], rtol=1e-5)
    np.testing.assert_allclose(
        slopes, [[0.75 - p, 0, p - 0.75], [0, 0, 0], last - [0, 1, 0]], atol=1e-6
    )
    assert np.isnan(hard).tolist() == np.isnan(focal).tolist() == [False, True, True]
    np.testing.assert_allclose(hard[0], np.log(1 + 2 * np.exp(-1)), rtol=1e-5)
    np.testing.assert_allclose(focal[0], -(1 - p) * np.log(p), rtol=1e-5)
    share = np.exp(1) / (2 + np.exp(1))
    np.testing.assert_allclose(grads, [[1 - share, 0, share - 1], [0, 0, 0], [0, 0, 0]], atol=1e-6)


def test_a_class_that_counts_nothing_and_one_that_is_certain():
    x = jnp.array([[-jnp.inf, 0.0], [0.0, -jnp.inf]])
    labels = jnp.array([0, 0])
    weighted = lambda w: losses.pairwise_margin_cross_entropy(x, labels, weights=w)
    run = jax.jit(lambda w: (weighted(w), losses.focal_cross_entropy(x, labels)))
    for weights in ([0.0, 1.0], [2.0, 1.0]):
        found, focal = run(jnp.array(weights))
        assert found.tolist() == [weights[0] and np.inf, 0.0]
    assert focal.tolist() == [np.inf, 0.0]


def test_adjusted_logits_by_the_prior_and_its_strength():
    log_prior = np.log(np.float64(PRIOR))
    adjust = lambda **options: losses.adjust_logits(LOGITS, class_prior=PRIOR, **options)
    for options, tau in (({}, 1.0), ({"tau": 0.0}, 0.0), ({"tau": 0.005}, 0.005), ({"tau": 2}, 2)):
        np.testing.assert_allclose(adjust(**options), LOGITS - tau * log_prior, atol=1e-5)
    for tau in (0.0, 0.005):
        want = cross_entropy(LOGITS + tau * log_prior, LABELS)
        np.testing.assert_allclose(adjusted(tau=tau), want, rtol=1e-5)
        soft = losses.logit_adjusted_soft_cross_entropy(
            LOGITS, np.eye(K)[LABELS], class_prior=PRIOR, tau=tau
        )
        np.testing.assert_allclose(soft, want, rtol=1e-5)


def test_cosines_and_numbers_at_their_bounds():
    kernel = np.array([[3.0, 0.0, 1e-9], [4.0, 2.0, 0.0]])
    found = losses.cosine_logits([[1.0, 0.0], [2e-6, 0.0], [5e-7, 0.0]], kernel)
    np.testing.assert_allclose(found[:2], [[0.6, 0, 1e-3]] * 2, rtol=1e-5)
    np.testing.assert_allclose(found[2], [0.3, 0, 5e-4], rtol=1e-5)  # a norm of half of eps
    wide = losses.cosine_logits([[0.5, 0.0]], kernel, eps=1.0)
    np.testing.assert_allclose(wide, [[0.3, 0, 5e-10]], rtol=1e-5)
    cosines, labels = np.array([[1.005, -1.005]]), [0]
    run = functools.partial(losses.ldam_cross_entropy, cosines, labels, class_prior=[0.5, 0.5])
    for margin, scale in ((0.0, 1.0), (0.005, 0.005), (0.5, 2.0)):
        want = np.log1p(np.exp(scale * (margin - 2.01)))
        np.testing.assert_allclose(run(max_margin=margin, scale=scale), [want], rtol=1e-5)
    with pytest.raises(ValueError, match="cosines"):
        losses.ldam_cross_entropy([[1.02, 0.0]], labels, class_prior=[0.5, 0.5])
