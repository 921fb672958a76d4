"""Dense 2-D convolution, and the one place that chooses its formulation by backend.

On CPU, XLA's own convolution is fast only outside loops: inside `lax.scan` it ran 30 times slower
than the same arithmetic as one matrix product over patches, and under `vmap` over kernels it
becomes a grouped convolution that is as slow. There the product is used; other backends get their
own convolution.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


def convolve(x: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """Convolves images with a kernel, zero-padded so that stride 1 keeps height and width.

    Args:
      x: [batch, height, width, in].
      kernel: [k, k, in, out], k odd.
      stride: step between outputs, at least 1.

    Returns:
      [batch, ceil(height / stride), ceil(width / stride), out]. Output (i, j) is centred on input
      (i * stride, j * stride), on every backend.

    Raises:
      ValueError: the channels do not fit, or k is even.

    >>> convolve(jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0]
    Array([[4., 4.],
           [4., 4.]], dtype=float32)
    """
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[-1] != kernel.shape[2]:
        raise ValueError(
            f"x has shape {x.shape}, kernel {kernel.shape}: need [b, h, w, in] and [k, k, in, out]"
        )
    if kernel.shape[0] % 2 == 0 or kernel.shape[1] != kernel.shape[0]:
        raise ValueError(f"kernel has shape {kernel.shape}, must be square and odd")
    if jax.default_backend() == "cpu":
        return patch_product(x, kernel, stride=stride)
    return backend_convolution(x, kernel, stride=stride)


def backend_convolution(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """The backend's own convolution; see `convolve`."""
    reach = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(reach, reach)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def patch_product(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """The same as one matrix product of patches [b * h * w, k * k * in]; see `convolve`."""
    size, _, inputs, outputs = kernel.shape
    height, width = -(-x.shape[1] // stride), -(-x.shape[2] // stride)
    reach = size // 2
    padded = jnp.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    taps = [
        padded[
            :,
            i : i + stride * (height - 1) + 1 : stride,
            j : j + stride * (width - 1) + 1 : stride,
        ]
        for i in range(size)
        for j in range(size)
    ]
    patches = jnp.concatenate(taps, axis=-1).reshape(-1, size * size * inputs)
    product = patches @ kernel.reshape(-1, outputs)
    return product.reshape(x.shape[0], height, width, outputs)


class Conv(nn.Module):
    """`convolve` with a trained kernel, without bias.

    Attributes:
      features: output channels.
      kernel_size: k, odd.
      stride: step between outputs.
      kernel_init: initialiser of the kernel [k, k, in, out].
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    kernel_init: Any = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        return convolve(x, kernel.astype(x.dtype), stride=self.stride)
