"""Data frames in R's files, read without R."""

import gzip
import lzma
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from jaxlab.data.formats.pictures import reason
from jaxlab.errors import InputError

NOT_AVAILABLE = -(2**31)  # R's NA of integers


def read_frame(path: Path, table: str, target: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Reads a data frame of numbers with one column of classes from an R file.

    Args:
      path: the file, compressed by xz, and by gzip too or not.
      table: name of the data frame in it.
      target: column of the classes, a factor.

    Returns:
      Numbers float32 [N, D], class numbers from 0 [N], and the names of the classes.

    Raises:
      ValueError: the file is damaged, has no such data frame, or a value is missing.
    """
    raw = path.read_bytes()
    try:
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        columns, attributes = Reader(lzma.decompress(raw)).read()[table]
        frame = dict(zip(attributes["names"][0], columns, strict=True))
        labels, factor = frame.pop(target)
        classes = factor["levels"][0]
        x = np.stack([numbers(values) for values, _ in frame.values()], axis=1)
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


def numbers(values: np.ndarray) -> np.ndarray:
    """A column as float32; R's missing whole number becomes NaN."""
    if values.dtype.kind == "i":
        return np.where(values == NOT_AVAILABLE, np.nan, values).astype(np.float32)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is reported
        return values.astype(np.float32)


class Reader:
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
