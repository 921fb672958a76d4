"""Layers of NVAE: weight-normalised convolution, batch norm, squeeze-excitation, skips.

All tensors are NHWC. Initial values follow the reference implementation (uniform in
+-1/sqrt(fan_in) for kernels and biases), since its published hyper-parameters assume them.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from jaxlab.models.conv import conv2d

Dtype = Any
CONVOLVED = "convolved"  # name of what a convolution gives, for rematerialisation
MOMENTUM = 0.95  # of running statistics; PyTorch calls this 0.05
_kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def _bias_init(fan_in: int) -> Callable:
    bound = 1 / math.sqrt(fan_in)
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(
        key, shape, dtype, minval=-bound, maxval=bound
    )


def _norm(kernel: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(kernel**2, axis=(0, 1, 2)))


class Conv(nn.Module):
    r"""Convolution with weight normalisation, symmetric padding and an optional kernel mask.

    The kernel in use is ``exp(g) W / (||W|| + 1e-5)``, one g and one norm an output channel
    (``weight_norm=False``: W itself). It is sown into the collection "kernels", where the
    spectral penalty finds it.

    ``data_init`` sets g and the bias from the first batch so that outputs are centred with
    standard deviation 1/5; `init` must then be given real images.
    """

    features: int
    size: int = 3
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    use_bias: bool = True
    weight_norm: bool = True
    data_init: bool = False
    mask: np.ndarray | None = None
    log_gain: float = 0.0
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        inputs = x.shape[-1]
        shape = (self.size, self.size, inputs // self.groups, self.features)
        kernel = self.param("kernel", _kernel_init, shape)
        if self.mask is not None:
            kernel = kernel * self.mask
        bias = None
        if self.weight_norm:
            direction = kernel / (_norm(kernel) + 1e-5)
            if self.data_init and self.is_initializing():
                # g and the bias are made of it, and parameters stay float32.
                response = self._convolve(x, direction).astype(jnp.float32)
                mean = jnp.mean(response, axis=(0, 1, 2))
                spread = 5 * jnp.std(response, axis=(0, 1, 2), ddof=1) + 1e-5
                g_init, b_init = lambda _: -jnp.log(spread), lambda _: -mean / spread
            else:
                g_init = lambda _: jnp.log(_norm(kernel) + 1e-2) + self.log_gain
                b_init = lambda key: _bias_init(math.prod(shape[:3]))(key, (self.features,))
            kernel = jnp.exp(self.param("g", g_init)) * direction
            bias = self.param("bias", b_init) if self.use_bias else None
        elif self.use_bias:
            bias = self.param("bias", _bias_init(math.prod(shape[:3])), (self.features,))
        newest: Any = lambda _, new: new
        self.sow("kernels", "kernel", kernel, init_fn=lambda: None, reduce_fn=newest)
        y = checkpoint_name(self._convolve(x, kernel), CONVOLVED)
        return y if bias is None else y + bias.astype(y.dtype)

    def _convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        if self.dtype is not None:
            x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        return conv2d(x, kernel, stride=self.stride, dilation=self.dilation, groups=self.groups)


class BatchNorm(nn.Module):
    r"""Batch normalisation whose running variance is the unbiased one, as the reference keeps it.

    ``y = scale (x - mean) / sqrt(var + 1e-5) + bias``. Statistics are float32 and, under `jit`
    with a sharded batch, global. Running values move by 1 - momentum a call.
    (`flax.linen.BatchNorm` keeps the biased variance, which differs by n / (n - 1).)

    `copies` counts how often each input value stands for itself: 4 where nearest upsampling was
    moved behind the norm, which changes nothing but n.
    """

    momentum: float = MOMENTUM
    epsilon: float = 1e-5
    copies: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,))
        wide = x.astype(jnp.float32)
        if train:
            count = self.copies * math.prod(x.shape[:-1])
            mean = jnp.mean(wide, axis=(0, 1, 2))
            var = jnp.mean((wide - mean) ** 2, axis=(0, 1, 2))
            if not self.is_initializing():
                m = self.momentum
                unbiased = var * (count / max(count - 1, 1))
                running_mean.value = m * running_mean.value + (1 - m) * mean
                running_var.value = m * running_var.value + (1 - m) * unbiased
        else:
            mean, var = running_mean.value, running_var.value
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        # In bfloat16 the two terms would lose in their difference what the mean is larger by.
        return (wide * factor + (bias - mean * factor)).astype(x.dtype)


class SqueezeExcitation(nn.Module):
    """Scales channels by a gate that sees the spatial mean: x * sigmoid(W2 relu(W1 mean(x)))."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        hidden = max(channels // 16, 4)

        def dense(features, fan_in, name):
            return nn.Dense(
                features, kernel_init=_kernel_init, bias_init=_bias_init(fan_in), name=name
            )

        gate = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        gate = nn.relu(dense(hidden, channels, "squeeze")(gate))
        gate = nn.sigmoid(dense(channels, hidden, "excite")(gate))
        return x * gate[:, None, None, :].astype(x.dtype)


class DownSkip(nn.Module):
    """Halves the resolution: swish, then a 1x1 convolution of each of the four pixel phases.

    The phases are taken in the order (0,0), (1,1), (0,1), (1,0) as (row, column) offsets; the
    first three give a quarter of the output channels each, the last one the rest.
    """

    features: int
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.swish(x)
        quarter = self.features // 4
        widths = (quarter, quarter, quarter, self.features - 3 * quarter)
        phases = ((0, 0), (1, 1), (0, 1), (1, 0))
        parts = [
            Conv(width, size=1, stride=2, dtype=self.dtype, name=f"phase_{i}")(x[:, row:, column:])
            for i, (width, (row, column)) in enumerate(zip(widths, phases, strict=True))
        ]
        return jnp.concatenate(parts, axis=-1)


class UpSkip(nn.Module):
    """Doubles the resolution: bilinear with aligned corners, then a 1x1 convolution."""

    features: int
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        # The 1x1 convolution commutes with interpolation and is cheaper before it.
        y = Conv(self.features, size=1, use_bias=False, dtype=self.dtype, name="conv")(x)
        return upsample_bilinear(y)


def upsample_bilinear(x: jax.Array) -> jax.Array:
    """Doubles height and width by bilinear interpolation with aligned corners.

    Output row r reads input position r (n - 1) / (2 n - 1), so corner pixels map to corner pixels.
    `jax.image.resize` aligns pixel edges instead and gives other values.

    Args:
      x: [batch, height, width, channels].

    Returns:
      [batch, 2 height, 2 width, channels].

    Example:
      >>> import jax.numpy as jnp
      >>> upsample_bilinear(jnp.array([0.0, 3.0]).reshape(1, 1, 2, 1))[0, 0, :, 0]
      Array([0., 1., 2., 3.], dtype=float32)
    """
    rows, columns = (jnp.asarray(_interpolation(n), x.dtype) for n in x.shape[1:3])
    return jnp.einsum("rh,bhwc,sw->brsc", rows, x, columns)


def _interpolation(size: int) -> np.ndarray:
    position = np.arange(2 * size) * (size - 1) / (2 * size - 1)
    low = np.minimum(position.astype(int), max(size - 2, 0))
    weights = np.zeros((2 * size, size))
    index = np.arange(2 * size)
    weights[index, low] = 1 - (position - low)
    weights[index, np.minimum(low + 1, size - 1)] += position - low
    return weights


def upsample_nearest(x: jax.Array) -> jax.Array:
    """Doubles height and width by repetition. x: [batch, height, width, channels]."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
