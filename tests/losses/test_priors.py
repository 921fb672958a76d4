"""`jaxlab.losses.priors`: priors, weights, other losses and reports."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from long_tail import COUNTS, PRIOR, K

from jaxlab import losses

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
