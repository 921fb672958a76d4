"""Labels of classes: checks, and labels that may index."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxlab.checks import concrete
from jaxlab.errors import InputError


def check_labels(labels: ArrayLike, num_classes: int, *, name: str = "labels") -> None:
    """Raises unless `labels` are integers in [0, num_classes), the range checked when concrete.

    Example:
      >>> check_labels(jnp.array([0, 3]), 3)
      Traceback (most recent call last):
      jaxlab.errors.ValueError: labels has value 3, must be in [0, 3)
    """
    dtype = getattr(labels, "dtype", None) or jnp.asarray(labels).dtype
    if not jnp.issubdtype(dtype, jnp.integer):
        raise InputError(f"{name} has dtype {dtype}, must be integer")
    values = concrete(labels)
    if values is not None and values.size:
        for value in (values.min(), values.max()):
            if not 0 <= value < num_classes:
                raise InputError(f"{name} has value {value}, must be in [0, {num_classes})")


def wide_labels(labels: ArrayLike) -> jax.Array:
    """Labels as int32 or wider: JAX would cast K to their dtype, and uint8 holds no 256.

    Example:
      >>> labels = jnp.array([255], jnp.uint8)
      >>> print(labels < 256, wide_labels(labels) < 256)
      [False] [ True]
    """
    labels = jnp.asarray(labels)
    return labels.astype(jnp.promote_types(labels.dtype, jnp.int32))


def check_pair(logits: Any, labels: Any) -> int:
    """Raises unless labels fit logits; returns the number of classes."""
    if not np.shape(logits):
        raise InputError("logits has shape (), must have shape (..., K)")
    if np.shape(labels) != np.shape(logits)[:-1]:
        raise InputError(
            f"labels has shape {np.shape(labels)}, "
            f"logits need labels of shape {np.shape(logits)[:-1]}"
        )
    check_labels(labels, np.shape(logits)[-1])
    return np.shape(logits)[-1]


def safe_labels(labels: ArrayLike, num_classes: int) -> tuple[jax.Array, jax.Array]:
    """Labels that may index, and which of them were in range."""
    labels = wide_labels(labels)
    valid = (labels >= 0) & (labels < num_classes)
    return jnp.where(valid, labels, 0), valid
