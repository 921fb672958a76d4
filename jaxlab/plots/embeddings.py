"""Dimensions of embeddings: what was measured, what is estimated, and words in a plane."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from etils import epath

from jaxlab.plots.files import new_figure, save_figure


def dimension_sweep(
    dims: Sequence[int], table: Sequence[Mapping[str, Any]], path: epath.PathLike
) -> None:
    """Save held-out cross-entropy against dimension, a panel per vocabulary, with the predictions.

    Args:
      dims: the dimensions, rising.
      table: entries with "vocab_size", "predicted" and, of the columns "held_out" and
        "held_out_best", "mean" and "sd" [dimensions], as `embeddings.sweep.summarize` makes them.
      path: the PNG file.
    """
    figure = new_figure(figsize=(3.4 * len(table), 3.2), dpi=90)
    panels = figure.subplots(1, len(table), squeeze=False)[0]
    for panel, entry in zip(panels, table, strict=True):
        for column, label in (("held_out", "last step"), ("held_out_best", "best step")):
            mean, sd = entry[column]["mean"], entry[column]["sd"]
            panel.errorbar(dims, mean, sd, marker="o", ms=3, lw=1.2, capsize=2, label=label)
        for (name, value), style in zip(entry["predicted"].items(), ["-", "--", ":"], strict=True):
            if name != "joint":
                shown = name if name != "conditional" else "half of it"
                panel.axvline(value, color="0.4", lw=1, ls=style, label=f"{shown} = {value:.0f}")
        # The first of several dimensions is far worse, and would leave the others no room.
        last = entry["held_out"]["mean"]
        low, high = min(entry["held_out_best"]["mean"]), max(last[1:] or last)
        if high > low:
            panel.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
        panel.set_xscale("log", base=2)
        panel.set_xticks(dims, [str(n) for n in dims], fontsize=8)
        panel.tick_params(axis="y", labelsize=8)
        alone = "" if len(dims) > 1 else ", one dimension"
        panel.set_title(f"N = {entry['vocab_size']}{alone}", fontsize=10)
        panel.set_xlabel("dimension")
        panel.grid(alpha=0.25)
        panel.legend(fontsize=7)
    panels[0].set_ylabel("held-out cross-entropy (nats)")
    save_figure(figure, path)


def words_in_plane(
    places: np.ndarray, words: Sequence[str], groups: Sequence[int], path: epath.PathLike
) -> None:
    """Save words at their places, each group in a color.

    Args:
      places: [V, 2].
      words: the V words.
      groups: number of the group of each.
      path: the PNG file.
    """
    figure = new_figure(figsize=(6.4, 4.8), dpi=90)
    panel = figure.subplots()
    panel.scatter(*places.T, s=0)  # sets the limits
    for (x, y), word, group in zip(places, words, groups, strict=True):
        style: dict[str, Any] = {"fontsize": 8, "ha": "center", "va": "center"}
        panel.text(x, y, word, color=f"C{group}", **style)
    panel.set_xticks([])
    panel.set_yticks([])
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        save_figure(figure, path)
    lacks = {str(w.message) for w in found if "missing from font" in str(w.message)}
    if lacks:
        logging.warning("%s: boxes stand for %d characters that its font lacks", path, len(lacks))


def entropy_lines(
    dims: np.ndarray,
    lines: Sequence[tuple[str, np.ndarray, float]],
    path: epath.PathLike,
    *,
    title: str = "",
) -> None:
    """Save entropies against dimension, and where they cross 0.

    Args:
      dims: [M], rising.
      lines: (label, entropies [M], dimension of the crossing); beyond it a line is dotted.
      path: the PNG file.
      title: text above.
    """
    figure = new_figure(figsize=(6.4, 4.0))
    panel = figure.subplots()
    for label, entropy, root in lines:
        before = dims < root
        (line,) = panel.plot(dims[before], entropy[before], label=f"{label}: n = {root:.1f}")
        panel.plot(dims[~before], entropy[~before], ls=":", color=line.get_color())
        panel.plot([root], [0], "o", color=line.get_color())
    panel.axhline(0, color="0.4", lw=0.8)
    panel.set_ylim(bottom=-3)
    panel.set_xlabel("dimension n")
    panel.set_ylabel("entropy of all pairs, 2 log N + h(n), in nats")
    panel.set_title(title, fontsize=9)
    panel.grid(alpha=0.25)
    panel.legend(fontsize=8)
    save_figure(figure, path)
