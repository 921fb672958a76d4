"""Curves of metrics, and bars."""

import fnmatch
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from numpy.typing import ArrayLike

from jaxlab.errors import InputError
from jaxlab.plots.files import new_figure, save_figure

MAX_PANELS = 12

Rows = Sequence[Mapping[str, Any]]


def curves(
    runs: Rows | Mapping[str, Rows],
    path: epath.PathLike,
    names: Sequence[str] = (),
    *,
    title: str = "",
    ncols: int = 3,
    xlabel: str = "step",
    words: Mapping[str, str] | None = None,
    other_axes: Mapping[str, Mapping[str, Rows]] | None = None,
) -> None:
    """Save metrics over steps, one panel per metric, one line per run.

    A line of more than 200 points is drawn thin, its running mean bold. Where the beginning is far
    above the rest, the panel shows the rest and says where the line began.

    Args:
      runs: rows as `metrics.read_metrics` returns them, or label -> rows for several runs. A row
        without a metric, or with NaN, leaves no point.
      path: the PNG file.
      names: metrics to show, in this order; patterns such as "kl*" are allowed. Default all, at
        most 12.
      title: text above.
      ncols: panels a row.
      xlabel: what the rows count under "step".
      words: metric -> what its panel is called; by default its name.
      other_axes: the same runs over something else, xlabel -> runs; each gets its own panels.

    Raises:
      ValueError: there are no rows, or no metric of a name.
    """
    from matplotlib.ticker import EngFormatter, MaxNLocator

    if not isinstance(runs, Mapping):
        runs = {"": runs}
    known = dict.fromkeys(
        key for rows in runs.values() for row in rows for key in row if key != "step"
    )
    if not known:
        raise InputError(f"there are no metrics to draw in {len(runs)} runs")
    chosen = _match(known, names)
    left_out = len(chosen) - MAX_PANELS if not names else 0
    if left_out > 0:
        chosen = chosen[:MAX_PANELS]
        title = f"{title} ({left_out} more metrics not shown)".strip()
    sheets = {xlabel: runs, **(other_axes or {})}
    cells = [(name, axis) for name in chosen for axis in sheets]
    ncols = min(ncols, len(cells)) if len(sheets) == 1 else len(sheets)
    nrows = math.ceil(len(cells) / ncols)
    figure = new_figure(figsize=(4.0 * ncols, 2.6 * nrows + 0.3))
    panels = figure.subplots(nrows, ncols, squeeze=False).ravel()
    for panel, (name, axis) in zip(panels, cells, strict=False):
        drawn = []
        for label, rows in sheets[axis].items():
            points = np.array([(r["step"], r[name]) for r in rows if name in r], float)
            points = points.reshape(-1, 2)[np.isfinite(points.reshape(-1, 2)).all(1)]
            drawn.append(points)
            _line(panel, points, label)
        _zoom(panel, drawn)
        panel.set_title((words or {}).get(name, name), fontsize=10)
        panel.grid(alpha=0.25)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.margins(x=0.02)
    for panel in panels[len(cells) :]:
        panel.set_visible(False)
    for i in range(max(0, len(cells) - ncols), len(cells)):
        panels[i].set_xlabel(cells[i][1], fontsize=9)
    if len(runs) > 1:
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=min(4, len(runs)), fontsize=9
        )
    if title:
        figure.suptitle(title, fontsize=11)
    save_figure(figure, path)


def bars(
    values: ArrayLike | Mapping[str, ArrayLike],
    path: epath.PathLike,
    *,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    labels: Sequence[str] = (),
    threshold: float | None = None,
) -> None:
    """Save one bar a value, such as the KL of each group of latents.

    Args:
      values: [K], or label -> [K] for several series side by side.
      path: the PNG file.
      title: text above.
      xlabel: text below.
      ylabel: text at the side, with the unit.
      labels: name of each bar; default 1, 2, ...
      threshold: a value to mark with a dashed line.

    Raises:
      ValueError: the series are not vectors of one length.
    """
    from matplotlib.ticker import MaxNLocator

    series = values if isinstance(values, Mapping) else {"": values}
    heights = {label: np.asarray(v, float) for label, v in series.items()}
    count = len(next(iter(heights.values()), ()))
    for label, height in heights.items():
        if height.shape != (count,) or not count:
            raise InputError(f"values {label} have shape {height.shape}, ({count},) is needed")
    figure = new_figure(figsize=(min(max(4.0, 1.5 + 0.35 * count), 12), 3.0))
    panel = figure.subplots()
    width = 0.8 / len(heights)
    for i, (label, height) in enumerate(heights.items()):
        offset = (i - (len(heights) - 1) / 2) * width
        panel.bar(np.arange(1, count + 1) + offset, height, width, label=label)
    if labels:
        panel.set_xticks(np.arange(1, count + 1), labels, fontsize=8)
    else:
        panel.xaxis.set_major_locator(MaxNLocator(min(count, 15), integer=True))
        panel.set_xlim(0.3, count + 0.7)
    if threshold is not None:
        panel.axhline(threshold, color="0.3", linewidth=1, linestyle="--")
    panel.grid(axis="y", alpha=0.25)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_xlabel(xlabel)
    panel.set_ylabel(ylabel)
    panel.set_title(title, fontsize=11)
    if len(heights) > 1:
        panel.legend(fontsize=9)
    save_figure(figure, path)


def _match(known: Iterable[str], names: Sequence[str]) -> list[str]:
    known = list(known)
    chosen: dict[str, None] = {}
    for name in names:
        found = [key for key in known if key == name] or fnmatch.filter(known, name)
        if not found:
            raise InputError(f"there is no metric {name!r}, the rows hold {', '.join(known)}")
        chosen.update(dict.fromkeys(found))
    return list(chosen) if names else known


def _line(panel: Any, points: np.ndarray, label: str) -> None:
    step, value = points.T
    if len(points) <= 200:
        panel.plot(step, value, label=label, linewidth=1.5, marker="." if len(points) < 30 else "")
        return
    width = len(points) // 50
    mean = np.convolve(value, np.ones(width) / width, "valid")
    (line,) = panel.plot(step[width // 2 :][: len(mean)], mean, label=label, linewidth=1.6)
    panel.plot(step, value, color=line.get_color(), alpha=0.25, linewidth=0.6)


def _zoom(panel: Any, lines: list[np.ndarray]) -> None:
    """Give the panel's height to what follows the first twentieth of the steps."""
    lines = [points for points in lines if len(points) >= 10]
    if not lines:
        return
    last = max(points[-1, 0] for points in lines)
    late = np.concatenate([points[points[:, 0] > last / 20, 1] for points in lines])
    everything = np.concatenate([points[:, 1] for points in lines])
    if not len(late):
        return
    low, high = late.min(), late.max()
    if everything.max() - high > 2 * (high - low) > 0:
        panel.set_ylim(low - 0.05 * (high - low), high + 0.1 * (high - low))
        text = f"starts at {max(points[0, 1] for points in lines):.4g}"
        panel.text(
            *(0.98, 0.96, text),
            transform=panel.transAxes,
            fontsize=8,
            ha="right",
            va="top",
            color="0.35",
        )
