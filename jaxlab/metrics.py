"""Metrics on disk: one JSON line per step in `metrics.jsonl`, wall-clock figures in `timing.jsonl`.

Everything in `metrics.jsonl` is a function of the config and the seed, so a resumed run writes the
same bytes as an uninterrupted one; anything that depends on the clock goes to `timing.jsonl`.
"""

import itertools
import json
import math
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath

from jaxlab.checks import check_choice
from jaxlab.errors import InputError, missing
from jaxlab.files import append_line, parse_json, read_record, write_atomically

METRICS_FILE = "metrics.jsonl"
TIMING_FILE = "timing.jsonl"
AXES = ("step", "minutes", "examples")  # what metrics are drawn over


def read_metrics(path: epath.PathLike) -> list[dict[str, Any]]:
    """Reads the rows of a metrics file, oldest first.

    A value that was not finite is stored as null and comes back as NaN. A last line torn by a
    killed process is left out.

    Args:
      path: a `metrics.jsonl`, or the folder that holds one.

    Returns:
      One dict a row, each with "step".

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a line other than the last is not a JSON object with "step" and numbers.
    """
    path = epath.Path(path)
    if path.is_dir():
        path = path / METRICS_FILE
    rows = [row for _, row in _whole_lines(path)]
    return [{k: math.nan if v is None else v for k, v in row.items()} for row in rows]


def on_axis(
    axis: str, workdir: epath.PathLike, rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The rows of a run with something else in the place of "step", to be drawn over.

    Args:
      axis: "step"; "minutes" of training, compiling included, evaluations and
        checkpoints not; or "examples" seen.
      workdir: of the run, whose timing or batch size is read.
      rows: from `read_metrics`.

    Raises:
      FileNotFoundError: the file that is needed is missing.
      ValueError: it cannot be read or does not cover the rows, or axis is unknown.
    """
    check_choice("axis", axis, AXES)
    if axis == "step":
        return [dict(row) for row in rows]
    if axis == "examples":
        size = read_record(workdir)["config"].get("batch_size")
        if not isinstance(size, int):
            raise InputError(f"{workdir}: the config has no batch_size, which examples need")
        return [{**row, "step": row["step"] * size} for row in rows]
    path = epath.Path(workdir) / TIMING_FILE
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file, which minutes need")
    timed = read_metrics(path)
    steps, seconds = ([row.get(name, math.nan) for row in timed] for name in ("step", "seconds"))
    if not timed or not np.isfinite(seconds).all():
        raise InputError(f"{path}: has no rows, or one lacks seconds, which minutes need")
    if steps != sorted(steps):
        raise InputError(f"{path}: steps fall, must be in the order of training")
    last = max((row["step"] for row in rows), default=0)
    if last > steps[-1]:
        raise InputError(f"{path}: ends at step {steps[-1]}, minutes of step {last} are not known")
    gains = np.diff(seconds, prepend=0.0)  # a run that is resumed counts from 0 again
    seconds = np.cumsum(np.where(gains < 0, seconds, gains))
    minutes = np.interp([row["step"] for row in rows], [0, *steps], [0, *seconds]) / 60
    return [{**row, "step": x} for row, x in zip(rows, minutes.tolist(), strict=True)]


def read_evaluations(
    folder: epath.PathLike, name: str, *, step: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of a finished run, and those of them that hold the figure `name`.

    Args:
      folder: of the run.
      name: a figure of evaluation.
      step: at which the run is, for the message.

    Raises:
      ValueError: nothing was evaluated: the run was stopped before that, and then num_steps was
        lowered to where it stood.
    """
    path = epath.Path(folder) / METRICS_FILE
    rows = read_metrics(path) if path.exists() else []
    evaluated = [row for row in rows if name in row]
    if not evaluated:
        raise InputError(
            f"no evaluation in {path}: the run is at step {step} already, raise num_steps above it "
            "(with --allow_config_change), its last step is then evaluated"
        )
    return rows, evaluated


def _whole_lines(path: epath.Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Returns the complete lines of a file, with what they say; only the last may be torn."""
    lines = path.read_bytes().split(b"\n")
    good = []
    for i, line in enumerate(lines):
        try:
            row = parse_json(line, "it")
            if not _is_row(row):
                raise InputError("it is another object")
            good.append((line, row))
        except InputError as error:
            # What follows the last newline was being written when the process died.
            if i == len(lines) - 1:
                break
            shown = line[:60].decode(errors="replace")
            raise InputError(
                f"{path}, line {i + 1}: {shown!r} is not an object with step and numbers "
                f"({error}): remove the line"
            ) from error
    return good


def _is_row(row: Any) -> bool:
    def is_number(value: Any) -> bool:
        try:
            return isinstance(value, int | float) and math.isfinite(value)
        except OverflowError:
            return False

    if not isinstance(row, dict) or type(row.get("step")) is not int or not is_number(row["step"]):
        return False
    return all(value is None or is_number(value) for value in row.values())


def _widest_gap(steps: list[int], last: int) -> tuple[int, int]:
    """The two steps between which most rows are missing."""
    places = sorted({0, *steps, last})
    return max(itertools.pairwise(places), key=lambda pair: pair[1] - pair[0])


class MetricsWriter:
    """Appends rows to a run's metrics and timing files; silent in all processes but the first.

    Args:
      workdir: folder of the run; made if missing.
      tensorboard: also write TensorBoard events under `workdir/tensorboard`; needs tensorboardX.

    Example:
      >>> import tempfile
      >>> folder = tempfile.mkdtemp()
      >>> with MetricsWriter(folder) as writer:
      ...     writer.write(1, {"loss": 2.5})
      ...     writer.write(2, {"loss": 1.5})
      ...     writer.truncate(1)
      >>> read_metrics(folder)
      [{'step': 1, 'loss': 2.5}]
    """

    def __init__(self, workdir: epath.PathLike, *, tensorboard: bool = False):
        self._workdir = epath.Path(workdir)
        self._main = jax.process_index() == 0
        self._board: Any = None  # opened by the first row, or by `truncate`
        self._tensorboard = tensorboard and self._main
        self._rows: int | None = None
        if not self._main:
            return
        self._workdir.mkdir(parents=True, exist_ok=True)
        if tensorboard:
            try:
                import tensorboardX as _  # noqa: F401
            except ImportError as error:
                raise missing("tensorboardX", "tensorboard", whose="--tensorboard") from error

    def _open_board(self) -> None:
        """Starts the event files anew from the metrics file: no step twice, and none missing."""
        from tensorboardX import SummaryWriter

        if self._board:
            self._board.close()
        folder, path = self._workdir / "tensorboard", self._workdir / METRICS_FILE
        times: dict[tuple[str, int], float] = {}
        for old in list(folder.iterdir()) if folder.exists() else ():
            if "tfevents" in old.name:
                times |= _wall_times(old.read_bytes())
                old.unlink()
        self._board = SummaryWriter(os.fspath(folder), flush_secs=10)
        for _, row in _whole_lines(path) if path.exists() else ():
            self._show(row["step"], {k: v for k, v in row.items() if k != "step"}, times)

    def _show(self, step: int, values: Mapping[str, Any], times: Mapping = {}) -> None:
        for name, value in values.items():
            number = math.nan if value is None else float(value)
            self._board.add_scalar(name, number, step, walltime=times.get((name, step)))

    @property
    def rows(self) -> int:
        """How many rows the metrics file has."""
        if self._rows is None:
            path = self._workdir / METRICS_FILE
            self._rows = len(_whole_lines(path)) if path.exists() else 0
        return self._rows

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Appends one row of scalars; it is on disk when this returns."""
        if self._tensorboard and not self._board:
            self._open_board()
        self._append(METRICS_FILE, step, metrics)
        self._rows = self.rows + 1 if self._rows is not None else None
        if self._board:
            self._show(step, metrics)

    def write_timing(self, step: int, figures: Mapping[str, float]) -> None:
        """Appends one row of wall-clock figures."""
        self._append(TIMING_FILE, step, figures)

    def truncate(self, step: int, *, rows: int | None = None) -> None:
        """Drops the rows after `step`, and a torn last line: what a resumed run writes again.

        Args:
          step: that the run goes on from.
          rows: how many there must be up to `step`; fewer are a warning that says where they are
            missing, for parameters are right without them.
        """
        if not self._main:
            return
        for name in (METRICS_FILE, TIMING_FILE):
            path = self._workdir / name
            lines = _whole_lines(path) if path.exists() else []
            kept = [(line, row) for line, row in lines if row["step"] <= step]
            text = b"".join(line + b"\n" for line, _ in kept)
            if name == METRICS_FILE:
                self._rows = len(kept)
                if rows is not None and len(kept) < rows:
                    first, last = _widest_gap([row["step"] for _, row in kept], step)
                    logging.warning(
                        "%s has %d of the %d rows up to step %d: rows between step %d and %d are "
                        "missing, and curves have a gap there",
                        *(path, len(kept), rows, step, first, last),
                    )
            if not path.exists() or text == path.read_bytes():
                continue
            write_atomically(path, text)  # being killed here must not lose the rows before `step`
            if len(kept) < len(lines):
                logging.info(
                    "%s: dropped %d rows after step %d", name, len(lines) - len(kept), step
                )
        if self._tensorboard:
            self._open_board()

    def close(self) -> None:
        """Flushes TensorBoard events, if any."""
        if self._board:
            self._board.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _append(self, name: str, step: int, values: Mapping[str, float]) -> None:
        if not self._main:
            return
        row = {"step": int(step)} | {k: _number(v) for k, v in values.items()}
        # Opened anew for every row: rows are rare, and no buffer is lost when it is killed.
        append_line(self._workdir / name, json.dumps(row))


def _wall_times(raw: bytes) -> dict[tuple[str, int], float]:
    """When each scalar of an event file was written; what cannot be read is left out."""
    from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

    times, at = {}, 0
    while at + 12 <= len(raw):  # records: length, its checksum, the event, its checksum
        (size,) = struct.unpack_from("<Q", raw, at)
        try:
            event = Event.FromString(raw[at + 12 : at + 12 + size])
        except Exception:  # protobuf's, which tensorboardX does not export
            break
        times |= {(value.tag, event.step): event.wall_time for value in event.summary.value}
        at += size + 16
    return times


def _number(value: Any) -> int | float | None:
    """Returns a plain JSON number; null for what JSON cannot hold."""
    value = value if isinstance(value, int) else float(value)
    return value if math.isfinite(value) else None
