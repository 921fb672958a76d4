"""Depthwise convolution, and the one place that chooses its formulation by backend.

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

from jaxlab.errors import InputError
from jaxlab.models.batch_chunks import by_blocks, devices_of, from_blocks, largest_divisor

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
_IMAGES = 4  # at a time
_ROWS = 16  # at most, that are summed by one expression


def _pads(kernel_size: int, dilation: int) -> tuple[int, int]:
    reach = dilation * (kernel_size - 1)
    return reach // 2, reach - reach // 2


def _backend_convolution(x, kernel, stride, dilation):
    pads = [_pads(k, dilation) for k in kernel.shape[:2]]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        pads,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=_DIMENSIONS,
        feature_group_count=x.shape[-1],
    )


def _padded(x, kernel, dilation):
    return jnp.pad(x, ((0, 0), *(_pads(k, dilation) for k in kernel.shape[:2]), (0, 0)))


def _taps(x, kernel, stride, dilation, out_shape):
    """Yields (row, column, the slice of x, padded, which that kernel tap multiplies)."""
    height, width = out_shape
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            row, column = i * dilation, j * dilation
            last_row, last_column = row + stride * (height - 1), column + stride * (width - 1)
            yield i, j, x[:, row : last_row + 1 : stride, column : last_column + 1 : stride]


def _out_shape(x, stride):
    return -(-x.shape[1] // stride), -(-x.shape[2] // stride)


def _shifted_forward(x, kernel, stride, dilation):
    kernel = kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32))  # sums in float32

    def run(x):
        padded, shape = _padded(x, kernel, dilation), _out_shape(x, stride)
        taps = _taps(padded, kernel, stride, dilation, shape)
        total = sum((kernel[i, j, 0] * view for i, j, view in taps), jnp.zeros((), x.dtype))
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
        padded, gradient = pair[0], pair[1].astype(dtype)
        height = gradient.shape[1]
        rows = height // largest_divisor(height, _ROWS)
        cuts = [slice(start, start + rows) for start in range(0, height, rows)]
        taps = _taps(padded, kernel, stride, dilation, gradient.shape[1:3])
        # A sum of slices is one vectorised loop, unlike a reduction that keeps the last axis.
        sums = [sum(view[:, c] * gradient[:, c] for c in cuts) for _, _, view in taps]
        by_device = jnp.stack(sums).reshape(len(sums), devices, -1, x.shape[-1])
        return total + jnp.sum(by_device, axis=2), None

    devices = devices_of(x.shape[0])
    zeros = jnp.zeros((kernel.shape[0] * kernel.shape[1], devices, x.shape[-1]), dtype)
    # Padded here: in the loop the padding would be computed anew for every tap.
    pairs = by_blocks(_padded(x, kernel, dilation), _IMAGES), by_blocks(gradient, _IMAGES)
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

    Raises:
        ValueError: If the shapes do not fit.

    >>> import jax.numpy as jnp
    >>> depthwise_conv(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0]
    Array([[4., 6., 4.],
           [6., 9., 6.],
           [4., 6., 4.]], dtype=float32)
    """
    if kernel.ndim != 4 or kernel.shape[2] != 1 or kernel.shape[3] != x.shape[-1]:
        raise InputError(
            f"depthwise kernel has shape {kernel.shape}, "
            f"input {x.shape} needs (k, k, 1, {x.shape[-1]})"
        )
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=partial(_shifted_forward, stride=stride, dilation=dilation),
        default=partial(_backend_convolution, stride=stride, dilation=dilation),
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
        run = partial(_backend_convolution, stride=stride, dilation=dilation)
        return jax.vjp(run, x, kernel)[1](gradient)

    return jax.lax.platform_dependent(*saved, gradient, cpu=shifted, default=backend)


depthwise_conv.defvjp(_forward, _backward)
