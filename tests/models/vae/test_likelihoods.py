"""The three likelihoods: sums over the image, means, draws, and the border that does not count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import distributions
from jaxlab.models.vae.likelihoods import Likelihood

RNG = np.random.default_rng(0)


def draw(channels):
    return jnp.asarray(RNG.normal(size=(2, 6, 6, channels)), jnp.float32)


def case(name, channels=1, **kwargs):
    likelihood = Likelihood(name, channels=channels, **kwargs)
    x = jnp.asarray(RNG.integers(0, 2, (2, 6, 6, channels)), jnp.float32)
    return likelihood, x, draw(likelihood.num_parameters)


def test_sizes_of_the_head():
    sizes = {
        ("bernoulli", 1): 1,
        ("bernoulli", 3): 3,
        ("normal", 1): 2,
        ("normal", 3): 6,
        ("mixture", 1): 12,
        ("mixture", 3): 40,
    }
    for (name, channels), size in sizes.items():
        assert Likelihood(name, channels=channels, num_mixtures=4).num_parameters == size
    assert Likelihood("mixture", channels=3).num_parameters == 100


def test_bernoulli_in_numpy_without_the_border():
    likelihood, x, logits = case("bernoulli", crop=1)
    inner = lambda a: np.asarray(a, np.float64)[:, 1:5, 1:5]
    p = 1 / (1 + np.exp(-inner(logits)))
    want = np.log(np.where(inner(x) > 0.5, p, 1 - p)).sum((1, 2, 3))
    np.testing.assert_allclose(likelihood.log_prob(x, logits), want, rtol=1e-5)
    np.testing.assert_allclose(likelihood.mean(logits), p, rtol=1e-5)
    samples = jnp.stack([likelihood.sample(jax.random.key(i), logits) for i in range(200)])
    assert set(np.unique(samples)) == {0.0, 1.0}
    np.testing.assert_allclose(samples.mean(0), p, atol=0.15)


def test_normal_is_a_density_on_minus_one_to_one():
    likelihood, x, parameters = case("normal", channels=3)
    want = distributions.normal_decoder_log_prob(x, parameters).sum((1, 2))
    np.testing.assert_allclose(likelihood.log_prob(x, parameters), want, rtol=1e-5)
    mean = likelihood.mean(parameters)
    np.testing.assert_allclose(mean, distributions.normal_decoder_mean(parameters))
    cold = likelihood.sample(jax.random.key(0), parameters, 0.0)
    np.testing.assert_allclose(cold, mean, atol=1e-6)
    assert np.abs(likelihood.sample(jax.random.key(0), parameters) - mean).max() > 0.01


@pytest.mark.parametrize("channels", [1, 3])
def test_a_mixture_takes_its_bits_edges_and_number(channels):
    for bits, edge in ((8, "exact"), (5, "exact"), (5, "reference")):
        likelihood, x, parameters = case(
            "mixture", channels=channels, bits=bits, num_mixtures=2, edge=edge
        )
        terms = distributions.discretized_logistic_mixture_log_prob(
            x, parameters, bits=bits, num_mixtures=2, edge=edge
        )
        want = np.asarray(terms, np.float64).reshape(2, -1).sum(1)
        np.testing.assert_allclose(likelihood.log_prob(x, parameters), want, rtol=1e-5)
        np.testing.assert_allclose(
            likelihood.mean(parameters),
            distributions.discretized_logistic_mixture_mean(parameters, num_mixtures=2),
        )
        key = jax.random.key(1)
        np.testing.assert_allclose(
            likelihood.sample(key, parameters, 0.5),
            distributions.discretized_logistic_mixture_sample(
                key, parameters, num_mixtures=2, temperature=0.5
            ),
        )


def test_names_and_channels_are_checked():
    with pytest.raises(ValueError, match="likelihood is 'poisson'"):
        Likelihood("poisson")
    with pytest.raises(ValueError, match="needs 1 or 3 channels, not 2"):
        Likelihood("mixture", channels=2)
