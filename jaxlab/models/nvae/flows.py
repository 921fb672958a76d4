"""Inverse autoregressive flows of the posterior: volume-preserving shifts by masked convolutions.

One pair is a cell in raster order followed by one in the reverse raster order (channels keep
their order). A cell maps z to z - m(z), where m(z) at a position and channel sees only what
comes before it, so the Jacobian is unit triangular and the log-determinant 0.
"""

import math

import flax.linen as nn
import jax
import numpy as np

from jaxlab.errors import InputError
from jaxlab.models.nvae.layers import Conv, Dtype

EXPANSION = 6


def autoregressive_mask(
    size: int, inputs: int, features: int, *, depthwise: bool, strict: bool, mirror: bool
) -> np.ndarray:
    """Kernel mask of a causal convolution.

    Rows above the centre and pixels left of it are visible. At the centre, output block i sees
    input blocks up to i, or below i if `strict`; blocks divide the larger channel count by the
    smaller. A depthwise kernel sees its own channel at the centre unless `strict`.

    Args:
      size: kernel size, odd.
      inputs, features: channels in and out; one must divide the other.
      depthwise: the kernel has one input channel per output channel.
      strict: hide the centre's own block.
      mirror: reverse the raster order of space.

    Returns:
      [size, size, inputs or 1, features] of 0 and 1.

    Example:
      >>> autoregressive_mask(3, 1, 1, depthwise=False, strict=True, mirror=False)[..., 0, 0]
      array([[1., 1., 1.],
             [1., 0., 0.],
             [0., 0., 0.]], dtype=float32)
    """
    if max(inputs, features) % min(inputs, features):
        raise InputError(f"channels {inputs} and {features}: one must divide the other")
    middle = size // 2
    mask = np.zeros((size, size, 1 if depthwise else inputs, features), np.float32)
    mask[:middle] = 1
    mask[middle, :middle] = 1
    if depthwise:
        mask[middle, middle] = 0 if strict else 1
    else:
        blocks = min(inputs, features)
        source = np.arange(inputs) * blocks // inputs
        target = np.arange(features) * blocks // features
        visible = source[:, None] < target if strict else source[:, None] <= target
        mask[middle, middle] = visible
    return mask[::-1, ::-1].copy() if mirror else mask


class FlowCell(nn.Module):
    """z - m(z): masked 3x3, ELU, masked depthwise 5x5, ELU twice, masked 1x1.

    The doubled ELU is the reference's. The last gain starts a factor 0.1 lower, so that the
    shift starts near 0.
    """

    mirror: bool
    dtype: Dtype = None

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        channels = z.shape[-1]
        hidden = EXPANSION * channels
        mask = lambda size, inputs, features, strict, depthwise=False: autoregressive_mask(
            size, inputs, features, depthwise=depthwise, strict=strict, mirror=self.mirror
        )
        x = Conv(
            hidden,
            use_bias=False,
            mask=mask(3, channels, hidden, True),
            dtype=self.dtype,
            name="expand",
        )(z)
        x = Conv(
            hidden,
            size=5,
            groups=hidden,
            use_bias=False,
            mask=mask(5, hidden, hidden, False, depthwise=True),
            dtype=self.dtype,
            name="spatial",
        )(nn.elu(x))
        shift = Conv(
            channels,
            size=1,
            mask=mask(1, hidden, channels, False),
            log_gain=math.log(0.1),
            dtype=self.dtype,
            name="project",
        )(nn.elu(nn.elu(x)))
        return z - shift.astype(z.dtype)


class FlowPair(nn.Module):
    """A flow in raster order, then one in reverse raster order. Log-determinant 0."""

    dtype: Dtype = None

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        z = FlowCell(mirror=False, dtype=self.dtype, name="forward")(z)
        return FlowCell(mirror=True, dtype=self.dtype, name="backward")(z)
