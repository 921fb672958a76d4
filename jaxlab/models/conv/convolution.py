"""2-D convolution, and the one place that chooses its formulation by backend.

On CPU, XLA's own convolution is fast only outside loops: inside `lax.scan` it runs many times
slower than the same arithmetic as matrix products, and under `vmap` over kernels it becomes a
grouped convolution that is as slow. `convolve` takes one product over patches there, which serves
both; `conv2d` takes a product a kernel tap, and only within `inside_loop`. Depthwise kernels have
their own formulation (`jaxlab.models.conv.depthwise`). Other backends get their own convolution.
"""

import contextlib
import contextvars
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlab.errors import InputError
from jaxlab.models.conv.depthwise import depthwise_conv
from jaxlab.models.dense import row_product

_IN_LOOP = contextvars.ContextVar("in_loop", default=False)


@contextlib.contextmanager
def inside_loop(active: bool = True):
    """What is traced inside is the body of a loop on the device (`lax.scan` and the like)."""
    token = _IN_LOOP.set(active)
    try:
        yield
    finally:
        _IN_LOOP.reset(token)


def conv2d(
    x: jax.Array, kernel: jax.Array, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> jax.Array:
    """Convolves images with a kernel, zero-padded so that stride 1 keeps height and width.

    Args:
      x: [batch, height, width, in].
      kernel: [k, k, in / groups, out], k odd.
      stride: step between outputs.
      dilation: step between kernel taps.
      groups: input channels are cut into so many groups, each with its own outputs.

    Returns:
      [batch, ceil(height / stride), ceil(width / stride), out].

    >>> conv2d(jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0]
    Array([[4., 4.],
           [4., 4.]], dtype=float32)
    """
    if kernel.shape[0] == 1 and groups == 1:  # a matrix product; faster than a convolution
        return row_product(x[:, ::stride, ::stride], kernel[0, 0])
    if groups == x.shape[-1] == kernel.shape[-1]:
        return depthwise_conv(x, kernel, stride, dilation)
    if _IN_LOOP.get() and groups == stride == 1:
        return tap_products(x, kernel, dilation)
    return backend_convolution(x, kernel, stride=stride, dilation=dilation, groups=groups)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def tap_products(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    """`conv2d` at stride 1; on CPU, a matrix product a kernel tap, in both directions."""
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_tap_forward, dilation=dilation),
        default=functools.partial(backend_convolution, dilation=dilation),
    )


def _taps(x, size, dilation):
    """The views of padded x which the kernel's taps multiply, row by row."""
    reach = dilation * (size // 2)
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    return [
        padded[:, i : i + height, j : j + width]
        for i in range(0, size * dilation, dilation)
        for j in range(0, size * dilation, dilation)
    ]


def _tap_forward(x, kernel, dilation):
    taps = kernel.reshape(-1, *kernel.shape[2:])
    views = _taps(x, kernel.shape[0], dilation)
    wide = jnp.promote_types(x.dtype, jnp.float32)  # bfloat16 is summed in float32
    products = (
        row_product(view, tap, preferred_element_type=wide)
        for view, tap in zip(views, taps, strict=True)
    )
    return sum(products, jnp.zeros((), wide)).astype(x.dtype)


def _tap_backward(dilation, saved, gradient):
    def products(x, kernel, gradient):
        turned = kernel[::-1, ::-1].swapaxes(2, 3)
        views = _taps(x, kernel.shape[0], dilation)
        rows = gradient.reshape(-1, gradient.shape[-1])
        by_tap = [view.reshape(-1, view.shape[-1]).T @ rows for view in views]
        return _tap_forward(gradient, turned, dilation), jnp.stack(by_tap).reshape(kernel.shape)

    def backend(x, kernel, gradient):
        run = functools.partial(backend_convolution, dilation=dilation)
        return jax.vjp(run, x, kernel)[1](gradient)

    return jax.lax.platform_dependent(*saved, gradient, cpu=products, default=backend)


tap_products.defvjp(
    lambda x, kernel, dilation: (tap_products(x, kernel, dilation), (x, kernel)), _tap_backward
)


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
        raise InputError(
            f"x has shape {x.shape}, kernel {kernel.shape}: need [b, h, w, in] and [k, k, in, out]"
        )
    if kernel.shape[0] % 2 == 0 or kernel.shape[1] != kernel.shape[0]:
        raise InputError(f"kernel has shape {kernel.shape}, must be square and odd")
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(patch_product, stride=stride),
        default=functools.partial(backend_convolution, stride=stride),
    )


def backend_convolution(
    x: jax.Array, kernel: jax.Array, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> jax.Array:
    """The backend's own convolution; see `conv2d`."""
    reach = dilation * (kernel.shape[0] // 2)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(reach, reach)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
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
