"""Metrics on disk: one JSON line a step in `metrics.jsonl`, wall-clock figures in `timing.jsonl`.

Everything in `metrics.jsonl` is a function of the config and the seed, so a resumed run writes the
same bytes as an uninterrupted one; anything that depends on the clock goes to `timing.jsonl`.
"""

import json
import math
import os
from collections.abc import Mapping
from typing import Any

import jax
from absl import logging
from etils import epath

from jaxlab.errors import InputError
from jaxlab.files import append_line, write_atomically

METRICS_FILE = "metrics.jsonl"
TIMING_FILE = "timing.jsonl"


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
      ValueError: a line other than the last is not a JSON object with "step".
    """
    path = epath.Path(path)
    if path.is_dir():
        path = path / METRICS_FILE
    rows = [json.loads(line) for line in _whole_lines(path)]
    return [{k: math.nan if v is None else v for k, v in row.items()} for row in rows]


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


def _whole_lines(path: epath.Path) -> list[str]:
    """Returns the complete lines of a file; only the last may be torn."""
    lines = path.read_text().split("\n")
    good = []
    for i, line in enumerate(lines):
        try:
            if "step" not in json.loads(line):
                raise ValueError
            good.append(line)
        except (ValueError, TypeError):
            # What follows the last newline was being written when the process died.
            if i == len(lines) - 1:
                break
            raise InputError(
                f"{path}, line {i + 1}: {line[:60]!r} is not an object with step"
            ) from None
    return good


class MetricsWriter:
    """Appends rows to a run's metrics and timing files; silent in all processes but the first.

    Args:
      workdir: folder of the run; made if missing.
      tensorboard: also write TensorBoard events under `workdir/tensorboard`; needs tensorboardX.

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
        self._board = None
        if not self._main:
            return
        self._workdir.mkdir(parents=True, exist_ok=True)
        if tensorboard:
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(os.fspath(self._workdir / "tensorboard"))

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Appends one row of scalars; it is on disk when this returns."""
        self._append(METRICS_FILE, step, metrics)
        for name, value in metrics.items() if self._board else ():
            self._board.add_scalar(name, float(value), step)  # type: ignore[union-attr]

    def write_timing(self, step: int, figures: Mapping[str, float]) -> None:
        """Appends one row of wall-clock figures."""
        self._append(TIMING_FILE, step, figures)

    def truncate(self, step: int) -> None:
        """Drops the rows after `step`, and a torn last line: what a resumed run writes again."""
        for name in (METRICS_FILE, TIMING_FILE) if self._main else ():
            path = self._workdir / name
            if not path.exists():
                continue
            lines = _whole_lines(path)
            kept = [line for line in lines if json.loads(line)["step"] <= step]
            text = "".join(line + "\n" for line in kept)
            if text == path.read_text():
                continue
            write_atomically(path, text)  # being killed here must not lose the rows before `step`
            if len(kept) < len(lines):
                logging.info(
                    "%s: dropped %d rows after step %d", name, len(lines) - len(kept), step
                )

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


def _number(value: Any) -> int | float | None:
    """Returns a plain JSON number; null for what JSON cannot hold."""
    value = value if isinstance(value, int) else float(value)
    return value if math.isfinite(value) else None
