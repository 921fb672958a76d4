"""What orbax does not do: names it cannot take, changed bits, full disks, pages of messages."""

import contextlib
import gc
import inspect
import json
import os
import re
import sys
import time
import traceback
import zlib
from collections.abc import Iterator

from absl import logging
from etils import epath

from jaxlab.errors import InputError
from jaxlab.files import read_json, write_atomically

SUMS_FILE = "sums.json"


def check_name(directory: epath.Path) -> None:
    """Orbax finds what it has just written by a pattern that starts with the folder's name.

    Its store of arrays takes a backslash for a slash, and names in UTF-8 alone.
    """
    name = os.fspath(directory)
    if "\\" in name or name != name.encode(errors="replace").decode():
        raise InputError(
            f"{name!a} cannot hold checkpoints: the checkpoint library takes neither "
            "backslashes nor names that are not UTF-8, choose another name"
        )
    probe = directory / ".probe"
    probe.touch()
    try:
        found = [path.name for path in directory.glob(".prob*")]
    except (ValueError, NotImplementedError):
        found = []
    finally:
        probe.unlink()
    if ".probe" not in found:
        raise InputError(
            f"{directory} cannot hold checkpoints: the checkpoint library takes [...] and ** in a "
            "path for patterns, choose another name"
        )


def fault_of_the_disk(error: BaseException) -> str | None:
    """What the system said when a file could not be written; None for other errors."""
    seen: list[BaseException] = [error]
    for found in seen:
        if isinstance(found, OSError):
            return found.strerror or str(found)
        # Of tensorstore: "...: Failed to write: No space left on device [OS error 28: ENOSPC".
        if said := re.search(r"([^:\[]*) \[(OS error \d|os_error_code)", str(found)):
            return said[1].strip()
        seen += getattr(found, "exceptions", ())
        seen += [e for e in (found.__cause__, found.__context__) if e is not None and e not in seen]
    return None


def write_sums(folder: epath.Path) -> None:
    """Writes a checksum of each file of a checkpoint, for orbax keeps none of larger arrays.

    A bucket keeps its own.
    """
    if "://" not in os.fspath(folder):
        write_atomically(folder / SUMS_FILE, json.dumps(_sums(folder), indent=0) + "\n")


def is_changed(folder: epath.Path) -> bool:
    """Whether a file of a checkpoint is not as it was written; False where no sums were kept."""
    if "://" in os.fspath(folder) or not (folder / SUMS_FILE).exists():
        return False
    try:
        return read_json(folder / SUMS_FILE) != _sums(folder)
    except (InputError, OSError):
        return True


def _sums(folder: epath.Path) -> dict[str, int]:
    root, found = os.fspath(folder), {}
    for place, _, names in os.walk(root):
        for name in set(names) - {SUMS_FILE}:
            path, crc = os.path.join(place, name), 0
            with open(path, "rb") as file:
                while part := file.read(2**24):
                    crc = zlib.crc32(part, crc)
            found[os.path.relpath(path, root)] = crc
    return dict(sorted(found.items()))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drops what orbax logs about broken files, pages long; our warning says it in a line."""
    ours = lambda record: "orbax" not in record.pathname
    logger = logging.get_absl_logger()
    logger.addFilter(ours)
    late = lambda error: str(error) == "Event loop is closed"
    raised, unraisable = sys.excepthook, sys.unraisablehook
    sys.excepthook = lambda kind, e, trace: None if late(e) else raised(kind, e, trace)
    dropped = lambda found: inspect.iscoroutine(found.object) or late(found.exc_value)
    sys.unraisablehook = lambda found: None if dropped(found) else unraisable(found)
    try:
        yield
    except Exception as error:
        # Parts of a failed read answer after orbax has left it, and print a page each: now.
        found: BaseException | None = error
        while found is not None:
            traceback.clear_frames(found.__traceback__)
            found = found.__cause__ or found.__context__
        gc.collect()
        time.sleep(0.3)
        raise
    finally:
        sys.excepthook, sys.unraisablehook = raised, unraisable
        logger.removeFilter(ours)
