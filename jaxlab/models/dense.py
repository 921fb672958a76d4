"""Products with a kernel over the last axis, in the form whose gradients are fast on CPU."""

from typing import Any

import flax.linen as nn
import jax

from jaxlab.errors import InputError


def row_product(x: jax.Array, kernel: jax.Array, **kwargs) -> jax.Array:
    """``x @ kernel`` with the leading axes of x taken as one.

    The kernel's gradient then contracts one axis. Over several, XLA on CPU copies both operands
    into another order first: forward and both gradients of a 1x1 convolution took 2.2 times as
    long, those of a transformer's dense layer 1.2 to 1.4 times.

    Args:
      x: [..., in].
      kernel: [in, out].
      **kwargs: precision and preferred_element_type, see `jax.lax.dot_general`.

    Returns:
      [..., out].

    Example:
      >>> import jax.numpy as jnp
      >>> row_product(jnp.ones((2, 1, 3)), jnp.ones((3, 1))).tolist()
      [[[3.0]], [[3.0]]]
    """
    rows = x.reshape(-1, x.shape[-1])
    flat = jax.lax.dot_general(rows, kernel, (((1,), (0,)), ((), ())), **kwargs)
    return flat.reshape(*x.shape[:-1], kernel.shape[-1])


def _dot_general(x, kernel, dimension_numbers, **kwargs):
    if dimension_numbers != (((x.ndim - 1,), (0,)), ((), ())):
        raise InputError(f"contracts {dimension_numbers}, must be x's last axis and the first")
    return row_product(x, kernel, **kwargs)


class Dense(nn.Dense):
    """`flax.linen.Dense` by way of `row_product`."""

    dot_general: Any = _dot_general
