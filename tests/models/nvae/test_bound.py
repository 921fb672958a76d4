"""The importance-weighted bound on a model whose log-likelihood is known in closed form."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.models.nvae import importance_bound

LOG_NORMAL = lambda x, mean, variance: (
    -0.5 * ((x - mean) ** 2 / variance + jnp.log(2 * jnp.pi * variance))
)


class LinearGaussian:
    """z ~ N(0, 1), x | z ~ N(z, 1), so x ~ N(0, 2) and z | x ~ N(x / 2, 1 / 2).

    Its posterior q is N(x / 2 + shift, 1 / 2).
    """

    observation = SimpleNamespace(log_prob=lambda x, z: LOG_NORMAL(x, z, 1.0))

    def apply(self, shift, inputs, *, key=None, method):
        if method == "bottom_up":
            return (inputs[None],)
        mean = inputs[0][0] / 2 + shift
        z = mean + jnp.sqrt(0.5) * jax.random.normal(key, mean.shape)
        return SimpleNamespace(
            parameters=z, log_p=LOG_NORMAL(z, 0.0, 1.0), log_q=LOG_NORMAL(z, mean, 0.5)
        )


X = jnp.array([-1.0, 0.3, 2.5])
EXACT = -np.asarray(LOG_NORMAL(X, 0.0, 2.0))


@pytest.mark.parametrize(("num_samples", "chunk"), [(1, 1), (6, 2), (6, 6)])
def test_with_the_true_posterior_every_weight_is_the_likelihood(num_samples, chunk):
    bound = importance_bound(LinearGaussian(), num_samples=num_samples, chunk=chunk)
    np.testing.assert_allclose(bound(0.0, X, jax.random.key(0)), EXACT, rtol=1e-5)


def test_with_another_posterior_it_falls_to_the_likelihood():
    """One sample costs KL(q || posterior) = shift^2 on average, thousands nearly nothing."""
    mean = lambda count: np.mean(
        [
            importance_bound(LinearGaussian(), num_samples=count, chunk=count)(
                0.5, jnp.repeat(X, 400), jax.random.key(1)
            )
        ]
    )
    assert mean(1) == pytest.approx(EXACT.mean() + 0.25, abs=0.07)
    assert EXACT.mean() - 0.02 < mean(1000) < EXACT.mean() + 0.02


def test_the_chunk_divides_the_samples():
    with pytest.raises(ValueError, match="chunk must divide"):
        importance_bound(LinearGaussian(), num_samples=10, chunk=4)
