"""Angles between random vectors: their density, and the entropy a softmax over them has."""

import math
from typing import Any

import numpy as np

from jaxlab.embedding_dim.arguments import number
from jaxlab.errors import InputError, InputTypeError

_MAX_TERMS = 10_000_000


def angle_entropy(n: float, *, kappa: float = 1.0) -> float:
    r"""Entropy that n dimensions take away from a uniform choice: :math:`h_n < 0`, in nats.

    With :math:`M(k) = \mathrm{E}\,e^{k\cos\theta} = {}_0F_1(n/2; k^2/4)` over directions of the
    n-sphere and :math:`k = \kappa n`,

    .. math:: h_n = \log M(k) - k\, M'(k) / M(k) = -\mathrm{KL}(\text{tilted} \| \text{uniform}).

    The series of :math:`{}_0F_1` has positive terms only, so no digits are lost: errors are near
    1e-13 of the value.

    Args:
      n: dimensions, at least 1; fractions are allowed.
      kappa: logits are kappa n cos(theta); the mean of |u||v| divided by n.

    Returns:
      :math:`h_n`, strictly decreasing in n and in kappa.

    Raises:
      TypeError, ValueError: n or kappa is no number or out of range.

    Example:
      >>> round(angle_entropy(64), 4)  # Su's table: -15.4734
      -15.4734
      >>> round(angle_entropy(1), 6), round(math.log(math.cosh(1)) - math.tanh(1), 6)
      (-0.327813, -0.327813)
    """
    return entropy_of_angles(number("n", n, at_least=1), number("kappa", kappa, above=0))


def entropy_of_angles(n: float, kappa: float) -> float:
    """`angle_entropy` of any n > 0."""
    k = kappa * n
    peak = (math.hypot(n / 2, k) - n / 2) / 2  # index of the largest term
    count = peak + 12 * math.sqrt(peak) + 60  # terms fall off faster than Poisson's
    if not count < _MAX_TERMS:
        raise InputError(
            f"kappa * n is {k:.4g} for n {n:.4g}, too large to sum: use method 'asymptotic'"
        )
    j = np.arange(1, int(count) + 1, dtype=np.float64)
    log_terms = np.cumsum(2 * math.log(k / 2) - np.log(j) - np.log(n / 2 + j - 1))
    top = max(0.0, float(log_terms.max()))
    terms = np.exp(log_terms - top)
    rest, first = float(terms.sum()), math.exp(-top)
    log_m = math.log1p(rest) if top == 0 else top + math.log(first + rest)
    return log_m - 2 * float(j @ terms) / (first + rest)


def angle_density(theta: Any, n: float) -> np.ndarray:
    r"""Density of the angle between independent random directions in n dimensions.

    .. math:: p_n(\theta) = \frac{\Gamma(n/2)}{\Gamma((n-1)/2) \sqrt{\pi}} \sin^{n-2} \theta .

    Args:
      theta: angles in [0, pi], any shape.
      n: dimensions, at least 2.

    Returns:
      float64 of the shape of theta.

    Raises:
      TypeError, ValueError: n or an angle is out of range.

    Example:
      >>> angle_density([0.0, np.pi / 2], 3).round(3)
      array([0. , 0.5])

    Source: kexue.fm/archives/7076.
    """
    n = number("n", n, at_least=2)
    try:
        theta = np.asarray(theta, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputTypeError(f"theta is {theta!r}, must be numbers") from None
    if not ((theta >= 0) & (theta <= math.pi + 1e-9)).all():
        raise InputError("theta has values outside of [0, pi], must be angles in radians")
    scale = math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2)) / math.sqrt(math.pi)
    return scale * np.sin(theta) ** (n - 2)


def asymptotic_coefficients(*, kappa: float = 1.0) -> tuple[float, float]:
    r"""Slope c and constant b of :math:`h_n = -c\,n + b + O(1/n)`.

    With x the positive root of :math:`x (1 + x) = \kappa^2`,

    .. math:: c = \tfrac12 \log(1 + x), \quad
        b = \log(1 + x) - \tfrac12 \log(1 + 2x) - \frac{2 x^2}{(1 + 2x)^2} .

    At kappa = 1, :math:`1 + x` is the golden ratio: c = 0.24060591, which the post rounds to 0.24.

    Args:
      kappa: see `angle_entropy`.

    Returns:
      (c, b).

    Raises:
      TypeError, ValueError: kappa is out of range.

    Example:
      >>> c, b = asymptotic_coefficients()
      >>> round(c, 8), round(b, 8)
      (0.24060591, -0.07393406)
      >>> round(2 / c, 5), round(b / c, 4)  # the dimension is 8.31235 log N - 0.3073
      (8.31235, -0.3073)
    """
    kappa = number("kappa", kappa, above=0)
    x = 2 * kappa**2 / (1 + math.sqrt(1 + 4 * kappa**2))
    slope = math.log1p(x) / 2
    return slope, 2 * slope - math.log1p(2 * x) / 2 - 2 * (x / (1 + 2 * x)) ** 2
