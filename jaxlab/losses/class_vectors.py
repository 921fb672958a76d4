"""Class vectors, the columns of a classifier's last kernel: their cosines and their norms."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxlab.checks import at_least_float32, check_scalar
from jaxlab.errors import InputError


def cosine_logits(features: ArrayLike, kernel: ArrayLike, *, eps: float = 1e-6) -> jax.Array:
    r"""Cosines between features and class vectors, the logits of `ldam_cross_entropy`.

    Args:
      features: [..., D].
      kernel: [D, K], a class vector a column (the layout of Linen's `Dense`).
      eps: norms below this count as this.

    Returns:
      float32 [..., K] in [-1, 1].

    Raises:
      ValueError: shapes do not fit.

    Example:
      >>> print(np.asarray(cosine_logits(jnp.array([3.0, 4.0]), jnp.eye(2))).round(4))
      [0.6 0.8]
    """
    if not np.shape(features) or len(np.shape(kernel)) != 2:
        raise InputError(
            f"features has shape {np.shape(features)}, kernel {np.shape(kernel)}, "
            "must be (..., D) and (D, K)"
        )
    if np.shape(features)[-1] != np.shape(kernel)[0]:
        raise InputError(
            f"features has shape {np.shape(features)}, must end in {np.shape(kernel)[0]}, "
            "the rows of kernel"
        )
    unit = lambda x, axis: (
        x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x**2, axis, keepdims=True), eps**2))
    )
    return unit(at_least_float32(features), -1) @ unit(at_least_float32(kernel), 0)


def tau_normalized_kernel(kernel: ArrayLike, *, tau: float = 1.0) -> jax.Array:
    r"""Class vectors of a trained classifier, :math:`w_y / \lVert w_y \rVert^\tau`.

    Drop the bias with it. It relies on rare classes having smaller norms, which holds for SGD with
    momentum but not for Adam.

    Args:
      kernel: [D, K], a class vector a column (the layout of Linen's `Dense`).
      tau: strength, >= 0; 1 makes all norms 1.

    Returns:
      float32 [D, K]; a column of zeros stays so.

    Raises:
      ValueError: kernel is no matrix or tau is out of range.

    Example:
      >>> print(np.asarray(tau_normalized_kernel(jnp.array([[3.0, 0.5], [4.0, 0.0]]))).round(4))
      [[0.6 1. ]
       [0.8 0. ]]

    Source: Kang et al., 2020, arXiv:1910.09217.
    """
    check_scalar("tau", tau, at_least=0.0)
    if len(np.shape(kernel)) != 2:
        raise InputError(f"kernel has shape {np.shape(kernel)}, must have shape (D, K)")
    w = at_least_float32(kernel)
    squared = jnp.sum(w**2, 0)
    return w * jnp.where(squared > 0, squared, 1.0) ** (-0.5 * tau)
