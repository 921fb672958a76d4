"""What the checkpoint library does not do: names it cannot take, full disks, pages of messages."""

import contextlib
import gc
import inspect
import re
import sys
import time
import traceback
from collections.abc import Iterator

from absl import logging
from etils import epath

from jaxlab.errors import InputError


def check_name(directory: epath.Path) -> None:
    """Orbax finds what it has just written by a pattern that starts with the folder's name."""
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
        if said := re.search(r"([^:\[]*) \[OS error \d+", str(found)):
            return said[1].strip()
        seen += getattr(found, "exceptions", ())
        seen += [e for e in (found.__cause__, found.__context__) if e is not None and e not in seen]
    return None


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
