"""Objectives of classification, by name, as the loss function that training takes."""

import inspect
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax

from jaxlab import losses, regularizers
from jaxlab.checks import check_arguments, check_scalar
from jaxlab.errors import InputError
from jaxlab.losses.priors import wide_labels
from jaxlab.tasks.classification.numbers import Number, absent

FLOODING = ("none", "batch", "example", "adaptive")


def prepare(x: jax.Array) -> jax.Array:
    """Returns inputs as float32, images (uint8) scaled to [0, 1].

    Example:
      >>> prepare(jnp.array([0, 255], jnp.uint8))
      Array([0., 1.], dtype=float32)
    """
    return x.astype(jnp.float32) / 255 if x.dtype == jnp.uint8 else x.astype(jnp.float32)


Losses = Callable[[jax.Array, jax.Array], jax.Array]


def _cross_entropy(counts: jax.Array, *, label_smoothing: Number = 0.0) -> Losses:
    check_scalar("label_smoothing", label_smoothing, at_least=0.0, at_most=1.0)
    if absent(label_smoothing):
        return optax.softmax_cross_entropy_with_integer_labels
    one_hot = lambda labels: jax.nn.one_hot(wide_labels(labels), len(counts))
    return lambda logits, labels: losses.soft_cross_entropy(
        logits, optax.smooth_labels(one_hot(labels), label_smoothing)
    )


def _logit_adjusted(counts: jax.Array, *, tau: Number = 1.0) -> Losses:
    check_scalar("tau", tau, at_least=0.0)
    prior = losses.class_prior_from_counts(counts)
    return lambda logits, labels: losses.logit_adjusted_cross_entropy(
        logits, labels, class_prior=prior, tau=tau
    )


def _weighted(weights: jax.Array) -> Losses:
    return lambda logits, labels: losses.pairwise_margin_cross_entropy(
        logits, labels, weights=weights
    )


def _inverse_weights(counts: jax.Array) -> Losses:
    # Weights of mean 1 over the examples: 1 / (K pi_y).
    prior = losses.class_prior_from_counts(counts)
    return _weighted(losses.inverse_prior_weights(prior) / len(counts))


def _class_balanced(counts: jax.Array, *, beta: Number = 0.999) -> Losses:
    return _weighted(losses.class_balanced_weights(counts, beta=beta))


def _focal(counts: jax.Array, *, gamma: Number = 2.0) -> Losses:
    del counts
    check_scalar("gamma", gamma, at_least=0.0)
    return lambda logits, labels: losses.focal_cross_entropy(logits, labels, gamma=gamma)


def _ldam(counts: jax.Array, *, max_margin: Number = 0.5, scale: Number = 30.0) -> Losses:
    check_scalar("max_margin", max_margin, at_least=0.0)
    check_scalar("scale", scale, above=0.0)
    prior = losses.class_prior_from_counts(counts)
    return lambda cosines, labels: losses.ldam_cross_entropy(
        cosines, labels, class_prior=prior, max_margin=max_margin, scale=scale
    )


def _equalized(counts: jax.Array, *, tau: Number = 1.0) -> Losses:
    margins = losses.equalized_margins(losses.class_prior_from_counts(counts), tau=tau)
    return lambda logits, labels: losses.pairwise_margin_cross_entropy(
        logits, labels, margins=margins
    )


# Name -> (counts [K], its own numbers) -> losses of examples.
OBJECTIVES: dict[str, Callable[..., Losses]] = {
    "cross_entropy": _cross_entropy,
    "logit_adjusted": _logit_adjusted,
    "inverse_weights": _inverse_weights,
    "class_balanced": _class_balanced,
    "focal": _focal,
    "ldam": _ldam,
    "equalized": _equalized,
}


def example_losses(
    objective: str,
    *,
    class_counts: jax.Array,
    tau: Number | None = None,
    beta: Number | None = None,
    gamma: Number | None = None,
    max_margin: Number | None = None,
    scale: Number | None = None,
    label_smoothing: Number | None = None,
) -> Losses:
    """Returns `(logits [B, K], labels [B]) -> losses [B]` of a named objective.

    An objective takes its own numbers only; None stands for the default.

    Args:
      objective: one of `OBJECTIVES`. "ldam" takes cosines, of a model with the cosine head.
      class_counts: [K], training examples of each class, all above 0.
      tau: strength of "logit_adjusted" and "equalized", at least 0; by default 1.
      beta: of "class_balanced", in [0, 1); by default 0.999.
      gamma: of "focal", at least 0; by default 2.
      max_margin: of "ldam", at least 0; by default 0.5.
      scale: of "ldam", above 0; by default 30.
      label_smoothing: of "cross_entropy", the share of the target spread over all classes, in
        [0, 1]; by default 0.

    Raises:
      ValueError: unknown objective, a number out of range, or one that the objective does not take
        and that is not 0.

    Example:
      >>> counts = jnp.array([9.0, 1.0])
      >>> loss = example_losses("logit_adjusted", class_counts=counts)
      >>> print(loss(jnp.zeros((1, 2)), jnp.array([1])).round(4))  # -log 0.1
      [2.3026]
      >>> example_losses("focal", class_counts=counts, tau=7.0)
      Traceback (most recent call last):
      jaxlab.errors.ValueError: tau is 7.0, objective 'focal' takes none, only gamma
    """
    if not isinstance(objective, str) or objective not in OBJECTIVES:
        raise InputError(f"objective is {objective!r}, must be one of {tuple(OBJECTIVES)}")
    make = OBJECTIVES[objective]
    taken = [name for name in inspect.signature(make).parameters if name != "counts"]
    numbers = {"tau": tau, "beta": beta, "gamma": gamma, "max_margin": max_margin}
    numbers |= {"scale": scale, "label_smoothing": label_smoothing}
    for name, value in numbers.items():
        if name not in taken and not absent(value):
            raise InputError(
                f"{name} is {value}, objective {objective!r} takes none, only "
                f"{', '.join(taken) or 'the counts of the classes'}"
            )
    given = {name: x for name, x in numbers.items() if name in taken and x is not None}
    return make(class_counts, **given)


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
      flooding: "none"; "batch", of the mean loss of the batch that the function is given
        (`make_training` lets the optimizer do it, which may see a larger one); "example", of every
        loss; "adaptive", of every loss at its own level `batch["level"]` (see
        `losses.adaflood_levels`).
      level: the flood level of "batch" and "example", at least 0; 0 floods nothing.
      gradient_penalty: coefficient of the squared norm of the loss's gradient, at least 0.
      **objective_args: numbers of the objective.

    Returns:
      `loss_fn(params, model_state, batch, *, key, step) -> (loss, (model_state, metrics))`, the
      metrics being `objective` (the mean loss before flooding), `error` (raw logits) and, with
      flooding, `flooded` (the share of examples, or of batches, whose loss ascends).

    Raises:
      ValueError: an unknown name, a number out of range, or one that nothing takes.
    """
    if flooding not in FLOODING:
        raise InputError(f"flooding is {flooding!r}, must be one of {FLOODING}")
    level = 0.0 if level is None else level
    check_scalar("level", level, at_least=0.0)
    if flooding not in ("batch", "example") and not absent(level):
        own = ": every example has its own" if flooding == "adaptive" else ""
        raise InputError(f"level is {level}, flooding {flooding!r} takes none{own}; set level to 0")
    if objective == "ldam" and getattr(model, "head", "cosine") != "cosine":
        raise InputError(f"objective 'ldam' needs a model with head='cosine', it is {model.head!r}")
    if gradient_penalty is not None:
        check_scalar("gradient_penalty", gradient_penalty, at_least=0.0)
    given = {"objective": objective, **objective_args}
    check_arguments("objective", example_losses, given, given=("class_counts",))
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

    if flooding == "batch" and not absent(level):
        loss_fn.whole_batch = "flooding 'batch' acts on the mean loss of the batch"
    if absent(gradient_penalty):
        return loss_fn
    return regularizers.gradient_norm_penalty(loss_fn, cast(Any, gradient_penalty), has_aux=True)
