"""`jaxlab.models.vae.images`: images as likelihoods take them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.models.vae import prepare_images

GREY = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)
SHARE = np.arange(256) / 255


def test_binary_pixels_are_drawn_with_their_brightness():
    many = jnp.repeat(GREY, 2000, axis=0)
    drawn = np.asarray(prepare_images(many, "bernoulli", jax.random.key(0)))
    assert set(np.unique(drawn)) == {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean(0).ravel(), SHARE, atol=0.06)
    assert drawn.dtype == np.float32
    grey = prepare_images(GREY, "bernoulli")
    np.testing.assert_allclose(grey.ravel(), SHARE, rtol=1e-6)
    cut = prepare_images(GREY, "bernoulli", jax.random.key(0), static=True)
    np.testing.assert_array_equal(cut.ravel(), SHARE > 0.5)


@pytest.mark.parametrize("bits", [1, 5, 8])
@pytest.mark.parametrize("likelihood", ["normal", "mixture"])
def test_bits_are_dropped_from_the_low_end(likelihood, bits):
    found = prepare_images(GREY, likelihood, jax.random.key(0), bits=bits)
    steps = 2**bits
    np.testing.assert_allclose(
        found.ravel(), np.arange(256) // (256 // steps) / (steps - 1), atol=1e-6
    )


def test_floating_images_pass_as_they_are():
    half = jnp.full((1, 2, 2, 1), 0.3, jnp.bfloat16)
    found = prepare_images(half, "bernoulli", jax.random.key(0), bits=1)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, half.astype(jnp.float32))


@pytest.mark.parametrize("dtype", [bool, jnp.int32])
def test_pixels_of_another_type(dtype):
    with pytest.raises(TypeError, match="must be uint8 or floating"):
        prepare_images(jnp.ones((1, 2, 2, 1), dtype), "bernoulli")
