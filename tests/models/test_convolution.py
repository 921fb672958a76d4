"""Convolution as a product of patches equals the backend's own, with gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.models import convolution


@pytest.mark.parametrize(("size", "stride", "side"), [(3, 1, 6), (3, 2, 7), (1, 2, 6), (5, 2, 6)])
def test_both_formulations_agree(size, stride, side):
    rng = np.random.default_rng(size)
    x = jnp.asarray(rng.normal(size=(2, side, side + 1, 3)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(size, size, 3, 4)), jnp.float32)
    outs, grads = [], []
    for form in (convolution.patch_product, convolution.backend_convolution):
        out, pull = jax.vjp(lambda x, k, form=form: form(x, k, stride=stride), x, kernel)
        outs.append(out)
        grads.append(pull(jnp.sin(jnp.arange(out.size, dtype=jnp.float32).reshape(out.shape))))
    np.testing.assert_allclose(*outs, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), *grads)


@pytest.mark.parametrize("kind", ["taps", "depthwise", "1x1"])
def test_bfloat16_is_rounded_once(kind):
    size, groups = {"taps": (3, 1), "depthwise": (5, 16), "1x1": (1, 1)}[kind]
    rng = np.random.default_rng(0)
    shapes = (4, 8, 8, 16), (size, size, 16 // groups, 16)
    x, kernel = (jnp.array(rng.normal(size=s), jnp.bfloat16) for s in shapes)
    with convolution.inside_loop():
        run = jax.jit(lambda x, kernel: convolution.conv2d(x, kernel, groups=groups))
        found = run(x, kernel)
    exact = run(x.astype(jnp.float32), kernel.astype(jnp.float32))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), exact, rtol=2**-8, atol=1e-5)


def test_what_does_not_fit_is_refused():
    x = jnp.ones((1, 4, 4, 2))
    with pytest.raises(ValueError, match=r"kernel \(3, 3, 1, 1\)"):
        convolution.convolve(x, jnp.ones((3, 3, 1, 1)))
    with pytest.raises(ValueError, match="square and odd"):
        convolution.convolve(x, jnp.ones((2, 2, 2, 1)))
