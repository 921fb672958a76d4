"""Points in two classes whose right answer is known: the synthetic tasks of the flooding paper.

`labels.sinusoid` is the third of them. All is drawn from a seed.
"""

import numpy as np

from jaxlab.checks import check_count, check_scalar
from jaxlab.data.labels import check_share, flip_labels, sinusoid

_POINTS = 14  # stream of random numbers of a seed


def gaussians(
    num_examples: int, *, noise: float = 0.0, seed: int, dims: int = 10, shift: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    r"""Two Gaussian clouds: class 0 around 0, class 1 around (shift, ..., shift).

    .. math:: x \mid y \sim N(y \, m \, \mathbf{1}, I)

    The best classifier asks whether the mean of x is above m / 2; its error is
    :math:`\Phi(-m \sqrt{d} / 2)`, 5.7 % for the defaults.

    Args:
      num_examples: N >= 1.
      noise: share of wrong labels, in [0, 1].
      seed: >= 0.
      dims: d >= 1.
      shift: m.

    Returns:
      x float32 [N, dims] and y int32 [N], N // 2 of class 1, in random order.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> x, y = gaussians(1001, seed=0)
      >>> print(x.shape, y.sum(), x[y == 1].mean().round(1))
      (1001, 10) 500 1.0

    Source: Ishida et al., 2020, arXiv:2002.08709, section 4.1.
    """
    check_count("dims", dims)
    check_scalar("shift", shift)
    rng, y = _classes(num_examples, noise, seed)
    x = rng.normal(size=(num_examples, dims)) + shift * y[:, None]
    return x.astype(np.float32), flip_labels(y, rate=noise, num_classes=2, seed=seed)


def spiral(
    num_examples: int, *, noise: float = 0.0, seed: int, blur: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    r"""Two spirals inside each other, of two turns.

    .. math::
       x = (\theta + \pi [y = 1]) \, (\cos\theta, \sin\theta) + \tau \varepsilon, \quad
       \varepsilon \sim N(0, I)

    with angles evenly spaced in [0, 4 pi] for each class.

    Args:
      num_examples: N >= 1.
      noise: share of wrong labels, in [0, 1].
      seed: >= 0.
      blur: tau >= 0. What the paper takes was not found; neighbouring arms are pi apart.

    Returns:
      x float32 [N, 2] and y int32 [N], N // 2 of class 1, in random order.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> x, y = spiral(9, seed=0, blur=0.0)
      >>> print(np.linalg.norm(x[y == 1], axis=1).min().round(2))  # theta = 0
      3.14

    Source: Sugiyama, 2015, as Ishida et al., 2020, arXiv:2002.08709, section 4.1, give it.
    """
    check_scalar("blur", blur, at_least=0.0)
    rng, y = _classes(num_examples, noise, seed)
    theta = np.zeros(num_examples)
    for k in (0, 1):
        theta[y == k] = np.linspace(0, 4 * np.pi, int((y == k).sum()))
    radius = theta + np.pi * y
    x = radius[:, None] * np.stack([np.cos(theta), np.sin(theta)], axis=1)
    x += blur * rng.normal(size=x.shape)
    return x.astype(np.float32), flip_labels(y, rate=noise, num_classes=2, seed=seed)


# Name -> (num_examples, noise=, seed=) -> (x, y).
POINTS = {"sinusoid": sinusoid, "gaussians": gaussians, "spiral": spiral}


def _classes(num_examples, noise, seed):
    """A generator, and labels half and half in random order."""
    check_count("num_examples", num_examples)
    check_share("noise", noise)
    check_count("seed", seed, at_least=0, below=None)
    rng = np.random.default_rng((seed, _POINTS))
    return rng, rng.permutation(np.arange(num_examples) < num_examples // 2).astype(np.int32)
