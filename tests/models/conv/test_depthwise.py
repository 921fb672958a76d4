"""Depthwise convolution against the backend's own, and in memory and communication."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolutions import convolve, random

from jaxlab import mesh as mesh_lib
from jaxlab.models.conv.depthwise import depthwise_conv


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize(("batch", "height"), [(2, 7), (6, 20), (5, 2), (48, 4)])
def test_depthwise_and_its_gradients_equal_the_backends(size, stride, dilation, batch, height):
    x, kernel = random(0, batch, height, 8, 3), random(1, size, size, 1, 3)
    ours = lambda x, k: depthwise_conv(x, k, stride, dilation)
    theirs = lambda x, k: convolve(x, k, stride, dilation, groups=x.shape[-1])

    @jax.jit
    def both(x, kernel):
        y, pull = jax.vjp(ours, x, kernel)
        wanted, pull_wanted = jax.vjp(theirs, x, kernel)
        return (y, *pull(y / y.size)), (wanted, *pull_wanted(y / y.size))

    for a, b, atol in zip(*both(x, kernel), (1e-5, 2e-6, 2e-6), strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


def test_gradients_of_bfloat16_are_summed_in_float32():
    x, kernel = (random(*a).astype(jnp.bfloat16) for a in ((0, 12, 16, 16, 3), (1, 3, 3, 1, 3)))
    wide = [a.astype(jnp.float32) for a in (x, kernel)]
    ones = jnp.ones(x.shape)
    found = jax.vjp(depthwise_conv, x, kernel)[1](ones.astype(jnp.bfloat16))
    exact = jax.vjp(depthwise_conv, *wide)[1](ones)
    for a, b in zip(found, exact, strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(a.astype(jnp.float32), b, rtol=2**-8, atol=1e-5)


def test_other_backends_get_their_own_convolution_in_both_directions():
    x, kernel = random(0, 2, 6, 6, 3), random(1, 3, 3, 1, 3)
    step = jax.jit(jax.grad(lambda x, k: depthwise_conv(x, k, 2).sum(), (0, 1)))
    text = step.trace(x, kernel).lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.while" not in text
    assert text.count("stablehlo.convolution") >= 2
    here = step.lower(x, kernel).as_text()
    assert "stablehlo.convolution" not in here


def test_depthwise_of_float64_has_float64_gradients():
    with jax.enable_x64(True):
        x, kernel = (
            jnp.asarray(random(*a), jnp.float64) for a in ((0, 2, 5, 4, 3), (1, 3, 3, 1, 3))
        )
        y, pull = jax.vjp(depthwise_conv, x, kernel)
        wanted, pull_wanted = jax.vjp(lambda x, k: convolve(x, k, groups=3), x, kernel)
        np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-12)
        for a, b in zip(pull(y), pull_wanted(y), strict=True):
            assert a.dtype == jnp.float64
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_shifted_views_of_depthwise_are_not_kept_in_memory():
    """Between normalisations and activations too, where the compiler would like to share them."""

    def normalised(x):
        mean = x.mean((0, 1, 2))
        return nn.silu((x - mean) * jax.lax.rsqrt(jnp.mean((x - mean) ** 2, (0, 1, 2)) + 1e-5))

    def loss(x, kernel):
        return jnp.mean(normalised(depthwise_conv(normalised(x), kernel)) ** 3)

    x, kernel = random(0, 16, 16, 16, 32), random(1, 5, 5, 1, 32)
    compiled = jax.jit(jax.grad(loss, (0, 1))).lower(x, kernel).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 12 * x.nbytes


def test_depthwise_on_many_devices_gathers_no_images():
    mesh = mesh_lib.make_mesh()
    x, kernel = random(0, 6 * mesh.size, 4, 4, 3), random(1, 3, 3, 1, 3)
    loss = lambda x, k: jnp.mean(depthwise_conv(x, k) ** 2)
    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    placed = (
        jax.device_put(x, mesh_lib.split(mesh)),
        jax.device_put(kernel, mesh_lib.replicated(mesh)),
    )
    compiled = step.lower(*placed).compile()
    assert mesh.size > 1
    assert "all-gather" not in compiled.as_text()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), compiled(*placed), step(x, kernel)
    )
