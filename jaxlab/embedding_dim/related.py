"""Neighbours of the estimate: entropy of counts, Johnson-Lindenstrauss, attention scales."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxlab.embedding_dim.arguments import integer, number
from jaxlab.embedding_dim.estimates import multiplier
from jaxlab.errors import InputError, InputTypeError


def johnson_lindenstrauss_dim(n_points: int, eps: float, *, constant: float = 24.0) -> int:
    r"""Smallest :math:`n > c \log N / \epsilon^2`: room for N points with distances within eps.

    Only the order log N is that of `embedding_dim`: to need 8.33 log N dimensions, eps would have
    to be 1.39, where the lemma says nothing.

    Args:
      n_points: N, at least 2.
      eps: largest relative error of squared distances, in (0, 1).
      constant: c; 24 holds with probability 1 - 1/N for Gaussian matrices, 16 with some.

    Returns:
      A Python int.

    Raises:
      TypeError, ValueError: an argument is out of range.

    Example:
      >>> johnson_lindenstrauss_dim(100_000, 0.5), johnson_lindenstrauss_dim(100_000, 0.9)
      (1106, 342)

    Source: kexue.fm/archives/8679 and 8706.
    """
    n_points = integer("n_points", n_points, at_least=2)
    eps = number("eps", eps, above=0)
    if eps >= 1:
        raise InputError(f"eps is {eps}, must be below 1")
    return math.floor(number("constant", constant, above=0) * math.log(n_points) / eps**2) + 1


def entropy_invariant_scale(length: int, head_dim: int, train_length: int = 512) -> float:
    r"""Factor of attention logits that keeps entropy as length grows: :math:`\log_T L / \sqrt{d}`.

    Args:
      length: L, keys attended to, at least 1.
      head_dim: d, at least 1.
      train_length: T, where the factor is the usual :math:`1 / \sqrt d`, at least 2.

    Returns:
      The factor, a Python float.

    Raises:
      TypeError, ValueError: an argument is out of range.

    Example:
      >>> entropy_invariant_scale(512, 64), round(entropy_invariant_scale(2048, 64), 4)
      (0.125, 0.1528)

    Source: kexue.fm/archives/8823.
    """
    length = integer("length", length, at_least=1)
    head_dim = integer("head_dim", head_dim, at_least=1)
    train_length = integer("train_length", train_length, at_least=2)
    return math.log(length) / math.log(train_length) / math.sqrt(number("head_dim", head_dim))


def empirical_pair_entropy(counts: Any, *, pairs: str = "joint") -> float:
    r"""Entropy of counted pairs in nats, :math:`-\sum p_{ij} \log p_{ij}`; of j given i if asked.

    The plug-in estimate: too low where most pairs were seen once or twice.

    Args:
      counts: [N, N] numbers >= 0, row i the contexts of word i. For "joint" any shape will do, also
        the non-zero counts alone, or a mapping pair -> count.
      pairs: "joint" or "conditional" (the mean entropy of a row, weighted by the row's count).

    Returns:
      Nats.

    Raises:
      ValueError: nothing was counted, a count is negative or not finite, or "conditional" is asked
        of counts that are not a matrix.

    Example:
      >>> counts = [[2, 0], [1, 1]]
      >>> round(empirical_pair_entropy(counts), 4)
      1.0397
      >>> round(empirical_pair_entropy(counts, pairs="conditional"), 4)
      0.3466
    """
    mult = multiplier(pairs)
    if isinstance(counts, Mapping):
        counts = list(counts.values())
    array = np.asarray(counts)
    if array.dtype.kind not in "uif":
        raise InputTypeError(f"counts have dtype {array.dtype}, must be numbers")
    array = array.astype(np.float64)
    if array.size and not (np.isfinite(array).all() and array.min() >= 0):
        raise InputError(f"counts have value {array.min()}, must be finite and at least 0")
    total = float(array.sum())
    if not total > 0:
        raise InputError(f"counts of shape {array.shape} sum to {total}: the corpus is empty")
    joint = _entropy(array.ravel() / total)
    if mult == 2:
        return joint
    if array.ndim != 2:
        raise InputError(f"counts have shape {array.shape}, pairs='conditional' needs a matrix")
    return joint - _entropy(array.sum(axis=1) / total)


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-np.sum(p * np.log(p)))
