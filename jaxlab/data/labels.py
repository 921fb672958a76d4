"""What studies do to labels: long tails, wrong labels, splits, and a task whose noise is known.

All of it is drawn from a seed and is the same wherever and however often it is drawn.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from jaxlab.checks import check_count, check_scalar
from jaxlab.errors import InputError

PROFILES = ("exponential", "step")
FLIPS = ("symmetric", "pair")

# Streams of random numbers that one seed gives.
_TAIL, _FLIP, _POINTS, _SPLIT = 10, 11, 12, 13


def long_tail_counts(
    num_classes: int,
    largest: int,
    ratio: float,
    *,
    profile: Literal["exponential", "step"] = "exponential",
) -> np.ndarray:
    r"""Examples per class of a long tail, from the most frequent class to the rarest.

    .. math:: n_k = \lfloor n_0 \, r^{-k / (K - 1)} \rfloor

    or, as steps, n_0 for the first K // 2 classes and n_0 / r, rounded down, for the others.

    Args:
      num_classes: K >= 1.
      largest: n_0 >= 1, examples of class 0.
      ratio: r >= 1, examples of the first class to those of the last.
      profile: "exponential" or "step".

    Returns:
      int64 [K], not increasing.

    Raises:
      ValueError: an argument is out of range, or a class is left without examples.

    Example:
      >>> print(long_tail_counts(10, 6000, 100))
      [6000 3596 2156 1292  774  464  278  166  100   60]

    Source: the profiles of Cui et al., 2019, arXiv:1901.05555, and of Cao et al., 2019,
    arXiv:1906.07413.
    """
    check_count("num_classes", num_classes)
    check_count("largest", largest)
    check_scalar("ratio", ratio)
    if not ratio >= 1:
        raise InputError(f"ratio is {ratio}, needs to be at least 1")
    if profile == "exponential":
        exponents = np.arange(num_classes) / max(num_classes - 1, 1)
    elif profile == "step":
        exponents = (np.arange(num_classes) >= num_classes // 2).astype(float)
        exponents[0] = 0.0  # a single class is the most frequent one
    else:
        raise InputError(f"profile is {profile!r}, needs to be one of {PROFILES}")
    # A power of the ratio may fall short of a whole number by rounding alone.
    counts = np.floor(largest * float(ratio) ** -exponents * (1 + 1e-12)).astype(np.int64)
    if counts[-1] < 1:
        empty = int((counts < 1).argmax())
        raise InputError(
            f"largest is {largest} and ratio {ratio}, which leaves class {empty} no example"
        )
    return counts


def long_tail_indices(
    labels: np.ndarray,
    *,
    ratio: float,
    seed: int,
    profile: Literal["exponential", "step"] = "exponential",
    largest: int | None = None,
    permute_classes: bool = False,
) -> np.ndarray:
    """Chooses examples whose classes form a long tail (`long_tail_counts`).

    With the same seed, the choice for a higher ratio lies within that for a lower one.

    Args:
      labels: int [N], classes 0 to K - 1, each of which occurs.
      ratio: examples of the most frequent class to those of the rarest, >= 1.
      seed: >= 0; decides which examples are chosen and, if asked, which classes are frequent.
      profile: "exponential" or "step".
      largest: examples of the most frequent class; None for all that it has.
      permute_classes: whether the order of the classes, from frequent to rare, is drawn from the
        seed; else class 0 is the most frequent, as in the standard benchmarks.

    Returns:
      int64 [n], indices into labels in ascending order, without repeats.

    Raises:
      ValueError: an argument is out of range, or a class has too few examples.

    Example:
      >>> labels = np.repeat(np.arange(3), 100)
      >>> print(np.bincount(labels[long_tail_indices(labels, ratio=25, seed=0)]))
      [100  20   4]
    """
    labels = _check_labels(labels)
    check_count("seed", seed, at_least=0, below=None)
    if (gap := class_gap(labels)) is not None:
        raise InputError(f"labels has no example of class {gap}")
    available = np.bincount(labels)
    order = np.arange(len(available))
    if permute_classes:
        order = np.random.default_rng((seed, _TAIL)).permutation(order)
    largest = int(available[order[0]]) if largest is None else largest
    counts = long_tail_counts(len(available), largest, ratio, profile=profile)
    chosen = []
    for k, count in zip(order, counts, strict=True):
        if count > available[k]:
            raise InputError(
                f"labels has {available[k]} examples of class {k}, the tail needs {count}"
            )
        # A generator a class: the choice in one does not depend on the counts of others.
        rows = np.random.default_rng((seed, _TAIL, int(k))).permutation(np.flatnonzero(labels == k))
        chosen.append(rows[:count])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def flip_labels(
    labels: np.ndarray,
    *,
    rate: float,
    num_classes: int,
    seed: int,
    kind: Literal["symmetric", "pair"] = "symmetric",
) -> np.ndarray:
    """Makes exactly `round(rate * N)` labels wrong.

    With the same seed, the wrong labels of a lower rate are among those of a higher one.

    Args:
      labels: int [N], in [0, num_classes).
      rate: share of wrong labels, in [0, 1].
      num_classes: K >= 2.
      seed: >= 0.
      kind: "symmetric": each other class with probability 1 / (K - 1); "pair": the next class,
        of the last class the first.

    Returns:
      int [N], of the dtype of `labels`; `!= labels` says which were changed.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> labels = np.zeros(10, np.int32)
      >>> print((flip_labels(labels, rate=0.4, num_classes=3, seed=0) != labels).sum())
      4
      >>> print(flip_labels(np.array([0, 1, 2]), rate=1.0, num_classes=3, seed=0, kind="pair"))
      [1 2 0]
    """
    check_count("num_classes", num_classes, at_least=2)
    labels = _check_labels(labels, num_classes)
    check_share("rate", rate)
    check_count("seed", seed, at_least=0, below=None)
    rng = np.random.default_rng((seed, _FLIP))
    # All draws are made whatever the rate, so that a higher rate only adds wrong labels.
    rows = rng.permutation(len(labels))[: round(rate * len(labels))]
    if kind == "symmetric":
        shift = rng.integers(1, num_classes, len(labels))[rows]
    elif kind == "pair":
        shift = 1
    else:
        raise InputError(f"kind is {kind!r}, needs to be one of {FLIPS}")
    flipped = labels.copy()
    flipped[rows] = (labels[rows].astype(np.int64) + shift) % num_classes
    return flipped


def sinusoid(num_examples: int, *, noise: float = 0.1, seed: int) -> tuple[np.ndarray, np.ndarray]:
    r"""The two-dimensional task of the flooding paper's authors: a sine curve parts two classes.

    Points are uniform in the disc of radius 2, and :math:`y = [1.5 x_0 + \sin(1.5 x_1) > 0]`.
    No classifier can have an error below `noise`, nor on average a loss below that of
    predicting 1 - noise for the right side.

    Args:
      num_examples: N >= 1.
      noise: share of wrong labels, in [0, 1]; exactly `round(noise * N)` are flipped.
      seed: >= 0; the points do not depend on the noise, so noise 0 gives the right labels.

    Returns:
      x float32 [N, 2] and y int32 [N], 0 or 1.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> x, y = sinusoid(1000, noise=0.1, seed=0)
      >>> right = 1.5 * x[:, 0] + np.sin(1.5 * x[:, 1]) > 0
      >>> print((y != right).sum(), x.shape)
      100 (1000, 2)

    Source: the code that Ishida et al., 2020, arXiv:2002.08709, published; written anew.

    Departures: the number of wrong labels is rounded, there rounded down.
    """
    check_count("num_examples", num_examples)
    check_share("noise", noise)
    check_count("seed", seed, at_least=0, below=None)
    rng = np.random.default_rng((seed, _POINTS))
    radius, angle = 2 * np.sqrt(rng.random(num_examples)), 2 * np.pi * rng.random(num_examples)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)
    y = (1.5 * x[:, 0] + np.sin(1.5 * x[:, 1]) > 0).astype(np.int32)
    return x, flip_labels(y, rate=noise, num_classes=2, seed=seed)


def split_indices(
    labels_or_n: np.ndarray | int,
    *,
    sizes: Sequence[int] | Sequence[float],
    seed: int,
    stratified: bool = True,
) -> tuple[np.ndarray, ...]:
    """Splits examples at random into parts that do not overlap.

    Args:
      labels_or_n: int [N], the labels, or the number N of examples.
      sizes: examples of each part, or, all of them floats, their shares of N; what they leave
        over is in no part.
      seed: >= 0.
      stratified: whether each part gets its share of every class, rounded up or down; an int has
        no classes.

    Returns:
      For each part int64 [size], indices in ascending order.

    Raises:
      ValueError: sizes are negative, mixed or more than there is.

    Example:
      >>> labels = np.repeat([0, 1], [90, 10])
      >>> train, validation = split_indices(labels, sizes=(0.8, 0.2), seed=0)
      >>> print(np.bincount(labels[train]), np.bincount(labels[validation]))
      [72  8] [18  2]
    """
    check_count("seed", seed, at_least=0, below=None)
    if isinstance(labels_or_n, int | np.integer):
        check_count("labels_or_n", labels_or_n, at_least=0)
        total, labels = int(labels_or_n), None
    else:
        labels = _check_labels(labels_or_n)
        total = len(labels)
    numbers = _sizes(sizes, total)
    rest = np.random.default_rng((seed, _SPLIT)).permutation(total)
    if labels is not None and stratified:
        rest = rest[np.argsort(labels[rest], kind="stable")]
    parts = []
    for size in numbers:
        # Evenly spaced in the order by class: every run of m rows gives up m size / N, rounded.
        steps = np.arange(len(rest) + 1) * size // max(len(rest), 1)
        taken = np.diff(steps).astype(bool)
        parts.append(np.sort(rest[taken]).astype(np.int64))
        rest = rest[~taken]
    return tuple(parts)


def _sizes(sizes: Sequence[int] | Sequence[float], total: int) -> list[int]:
    """Whole numbers of examples."""
    whole = all(isinstance(size, int | np.integer) for size in sizes)
    if not whole and not all(isinstance(size, float | np.floating) for size in sizes):
        raise InputError(f"sizes is {tuple(sizes)}, needs to be all ints or all floats")
    numbers = None
    if all(0 <= size < np.inf for size in sizes):
        # Rounding the ends, not the sizes: shares that sum to 1 use every example once.
        ends = [round(end * total) for end in np.cumsum([0.0, *sizes]).tolist()]
        numbers = [int(size) for size in sizes] if whole else np.diff(ends).tolist()
    if numbers is None or sum(numbers) > total:
        raise InputError(
            f"sizes is {tuple(sizes)}, needs to be at least 0 each and {total} examples at most"
        )
    return numbers


def check_share(name: str, value: float) -> None:
    """Raises unless `value` is a number in [0, 1]."""
    check_scalar(name, value)
    if not 0 <= value <= 1:
        raise InputError(f"{name} is {value}, needs to be in [0, 1]")


def class_gap(labels: np.ndarray) -> int | None:
    """The lowest class number below the highest one that no label has, or None.

    Example:
      >>> class_gap(np.array([0, 1, 3])), class_gap(np.array([1, 0]))
      (2, None)
    """
    present = np.unique(labels)
    gaps = np.flatnonzero(present != np.arange(len(present)))
    return int(gaps[0]) if len(gaps) else None


def _check_labels(labels: np.ndarray, num_classes: int | None = None) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or not len(labels):
        raise InputError(
            f"labels is {labels.dtype} {labels.shape}, needs to be an int vector of at least one"
        )
    for value in (labels.min(), labels.max()):
        if value < 0 or (num_classes is not None and value >= num_classes):
            end = "K" if num_classes is None else num_classes
            raise InputError(f"labels has value {value}, needs to be in [0, {end})")
    return labels
