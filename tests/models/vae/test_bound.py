"""`jaxlab.models.vae.bound`: the importance-weighted bound of a latent whose likelihood has a
closed form."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm

from jaxlab.models.vae import importance_bound

X = jnp.array([-1.0, 0.3, 2.5])
EXACT = -np.asarray(norm.logpdf(X, 0.0, jnp.sqrt(2.0)))  # z ~ N(0, 1) and x | z ~ N(z, 1)


def weights(shift, chunk):
    """Log-weights with a posterior that is `shift` off the true N(x / 2, 1 / 2)."""

    def log_weights(x, key):
        mean, scale = x[:, None] / 2 + shift, jnp.sqrt(0.5)
        z = mean + scale * jax.random.normal(key, (len(x), chunk))
        return norm.logpdf(x[:, None], z) + norm.logpdf(z) - norm.logpdf(z, mean, scale)

    return log_weights


@pytest.mark.parametrize(("num_samples", "chunk"), [(1, 1), (6, 2), (6, 6)])
def test_with_the_true_posterior_every_weight_is_the_likelihood(num_samples, chunk):
    bound = importance_bound(weights(0.0, chunk), num_samples=num_samples, chunk=chunk)
    found = bound(X, jax.random.key(0))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, EXACT, rtol=1e-5)


def test_it_is_the_mean_of_the_weights_of_all_chunks():
    log_weights, key = weights(0.7, 3), jax.random.key(1)
    found = importance_bound(log_weights, num_samples=6, chunk=3)(X, key)
    drawn = [log_weights(X, jax.random.fold_in(key, i)) for i in range(2)]
    every = np.concatenate(drawn, axis=1).astype(np.float64)
    np.testing.assert_allclose(found, -np.log(np.exp(every).mean(1)), rtol=1e-5)


def test_the_weights_are_traced_once():
    calls = []

    def log_weights(x, key):
        calls.append(key)
        return weights(0.0, 2)(x, key)

    bound = importance_bound(log_weights, num_samples=8, chunk=2)
    for seed in range(2):
        bound(X, jax.random.key(seed))
    assert len(calls) == 1


def test_numbers_that_do_not_fit():
    with pytest.raises(ValueError, match="num_samples is 10 and chunk 4; chunk must divide"):
        importance_bound(weights(0.0, 4), num_samples=10, chunk=4)
    for numbers in ({"num_samples": 0}, {"num_samples": 4, "chunk": 0}):
        with pytest.raises(ValueError, match="is 0, must be a whole number of at least 1"):
            importance_bound(weights(0.0, 4), **numbers)
    assert inspect.signature(importance_bound).parameters["chunk"].default == 10


def test_another_number_of_samples_than_the_chunk():
    bound = importance_bound(lambda x, key: jnp.zeros((2, 2)), num_samples=6, chunk=3)
    with pytest.raises(ValueError, match=r"gives shape \(2, 2\), must be \(batch, 3\)"):
        bound(jnp.zeros(2), jax.random.key(0))
