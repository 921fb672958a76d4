"""`jaxlab.losses.priors`: priors, weights, other losses and reports."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from long_tail import COUNTS, PRIOR, K

from jaxlab import losses
from jaxlab.losses import priors

RNG = np.random.default_rng(0)


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


@pytest.mark.parametrize(
    ("dtype", "num_labels", "num_classes"),
    [(np.uint8, 256, 256), (np.uint8, 256, 1000), (np.int8, 128, 128), (np.uint8, 5, 256)],
)
def test_narrow_labels_are_as_good_as_wide_ones(dtype, num_labels, num_classes):
    logits = RNG.normal(size=(num_labels, num_classes)).astype(np.float32)
    prior = np.full(num_classes, 1 / num_classes, np.float32)
    predictions = logits.argmax(-1)
    kept = np.arange(num_labels) % 3 > 0

    @jax.jit  # a program for each dtype of the labels
    def everything(labels):
        return (
            losses.logit_adjusted_cross_entropy(logits, labels, class_prior=prior),
            losses.focal_cross_entropy(logits, labels),
            losses.pairwise_margin_cross_entropy(logits, labels, weights=prior),
            losses.ldam_cross_entropy(np.tanh(logits), labels, class_prior=prior),
            losses.estimate_class_prior(labels, num_classes, smoothing=1.0, where=kept),
            losses.update_class_prior(prior, labels, decay=0.5),
            *losses.balanced_error(predictions, labels, num_classes, where=kept),
        )

    narrow, wide = np.arange(num_labels).astype(dtype), np.arange(num_labels, dtype=np.int32)
    results = everything(wide)
    for found, expected in zip(everything(narrow), results, strict=True):
        np.testing.assert_array_equal(found, expected)
    *others, per_class, present = results
    assert all(np.isfinite(values).all() for values in others)
    np.testing.assert_array_equal(np.isfinite(per_class), present)  # NaN for classes without rows


@pytest.mark.parametrize("kind", [list, np.int64, np.uint64, np.float64])
def test_counts_above_two_to_the_31(kind):
    counts = [6_000_000_000, 2_000_000_000, 0]
    given = counts if kind is list else np.array(counts, kind)
    np.testing.assert_allclose(losses.class_prior_from_counts(given), [0.75, 0.25, 0.0], rtol=1e-6)
    weights = losses.class_balanced_weights(given[:2], beta=0.0)
    np.testing.assert_allclose(weights, [1.0, 1.0], rtol=1e-6)
    weights = losses.class_balanced_weights(given[:2], beta=1 - 1e-12)
    np.testing.assert_allclose(weights[1] / weights[0], 3.0, rtol=1e-2)


@pytest.mark.parametrize("bad", [np.inf, np.nan, -1.0])
def test_counts_that_are_no_counts(bad):
    for function in (losses.class_prior_from_counts, losses.class_balanced_weights):
        with pytest.raises(ValueError, match="counts"):
            function(np.array([2.0, bad]))


def test_weights_margins_and_biases_by_their_definitions():
    log_prior = np.log(np.float64(PRIOR))
    columns, rows = np.broadcast_to(log_prior, (K, K)), np.broadcast_to(log_prior[:, None], (K, K))

    @jax.jit
    def found(prior):
        return (
            losses.initial_bias(prior),
            losses.initial_bias(prior, tau=0.7),
            losses.inverse_prior_weights(prior),
            losses.inverse_prior_weights(prior, power=-0.4),
            losses.logit_adjustment_margins(prior),
            losses.logit_adjustment_margins(prior, tau=0.7),
            losses.ldam_margins(prior),
            losses.ldam_margins(prior, scale=0.7),
            losses.equalized_margins(prior),
            losses.equalized_margins(prior, tau=0.7),
        )

    wanted = (
        log_prior,
        0.7 * log_prior,
        np.exp(-log_prior),
        np.exp(0.4 * log_prior),
        columns - rows,
        0.7 * (columns - rows),
        np.exp(-rows / 4),
        0.7 * np.exp(-rows / 4),
        columns,
        0.7 * columns,
    )
    for ours, want in zip(found(PRIOR), wanted, strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, want, rtol=1e-5, atol=1e-6)
    broken = found(jnp.array([0.5, 0.5, 0.0, -0.1, 0.1]))[0]
    assert np.isnan(broken).tolist() == [False, False, True, True, False]  # no silent infinity


def test_numbers_at_their_bounds():
    for tau in (0.0, 0.005):
        for function in (losses.initial_bias, losses.logit_adjustment_margins,
                         losses.equalized_margins):  # fmt: skip
            assert np.isfinite(function(PRIOR, tau=tau)).all()
            with pytest.raises(ValueError, match="tau is -0"):
                function(PRIOR, tau=-0.005)
    assert not losses.ldam_margins(PRIOR, scale=0.0).any()
    prior = np.array([0.5, 0.5], np.float32)
    for decay, first in ((0.0, 1.0), (0.005, 0.9975), (1.0, 0.5)):
        moved = losses.update_class_prior(prior, [0, 0], decay=decay)
        np.testing.assert_allclose(moved, [first, 1 - first], rtol=1e-6)
    for decay in (-0.005, 1.005):
        with pytest.raises(ValueError, match="decay is"):
            losses.update_class_prior(prior, [0, 0], decay=decay)
    for smoothing in (0.0, 0.005):
        counted = losses.class_prior_from_counts([1, 0], smoothing=smoothing)
        total = 1 + 2 * smoothing
        np.testing.assert_allclose(counted, [(1 + smoothing) / total, smoothing / total], rtol=1e-6)
    with pytest.raises(ValueError, match="smoothing is -0"):
        losses.class_prior_from_counts([1, 0], smoothing=-0.005)
    assert losses.class_prior_from_counts([0, 0, 0, 0]).tolist() == [0.25] * 4


def test_what_is_a_prior():
    for shift in (0.0, 0.9e-4, -0.9e-4):
        losses.check_class_prior([0.5, 0.5 + shift])
    for shift in (1.1e-4, -1.1e-4):
        with pytest.raises(ValueError, match="must sum to 1"):
            losses.check_class_prior([0.5, 0.5 + shift])
    losses.check_class_prior([1.0, 0.0], zeros=True)
    for prior, message in (
        ([1.0, 0.0], "is 0.0 for class 1, must be positive"),
        ([0.5, np.nan, 0.5], "is nan for class 1"),
        ([0.5, 0.6, -0.1, -0.2], "is -0.1 for class 2"),
    ):
        with pytest.raises(ValueError, match=message):
            losses.check_class_prior(prior)
    with pytest.raises(ValueError, match=r"mine is -0\.1 for class 0, must be at least 0"):
        losses.check_class_prior([-0.1, 1.1], name="mine", zeros=True)
    losses.check_class_prior(PRIOR, K)
    for prior, classes in ((PRIOR, K - 1), (np.ones((1, 1)), None)):
        with pytest.raises(ValueError, match="must have shape"):
            losses.check_class_prior(prior, classes)


def test_labels_and_masks_that_do_not_fit():
    for labels in ([0, 4], [[4]], []):
        priors.check_labels(np.array(labels, int), K)
    for labels in ([0, K], [-1, 0]):
        with pytest.raises(ValueError, match=r"labels has value -?\d, must be in \[0, 5\)"):
            priors.check_labels(np.array(labels), K)
    with pytest.raises(ValueError, match=r"where has shape \(3,\), labels \(2,\)"):
        losses.estimate_class_prior([0, 1], 2, where=[True, True, False])
    for beta in (-0.005, 1.0):
        with pytest.raises(ValueError, match="beta is"):
            losses.class_balanced_weights([1, 2], beta=beta)
    with pytest.raises(ValueError, match=r"counts is 0\.0 for class 1, must be positive"):
        losses.class_balanced_weights([1.0, 0.0])
    for counts in (3, [[1, 2]]):
        for function in (losses.class_prior_from_counts, losses.class_balanced_weights):
            with pytest.raises(ValueError, match=r"must have shape \(K,\)"):
                function(counts)


def test_a_class_that_was_not_seen_yet_is_learnt_from_one_label():
    found = losses.update_class_prior(jnp.array([1.0, 0.0]), [1], decay=0.75)
    np.testing.assert_allclose(found, [0.75, 0.25])
