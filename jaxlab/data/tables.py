"""Named tables of numbers with a class per row, read from R's data files without R."""

import gzip
import lzma
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from jaxlab.checks import check_scalar
from jaxlab.data.formats.pictures import reason
from jaxlab.data.images import data_folder
from jaxlab.errors import InputError

NOT_AVAILABLE = -(2**31)  # R's NA of integers

# Name -> file, object in it, column of the class.
TABLES = {"shuttle": ("Shuttle.rda", "Shuttle", "Class")}


def load_table(
    name: str, data_dir: str | Path | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Reads a table; its numbers are as measured (`standardize` scales them).

    - `shuttle`: 58,000 rows of 9 sensor readings, a natural long tail of 7 classes: 45,586, 8,903,
      3,267, 171, 50, 13 and 10 rows, the most frequent first.

    Args:
      name: one of the above.
      data_dir: the data folder; default $JAXLAB_DATA, then the user's cache folder.

    Returns:
      x float32 [N, D], y int32 [N], and the names of the K classes in the order of their numbers.

    Raises:
      FileNotFoundError: if the file is missing; the message says how to get it.
      ValueError: if the file is damaged or the name unknown.

    Source: Statlog (Shuttle) of the UCI repository, as R's package mlbench carries it.
    """
    if name not in TABLES:
        raise InputError(f"table is {name!r}, needs to be one of {', '.join(TABLES)}")
    file, table, target = TABLES[name]
    folder = data_folder(data_dir)
    places = [folder / name / f"{file}{end}" for end in (".gz", "")]
    path = next((p for p in places if p.is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"{places[0]} is missing: fetch it with "
            f"`python scripts/fetch_data.py {name} --data_dir={folder}`"
        )
    x, labels, classes = _parse(path, table, target)
    order = np.argsort(-np.bincount(labels, minlength=len(classes)), kind="stable")
    y = np.argsort(order)[labels].astype(np.int32)
    return x, y, tuple(classes[k] for k in order)


def standardize(
    train: np.ndarray, *others: np.ndarray, tails: float = 0.001
) -> tuple[np.ndarray, ...]:
    """Gives features mean 0 and standard deviation 1 on the training rows, outliers clipped.

    Each feature is clipped to its quantiles `tails` and `1 - tails` first: in shuttle a few
    readings lie a hundred times further out than all others and would set the scale alone.

    Args:
      train: [N, D], whose quantiles, means and deviations count.
      *others: [M, D], rows treated likewise.
      tails: in [0, 0.5); 0 clips other rows to the training rows' range.

    Returns:
      float32 arrays of the same shapes; a constant feature gives zeros.

    Raises:
      ValueError: if tails is out of range, rows differ in their number of features, there is no
        training row, or a value is not finite.

    Example:
      >>> train, test = standardize(np.array([[1.0], [3.0]]), np.array([[2.0], [9.0]]), tails=0.0)
      >>> print(train.ravel(), test.ravel())
      [-1.  1.] [0. 1.]
    """
    check_scalar("tails", tails)
    if not 0 <= tails < 0.5:
        raise InputError(f"tails is {tails}, needs to be in [0, 0.5)")
    for rows in (train, *others):
        if rows.ndim != 2 or rows.shape[1] != train.shape[-1]:
            raise InputError(f"rows have shape {rows.shape}, training rows {train.shape}")
        if not np.isfinite(rows).all():
            raise InputError("rows hold a value that is not finite (missing?)")
    if not len(train):
        raise InputError("train has no row, its mean and deviation are needed")
    low, high = np.quantile(np.float64(train), [tails, 1 - tails], axis=0)
    clipped = np.clip(np.float64(train), low, high)
    mean, deviation = clipped.mean(0), clipped.std(0)
    scale = np.where(deviation > 0, deviation, 1.0)
    return tuple(
        ((np.clip(np.float64(rows), low, high) - mean) / scale).astype(np.float32)
        for rows in (train, *others)
    )


def _parse(path: Path, table: str, target: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Numbers [N, D], class numbers [N] and class names of the data frame in an R file."""
    raw = path.read_bytes()
    try:
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        columns, attributes = _RReader(lzma.decompress(raw)).read()[table]
        frame = dict(zip(attributes["names"][0], columns, strict=True))
        labels, factor = frame.pop(target)
        classes = factor["levels"][0]
        x = np.stack([_numbers(values) for values, _ in frame.values()], axis=1)
        if labels.min() < 1 or labels.max() > len(classes) or len(labels) != len(x):
            raise InputError("a row has no class")
        labels = labels - 1
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise InputError(f"{path} is damaged ({reason(error)})") from error
    except Exception as error:  # a damaged file may hold anything where something is looked for
        raise InputError(f"{path} holds no table {table} of numbers with {target}") from error
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"{path}: {len(bad)} values are missing or not finite, the first in row {row + 1} of "
            f"{list(frame)[column]!r}"
        )
    return x, labels, classes


def _numbers(values: np.ndarray) -> np.ndarray:
    """A column as float32; R's missing whole number becomes NaN."""
    if values.dtype.kind == "i":
        return np.where(values == NOT_AVAILABLE, np.nan, values).astype(np.float32)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is reported
        return values.astype(np.float32)


class _RReader:
    """Reads R's serialization, version 2 in XDR, as far as data frames need it.

    A vector becomes (values, attributes), a pairlist a dict. The format is described in "R
    Internals", section 1.8.
    """

    MAGIC = b"RDX2\nX\n"
    PAIRLIST, STRING, REFERENCE, NIL = 2, 9, 255, 254
    ATTRIBUTES, TAG = 0x200, 0x400

    def __init__(self, raw: bytes):
        if not raw.startswith(self.MAGIC):
            raise InputError("no R data of version 2")
        self.raw, self.at = raw, len(self.MAGIC) + 12  # three numbers of versions follow
        self.symbols: list[str] = []

    def read(self) -> Any:
        flags = self._int()
        kind = flags & 0xFF
        if kind == self.NIL:
            return None
        if kind == self.REFERENCE:
            return self.symbols[(flags >> 8) - 1]
        if kind == 1:
            self.symbols.append(self.read())
            return self.symbols[-1]
        if kind == self.PAIRLIST:
            pairs = {}
            while flags & 0xFF == self.PAIRLIST:
                if flags & self.ATTRIBUTES:
                    self.read()
                name = self.read() if flags & self.TAG else None
                pairs[name] = self.read()
                flags = self._int()
            return pairs
        size = self._int()
        if kind == self.STRING:
            return None if size < 0 else self._take(size).decode()
        if kind in (10, 13):  # truth values, integers and factors
            values = np.frombuffer(self._take(4 * size), ">i4").astype(np.int64)
        elif kind == 14:
            values = np.frombuffer(self._take(8 * size), ">f8")
        elif kind in (16, 19):  # strings, lists
            values = [self.read() for _ in range(size)]
        else:
            raise InputError(f"R data of kind {kind} cannot be read")
        return values, (self.read() if flags & self.ATTRIBUTES else {})

    def _int(self) -> int:
        return struct.unpack(">i", self._take(4))[0]

    def _take(self, size: int) -> bytes:
        if size < 0 or self.at + size > len(self.raw):
            raise InputError("R data end too early")
        self.at += size
        return self.raw[self.at - size : self.at]
