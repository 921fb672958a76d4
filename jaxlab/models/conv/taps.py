"""Convolution at stride 1 as a matrix product per kernel tap, which is fast in loops on CPU."""

import functools

import jax
import jax.numpy as jnp

from jaxlab.models.conv.backend import backend_convolution, padded, views
from jaxlab.models.dense import row_product


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def tap_products(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    """`conv.conv2d` at stride 1; on CPU, a matrix product per kernel tap, in both directions."""
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_forward, dilation=dilation),
        default=functools.partial(backend_convolution, dilation=dilation),
    )


def _views(x, size, dilation):
    return views(padded(x, size, dilation), size, 1, dilation, x.shape[1:3])


def _forward(x, kernel, dilation):
    taps = kernel.reshape(-1, *kernel.shape[2:])
    wide = jnp.promote_types(x.dtype, jnp.float32)  # bfloat16 is summed in float32
    products = (
        row_product(view, tap, preferred_element_type=wide)
        for view, tap in zip(_views(x, kernel.shape[0], dilation), taps, strict=True)
    )
    return sum(products, jnp.zeros((), wide)).astype(x.dtype)


def _backward(dilation, saved, gradient):
    def products(x, kernel, gradient):
        turned = kernel[::-1, ::-1].swapaxes(2, 3)
        rows = gradient.reshape(-1, gradient.shape[-1])
        by_tap = [
            view.reshape(-1, view.shape[-1]).T @ rows
            for view in _views(x, kernel.shape[0], dilation)
        ]
        return _forward(gradient, turned, dilation), jnp.stack(by_tap).reshape(kernel.shape)

    def backend(x, kernel, gradient):
        run = functools.partial(backend_convolution, dilation=dilation)
        return jax.vjp(run, x, kernel)[1](gradient)

    return jax.lax.platform_dependent(*saved, gradient, cpu=products, default=backend)


tap_products.defvjp(
    lambda x, kernel, dilation: (tap_products(x, kernel, dilation), (x, kernel)), _backward
)
