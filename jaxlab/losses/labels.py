"""Labels of classes: checks, and labels that may index."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxlab.checks import at_least_float32, concrete
from jaxlab.errors import InputError

Axis = int | Sequence[int] | None  # of the classes; several count as one, None stands for all


def check_labels(labels: ArrayLike, num_classes: int, *, where: ArrayLike | None = None) -> None:
    """Raises unless `labels` are integers in [0, num_classes), the range checked when concrete.

    Args:
      labels: int, any shape.
      num_classes: K.
      where: bool of the same shape, which of them must be in range (padding need not); None for
        all.

    Example:
      >>> check_labels(jnp.array([0, 3]), 3)
      Traceback (most recent call last):
      jaxlab.errors.ValueError: labels has value 3, must be in [0, 3)
    """
    dtype = getattr(labels, "dtype", None) or jnp.asarray(labels).dtype
    if not jnp.issubdtype(dtype, jnp.integer):
        raise InputError(f"labels has dtype {dtype}, must be integer")
    values, counted = concrete(labels), None if where is None else concrete(where)
    if values is not None and where is not None:
        values = None if counted is None else values[counted.astype(bool)]
    if values is not None and values.size:
        for value in (values.min(), values.max()):
            if not 0 <= value < num_classes:
                raise InputError(f"labels has value {value}, must be in [0, {num_classes})")


def wide_labels(labels: ArrayLike) -> jax.Array:
    """Labels as int32 or wider: JAX would cast K to their dtype, and uint8 holds no 256.

    Example:
      >>> labels = jnp.array([255], jnp.uint8)
      >>> print(labels < 256, wide_labels(labels) < 256)
      [False] [ True]
    """
    labels = jnp.asarray(labels)
    return labels.astype(jnp.promote_types(labels.dtype, jnp.int32))


def class_axes(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """The axes that `axis` names in logits of this shape, counted from the front.

    Example:
      >>> class_axes((4, 3, 2), -1), class_axes((4, 3, 2), (2, 0))
      ((2,), (2, 0))
    """
    if not shape:
        raise InputError("logits has shape (), must have shape (..., K)")
    axes = tuple(range(len(shape))) if axis is None else np.atleast_1d(axis).tolist()
    known = range(-len(shape), len(shape))
    if not axes or any(not isinstance(a, int) or a not in known for a in axes):
        raise InputError(f"axis is {axis!r}, logits of shape {shape} have axes {known[0]} to -1")
    axes = tuple(a % len(shape) for a in axes)
    if len({*axes}) < len(axes):
        raise InputError(f"axis is {axis}, its axes must differ")
    return axes


def classes_last(x: ArrayLike, axes: tuple[int, ...]) -> jax.Array:
    """The array with its class axes at the end, flattened to one.

    Example:
      >>> classes_last(jnp.ones((4, 3, 2)), (2, 0)).shape
      (3, 8)
    """
    x = jnp.asarray(x)
    rest = tuple(a for a in range(x.ndim) if a not in axes)
    x = x.transpose(*rest, *axes)
    return x.reshape(*x.shape[: len(rest)], math.prod(x.shape[len(rest) :]))


def along_classes(values: jax.Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> jax.Array:
    """A vector over the classes in the shape that broadcasts with logits.

    Example:
      >>> along_classes(jnp.ones(8), (4, 3, 2), (2, 0)).shape
      (4, 1, 2)
    """
    values = values.reshape([shape[a] for a in axes]).transpose(*np.argsort(axes))
    return jnp.expand_dims(values, [a for a in range(len(shape)) if a not in axes])


def class_mask(where: ArrayLike, shape: tuple[int, ...], axes: tuple[int, ...]) -> jax.Array:
    """Which classes of which rows count, bool [..., K], as `classes_last` orders them.

    Example:
      >>> print(class_mask([True, False], (2, 2), (1,)))
      [[ True  True]
       [False False]]
    """
    kept = jnp.asarray(where).astype(bool)
    rows = tuple(n for a, n in enumerate(shape) if a not in axes)
    if kept.ndim != len(shape) and kept.ndim == len(rows):
        kept = jnp.expand_dims(kept, axes)
    if kept.ndim != len(shape) or any(
        n not in (1, m) for n, m in zip(kept.shape, shape, strict=True)
    ):
        raise InputError(f"where has shape {np.shape(where)}, must have shape {rows} or {shape}")
    return classes_last(jnp.broadcast_to(kept, shape), axes)


class Examples(NamedTuple):
    """Logits and labels, with the classes on the last axis."""

    logits: jax.Array  # float32 [..., K]; 0 where the class does not count or the label is wrong
    labels: jax.Array  # int [...], in range
    valid: jax.Array  # bool [...], whether the label was
    kept: jax.Array | None  # bool [..., K], which classes of which rows count

    def finish(self, loss: jax.Array) -> jax.Array:
        """NaN where the label is out of range, 0 where the row does not count."""
        loss = jnp.where(self.valid, loss, jnp.nan)
        return loss if self.kept is None else jnp.where(self.kept.any(-1), loss, 0.0)


def arrange(logits: ArrayLike, labels: ArrayLike, axis: Axis, where: ArrayLike | None) -> Examples:
    """Checks that labels fit logits, and brings both into the form that losses compute with."""
    shape = np.shape(logits)
    axes = class_axes(shape, axis)
    rows = tuple(n for a, n in enumerate(shape) if a not in axes)
    if np.shape(labels) != rows:
        raise InputError(f"labels has shape {np.shape(labels)}, logits need labels of shape {rows}")
    x = classes_last(at_least_float32(logits), axes)
    num_classes = x.shape[-1]
    kept = None if where is None else class_mask(where, shape, axes)
    check_labels(labels, num_classes, where=None if kept is None else kept.any(-1))
    labels = wide_labels(labels)
    valid = (labels >= 0) & (labels < num_classes)
    # A label of -1 would wrap around to the last class.
    labels = jnp.where(valid, labels, 0)
    # No NaN in the gradients of padded rows, and of classes that do not count.
    used = valid[..., None]
    if kept is not None:
        used &= kept | (kept.any(-1, keepdims=True) & is_label(labels, num_classes))
    return Examples(jnp.where(used, x, 0.0), labels, valid, kept)


def is_label(labels: jax.Array, num_classes: int) -> jax.Array:
    """Whether a class is the label, bool [..., K].

    Example:
      >>> print(is_label(jnp.array(1), 3))
      [False  True False]
    """
    return jnp.arange(num_classes) == labels[..., None]
