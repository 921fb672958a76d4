"""Depthwise convolution as shifted multiply-adds on CPU.

XLA's grouped convolution on CPU is an order of magnitude slower than what memory allows, in the
forward pass and more so in the kernel gradient. There, a depthwise layer is written as k*k shifted
multiply-adds, which XLA fuses into one, over a few images at a time: these stay in the cache, and
in a loop of its own no neighbour can undo the fusion. In the midst of a model one that also used
the shifted views or the products would have each of them written to memory. Every other backend
gets its own convolution.
"""

from functools import partial

import jax
import jax.numpy as jnp

from jaxlab.mesh import devices_of
from jaxlab.models.batch_chunks import by_blocks, from_blocks, largest_divisor
from jaxlab.models.conv.backend import backend_convolution, out_shape, padded, views

_IMAGES = 4  # at a time
_ROWS = 16  # at most, that are summed by one expression


def _shifted_forward(x, kernel, stride, dilation):
    kernel = kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32))  # sums in float32

    def run(x):
        size = kernel.shape[0]
        taps = views(padded(x, size, dilation), size, stride, dilation, out_shape(x, stride))
        factors = kernel.reshape(-1, kernel.shape[-1])
        total = sum(
            (f * view for f, view in zip(factors, taps, strict=True)), jnp.zeros((), x.dtype)
        )
        return total.astype(x.dtype)

    return from_blocks(jax.lax.map(run, by_blocks(x, _IMAGES)))


def _shifted_input_gradient(x, kernel, gradient, stride, dilation):
    if stride > 1:  # put the gradient back on the fine grid; then the stride-1 rule holds
        spread = jnp.zeros(x.shape, gradient.dtype)
        gradient = spread.at[:, ::stride, ::stride].set(gradient)
    flipped = kernel[::-1, ::-1]
    return _shifted_forward(gradient, flipped, 1, dilation)


def _shifted_kernel_gradient(x, kernel, gradient, stride, dilation):
    dtype = jnp.promote_types(x.dtype, jnp.float32)  # sums in float32 at least

    def add(total, pair):
        x, gradient = pair[0], pair[1].astype(dtype)
        height = gradient.shape[1]
        rows = height // largest_divisor(height, _ROWS)
        cuts = [slice(start, start + rows) for start in range(0, height, rows)]
        taps = views(x, size, stride, dilation, gradient.shape[1:3])
        # A sum of slices is one vectorised loop, unlike a reduction that keeps the last axis.
        sums = [sum(view[:, c] * gradient[:, c] for c in cuts) for view in taps]
        by_device = jnp.stack(sums).reshape(len(sums), devices, -1, kernel.shape[-1])
        return total + jnp.sum(by_device, axis=2), None

    size, devices = kernel.shape[0], devices_of(x.shape[0])
    zeros = jnp.zeros((size**2, devices, x.shape[-1]), dtype)
    # Padded here: in the loop the padding would be computed anew for every tap.
    pairs = by_blocks(padded(x, size, dilation), _IMAGES), by_blocks(gradient, _IMAGES)
    return jax.lax.scan(add, zeros, pairs)[0].sum(axis=1).reshape(kernel.shape)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise_conv(x: jax.Array, kernel: jax.Array, stride: int = 1, dilation: int = 1):
    r"""Convolves every channel with its own kernel, zero-padded symmetrically.

    ``y[b, h, w, c] = sum_ij kernel[i, j, 0, c] x[b, s h + d i - p, s w + d j - p, c]``

    Args:
        x: [batch, height, width, channels].
        kernel: [k, k, 1, channels], k odd.
        stride: 1 or more; output height is ceil(height / stride).
        dilation: Distance between kernel taps.

    Returns:
        [batch, ceil(height / stride), ceil(width / stride), channels], of x's dtype.

    Example:
        >>> import jax.numpy as jnp
        >>> depthwise_conv(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0]
        Array([[4., 6., 4.],
               [6., 9., 6.],
               [4., 6., 4.]], dtype=float32)
    """
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=partial(_shifted_forward, stride=stride, dilation=dilation),
        default=partial(backend_convolution, stride=stride, dilation=dilation, groups=x.shape[-1]),
    )


def _forward(x, kernel, stride, dilation):
    return depthwise_conv(x, kernel, stride, dilation), (x, kernel)


def _backward(stride, dilation, saved, gradient):
    def shifted(x, kernel, gradient):
        return (
            _shifted_input_gradient(x, kernel, gradient, stride, dilation).astype(x.dtype),
            _shifted_kernel_gradient(x, kernel, gradient, stride, dilation).astype(kernel.dtype),
        )

    def backend(x, kernel, gradient):
        run = partial(backend_convolution, stride=stride, dilation=dilation, groups=x.shape[-1])
        return jax.vjp(run, x, kernel)[1](gradient)

    return jax.lax.platform_dependent(*saved, gradient, cpu=shifted, default=backend)


depthwise_conv.defvjp(_forward, _backward)
