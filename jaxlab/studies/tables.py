"""Markdown tables of studies, in one form.

± is the standard deviation over seeds, wherever it stands; an interval stands in brackets.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxlab.checks import check_scalar
from jaxlab.errors import InputError


def markdown(head: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    r"""Returns a table, each line with its newline.

    Args:
      head: titles of the columns.
      rows: cells, as many each.

    Raises:
      ValueError: a row has more or fewer cells than the head.

    Example:
      >>> print(markdown(["", "n"], [["a|b", 3]]), end="")
      |  | n |
      | --- | --- |
      | a\|b | 3 |
    """
    lines = [line(head), line(["---"] * len(head))]
    for cells in rows:
        if len(cells) != len(head):
            raise InputError(f"a row has {len(cells)} cells, the head {len(head)}")
        lines.append(line(cells))
    return "\n".join(lines) + "\n"


def line(cells: Sequence[Any]) -> str:
    """One line of a table, for those that are printed while they grow.

    Example:
      >>> line(["a", 0.5])
      '| a | 0.5 |'
    """
    plain = (str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(plain)} |"


def spread(values: ArrayLike) -> str:
    """Mean ± standard deviation over seeds; one seed has no ±, and no seed or mean is a dash.

    Example:
      >>> spread([1.0, 3.0]), spread([0.5]), spread([])
      ('2.00 ± 1.41', '0.50', '-')
    """
    values = np.asarray(values, np.float64)
    mean = values.mean() if len(values) else np.nan
    if np.isnan(mean):
        return "-"
    digits = ".2f" if abs(mean) < 1000 else ".0f"
    plus = f" ± {values.std(ddof=1):{digits}}" if len(values) > 1 else ""
    return f"{mean:{digits}}{plus}"


def percent(shares: ArrayLike) -> str:
    """`spread` of shares, in %.

    Example:
      >>> percent([0.5, 0.7])
      '60.00 ± 14.14'
    """
    return spread(100 * np.asarray(shares, np.float64))


def difference(ours: ArrayLike, baseline: ArrayLike, *, scale: float = 100.0) -> str:
    """Mean of the paired differences, with its 95 % interval if there is one.

    Args:
      ours: [seeds].
      baseline: [seeds], the same seeds.
      scale: factor of both; 100 for shares in %.

    Example:
      >>> difference([0.6, 0.8], [0.5, 0.7]), difference([0.6], [0.5]), difference([], [])
      ('+10.00 [+10.00, +10.00]', '+10.00', '-')
    """
    mean, half = paired(*(scale * np.asarray(x, np.float64) for x in (ours, baseline)))
    if np.isnan(mean):
        return "-"
    return f"{mean:+.2f}" + ("" if np.isnan(half) else f" [{mean - half:+.2f}, {mean + half:+.2f}]")


def paired(ours: np.ndarray, baseline: np.ndarray, *, level: float = 0.95) -> tuple[float, float]:
    """Mean of the paired differences and half the width of its Student interval.

    Args:
      ours: [seeds].
      baseline: [seeds], the same seeds.
      level: of confidence, between 0 and 1.

    Returns:
      (mean, half): half is NaN for one pair, which has no spread, and both are for none.

    Example:
      >>> mean, half = paired(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 0.0]))
      >>> round(mean, 3), round(half, 3)  # t(0.975, 2) / sqrt(3) = 2.484
      (2.0, 2.484)
    """
    if ours.shape != baseline.shape or ours.ndim != 1:
        raise InputError(f"shapes are {ours.shape} and {baseline.shape}, must be equal vectors")
    check_scalar("level", level, above=0.0, below=1.0)
    gaps = np.asarray(ours, np.float64) - np.asarray(baseline, np.float64)
    count = len(gaps)
    if count < 2:
        return float(gaps[0]) if count else float("nan"), float("nan")
    error = gaps.std(ddof=1) / np.sqrt(count)
    from scipy import stats  # a third of a second, which scripts without tables save

    return float(gaps.mean()), float(stats.t.ppf(0.5 + level / 2, count - 1) * error)
