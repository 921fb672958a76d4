"""A named objective, flooding and the gradient penalty in the loss function of any model."""

from collections.abc import Callable
from typing import Any, cast

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxlab import losses, regularizers
from jaxlab.checks import absent, check_choice, check_scalar
from jaxlab.errors import InputError

FLOODING = ("none", "batch", "example")


def make_labelled_loss(
    make_loss: Callable[[Callable[..., Any]], Callable[..., Any]],
    *,
    class_counts: ArrayLike,
    plain: Callable[..., Any] | None = None,
    name: str = "cross_entropy",
    flooding: str = "none",
    level: float | None = None,
    gradient_penalty: float | None = None,
    cosines: bool = False,
    **numbers: Any,
) -> Callable[..., Any]:
    """Makes the loss function of a model with classes from a section `objective`.

    Args:
      make_loss: `(logits [B, K], labels [B]) -> losses [B]` to the loss function of `jaxlab.train`.
      class_counts: [K], training examples of each class.
      plain: a cross-entropy of the model's own, taken where the section asks for no more.
      name: of `losses.OBJECTIVES`.
      flooding: "none"; "example", of every loss; "batch", of the mean loss of the batch, which
        `optim.flooded_by_optimizer` can leave to the optimizer.
      level: the flood level, at least 0; 0 or None floods nothing.
      gradient_penalty: coefficient of the squared norm of the loss's gradient, at least 0.
      cosines: whether the model's logits are cosines, which "ldam" needs.
      **numbers: of the objective; None stands for its default.

    Returns:
      `loss_fn(params, model_state, batch, *, key, step) -> (loss, (model_state, metrics))`, with
      the metric `flooded` where the mean is flooded.

    Raises:
      ValueError: an unknown name, a number out of range, or one that nothing takes.

    Example:
      >>> import jax.numpy as jnp
      >>> def make_loss(per_example):
      ...     return lambda params, state, batch, *, key, step: (
      ...         per_example(batch["x"] * params, batch["label"]).mean(), (state, {}))
      >>> loss = make_labelled_loss(make_loss, class_counts=[3, 1], name="logit_adjusted")
      >>> batch = {"x": jnp.zeros((1, 2)), "label": jnp.array([1])}
      >>> print(loss(1.0, {}, batch, key=None, step=0)[0].round(4))  # -log 0.25
      1.3863
    """
    check_choice("flooding", flooding, FLOODING)
    for key, value in (("level", level), ("gradient_penalty", gradient_penalty)):
        if value is not None:
            check_scalar(key, value, at_least=0.0)
    if flooding == "none" and not absent(level):
        raise InputError(f"level is {level}, flooding 'none' takes none; set level to 0")
    if name == "ldam" and not cosines:
        raise InputError(
            "objective 'ldam' needs a model with head='cosine': logits that are cosines"
        )
    per_example = losses.make_objective(name, class_counts=class_counts, **numbers)
    if plain is not None and name == "cross_entropy" and all(map(absent, numbers.values())):
        per_example = plain
    if flooding == "example" and not absent(level):
        inner = per_example
        per_example = lambda logits, labels: losses.flood(
            inner(logits, labels), level=cast(Any, level)
        )
    loss_fn = make_loss(per_example)
    if flooding == "batch" and not absent(level):
        loss_fn = _flooded(loss_fn, level)
    if absent(gradient_penalty):
        return loss_fn
    return regularizers.gradient_norm_penalty(loss_fn, cast(Any, gradient_penalty), has_aux=True)


def _flooded(loss_fn, level):
    def flooded(*args, **kwargs):
        loss, (model_state, metrics) = loss_fn(*args, **kwargs)
        metrics = {**metrics, "flooded": (loss < level).astype(jnp.float32)}
        return losses.flood(loss, level=level), (model_state, metrics)

    flooded.whole_batch = "flooding 'batch' acts on the mean loss of the batch"
    return flooded
