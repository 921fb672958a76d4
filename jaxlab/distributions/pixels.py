"""Pixels: the Normal decoder, binarisation, bit depth and units."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxlab.distributions.elementary import normal_log_prob, normal_sample, soft_clamp, to_float32
from jaxlab.errors import InputError, InputTypeError

SIGMA_FLOOR = 0.01  # of the Normal decoder


def normal_decoder_log_prob(x: ArrayLike, params: ArrayLike) -> jax.Array:
    """Log density of pixels under a Normal whose parameters are soft-clamped.

    `mu = soft_clamp(first half)`, `sigma = exp(soft_clamp(second half)) + 0.01`, `y = 2x - 1`.

    Args:
      x: [..., C] in [0, 1].
      params: [..., 2 C]: C raw means, then C raw log sigmas.

    Returns:
      float32 [...] log density in nats, summed over colours, of y in [-1, 1] units. It is a
      density: bits per dimension made from it can be negative and do not compare with those of
      the discretized mixture.

    Raises:
      ValueError: `params` does not have twice the channels of `x`.

    Example:
      >>> print(f"{normal_decoder_log_prob(jnp.array([0.5]), jnp.zeros(2)):.6f}")
      -0.928889
    """
    x = to_float32(x)
    mu, sigma = _normal_decoder(to_float32(params))
    if mu.shape != x.shape:
        raise InputError(
            f"params has shape {jnp.shape(params)}, x of shape {x.shape} needs "
            f"{(*x.shape[:-1], 2 * x.shape[-1])}"
        )
    return normal_log_prob(2 * x - 1, mu, sigma).sum(-1)


def normal_decoder_sample(
    key: jax.Array, params: ArrayLike, *, temperature: ArrayLike = 1.0
) -> jax.Array:
    """Draw pixels `mu + temperature * sigma * eps`, clipped to [-1, 1] and mapped to [0, 1].

    Args:
      key: PRNG key.
      params: [..., 2 C], as for `normal_decoder_log_prob`.
      temperature: >= 0, multiplies sigma.

    Returns:
      float32 [..., C] in [0, 1].

    Example:
      >>> print(normal_decoder_sample(jax.random.key(0), jnp.zeros((1, 6)), temperature=0.0))
      [[0.5 0.5 0.5]]

    Departures: the published code ignores the temperature here.
    """
    mu, sigma = _normal_decoder(to_float32(params))
    return (jnp.clip(normal_sample(key, mu, temperature * sigma), -1, 1) + 1) / 2


def normal_decoder_mean(params: ArrayLike) -> jax.Array:
    """The mean picture of the Normal decoder, clipped to [-1, 1] and mapped to [0, 1].

    Args:
      params: [..., 2 C], as for `normal_decoder_log_prob`.

    Returns:
      float32 [..., C] in [0, 1].

    Example:
      >>> print(normal_decoder_mean(jnp.zeros((1, 2))))
      [[0.5]]
    """
    return (jnp.clip(_normal_decoder(to_float32(params))[0], -1, 1) + 1) / 2


def _normal_decoder(params: jax.Array) -> tuple[jax.Array, jax.Array]:
    if params.shape[-1] % 2:
        raise InputError(f"params has {params.shape[-1]} channels, the Normal needs an even number")
    mu, log_sigma = jnp.split(params, 2, axis=-1)
    return soft_clamp(mu), jnp.exp(soft_clamp(log_sigma)) + SIGMA_FLOOR


def binarize(key: jax.Array, x: ArrayLike) -> jax.Array:
    """Draw a black and white image whose expectation is `x` (dynamic binarisation).

    Args:
      key: PRNG key; a new one for every step redraws the pixels at every access.
      x: float intensities in [0, 1], any shape.

    Returns:
      float32 array of 0 and 1 of the shape of `x`.

    Raises:
      TypeError: `x` holds integers (uint8 pixels must be divided by 255 first).

    Example:
      >>> print(binarize(jax.random.key(0), jnp.array([0.0, 1.0])))
      [0. 1.]
    """
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputTypeError(f"x has dtype {x.dtype}, binarize needs float intensities in [0, 1]")
    return jax.random.bernoulli(key, to_float32(x)).astype(jnp.float32)


def bits_per_dim(nats: ArrayLike, dims: int) -> jax.Array:
    """Nats per image to bits per dimension: `nats / (dims log 2)`.

    Args:
      nats: nats per image, any shape.
      dims: colour values an image holds (before any padding), positive.

    Returns:
      float32 array of the shape of `nats`.

    Raises:
      ValueError: `dims` is not positive.

    Example:
      >>> print(f"{bits_per_dim(3072 * math.log(256), 3072):.1f}")
      8.0
    """
    if dims <= 0:
        raise InputError(f"dims is {dims}, needs to be positive")
    return to_float32(nats) / (dims * math.log(2))


def reduce_bits(x: ArrayLike, bits: int) -> jax.Array:
    """8-bit pixels to floats with `bits` bits: `floor(x / 2^(8-bits)) / (2^bits - 1)`.

    Args:
      x: uint8 pixels, any shape.
      bits: bits to keep, 1 to 8.

    Returns:
      float32 in [0, 1] of the shape of `x`.

    Raises:
      TypeError: `x` is not uint8.
      ValueError: `bits` is out of range.

    Example:
      >>> print(reduce_bits(jnp.array([0, 127, 128, 255], jnp.uint8), 1))
      [0. 0. 1. 1.]
    """
    x = jnp.asarray(x)
    if x.dtype != jnp.uint8:
        raise InputTypeError(f"x has dtype {x.dtype}, reduce_bits needs uint8 pixels")
    if not 1 <= bits <= 8:
        raise InputError(f"bits is {bits}, needs to be between 1 and 8")
    return (x >> (8 - bits)).astype(jnp.float32) / (2**bits - 1)
