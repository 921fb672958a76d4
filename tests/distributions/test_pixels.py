"""`jaxlab.distributions.pixels`: pixels: binarisation, bits, the normal decoder."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import distributions as dist


def test_bernoulli_sample_and_binarize_frequencies():
    p = np.array([0.0, 0.1, 0.5, 0.9, 1.0], np.float32)
    x = jnp.broadcast_to(p, (40_000, 5))
    drawn = dist.binarize(jax.random.key(0), x)
    assert drawn.dtype == jnp.float32
    assert set(np.unique(drawn)) == {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean(0), p, atol=0.012)
    np.testing.assert_array_equal(drawn[:, [0, -1]].mean(0), [0, 1])
    logits = np.log(p[1:4] / (1 - p[1:4]))
    drawn = dist.bernoulli_sample(jax.random.key(1), jnp.broadcast_to(logits, (40_000, 3)))
    np.testing.assert_allclose(drawn.mean(0), p[1:4], atol=0.012)


def test_binarize_refuses_integers():
    with pytest.raises(TypeError, match="x has dtype uint8, binarize needs float"):
        dist.binarize(jax.random.key(0), jnp.zeros(3, jnp.uint8))


def test_normal_decoder_matches_numpy_and_integrates_to_one():
    rng = np.random.default_rng(0)
    x, params = rng.uniform(size=(3, 4, 2)), rng.normal(size=(3, 4, 4)) * 3
    mu, sigma = 5 * np.tanh(params[..., :2] / 5), np.exp(5 * np.tanh(params[..., 2:] / 5)) + 0.01
    y = 2 * x - 1
    want = (-0.5 * ((y - mu) / sigma) ** 2 - 0.5 * np.log(2 * np.pi) - np.log(sigma)).sum(-1)
    got = dist.normal_decoder_log_prob(x, params)
    np.testing.assert_allclose(got, want, rtol=3e-5, atol=1e-5)
    y = np.linspace(-30, 30, 20_001)
    density = jnp.exp(
        dist.normal_decoder_log_prob((y[:, None] + 1) / 2, np.tile([0.3, 0.1], (y.size, 1)))
    )
    assert np.trapezoid(np.asarray(density), y) == pytest.approx(1, abs=1e-4)


def test_normal_decoder_sample_and_mean():
    params = jnp.tile(jnp.array([0.2, -0.4, 0.0, -3.0, -3.0, -3.0]), (20_000, 1))
    mean = dist.normal_decoder_mean(params)
    np.testing.assert_allclose(
        mean[0], (5 * np.tanh(np.array([0.04, -0.08, 0])) + 1) / 2, rtol=1e-5
    )
    cold, warm = (
        dist.normal_decoder_sample(jax.random.key(0), params, temperature=t) for t in (0.5, 1.0)
    )
    np.testing.assert_allclose(warm.mean(0), mean[0], atol=2e-3)
    np.testing.assert_allclose(2 * cold.std(0), warm.std(0), rtol=1e-3)
    assert float(warm.min()) >= 0
    assert float(warm.max()) <= 1
    with pytest.raises(ValueError, match="params has shape"):
        dist.normal_decoder_log_prob(jnp.zeros((2, 3)), jnp.zeros((2, 4)))
    with pytest.raises(ValueError, match="5 channels"):
        dist.normal_decoder_mean(jnp.zeros((2, 5)))


def test_reduce_bits_matches_the_published_formula():
    values = np.arange(256, dtype=np.uint8)
    for bits in (1, 3, 5, 6, 8):
        want = np.floor(values / 2 ** (8 - bits)) / (2**bits - 1)
        np.testing.assert_allclose(dist.reduce_bits(values, bits), want, rtol=1e-6)
    with pytest.raises(TypeError, match="float32, reduce_bits needs uint8"):
        dist.reduce_bits(jnp.zeros(2), 5)
    with pytest.raises(ValueError, match="bits is 0"):
        dist.reduce_bits(values, 0)


def test_bits_per_dim():
    assert float(dist.bits_per_dim(784 * math.log(2), 784)) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="dims is 0"):
        dist.bits_per_dim(1.0, 0)
