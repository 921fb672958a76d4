"""Objectives of labels, by name: adding one is a function and a row of `OBJECTIVES`."""

from collections.abc import Callable
from typing import Any

import jax
from jax.typing import ArrayLike
from optax import losses as optax_losses

from jaxlab.checks import absent, call_by_name, check_scalar
from jaxlab.losses import cross_entropies, priors
from jaxlab.losses.labels import wide_labels

Losses = Callable[[jax.Array, jax.Array], jax.Array]


def cross_entropy(counts: jax.Array, /, *, label_smoothing: float = 0.0) -> Losses:
    """Plain; `label_smoothing` is the share of the target spread over all classes, in [0, 1]."""
    check_scalar("label_smoothing", label_smoothing, at_least=0.0, at_most=1.0)
    if absent(label_smoothing):
        return optax_losses.softmax_cross_entropy_with_integer_labels
    one_hot = lambda labels: jax.nn.one_hot(wide_labels(labels), len(counts))
    return lambda logits, labels: cross_entropies.soft_cross_entropy(
        logits, optax_losses.smooth_labels(one_hot(labels), label_smoothing)
    )


def logit_adjusted(counts: jax.Array, /, *, tau: float = 1.0) -> Losses:
    """`logit_adjusted_cross_entropy`; tau is at least 0."""
    check_scalar("tau", tau, at_least=0.0)
    prior = priors.class_prior_from_counts(counts)
    return lambda logits, labels: cross_entropies.logit_adjusted_cross_entropy(
        logits, labels, class_prior=prior, tau=tau
    )


def inverse_weights(counts: jax.Array, /) -> Losses:
    """Weights of mean 1 over the examples, 1 / (K pi_y)."""
    prior = priors.class_prior_from_counts(counts)
    return _weighted(priors.inverse_prior_weights(prior) / len(counts))


def class_balanced(counts: jax.Array, /, *, beta: float = 0.999) -> Losses:
    """`class_balanced_weights`; beta is in [0, 1)."""
    return _weighted(priors.class_balanced_weights(counts, beta=beta))


def focal(counts: jax.Array, /, *, gamma: float = 2.0) -> Losses:
    """`focal_cross_entropy`; gamma is at least 0."""
    del counts
    check_scalar("gamma", gamma, at_least=0.0)
    return lambda logits, labels: cross_entropies.focal_cross_entropy(logits, labels, gamma=gamma)


def ldam(counts: jax.Array, /, *, max_margin: float = 0.5, scale: float = 30.0) -> Losses:
    """`ldam_cross_entropy`, of cosines; max_margin is at least 0, scale above 0."""
    check_scalar("max_margin", max_margin, at_least=0.0)
    check_scalar("scale", scale, above=0.0)
    prior = priors.class_prior_from_counts(counts)
    return lambda cosines, labels: cross_entropies.ldam_cross_entropy(
        cosines, labels, class_prior=prior, max_margin=max_margin, scale=scale
    )


def equalized(counts: jax.Array, /, *, tau: float = 1.0) -> Losses:
    """`equalized_margins`; tau is at least 0."""
    margins = priors.equalized_margins(priors.class_prior_from_counts(counts), tau=tau)
    return lambda logits, labels: cross_entropies.pairwise_margin_cross_entropy(
        logits, labels, margins=margins
    )


def _weighted(weights: jax.Array) -> Losses:
    return lambda logits, labels: cross_entropies.pairwise_margin_cross_entropy(
        logits, labels, weights=weights
    )


# Name -> (counts [K], its own numbers) -> losses of examples.
OBJECTIVES: dict[str, Callable[..., Losses]] = {
    "cross_entropy": cross_entropy,
    "logit_adjusted": logit_adjusted,
    "inverse_weights": inverse_weights,
    "class_balanced": class_balanced,
    "focal": focal,
    "ldam": ldam,
    "equalized": equalized,
}


def make_objective(
    name: str = "cross_entropy", *, class_counts: ArrayLike, **numbers: Any
) -> Losses:
    """Returns `(logits [B, K], labels [B]) -> losses [B]` of a named objective.

    Args:
      name: one of `OBJECTIVES`. "ldam" takes cosines, of a model with a cosine head.
      class_counts: [K], training examples of each class, all above 0; may be traced.
      **numbers: of that objective, which may be traced; None stands for its default.

    Raises:
      ValueError: an unknown name, a number out of range, or one that the objective does not take.

    Example:
      >>> import jax.numpy as jnp
      >>> counts = jnp.array([9.0, 1.0])
      >>> loss = make_objective("logit_adjusted", class_counts=counts)
      >>> print(loss(jnp.zeros((1, 2)), jnp.array([1])).round(4))  # -log 0.1
      [2.3026]
      >>> make_objective("focal", class_counts=counts, tau=7.0)
      Traceback (most recent call last):
      jaxlab.errors.ValueError: tau is 7.0, objective 'focal' takes only gamma: set tau to None
    """
    return call_by_name("objective", OBJECTIVES, name, numbers, class_counts)
