"""Log lines: short, of this project alone, from process 0."""

import datetime
import logging as std_logging
import pathlib
import sys

import jax
from absl import logging

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]


def start_logging() -> None:
    """Short log lines on stderr, from process 0 only, without the chatter of libraries."""
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO if jax.process_index() == 0 else logging.WARNING)
    handler = logging.get_absl_handler()
    handler.setFormatter(LineFormatter())
    handler.addFilter(worth_showing)


def worth_showing(record) -> bool:
    """Warnings, and what this project and the script itself say."""
    if record.name == "asyncio":
        return False  # pages from orbax's abandoned tasks after a broken file; we warn ourselves
    if record.levelno >= std_logging.WARNING:
        return True
    path = pathlib.Path(record.pathname).resolve()
    script = getattr(sys.modules["__main__"], "__file__", None)
    ours = path.is_relative_to(_PACKAGE)
    return ours or (script is not None and path.parent == pathlib.Path(script).resolve().parent)


class LineFormatter(std_logging.Formatter):
    """The time, a mark of what is more than information, and the message."""

    def format(self, record):
        mark = "" if record.levelno < std_logging.WARNING else f"{record.levelname.lower()}: "
        now = datetime.datetime.fromtimestamp(record.created)
        return f"{now:%H:%M:%S} {mark}{record.getMessage()}"
