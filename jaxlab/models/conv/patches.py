"""Convolution as one matrix product of patches."""

import jax
import jax.numpy as jnp

from jaxlab.models.conv.backend import out_shape, padded, views


def patch_product(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """`conv.conv2d` as one product of patches [b * h * w, k * k * in]."""
    size, _, inputs, outputs = kernel.shape
    shape = out_shape(x, stride)
    taps = views(padded(x, size, 1), size, stride, 1, shape)
    patches = jnp.concatenate(taps, axis=-1).reshape(-1, size * size * inputs)
    product = patches @ kernel.reshape(-1, outputs)
    return product.reshape(x.shape[0], *shape, outputs)
