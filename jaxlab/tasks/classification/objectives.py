"""An objective of labels as the loss function that training takes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxlab import losses, train
from jaxlab.checks import absent, check_choice, check_count, check_scalar
from jaxlab.errors import InputError

FLOODING = (*train.FLOODING, "adaptive")


def prepare(x: jax.Array) -> jax.Array:
    """Returns inputs as float32, images (uint8) scaled to [0, 1].

    Example:
      >>> prepare(jnp.array([0, 255], jnp.uint8))
      Array([0., 1.], dtype=float32)
    """
    return x.astype(jnp.float32) / 255 if x.dtype == jnp.uint8 else x.astype(jnp.float32)


def flip_and_shift(
    key: jax.Array, images: jax.Array, *, flip: bool = True, shift: int = 4
) -> jax.Array:
    """Mirrors images and moves them, each by draws of its own: the augmentation usual for CIFAR.

    Args:
      key: typed key of the batch.
      images: [batch, height, width, channels].
      flip: mirror an image left to right with probability one half.
      shift: most pixels to move by, up or down and left or right; zeros come in at the edge. 4 is
        the "random crop" of 32x32 images padded by 4.

    Returns:
      The same shape and dtype.

    Raises:
      ValueError: images have another number of axes, or shift is negative.

    Example:
      >>> image = jnp.arange(4).reshape(1, 2, 2, 1)
      >>> found = {str(flip_and_shift(jax.random.key(i), image, shift=0).ravel()) for i in range(9)}
      >>> sorted(found)
      ['[0 1 2 3]', '[1 0 3 2]']
    """
    check_count("shift", shift, at_least=0)
    if images.ndim != 4:
        raise InputError(
            f"x has shape {images.shape}, flip and shift need [batch, height, width, channels]"
        )
    first, second = jax.random.split(key)
    if flip:
        mirrored = jax.random.bernoulli(first, shape=(len(images), 1, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    if not shift:
        return images
    starts = jax.random.randint(second, (len(images), 2), 0, 2 * shift + 1)
    padded = jnp.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)))

    def cut(image, start):
        return jax.lax.dynamic_slice(image, (start[0], start[1], 0), images.shape[1:])

    return jax.vmap(cut)(padded, starts)


def make_loss(
    model: Any,
    *,
    class_counts: jax.Array,
    name: str = "cross_entropy",
    flooding: str = "none",
    level: float | None = None,
    gradient_penalty: float | None = None,
    flip: bool | None = None,
    shift: int | None = None,
    **numbers: Any,
) -> Callable[..., Any]:
    """Makes the loss function of `jaxlab.train` for batches `{"x", "label"}`.

    Args:
      model: of `models.classifiers`.
      class_counts: [K], see `losses.make_objective`.
      name: of `losses.OBJECTIVES`.
      flooding: "none"; "batch", of the mean loss of the batch that the function is given
        (`make_training` lets the optimizer do it, which may see a larger one); "example", of every
        loss; "adaptive", of every loss at its own level `batch["level"]` (see
        `losses.adaflood_levels`).
      level: the flood level of "batch" and "example", at least 0; 0 or None floods nothing.
      gradient_penalty: coefficient of the squared norm of the loss's gradient, at least 0.
      flip: mirror images at random, see `flip_and_shift`; drawn anew at every step, like `shift`.
      shift: move images by up to this number of pixels.
      **numbers: of the objective; None stands for its default.

    Returns:
      `loss_fn(params, model_state, batch, *, key, step) -> (loss, (model_state, metrics))`, the
      metrics being `objective` (the mean loss before flooding), `error` (raw logits) and, with
      flooding, `flooded` (the share of examples, or of batches, whose loss ascends).

    Raises:
      ValueError: an unknown name, a number out of range, or one that nothing takes.
    """
    check_choice("flooding", flooding, FLOODING)
    check_count("shift", shift or 0, at_least=0)
    if flooding == "adaptive" and not absent(level):
        raise InputError(
            f"level is {level}, flooding 'adaptive' takes none: every example has its own; set "
            "level to 0"
        )
    own = flooding in ("example", "adaptive")  # which metrics tell apart from the plain losses
    if own and level is not None:
        check_scalar("level", level, at_least=0.0)

    def build(per_example):
        def loss_fn(params, model_state, batch, *, key, step):
            del step
            x = batch["x"]
            if flip or shift:
                x = flip_and_shift(key, x, flip=bool(flip), shift=shift or 0)
            logits, updated = model.apply(
                {"params": params, **model_state},
                prepare(x),
                train=True,
                mutable=["batch_stats"],
            )
            each = per_example(logits, batch["label"])
            mean = each.mean()
            metrics = {"objective": mean, "error": (logits.argmax(-1) != batch["label"]).mean()}
            if not own:
                return mean, (dict(updated), metrics)
            levels = batch["level"] if flooding == "adaptive" else 0.0 if level is None else level
            metrics["flooded"] = (each < levels).mean()
            return losses.flood(each, level=levels).mean(), (dict(updated), metrics)

        return loss_fn

    return train.make_labelled_loss(
        build,
        class_counts=class_counts,
        name=name,
        flooding="none" if own else flooding,
        level=None if own else level,
        gradient_penalty=gradient_penalty,
        cosines=getattr(model, "head", "cosine") == "cosine",
        **numbers,
    )
