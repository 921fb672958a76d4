"""`jaxlab.losses.labels` and all losses: everything that can be wrong with the arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from long_tail import COUNTS, LABELS, LOGITS, PRIOR, K, adjusted

from jaxlab import losses

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
