"""The importance-weighted bound on the likelihood of any model with latents."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.checks import check_count
from jaxlab.errors import InputError


def importance_bound(
    log_weights: Callable[[Any, jax.Array], jax.Array], *, num_samples: int, chunk: int = 10
) -> Callable[[Any, jax.Array], np.ndarray]:
    r"""Builds the importance-weighted bound on -log p(x).

    ``-log (1/K) sum_k p(x | z_k) p(z_k) / q(z_k | x)``, z_k from q: an upper bound on -log p(x)
    that falls to it as K grows. Samples come in chunks with a running log-sum-exp, so memory does
    not grow with K.

    Args:
        log_weights: `(inputs, key) -> [batch, chunk]`, the logarithms of the ratios of `chunk` new
            samples per example, in nats; it is jitted here.
        num_samples: K.
        chunk: Samples of every example that one call draws; must divide K.

    Returns:
        bound(inputs, key) -> [batch] nats; inputs are any tree of arrays.

    Raises:
        ValueError: If chunk does not divide num_samples; from `bound`, if `log_weights` gives
            another number of samples.

    Example:
        A latent that x does not depend on, x ~ N(0, 1), so every weight is the density:

        >>> def log_weights(x, key):
        ...     del key
        ...     return jax.scipy.stats.norm.logpdf(x)[:, None] * jnp.ones(2)
        >>> bound = importance_bound(log_weights, num_samples=6, chunk=2)
        >>> bound(jnp.array([0.0, 2.0]), jax.random.key(0)).round(3).tolist()
        [0.919, 2.919]

    Source: Burda et al., `Importance Weighted Autoencoders <https://arxiv.org/abs/1509.00519>`_.
    """
    check_count("num_samples", num_samples)
    check_count("chunk", chunk)
    if num_samples % chunk:
        raise InputError(
            f"num_samples is {num_samples} and chunk {chunk}; chunk must divide num_samples"
        )

    weights = jax.jit(log_weights)  # traced once, for its shape and for its values

    @jax.jit
    def advance(inputs, key, total):
        return jnp.logaddexp(total, jax.nn.logsumexp(weights(inputs, key), axis=1))

    def bound(inputs, key):
        # A loop on the host: XLA's fast convolutions on CPU are not used inside device loops.
        shape = jax.eval_shape(weights, inputs, key).shape
        if len(shape) != 2 or shape[1] != chunk:
            raise InputError(
                f"log_weights gives shape {shape}, must be (batch, {chunk}), the chunk"
            )
        total = jnp.full(shape[0], -jnp.inf)
        for i in range(num_samples // chunk):
            total = advance(inputs, jax.random.fold_in(key, i), total)
        return np.log(num_samples) - np.asarray(total, np.float64)

    return bound
