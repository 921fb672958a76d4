"""2-D convolution: one function, in the form that is fast on the backend.

On CPU, XLA's own convolution is fast only outside loops: inside `lax.scan` it runs many times
slower than the same arithmetic as matrix products, and under `vmap` over kernels it becomes a
grouped convolution that is as slow. Depthwise kernels, and those that reach one pixel, have forms
of their own. Other backends get their own convolution.
"""

import contextlib
import contextvars
import functools
from typing import Literal

import jax

from jaxlab.checks import check_choice
from jaxlab.errors import InputError
from jaxlab.models.conv.backend import backend_convolution
from jaxlab.models.conv.depthwise import depthwise_conv
from jaxlab.models.conv.patches import patch_product
from jaxlab.models.conv.taps import tap_products
from jaxlab.models.dense import row_product

__all__ = ["conv2d", "inside_loop"]

FORMS = ("auto", "patches", "backend")
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
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    form: Literal["auto", "patches", "backend"] = "auto",
) -> jax.Array:
    """Convolves images with a kernel, zero-padded so that stride 1 keeps height and width.

    Args:
      x: [batch, height, width, in].
      kernel: [k, k, in / groups, out], k odd.
      stride: step between outputs, at least 1.
      dilation: step between kernel taps, at least 1.
      groups: input channels are cut into this many groups, each with its own outputs.
      form: how it is computed on CPU: "auto", for one model, as a matrix product per kernel tap
        within `inside_loop`; "patches", as one product over patches, which stays fast under `vmap`
        over kernels and takes neither dilation nor groups; "backend", as XLA does.

    Returns:
      [batch, ceil(height / stride), ceil(width / stride), out]. Output (i, j) is centred on input
      (i * stride, j * stride), on every backend.

    Raises:
      ValueError: the shapes do not fit, k is even, or the form is unknown or does not take this.

    Example:
      >>> import jax.numpy as jnp
      >>> conv2d(jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0]
      Array([[4., 4.],
             [4., 4.]], dtype=float32)
    """
    check_choice("form", form, FORMS)
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[-1] != groups * kernel.shape[2]:
        raise InputError(
            f"x has shape {x.shape}, kernel {kernel.shape}: need [b, h, w, in] and "
            f"[k, k, in / {groups}, out]"
        )
    if kernel.shape[0] % 2 == 0 or kernel.shape[1] != kernel.shape[0]:
        raise InputError(f"kernel has shape {kernel.shape}, must be square and odd")
    if kernel.shape[3] % groups:
        raise InputError(
            f"kernel has shape {kernel.shape}, its {kernel.shape[3]} outputs must be "
            f"a multiple of groups {groups}"
        )
    if form == "patches":
        if dilation != 1 or groups != 1:
            raise InputError(
                f"dilation is {dilation} and groups {groups}, must be 1 for form 'patches'"
            )
        return jax.lax.platform_dependent(
            x,
            kernel,
            cpu=functools.partial(patch_product, stride=stride),
            default=functools.partial(backend_convolution, stride=stride),
        )
    if form == "auto":
        if kernel.shape[0] == 1 and groups == 1:  # a matrix product; faster than a convolution
            return row_product(x[:, ::stride, ::stride], kernel[0, 0])
        if groups == x.shape[-1] == kernel.shape[-1]:
            return depthwise_conv(x, kernel, stride, dilation)
        if _IN_LOOP.get() and groups == stride == 1:
            return tap_products(x, kernel, dilation)
    return backend_convolution(x, kernel, stride=stride, dilation=dilation, groups=groups)
