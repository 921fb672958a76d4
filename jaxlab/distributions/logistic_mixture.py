"""The discretized mixture of logistics of PixelCNN++ and NVAE."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxlab.distributions.elementary import to_float32
from jaxlab.errors import InputError

MIN_LOG_SCALE = -7.0  # a scale of 0.0009 on [-1, 1], a ninth of an 8-bit bin


def discretized_logistic_mixture_log_prob(
    x: ArrayLike,
    params: ArrayLike,
    *,
    bits: int = 8,
    num_mixtures: int = 10,
    edge: str = "exact",
) -> jax.Array:
    """Log probability of quantised pixels under a mixture of discretized logistics.

    With V = 2^bits - 1 and y = 2x - 1, a component with mean m and scale s gives the value y
    `F((y + 1/V - m)/s) - F((y - 1/V - m)/s)`, F the logistic sigmoid; the first bin reaches down to
    minus infinity and the last one up to infinity. In RGB the means depend on the colours before:
    `m_G + c0 y_R` and `m_B + c1 y_R + c2 y_G`, on the true values (teacher forcing).

    Channel layout of `params`, M = num_mixtures: M mixture logits, then for each colour M means,
    M log scales (clipped below at -7) and M coefficients before tanh; c0, c1 and c2 come from the
    blocks of R, G and B. Grey images have no coefficients, hence 3M channels instead of 10M.

    Args:
      x: [..., C] in [0, 1], C = 1 or 3, on the grid k / V (see `reduce_bits`); `edge="exact"`
        rounds to that grid, so there is no gradient with respect to `x` through the bins.
      params: [..., 10 M] for RGB, [..., 3 M] for grey.
      bits: bits a colour value, 1 to 8.
      num_mixtures: M.
      edge: "exact" sums to one over all 2^bits values for any parameters; "reference" repeats
        the published code.

    Returns:
      float32 [...] log probability in nats, summed over colours.

    Raises:
      ValueError: the channels do not fit, or `bits` or `edge` is out of range.

    Example:
      >>> grid = jnp.arange(256).reshape(256, 1) / 255
      >>> log_p = discretized_logistic_mixture_log_prob(grid, jnp.zeros((256, 3)), num_mixtures=1)
      >>> print(f"{jnp.exp(log_p).sum():.4f}")
      1.0000

    Departures: the published code takes y > 0.99 for the last bin, which at 8 bits holds for the
    last two values, and replaces masses below 1e-5 by a density times the bin width; both only
    with `edge="reference"`. Here the mass is `F(a) F(-b) (1 - exp(b - a))` in log space, which
    cancels nowhere.
    """
    x, params = to_float32(x), to_float32(params)
    if not 1 <= bits <= 8:
        raise InputError(f"bits is {bits}, needs to be between 1 and 8")
    if edge not in ("exact", "reference"):
        raise InputError(f"edge is {edge!r}, needs to be 'exact' or 'reference'")
    logits, means, log_scales, coefficients = _split_mixture(params, num_mixtures)
    if x.shape != params.shape[:-1] + means.shape[-2:-1]:
        raise InputError(
            f"x has shape {x.shape}, params of shape {params.shape} with {num_mixtures} mixtures "
            f"need {params.shape[:-1] + means.shape[-2:-1]}"
        )
    y = 2 * x - 1
    if coefficients is not None:
        zero = jnp.zeros_like(coefficients[..., 0, :])
        green = coefficients[..., 0, :] * y[..., 0:1]
        blue = coefficients[..., 1, :] * y[..., 0:1] + coefficients[..., 2, :] * y[..., 1:2]
        means = means + jnp.stack([zero, green, blue], axis=-2)
    log_mass = _exact_log_mass if edge == "exact" else _reference_log_mass
    per_colour = log_mass(x[..., None], means, log_scales, 2**bits - 1)
    per_component = per_colour.sum(-2) + jax.nn.log_softmax(logits)
    return jax.scipy.special.logsumexp(per_component, axis=-1)


def discretized_logistic_mixture_sample(
    key: jax.Array, params: ArrayLike, *, num_mixtures: int = 10, temperature: ArrayLike = 1.0
) -> jax.Array:
    """Draw pixels from a mixture of logistics, colour after colour.

    A component is drawn with logits / temperature, then `y = m + temperature * s * logit(u)`, u
    uniform on (1e-5, 1 - 1e-5); green depends on the drawn red, blue on both. Each colour is
    clipped to [-1, 1] before the next one uses it. The result is not rounded to bins.

    Args:
      key: PRNG key.
      params: [..., 10 M] for RGB, [..., 3 M] for grey, laid out as for the log probability.
      num_mixtures: M.
      temperature: >= 0; below 1 it lowers the variance, 0 gives the likeliest component's mean.

    Returns:
      float32 [..., C] in [0, 1].

    Raises:
      ValueError: the channels do not fit.

    Example:
      >>> print(discretized_logistic_mixture_sample(
      ...     jax.random.key(0), jnp.zeros((1, 10)), num_mixtures=1, temperature=0.0))
      [[0.5 0.5 0.5]]

    Departures: the published code divides the scale by the temperature, so that its samples spread
    when the temperature falls.
    """
    logits, means, log_scales, coefficients = _split_mixture(to_float32(params), num_mixtures)
    component_key, noise_key = jax.random.split(key)
    temperature = to_float32(temperature)
    # argmax(logits/t + g) = argmax(logits + t g), which is defined at t = 0 as well.
    gumbel = jax.random.gumbel(component_key, logits.shape)
    pick = jnp.argmax(logits + temperature * gumbel, axis=-1)[..., None, None]
    choose = lambda values: jnp.take_along_axis(values, pick, axis=-1)[..., 0]
    mean, log_scale = choose(means), choose(log_scales)
    u = jax.random.uniform(noise_key, mean.shape, minval=1e-5, maxval=1 - 1e-5)
    y = mean + temperature * jnp.exp(log_scale) * (jnp.log(u) - jnp.log1p(-u))
    return _chain_colours(y, None if coefficients is None else choose(coefficients))


def discretized_logistic_mixture_mean(params: ArrayLike, *, num_mixtures: int = 10) -> jax.Array:
    """The picture shown for a mixture of logistics: means averaged over the components.

    Means and colour coefficients are averaged with the softmax of the mixture logits, then chained
    with clipping as in sampling. (A convention of the published code, not the exact expectation.)

    Args:
      params: [..., 10 M] for RGB, [..., 3 M] for grey, laid out as for the log probability.
      num_mixtures: M.

    Returns:
      float32 [..., C] in [0, 1].

    Raises:
      ValueError: the channels do not fit.

    Example:
      >>> print(discretized_logistic_mixture_mean(jnp.array([[0.0, 0.5, 0.0]]), num_mixtures=1))
      [[0.75]]
    """
    logits, means, _, coefficients = _split_mixture(to_float32(params), num_mixtures)
    weights = jax.nn.softmax(logits)[..., None, :]
    average = lambda values: (weights * values).sum(-1)
    return _chain_colours(average(means), None if coefficients is None else average(coefficients))


def _split_mixture(
    params: jax.Array, m: int
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array | None]:
    """[..., channels] -> logits [..., M]; means, log scales, coefficients, each [..., C, M]."""
    lead, channels = params.shape[:-1], params.shape[-1]
    if channels == 10 * m:
        means, log_scales, coefficients = jnp.split(params[..., m:].reshape(*lead, 3, 3 * m), 3, -1)
        coefficients = jnp.tanh(coefficients)
    elif channels == 3 * m:
        means, log_scales = jnp.split(params[..., m:].reshape(*lead, 1, 2 * m), 2, -1)
        coefficients = None
    else:
        raise InputError(
            f"params has {channels} channels, {m} mixtures need {10 * m} (RGB) or {3 * m} (grey)"
        )
    return params[..., :m], means, jnp.maximum(log_scales, MIN_LOG_SCALE), coefficients


def _chain_colours(y: jax.Array, coefficients: jax.Array | None) -> jax.Array:
    """Add the colour dependences to y [..., C] in [-1, 1], clipping each; returns [0, 1]."""
    if coefficients is None:
        return (jnp.clip(y, -1, 1) + 1) / 2
    red = jnp.clip(y[..., 0], -1, 1)
    green = jnp.clip(y[..., 1] + coefficients[..., 0] * red, -1, 1)
    blue = y[..., 2] + coefficients[..., 1] * red + coefficients[..., 2] * green
    return (jnp.stack([red, green, jnp.clip(blue, -1, 1)], axis=-1) + 1) / 2


def _exact_log_mass(x: jax.Array, mean: jax.Array, log_scale: jax.Array, top: int) -> jax.Array:
    """log(F(upper) - F(lower)), the outer bins open; x [..., 1] in [0, 1], the rest [..., M]."""
    # Bin edges from the integer value: the upper edge of one bin is bitwise the lower edge of the
    # next, so the masses add up to one even where rounding of the edge matters (tiny scales).
    k = jnp.round(x * top)
    inverse = jnp.exp(-log_scale)
    upper = inverse * ((2 * k + 1 - top) / top - mean)
    lower = inverse * ((2 * k - 1 - top) / top - mean)
    log_below, log_above = jax.nn.log_sigmoid(upper), jax.nn.log_sigmoid(-lower)
    first, last = k <= 0, k >= top
    inner = log_below + log_above + _log1mexp(math.log(2 / top) - log_scale)
    return jnp.where(first, log_below, jnp.where(last, log_above, inner))


def _log1mexp(log_w: jax.Array) -> jax.Array:
    """log(1 - exp(-w)) from log w, finite with finite gradients for every finite log w."""
    w = jnp.exp(jnp.minimum(log_w, 5.0))  # beyond e^5 the value is 0 in float32
    small = log_w < -7.0
    series = log_w - w / 2  # the next term, w^2 / 24, is below float32 rounding
    # Both branches are differentiated, so the unused one gets an argument it likes.
    return jnp.where(small, series, jnp.log(-jnp.expm1(-jnp.where(small, 1.0, w))))


def _reference_log_mass(x: jax.Array, mean: jax.Array, log_scale: jax.Array, top: int) -> jax.Array:
    """The published code's rule, with its threshold 0.99 and its switch at a mass of 1e-5."""
    y = 2 * x - 1
    d = y - mean
    inverse = jnp.exp(-log_scale)
    plus, minus, middle = inverse * (d + 1 / top), inverse * (d - 1 / top), inverse * d
    mass = jax.nn.sigmoid(plus) - jax.nn.sigmoid(minus)
    density = middle - log_scale - 2 * jax.nn.softplus(middle) - math.log(top / 2)
    inner = jnp.where(mass > 1e-5, jnp.log(jnp.maximum(mass, 1e-10)), density)
    last = jnp.where(y > 0.99, -jax.nn.softplus(minus), inner)
    return jnp.where(y < -0.999, plus - jax.nn.softplus(plus), last)
