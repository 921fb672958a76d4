"""The estimate: entropy of a skip-gram softmax, the dimension for it, and the inverse."""

import math

from jaxlab.embedding_dim.angles import (
    angle_entropy,
    asymptotic_coefficients,
    entropy_of_angles,
)
from jaxlab.embedding_dim.arguments import integer, number
from jaxlab.errors import InputError

METHODS = ("formula", "asymptotic", "entropy")
PAIRS = {"joint": 2, "conditional": 1}


def skipgram_entropy(
    vocab_size: int, dim: float, *, kappa: float = 1.0, pairs: str = "joint"
) -> float:
    r"""Entropy of a skip-gram softmax with random vectors, :math:`m \log N + h_n`, in nats.

    Good to half the dimension where it reaches 0 (for N = 3000 and n = 24, 0.01 nats on average and
    0.07 in one draw). Beyond, few pairs hold all the mass, and the true entropy levels off above 0
    while this goes on falling. Vectors shared by words and contexts have another entropy
    altogether: log N from n = 1.61 log N on.

    Args:
      vocab_size: N, at least 2.
      dim: n, at least 1.
      kappa: see `angle_entropy`.
      pairs: "joint", one softmax over all pairs (m = 2), or "conditional", one over the contexts
        of each word (m = 1).

    Returns:
      The entropy; negative where the formula has left its range.

    Raises:
      TypeError, ValueError: an argument is out of range.

    Example:
      >>> round(skipgram_entropy(100_000, 64), 4)
      7.5525
    """
    log_n, mult = _log_vocab(vocab_size), multiplier(pairs)
    return mult * log_n + angle_entropy(number("dim", dim, at_least=1), kappa=kappa)


def embedding_dim(
    vocab_size: int,
    *,
    method: str = "formula",
    coefficient: float = 8.33,
    pairs: str = "joint",
    kappa: float = 1.0,
    target_entropy: float = 0.0,
    multiple_of: int = 1,
) -> int:
    r"""Smallest dimension whose estimated entropy is below a target: :math:`n > 8.33 \log N`.

    Args:
      vocab_size: N, at least 2.
      method: "formula", the post's :math:`8.33 \log N`; "asymptotic",
        :math:`8.31235 \log N - 0.3073`; or "entropy", the root of
        :math:`m \log N + h_n = \text{target}`. The last two agree within 0.01 from N = 100 on; the
        first differs by at most 0.6 dimensions up to N = 5,000,000, since 8.33 is 2 / 0.24 with
        0.2406 rounded.
      coefficient: of "formula", for all pairs, kappa = 1 and target 0. Other choices scale it.
      pairs: "joint" (m = 2) or "conditional" (m = 1): the one is twice the other.
      kappa: see `angle_entropy`. Trained vectors have 0.2 to 0.5, which asks for more dimensions.
      target_entropy: entropy of the corpus in nats (`empirical_pair_entropy`) or 0, which is below
        that of any corpus; the higher the target, the fewer dimensions.
      multiple_of: round up to a multiple, such as 8.

    Returns:
      A Python int, at least 1.

    Raises:
      TypeError: an argument has another type; bools and texts are no numbers.
      ValueError: an argument is out of range; a target of :math:`m \log N` or more is met by any
        dimension, so there is nothing to solve.

    Example:
      >>> embedding_dim(100_000), embedding_dim(5_000_000), embedding_dim(50_257, multiple_of=8)
      (96, 129, 96)
      >>> embedding_dim(5_000_000, method="entropy"), embedding_dim(100_000, pairs="conditional")
      (128, 48)

    Source: kexue.fm/archives/7695.
    """
    multiple_of = integer("multiple_of", multiple_of, at_least=1)
    root = embedding_dim_root(
        vocab_size,
        method=method,
        coefficient=coefficient,
        pairs=pairs,
        kappa=kappa,
        target_entropy=target_entropy,
    )
    dim = max(1, math.floor(root) + 1)  # strictly above the root
    return -(-dim // multiple_of) * multiple_of


def embedding_dim_root(
    vocab_size: int,
    *,
    method: str = "entropy",
    coefficient: float = 8.33,
    pairs: str = "joint",
    kappa: float = 1.0,
    target_entropy: float = 0.0,
) -> float:
    """The real number that `embedding_dim` rounds up; the arguments are those.

    Example:
      >>> round(embedding_dim_root(100_000), 4)
      95.3902
      >>> round(embedding_dim_root(100_000, method="formula"), 4)
      95.9027
    """
    if method not in METHODS:
        raise InputError(f"method is {method!r}, must be one of {', '.join(METHODS)}")
    log_n, mult = _log_vocab(vocab_size), multiplier(pairs)
    kappa = number("kappa", kappa, above=0)
    coefficient = number("coefficient", coefficient, above=0)
    target = number("target_entropy", target_entropy, at_least=0)
    excess = mult * log_n - target
    if excess <= 0:
        raise InputError(
            f"target_entropy is {target:.6g}, must be below {mult} log N = {mult * log_n:.6g}: "
            "every dimension has a lower entropy"
        )
    slope, constant = asymptotic_coefficients(kappa=kappa)
    if method == "formula":
        slope_at_1 = asymptotic_coefficients()[0]
        return coefficient / 2 * excess * slope_at_1 / slope
    if method == "asymptotic":
        return (excess + constant) / slope
    low, high = 0.0, 2.0
    while entropy_of_angles(high, kappa) > -excess:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if entropy_of_angles(middle, kappa) > -excess else (low, middle)
    return high


def vocab_capacity(
    dim: float, *, kappa: float = 1.0, pairs: str = "joint", target_entropy: float = 0.0
) -> float:
    r"""Vocabulary whose entropy in `dim` dimensions is the target, :math:`e^{(t - h_n)/m}`.

    Args:
      dim: n, at least 1.
      kappa: see `angle_entropy`.
      pairs: see `embedding_dim`.
      target_entropy: t >= 0, in nats.

    Returns:
      N as a float, the inverse of `embedding_dim_root`.

    Raises:
      TypeError, ValueError: an argument is out of range, or N is larger than a float can be.

    Example:
      >>> [round(vocab_capacity(n)) for n in (64, 96, 128)]
      [2291, 107611, 5055144]
    """
    mult = multiplier(pairs)
    target = number("target_entropy", target_entropy, at_least=0)
    h = angle_entropy(number("dim", dim, at_least=1), kappa=kappa)
    exponent = (target - h) / mult
    if exponent > 709:
        raise InputError(
            f"dim is {dim}, target_entropy {target_entropy}: the vocabulary would be "
            f"e^{exponent:.6g}, more than a float holds (e^709): take a smaller one"
        )
    return math.exp(exponent)


def multiplier(pairs: str) -> int:
    """How many log N the uniform entropy is."""
    if pairs not in (*PAIRS,):
        raise InputError(f"pairs is {pairs!r}, must be one of {', '.join(PAIRS)}")
    return PAIRS[pairs]


def _log_vocab(vocab_size: int) -> float:
    return math.log(integer("vocab_size", vocab_size, at_least=2))
