"""Figures of methods next to one another, with the spread over seeds."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from numpy.typing import ArrayLike

from jaxlab.errors import InputError
from jaxlab.plots.files import new_figure, save_figure


def _rows_of(names: Sequence[str], xlabel: str, title: str) -> tuple[Any, Any]:
    """A figure and its panel with a named row per method, the first one on top."""
    figure = new_figure(figsize=(6.4, 0.9 + 0.3 * len(names)))
    panel = figure.subplots()
    panel.set_yticks(range(len(names)), names, fontsize=9)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_xlabel(xlabel)
    panel.set_title(title, fontsize=11)
    return figure, panel


def dots(
    values: Mapping[str, ArrayLike], path: epath.PathLike, *, xlabel: str = "", title: str = ""
) -> None:
    """Save a row per method: a dot per seed, and a bar at their mean.

    Args:
      values: method -> [seeds], at least one.
      path: the PNG file.
      xlabel: text below, with the unit.
      title: text above.

    Raises:
      ValueError: there is no method, or values are not vectors.
    """
    rows = {name: np.asarray(v, float) for name, v in values.items()}
    if not rows or any(v.ndim != 1 or not len(v) for v in rows.values()):
        raise InputError(f"values have shapes {[v.shape for v in rows.values()]}, need (seeds,)")
    figure, panel = _rows_of(list(rows), xlabel, title)
    for y, row in enumerate(rows.values()):
        panel.plot(row, np.full(len(row), y), "o", markersize=4, alpha=0.5, color="C0")
        if np.isfinite(row.mean()):
            panel.plot([row.mean()] * 2, [y - 0.32, y + 0.32], color="C3", linewidth=2)
    panel.grid(alpha=0.25)
    save_figure(figure, path)


def stacks(
    values: Mapping[str, ArrayLike], path: epath.PathLike, *, xlabel: str = "", title: str = ""
) -> None:
    """Save a row per method: its parts end to end, each with its value, such as KL per group.

    Args:
      values: method -> [parts], non-negative, at least one; methods may have different numbers.
      path: the PNG file.
      xlabel: text below, with the unit.
      title: text above.

    Raises:
      ValueError: there is no method, or values are not non-negative vectors.
    """
    rows = {name: np.asarray(v, float) for name, v in values.items()}
    if not rows or any(v.ndim != 1 or not len(v) for v in rows.values()):
        raise InputError(f"values have shapes {[v.shape for v in rows.values()]}, need (parts,)")
    if bad := [name for name, row in rows.items() if not np.all(row >= 0)]:
        raise InputError(f"values of {bad[0]!r} must be numbers of 0 or more")
    figure, panel = _rows_of(list(rows), xlabel, title)
    widest = max(row.sum() for row in rows.values())
    for y, row in enumerate(rows.values()):
        for i, (start, length) in enumerate(zip(np.cumsum(row) - row, row, strict=True)):
            panel.barh(y, length, left=start, color=f"C{i % 10}", alpha=0.75, height=0.75)
            if length > 0.05 * widest:  # where there is room for it
                panel.text(start + length / 2, y, f"{length:.1f}", ha="center", va="center", size=8)
    panel.grid(axis="x", alpha=0.25)
    save_figure(figure, path)


def bands(
    lines: Mapping[str, tuple[ArrayLike, ArrayLike]],
    path: epath.PathLike,
    *,
    xlabel: str = "",
    ylabel: str = "",
    title: str = "",
    logx: bool = False,
) -> None:
    """Save lines of means over seeds, shaded by one standard deviation to both sides.

    Args:
      lines: label -> (x [E], values [E, seeds]); NaN leaves a gap, and one seed has no shade.
      path: the PNG file.
      xlabel: text below.
      ylabel: text at the side.
      title: text above.
      logx: whether x is logarithmic; x = 0 is then left out.

    Raises:
      ValueError: there is no line, or shapes do not fit.
    """
    if not lines:
        raise InputError("there are no lines to draw")
    figure = new_figure(figsize=(6.4, 3.8))
    panel = figure.subplots()
    styles = ("-", "--", "-.", ":")
    for i, (label, (x, values)) in enumerate(lines.items()):
        x, values = np.asarray(x, float), np.asarray(values, float)
        if values.shape[:1] != x.shape or values.ndim != 2:
            raise InputError(f"{label}: x has shape {x.shape}, values {values.shape}")
        kept = x > 0 if logx else np.full(len(x), True)
        mean = values.mean(1)[kept]
        (line,) = panel.plot(
            x[kept],
            mean,
            label=label,
            linewidth=1.5,
            linestyle=styles[i // 10 % 4],
            marker="." if kept.sum() < 15 else "",
        )
        if values.shape[1] > 1:
            spread = values.std(1, ddof=1)[kept]
            low, high, color = mean - spread, mean + spread, line.get_color()
            panel.fill_between(x[kept], low, high, color=color, alpha=0.15, linewidth=0)
    if logx:
        panel.set_xscale("log")
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_xlabel(xlabel)
    panel.set_ylabel(ylabel)
    panel.set_title(title, fontsize=11)
    figure.legend(loc="outside lower center", ncols=min(3, len(lines)), fontsize=8)
    save_figure(figure, path)


def tradeoff(
    lines: Mapping[str, Sequence[ArrayLike] | np.ndarray],
    path: epath.PathLike,
    *,
    xlabel: str = "",
    ylabel: str = "",
    title: str = "",
) -> None:
    """Save one figure against another, a point a setting, joined in the order given.

    Args:
      lines: method -> (x [M], y [M]), the settings in order of strength.
      path: the PNG file.
      xlabel: text below.
      ylabel: text at the side.
      title: text above.

    Raises:
      ValueError: there is no line, or shapes do not fit.
    """
    if not lines:
        raise InputError("there are no lines to draw")
    figure = new_figure(figsize=(6.4, 4.4))
    panel = figure.subplots()
    for (label, points), marker in zip(lines.items(), itertools.cycle("os^Dv<>P*X"), strict=False):
        x, y = (np.asarray(values, float) for values in points)
        if x.shape != y.shape or x.ndim != 1:
            raise InputError(f"{label}: x has shape {x.shape}, y {y.shape}, must be equal vectors")
        panel.plot(x, y, label=label, marker=marker, markersize=5, linewidth=1, alpha=0.8)
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_xlabel(xlabel)
    panel.set_ylabel(ylabel)
    panel.set_title(title, fontsize=11)
    figure.legend(loc="outside lower center", ncols=min(4, len(lines)), fontsize=8)
    save_figure(figure, path)
