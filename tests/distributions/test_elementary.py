"""`jaxlab.distributions.elementary`: normal and Bernoulli densities against NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads
from logistic import sigmoid

from jaxlab import distributions as dist


def test_soft_clamp_bounds_and_slope():
    x = jnp.array([-1e6, -5.0, 0.0, 2.0, 1e6])
    np.testing.assert_allclose(dist.soft_clamp(x), 5 * np.tanh(np.array(x) / 5), rtol=1e-6)
    assert jax.grad(dist.soft_clamp)(0.0) == 1.0
    np.testing.assert_allclose(dist.soft_clamp(1e6, limit=2.0), 2.0)


def test_normal_log_prob_matches_numpy():
    rng = np.random.default_rng(0)
    x, mu, sigma = rng.normal(size=50), rng.normal(size=50), np.exp(rng.normal(size=50))
    want = -0.5 * ((x - mu) / sigma) ** 2 - 0.5 * np.log(2 * np.pi) - np.log(sigma)
    np.testing.assert_allclose(dist.normal_log_prob(x, mu, sigma), want, rtol=2e-5, atol=1e-6)


def test_normal_kl_closed_form_zero_and_monte_carlo():
    rng = np.random.default_rng(1)
    mu_q, mu_p = rng.normal(size=(2, 4))
    sigma_q, sigma_p = np.exp(0.5 * rng.normal(size=(2, 4)))
    got = dist.normal_kl(mu_q, sigma_q, mu_p, sigma_p)
    z = rng.normal(size=(400_000, 4)) * sigma_q + mu_q
    log_ratio = dist.normal_log_prob(z, mu_q, sigma_q) - dist.normal_log_prob(z, mu_p, sigma_p)
    error = np.std(log_ratio, axis=0) / math.sqrt(len(z))
    assert np.all(np.abs(np.mean(log_ratio, axis=0) - got) < 5 * error + 1e-5)
    np.testing.assert_allclose(dist.normal_kl(mu_q, sigma_q, mu_q, sigma_q), 0, atol=1e-7)
    assert np.all(np.asarray(got) >= 0)


def test_normal_sample_moments_and_reparametrised_gradient():
    z = dist.normal_sample(jax.random.key(0), jnp.full((200_000,), 2.0), 3.0)
    np.testing.assert_allclose([z.mean(), z.std()], [2.0, 3.0], atol=0.03)
    draw = lambda mu, sigma: dist.normal_sample(jax.random.key(3), mu, sigma)
    d_mu, d_sigma = jax.grad(draw, argnums=(0, 1))(0.5, 2.0)
    np.testing.assert_allclose([d_mu, d_sigma], [1.0, (draw(0.5, 2.0) - 0.5) / 2.0], rtol=1e-6)


def test_bernoulli_matches_numpy_and_sums_to_one():
    logits = np.linspace(-8, 8, 33)
    for x in (0.0, 0.3, 1.0):
        want = x * np.log(sigmoid(logits)) + (1 - x) * np.log(sigmoid(-logits))
        np.testing.assert_allclose(dist.bernoulli_log_prob(x, logits), want, rtol=1e-5)
    total = sum(jnp.exp(dist.bernoulli_log_prob(x, logits)) for x in (0.0, 1.0))
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_bernoulli_extremes_are_finite():
    logits = jnp.array([-1e30, -1e4, 0.0, 1e4, 1e30])
    for x in (0.0, 0.5, 1.0):
        value, grad = jax.vmap(jax.value_and_grad(lambda l, x=x: dist.bernoulli_log_prob(x, l)))(
            logits
        )
        assert np.isfinite(value).all()
        assert np.isfinite(grad).all()


def test_check_grads_of_the_smooth_functions():
    rng = np.random.default_rng(2)
    a, b, c, d = (jnp.asarray(v, jnp.float32) for v in rng.uniform(0.5, 1.5, (4, 6)))
    loose = {"order": 1, "atol": 1e-2, "rtol": 1e-2}
    check_grads(dist.normal_kl, (a, b, c, d), **loose)
    check_grads(dist.normal_log_prob, (a, b, c), **loose)
    check_grads(lambda l: dist.bernoulli_log_prob(a / 2, l), (b,), **loose)
    check_grads(lambda p: dist.normal_decoder_log_prob(a[:3], p), (b,), **loose)
    check_grads(
        lambda p: dist.discretized_logistic_mixture_log_prob(
            jnp.array([1.0, 0.0, 3.0]) / 7, p, bits=3, num_mixtures=1
        ),
        (jnp.concatenate([a, b])[:10],),
        **loose,
    )


def test_everything_is_float32_from_half_precision_inputs():
    half = lambda *shape: jnp.zeros(shape, jnp.bfloat16)
    for out in (
        dist.soft_clamp(half(2)),
        dist.normal_log_prob(half(2), half(2), half(2) + 1),
        dist.normal_kl(half(2), half(2) + 1, half(2), half(2) + 1),
        dist.normal_sample(jax.random.key(0), half(2), half(2)),
        dist.bernoulli_log_prob(half(2), half(2)),
        dist.discretized_logistic_mixture_log_prob(half(2, 1), half(2, 3), num_mixtures=1),
        dist.discretized_logistic_mixture_mean(half(2, 3), num_mixtures=1),
        dist.normal_decoder_log_prob(half(2, 1), half(2, 2)),
    ):
        assert out.dtype == jnp.float32
