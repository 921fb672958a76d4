"""Records of compared runs: choosing on validation figures, paired differences, tables."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from numpy.typing import ArrayLike

from jaxlab.checks import check_count
from jaxlab.errors import InputError
from jaxlab.studies.cells import read_lines
from jaxlab.studies.tables import difference, markdown, percent, spread

STOPS = ("last", "best")

Record = dict[str, Any]


def record(rows: Sequence[Any], *, seconds: float) -> Record:
    """Returns one JSON-able record of `sweep.Program.train`'s progress.

    Args:
      rows: all `sweep.Progress` of a candidate.
      seconds: wall time, compilation included.

    Returns:
      {"steps": [E], "curves": {name: [E][seeds]}, "last": {name: [seeds]}, "seconds"}. Metrics of
      training steps are curves named "train/NAME", NaN at step 0.
    """
    curves = {name: [row.figures[name] for row in rows] for name in rows[0].figures}
    for name in rows[-1].metrics:
        values = [row.metrics[name] for row in rows[1:]]
        curves[f"train/{name}"] = [np.full_like(values[0], np.nan), *values]
    scalars = {k: v for k, v in rows[-1].figures.items() if np.ndim(v) == 1}
    plain = lambda v: np.asarray(v, np.float64).round(7).tolist()
    return {
        "steps": [row.step for row in rows],
        "curves": {name: plain(np.stack(values)) for name, values in curves.items()},
        "last": {name: plain(values) for name, values in scalars.items()},
        "seconds": round(seconds, 2),
    }


def read_records(workdir: epath.PathLike) -> dict[str, Record]:
    """Returns key -> record of the finished candidates; see `cells.read_lines`."""
    return read_lines(workdir, {"steps": list, "curves": dict, "last": dict})


@dataclasses.dataclass(frozen=True, eq=False)
class Chosen:
    """An arm's best candidate by validation.

    Attributes:
      name: of the arm.
      choice: grid values, and `read` where there was more than one.
      test: test figure of each seed, [seeds].
      validation: the validation figure that chose it, mean over seeds.
      record: of the candidate.
      at: evaluation that counts for each seed, [seeds].
      candidates: how many there were.
    """

    name: str
    choice: dict[str, Any]
    test: np.ndarray
    validation: float
    record: Record
    at: np.ndarray
    candidates: int


def choose(
    name: str,
    runs: Sequence[tuple[Record, Mapping[str, Any]]],
    *,
    select: str,
    reads: Sequence[str],
    stop: str = "last",
    average_last: int = 1,
) -> Chosen:
    """Chooses an arm's candidate with the lowest validation figure; test data is not looked at.

    Args:
      name: of the arm.
      runs: (record, choice) of each candidate.
      select: figure that early stopping looks at.
      reads: figures, such as "error" or "posthoc_1", each one more candidate.
      stop: "last", or "best": each seed at its lowest validation `select`; evaluations that are
        not finite do not count.
      average_last: evaluations averaged at the end, for stop "last", where a curve exists.

    Returns:
      The best candidate whose validation figure is finite, whatever the order; the first one, with
      a `validation` that is NaN, where all diverged.

    Raises:
      ValueError: an unknown figure or `stop`, an `average_last` that is not one evaluation or more,
        or no candidate.
    """
    if stop not in STOPS:
        raise InputError(f"stop is {stop!r}, must be one of {STOPS}")
    found = []
    for entry, choice in runs:
        for read in reads:
            if stop == "best":
                columns = _curve(entry, f"validation/{select}").T
                places = [lowest(column) for column in columns]
                at = np.array([len(columns[0]) - 1 if p is None else p for p in places])
                value = lambda split, entry=entry, read=read, at=at: np.take_along_axis(
                    _curve(entry, f"{split}/{read}"), at[None], 0
                )[0]
            else:
                at = np.full(len(next(iter(entry["last"].values()))), len(entry["steps"]) - 1)
                value = lambda split, entry=entry, read=read: final(
                    entry, f"{split}/{read}", average_last
                )
            shown = dict(choice) | ({"read": read} if len(reads) > 1 else {})
            score = float(np.mean(value("validation")))
            score = score if np.isfinite(score) else float("nan")
            count = len(runs) * len(reads)
            found.append(Chosen(name, shown, value("test"), score, entry, at, count))
    if not found:
        raise InputError(f"arm {name!r} has no candidate")
    return found[lowest([one.validation for one in found]) or 0]


def lowest(values: ArrayLike) -> int | None:
    """Index of the lowest value that is finite: what diverged is never the best, nor hides it.

    Args:
      values: [N].

    Returns:
      The first such index; None where no value is finite.

    Example:
      >>> lowest([float("nan"), 0.3, 0.2, -float("inf")]), lowest([float("nan")])
      (2, None)
    """
    values = np.asarray(values, np.float64)
    finite = np.isfinite(values)
    return int(np.where(finite, values, np.inf).argmin()) if finite.any() else None


def final(entry: Record, figure: str, average_last: int = 1) -> np.ndarray:
    """Returns a figure of each seed at the end, the mean of the last evaluations of its curve."""
    check_count("average_last", average_last)
    if figure in entry["curves"]:
        values = _curve(entry, figure)
        if average_last > len(values):
            raise InputError(f"average_last is {average_last}, there are {len(values)} evaluations")
        return values[-average_last:].mean(0)
    if figure not in entry["last"]:
        known = ", ".join((*entry["curves"], *entry["last"]))
        raise InputError(f"there is no figure {figure!r}, the record holds {known}")
    return np.asarray(entry["last"][figure], np.float64)


def table(arms: Mapping[str, Chosen], *, baseline: str, columns: Sequence[str], seeds: int) -> str:
    """Returns a Markdown table: chosen candidate, test figure, paired difference, more figures.

    One seed has no spread, so that there is no ±, and the head says so. An arm of which every
    candidate diverged has dashes.

    Args:
      arms: name -> what `choose` returned.
      baseline: name of the arm that differences refer to.
      columns: further figures, such as "test/tail_error"; missing ones show as a dash.
      seeds: their number, for the head.

    Raises:
      ValueError: there is no arm of the baseline's name.
    """
    if baseline not in arms:
        raise InputError(f"baseline is {baseline!r}, arms are {', '.join(arms)}")
    base = arms[baseline].test
    alone = seeds == 1
    head = ["method", "chosen (candidates)", "validation %"]
    head += ["test %, of 1 seed (no ±)" if alone else f"test %, mean ± sd of {seeds}"]
    head += [f"difference from {baseline}" + ("" if alone else " [95 %]"), "better on", *columns]
    rows = []
    for name, arm in arms.items():
        if np.isnan(arm.validation):
            row = [name, f"none: all diverged ({arm.candidates})", *["-"] * (len(head) - 2)]
            rows.append(row)
            continue
        chosen = ", ".join(f"{k} {_short(v)}" for k, v in arm.choice.items()) or "-"
        row = [name, f"{chosen} ({arm.candidates})", f"{100 * arm.validation:.2f}"]
        row.append(percent(arm.test))
        if name == baseline:
            row += ["", ""]
        elif np.isnan(arms[baseline].validation):
            row += ["-", "-"]
        else:
            row += [difference(arm.test, base), f"{(arm.test < base).sum()} of {len(base)}"]
        row += [_column(arm, column) for column in columns]
        rows.append(row)
    return markdown(head, rows)


def curve(entry: Record, figure: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns (steps [E], values [E, seeds]) of a figure, or None where there is none."""
    if figure not in entry["curves"]:
        return None
    return np.asarray(entry["steps"]), _curve(entry, figure)


def layer_curves(entry: Record) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns layer -> (steps, log norms [E, seeds])."""
    names = [name for name in entry["curves"] if name.startswith("log_norm/")]
    steps = np.asarray(entry["steps"])
    return {name.removeprefix("log_norm/"): (steps, _curve(entry, name)) for name in names}


def sweep_line(
    runs: Sequence[tuple[Record, Mapping[str, Any]]], *, number: str, figure: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (numbers [M], values [M, seeds]): a figure against a number of the grid.

    Where other numbers vary too, the best candidate (lowest validation counterpart) of each value
    is shown. A `number` "tau" of figures "posthoc_TAU" is read from one record's last figures.

    Raises:
      ValueError: the number was not varied.
    """
    if not runs:
        raise InputError(f"there is no candidate to show {figure!r} of")
    if "*" in figure:
        prefix = figure.split("*")[0]
        scores = [np.mean(final(entry, "validation/balanced_error")) for entry, _ in runs]
        entry, _ = runs[lowest(scores) or 0]
        names = {*entry["curves"], *entry["last"]}
        found = sorted((float(n[len(prefix) :]), n) for n in names if n.startswith(prefix))
        if not found:
            raise InputError(f"there is no figure {figure!r}, the record holds {sorted(names)}")
        return np.array([x for x, _ in found]), np.stack([final(entry, n) for _, n in found])
    rows: dict[float, list[tuple[float, np.ndarray]]] = {}
    for entry, choice in runs:
        if number not in choice:
            raise InputError(f"{number!r} was not varied, only {', '.join(choice) or 'nothing'}")
        chooser = figure.replace("test/", "validation/")
        known = chooser in entry["curves"] or chooser in entry["last"]
        score = float(np.mean(final(entry, chooser if known else figure)))
        rows.setdefault(float(choice[number]), []).append((score, final(entry, figure)))
    best = lambda found: found[lowest([score for score, _ in found]) or 0][1]
    xs = sorted(rows)
    return np.array(xs), np.stack([best(rows[x]) for x in xs])


def _curve(entry: Record, figure: str) -> np.ndarray:
    if figure not in entry["curves"]:
        raise InputError(f"there is no curve {figure!r}, only {', '.join(entry['curves'])}")
    return np.asarray(entry["curves"][figure], np.float64)


def _column(arm: Chosen, figure: str) -> str:
    entry = arm.record
    if figure in entry["curves"]:
        values = np.take_along_axis(_curve(entry, figure), arm.at[None], 0)[0]
    elif figure in entry["last"]:
        values = np.asarray(entry["last"][figure], np.float64)
    else:
        return "-"
    share = figure.startswith("train/flooded") or any(
        word in figure for word in ("error", "fgsm", "pgd", "posthoc", "normalized")
    )
    return percent(values) if share else spread(values)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
