"""The backend's own convolution, and the views of the input that all other forms multiply."""

import jax
import jax.numpy as jnp


def backend_convolution(
    x: jax.Array, kernel: jax.Array, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> jax.Array:
    """XLA's convolution; see `conv.conv2d`."""
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


def padded(x: jax.Array, size: int, dilation: int) -> jax.Array:
    """Images with the border of zeros that a kernel of `size` taps a side reaches into."""
    reach = dilation * (size // 2)
    return jnp.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))


def views(
    x: jax.Array, size: int, stride: int, dilation: int, shape: tuple[int, int]
) -> list[jax.Array]:
    """The slices of padded x which the kernel's taps multiply, row by row.

    Args:
      x: [batch, height, width, channels], from `padded`.
      size: kernel taps a side.
      stride: step between outputs.
      dilation: step between taps.
      shape: height and width of the output.

    Returns:
      size * size arrays [batch, *shape, channels].
    """
    height, width = shape
    starts = range(0, size * dilation, dilation)
    return [
        x[
            :,
            i : i + stride * (height - 1) + 1 : stride,
            j : j + stride * (width - 1) + 1 : stride,
        ]
        for i in starts
        for j in starts
    ]


def out_shape(x: jax.Array, stride: int) -> tuple[int, int]:
    """Height and width of the output."""
    return -(-x.shape[1] // stride), -(-x.shape[2] // stride)
