"""Cells of a study: what each depends on, whether it is done, and the records that say so.

A cell is one training that a study needs: a candidate, a stage, a dimension of a sweep. Its key is
a name for all that its result depends on, and it is done once its record, which is written whole
and last, has that key. A cell with a folder of its own keeps the record there (`result.json`);
cells that share a folder keep a line each (`read_lines`, `append_record`).
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath

from jaxlab.data.pipelines.endless import describe
from jaxlab.errors import InputError, InputTypeError, UserError
from jaxlab.files import append_line, parse_json, read_json, to_json, write_atomically

__all__ = [
    "RESULTS",
    "Cell",
    "append_record",
    "depends_on",
    "finish",
    "finished",
    "key_of",
    "read_lines",
    "reading",
    "sum_of",
]

RESULTS = "results.jsonl"  # of cells that share a folder
_RESULT = "result.json"  # of a cell with a folder of its own


def key_of(setting: Mapping[str, Any]) -> str:
    """Returns a name for a setting that does not depend on the order of its entries.

    Args:
      setting: JSON-able; all that the record depends on, steps and seeds included.

    Raises:
      TypeError: a value is neither that nor of NumPy.

    Example:
      >>> key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
      True
    """
    text = json.dumps(setting, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def depends_on(
    config: Mapping[str, Any], sets: Mapping[str, Mapping[str, Any]], *, but: Collection[str]
) -> dict[str, Any]:
    """What all cells of a study depend on: the keys of its config, and its data.

    Args:
      config: of the study.
      sets: name -> arrays by name.
      but: keys on which no result depends, or which each cell has its own of.

    Example:
      >>> depends_on({"width": 3, "log_every": 9}, {}, but=("log_every",))
      {'width': 3, 'data': {}}
    """
    same = {name: value for name, value in config.items() if name not in but}
    return {**same, "data": {name: describe(arrays) for name, arrays in sets.items()}}


def sum_of(params: Any) -> int:
    """A checksum of parameters, for what starts from weights of elsewhere.

    Example:
      >>> sum_of({"a": np.zeros(2)}) == sum_of({"a": np.ones(2)})
      False
    """
    found = 0
    for leaf in jax.tree.leaves(params):
        found = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), found)
    return found


def _plain(value: Any) -> Any:
    """What JSON does not know, such as NumPy's numbers, as it does."""
    if hasattr(
        value, "items"
    ):  # a section of a config, of which `list` would leave the names alone
        return dict(value.items())
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Sequence):
        return list(value)
    raise InputTypeError(f"a setting has {value!r}, must hold numbers, texts, lists and dicts")


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell with a folder of its own.

    Attributes:
      folder: where its files are.
      num_steps: that it trains for.
      depends: what else its result depends on: settings, seed, data as
        `jaxlab.data.pipelines.endless.describe` names them; JSON-able.
      needs: the cells whose results it starts from.

    Example:
      >>> first = Cell(epath.Path("run/first"), 5, {"seed": 0})
      >>> later = [Cell(epath.Path("run/later"), 5, {}, (cell,)).key for cell in
      ...          (first, dataclasses.replace(first, depends={"seed": 1}))]
      >>> later[0] == later[1]
      False
    """

    folder: epath.Path
    num_steps: int
    depends: Mapping[str, Any]
    needs: tuple["Cell", ...] = ()

    @functools.cached_property
    def key(self) -> str:
        """The name of all that the result depends on; the folder is not of it."""
        needs = [cell.key for cell in self.needs]
        return key_of({"depends": self.depends, "num_steps": self.num_steps, "needs": needs})


def finished(cell: Cell, *, allow_change: bool = False) -> dict[str, Any] | None:
    """What a cell ended with, or None while it is not done.

    A record without a key, as earlier versions wrote it, counts if it has as many steps.

    Args:
      cell: the cell.
      allow_change: take the result of other settings too, with a warning.

    Raises:
      ValueError: the folder has the result of another number of steps, of other settings, or the
        record is damaged.

    Example:
      >>> import tempfile
      >>> cell = Cell(epath.Path(tempfile.mkdtemp()), 100, {"seed": 0})
      >>> finished(cell), finish(cell, {"loss": 0.5})
      (None, None)
      >>> finished(cell)["loss"]
      0.5
    """
    path = cell.folder / _RESULT
    if not path.exists():
        return None
    result = read_result(cell.folder)
    advice = "choose another --workdir, or delete that folder and those that start from it"
    if result["num_steps"] != cell.num_steps:
        raise InputError(
            f"{cell.folder} was trained for {result['num_steps']} steps, the config has "
            f"{cell.num_steps}: {advice}"
        )
    if result.get("key", cell.key) != cell.key:
        if not allow_change:
            raise InputError(f"{cell.folder} was trained with other settings: {advice}")
        logging.warning("%s was trained with other settings, and stays as it is", cell.folder)
    return result


def read_result(folder: epath.PathLike) -> dict[str, Any]:
    """The record of a finished cell's folder, whatever its key.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is damaged.
    """
    path = epath.Path(folder) / _RESULT
    try:
        result = read_json(path)
        return {**result, "num_steps": int(result["num_steps"])}
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(
            f"{path} is damaged: delete it, and the stage goes on from its checkpoint"
        ) from error


def finish(cell: Cell, figures: Mapping[str, Any]) -> None:
    """Marks a cell as done, as its last act.

    Args:
      cell: the cell.
      figures: what else to keep, as JSON takes it.
    """
    record = {"num_steps": cell.num_steps, **figures, "key": cell.key}
    # Whole: half a file would count as done.
    write_atomically(cell.folder / _RESULT, to_json(record, indent=2) + "\n")


@contextlib.contextmanager
def reading(folder: epath.PathLike) -> Iterator[None]:
    """Around the reading of what a finished cell left: an error says how to get it again.

    Args:
      folder: of the cell.

    Raises:
      ValueError: what it left is missing or damaged.

    Example:
      >>> with reading("run/mlm"):
      ...     raise FileNotFoundError("run/mlm/model is missing")
      Traceback (most recent call last):
      jaxlab.errors.ValueError: run/mlm/model is missing: the stage was finished, but what it left \
cannot be read; delete run/mlm, and the same command trains it again
    """
    try:
        yield
    except (UserError, OSError) as error:
        raise InputError(
            f"{error}: the stage was finished, but what it left cannot be read; delete "
            f"{os.fspath(folder)}, and the same command trains it again"
        ) from error


def read_lines(
    workdir: epath.PathLike, kinds: Mapping[str, type | tuple[type, ...]]
) -> dict[str, dict[str, Any]]:
    """Returns key -> record of the finished cells of a folder that they share.

    A last line that was cut short is removed; of several lines of a key the last one counts.

    Args:
      workdir: the folder.
      kinds: what a record must have, and of which type.

    Raises:
      ValueError: another line is not a record.

    Example:
      >>> import tempfile
      >>> folder = tempfile.mkdtemp()
      >>> append_record(folder, "a", {"loss": 0.5}), read_lines(folder, {"loss": float})
      ({'loss': 0.5}, {'a': {'loss': 0.5}})
    """
    path = epath.Path(workdir) / RESULTS
    if not path.exists():
        return {}
    records = {}
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            if not line and number == len(lines):
                break
            entry = parse_json(line, "it")
            typed = isinstance(entry, dict) and all(
                isinstance(entry.get(name), kind) for name, kind in {"key": str, **kinds}.items()
            )
            if not typed:
                raise InputError("it lacks what a record has")
            records[entry.pop("key")] = entry
        except InputError as error:
            if number == len(lines):  # without a newline: it was being written
                write_atomically(path, b"".join(line + b"\n" for line in lines[:-1]))
                break
            raise InputError(
                f"{path} line {number} is no record ({error}): remove the line to train it again"
            ) from error
    return records


def append_record(workdir: epath.PathLike, key: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Adds the record of a cell that is done to those of its folder, and returns it."""
    append_line(epath.Path(workdir) / RESULTS, to_json({"key": key, **entry}))
    return entry
