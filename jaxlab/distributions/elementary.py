"""Normal and Bernoulli: log densities, divergences and samplers, all elementwise."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def to_float32(x: ArrayLike) -> jax.Array:
    """The dtype of all arithmetic in this package."""
    return jnp.asarray(x).astype(jnp.float32)


def soft_clamp(x: ArrayLike, limit: float = 5.0) -> jax.Array:
    """Squash values smoothly into (-limit, limit): `limit * tanh(x / limit)`.

    Args:
      x: any shape.
      limit: positive bound; the slope at 0 is 1 for every limit.

    Returns:
      float32 array of the shape of `x`.

    Example:
      >>> print(soft_clamp(jnp.array([0.0, 1.0, 100.0])).round(4))
      [0.     0.9869 5.    ]
    """
    return limit * jnp.tanh(to_float32(x) / limit)


def normal_log_prob(x: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> jax.Array:
    """Log density of a Normal, elementwise: `-((x-mu)/sigma)^2/2 - log(2 pi)/2 - log sigma`.

    Args:
      x: values; `x`, `mu` and `sigma` broadcast.
      mu: mean.
      sigma: standard deviation, positive.

    Returns:
      float32 log density in nats, broadcast shape.

    Example:
      >>> print(f"{normal_log_prob(0.0, 0.0, 1.0):.6f}")
      -0.918939
    """
    sigma = to_float32(sigma)
    z = (to_float32(x) - to_float32(mu)) / sigma
    return -0.5 * z**2 - 0.5 * math.log(2 * math.pi) - jnp.log(sigma)


def normal_kl(
    mu_q: ArrayLike, sigma_q: ArrayLike, mu_p: ArrayLike, sigma_p: ArrayLike
) -> jax.Array:
    """KL(q || p) of two Normals, elementwise.

    `((mu_q-mu_p)/sigma_p)^2/2 + (sigma_q/sigma_p)^2/2 - 1/2 - log(sigma_q/sigma_p)`

    Args:
      mu_q: mean of q; the four arguments broadcast.
      sigma_q: standard deviation of q, positive.
      mu_p: mean of p.
      sigma_p: standard deviation of p, positive.

    Returns:
      float32 divergence in nats, broadcast shape, >= 0 up to rounding.

    Example:
      >>> print(normal_kl(1.0, 1.0, 0.0, 1.0))
      0.5
    """
    sigma_q, sigma_p = to_float32(sigma_q), to_float32(sigma_p)
    shift = (to_float32(mu_q) - to_float32(mu_p)) / sigma_p
    ratio = sigma_q / sigma_p
    return 0.5 * (shift**2 + ratio**2) - 0.5 - (jnp.log(sigma_q) - jnp.log(sigma_p))


def normal_sample(key: jax.Array, mu: ArrayLike, sigma: ArrayLike) -> jax.Array:
    """Draw `mu + sigma * eps`, eps standard Normal (differentiable in `mu` and `sigma`).

    Args:
      key: PRNG key.
      mu: mean; `mu` and `sigma` broadcast.
      sigma: standard deviation, >= 0.

    Returns:
      float32 sample, broadcast shape.

    Example:
      >>> print(normal_sample(jax.random.key(0), jnp.array([1.0, -1.0]), 0.0))
      [ 1. -1.]
    """
    mu, sigma = to_float32(mu), to_float32(sigma)
    shape = jnp.broadcast_shapes(mu.shape, sigma.shape)
    return mu + sigma * jax.random.normal(key, shape)


def bernoulli_log_prob(x: ArrayLike, logits: ArrayLike) -> jax.Array:
    """Log probability of a Bernoulli, elementwise: `x log s(l) + (1-x) log s(-l)`, s the sigmoid.

    Args:
      x: values in [0, 1]; a value between 0 and 1 gives the expected log probability (the negative
        cross-entropy), which is no log probability of a binary image.
      logits: log odds; broadcast with `x`.

    Returns:
      float32 log probability in nats, broadcast shape; finite for any finite logits, and 0 where
      logits of plus or minus infinity are certain of what is seen.

    Example:
      >>> print(bernoulli_log_prob(jnp.array([1.0, 0.0, 1.0]), jnp.array([0.0, 4.0, 4.0])))
      [-0.6931472  -4.01815    -0.01814993]
    """
    x, logits = to_float32(x), to_float32(logits)
    # 0 log 0 = 0; chosen before the product, or the gradient would be 0 * NaN.
    part = lambda p, logit: (
        p * jax.nn.log_sigmoid(jnp.where((p == 0) & jnp.isneginf(logit), 0.0, logit))
    )
    return part(x, logits) + part(1 - x, -logits)


def bernoulli_sample(key: jax.Array, logits: ArrayLike) -> jax.Array:
    """Draw zeros and ones with probability `sigmoid(logits)` of a one.

    Args:
      key: PRNG key.
      logits: log odds, any shape.

    Returns:
      float32 array of 0 and 1 of the shape of `logits`.

    Example:
      >>> print(bernoulli_sample(jax.random.key(0), jnp.array([-100.0, 100.0])))
      [0. 1.]
    """
    return jax.random.bernoulli(key, jax.nn.sigmoid(to_float32(logits))).astype(jnp.float32)
