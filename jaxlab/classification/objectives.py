"""Objectives of classification, by name, as the loss function that training takes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxlab import losses, regularizers
from jaxlab.classification.numbers import Number, absent
from jaxlab.errors import InputError
from jaxlab.losses.priors import wide_labels

OBJECTIVES = (
    "cross_entropy",
    "logit_adjusted",
    "inverse_weights",
    "class_balanced",
    "focal",
    "ldam",
    "equalized",
)
FLOODING = ("none", "batch", "example", "adaptive")


def prepare(x: jax.Array) -> jax.Array:
    """Returns inputs as float32, images (uint8) scaled to [0, 1].

    >>> prepare(jnp.array([0, 255], jnp.uint8))
    Array([0., 1.], dtype=float32)
    """
    return x.astype(jnp.float32) / 255 if x.dtype == jnp.uint8 else x.astype(jnp.float32)


def example_losses(
    objective: str,
    *,
    class_counts: jax.Array,
    tau: Number = 1.0,
    beta: Number = 0.999,
    gamma: Number = 2.0,
    max_margin: Number = 0.5,
    scale: Number = 30.0,
    label_smoothing: Number = 0.0,
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Returns `(logits [B, K], labels [B]) -> losses [B]` of a named objective.

    Args:
      objective: one of `OBJECTIVES`. "ldam" takes cosines, of a model with the cosine head.
      class_counts: [K], training examples of each class, all above 0.
      tau: strength of "logit_adjusted" and "equalized".
      beta: of "class_balanced".
      gamma: of "focal"; power of the inverse weights is 1.
      max_margin: of "ldam".
      scale: of "ldam".
      label_smoothing: share of the target spread over all classes, "cross_entropy" only.

    Raises:
      ValueError: unknown objective, or smoothing with another than "cross_entropy".

    >>> counts = jnp.array([9.0, 1.0])
    >>> loss = example_losses("logit_adjusted", class_counts=counts)
    >>> print(loss(jnp.zeros((1, 2)), jnp.array([1])).round(4))  # -log 0.1
    [2.3026]
    """
    if objective not in OBJECTIVES:
        raise InputError(f"objective is {objective!r}, must be one of {OBJECTIVES}")
    prior = losses.class_prior_from_counts(class_counts)
    num_classes = len(class_counts)
    margin_loss = losses.pairwise_margin_cross_entropy
    if not absent(label_smoothing):
        if objective != "cross_entropy":
            raise InputError(f"label_smoothing goes with cross_entropy, objective is {objective!r}")
        one_hot = lambda labels: jax.nn.one_hot(wide_labels(labels), num_classes)
        return lambda logits, labels: optax.softmax_cross_entropy(
            logits, optax.smooth_labels(one_hot(labels), label_smoothing)
        )
    if objective == "cross_entropy":
        return optax.softmax_cross_entropy_with_integer_labels
    if objective == "logit_adjusted":
        return lambda logits, labels: losses.logit_adjusted_cross_entropy(
            logits, labels, class_prior=prior, tau=tau
        )
    if objective == "inverse_weights":
        # Weights of mean 1 over the examples: 1 / (K pi_y).
        weights = losses.inverse_prior_weights(prior) / num_classes
        return lambda logits, labels: margin_loss(logits, labels, weights=weights)
    if objective == "class_balanced":
        weights = losses.class_balanced_weights(class_counts, beta=beta)
        return lambda logits, labels: margin_loss(logits, labels, weights=weights)
    if objective == "equalized":
        margins = losses.equalized_margins(prior, tau=tau)
        return lambda logits, labels: margin_loss(logits, labels, margins=margins)
    if objective == "focal":
        return lambda logits, labels: losses.focal_cross_entropy(logits, labels, gamma=gamma)
    return lambda cosines, labels: losses.ldam_cross_entropy(
        cosines, labels, class_prior=prior, max_margin=max_margin, scale=scale
    )


def make_loss(
    model: Any,
    *,
    class_counts: jax.Array,
    objective: str = "cross_entropy",
    flooding: str = "none",
    level: Number = 0.0,
    gradient_penalty: Number = 0.0,
    **objective_args: Number,
) -> Callable[..., Any]:
    """Makes the loss function of `jaxlab.train` for batches `{"x", "label"}`.

    Args:
      model: of `models.classifiers`.
      class_counts: [K], see `example_losses`.
      objective: see `example_losses`, as for `objective_args`.
      flooding: "none"; "batch", of the mean loss; "example", of every loss; "adaptive", of every
        loss at its own level `batch["level"]` (see `losses.adaflood_levels`).
      level: the flood level.
      gradient_penalty: coefficient of the squared norm of the loss's gradient.
      **objective_args: numbers of the objective.

    Returns:
      `loss_fn(params, model_state, batch, *, key, step) -> (loss, (model_state, metrics))`, the
      metrics being `objective` (the mean loss before flooding), `error` (raw logits) and, with
      flooding, `flooded` (the share of examples, or of batches, whose loss ascends).

    Raises:
      ValueError: an unknown name.
    """
    if flooding not in FLOODING:
        raise InputError(f"flooding is {flooding!r}, must be one of {FLOODING}")
    per_example = example_losses(objective, class_counts=class_counts, **objective_args)

    def loss_fn(params, model_state, batch, *, key, step):
        del key, step
        logits, updated = model.apply(
            {"params": params, **model_state},
            prepare(batch["x"]),
            train=True,
            mutable=["batch_stats"],
        )
        each = per_example(logits, batch["label"])
        mean = each.mean()
        metrics = {"objective": mean, "error": (logits.argmax(-1) != batch["label"]).mean()}
        if flooding == "none":
            return mean, (dict(updated), metrics)
        if flooding == "batch":
            metrics["flooded"] = (mean < level).astype(jnp.float32)
            return losses.flood(mean, level=level), (dict(updated), metrics)
        levels = level if flooding == "example" else batch["level"]
        metrics["flooded"] = (each < levels).mean()
        return losses.flood(each, level=levels).mean(), (dict(updated), metrics)

    if absent(gradient_penalty):
        return loss_fn
    return regularizers.gradient_norm_penalty(loss_fn, gradient_penalty, has_aux=True)
