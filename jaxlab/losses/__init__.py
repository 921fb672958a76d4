"""Losses of labels and logits, per example and never reduced; class priors; flooding.

Hyper-parameters are keyword-only. All arithmetic is float32 (float64 for float64 inputs), whatever
the dtype of the logits. Values are checked when concrete; inside `jit` a bad label or prior shows
as NaN (or, by `check_traced_prior` and `check_traced_labels`, as a checkify error). Logits and
losses are results, not settings: NaN among them comes out as NaN, and `train.fit` stops at it. A
logit of minus infinity masks its class. Take the mean yourself:
`losses.logit_adjusted_cross_entropy(...).mean()`.
"""

from jaxlab.losses.adjustment import adjust_logits, logits_for_prior
from jaxlab.losses.class_vectors import cosine_logits, tau_normalized_kernel
from jaxlab.losses.cross_entropies import (
    focal_cross_entropy,
    ldam_cross_entropy,
    logit_adjusted_cross_entropy,
    logit_adjusted_soft_cross_entropy,
    pairwise_margin_cross_entropy,
    soft_cross_entropy,
)
from jaxlab.losses.flooding import (
    adaflood_levels,
    flood,
    flood_level_from_noise,
    value_and_flood_grad,
)
from jaxlab.losses.objectives import OBJECTIVES, make_objective
from jaxlab.losses.priors import (
    check_class_prior,
    class_balanced_weights,
    class_prior_from_counts,
    equalized_margins,
    estimate_class_prior,
    initial_bias,
    inverse_prior_weights,
    ldam_margins,
    log_class_prior,
    logit_adjustment_margins,
    update_class_prior,
)
from jaxlab.losses.reports import BalancedError, balanced_error, error_by_frequency
from jaxlab.losses.traced import check_traced_labels, check_traced_prior

__all__ = [
    "OBJECTIVES",
    "BalancedError",
    "adaflood_levels",
    "adjust_logits",
    "balanced_error",
    "check_class_prior",
    "check_traced_labels",
    "check_traced_prior",
    "class_balanced_weights",
    "class_prior_from_counts",
    "cosine_logits",
    "equalized_margins",
    "error_by_frequency",
    "estimate_class_prior",
    "flood",
    "flood_level_from_noise",
    "focal_cross_entropy",
    "initial_bias",
    "inverse_prior_weights",
    "ldam_cross_entropy",
    "ldam_margins",
    "log_class_prior",
    "logit_adjusted_cross_entropy",
    "logit_adjusted_soft_cross_entropy",
    "logit_adjustment_margins",
    "logits_for_prior",
    "make_objective",
    "pairwise_margin_cross_entropy",
    "soft_cross_entropy",
    "tau_normalized_kernel",
    "update_class_prior",
    "value_and_flood_grad",
]
