"""Runs of several stages: one folder a stage, whose `result.json` says that the stage is done.

A stage without that file is trained, or goes on from its checkpoint; one with it is left as it is.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from jaxlab.errors import InputError, UserError
from jaxlab.files import read_json, to_json, write_atomically

__all__ = ["finish", "finished", "reading"]

_FILE = "result.json"


def finished(folder: epath.PathLike, num_steps: int | None = None) -> dict[str, Any] | None:
    """What a stage ended with, or None while it is not done.

    Args:
      folder: of the stage.
      num_steps: as long as the stage should be; None takes any.

    Raises:
      ValueError: the stage was as long as another config asked, or the file is damaged.

    Example:
      >>> import tempfile
      >>> folder = tempfile.mkdtemp()
      >>> finished(folder), finish(folder, 100, {"loss": 0.5})
      (None, None)
      >>> finished(folder, 100)
      {'num_steps': 100, 'loss': 0.5}
    """
    path = epath.Path(folder) / _FILE
    if not path.exists():
        return None
    try:
        result = read_json(path)
        steps = int(result["num_steps"])
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(
            f"{path} is damaged: delete it, and the stage goes on from its checkpoint"
        ) from error
    if num_steps not in (None, steps):
        raise InputError(
            f"{folder} was trained for {steps} steps, the config has {num_steps}: choose another "
            "--workdir, or delete that folder and those that start from it"
        )
    return result


@contextlib.contextmanager
def reading(folder: epath.PathLike) -> Iterator[None]:
    """Around the reading of what a finished stage left: an error says how to get it again.

    Args:
      folder: of the stage.

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


def finish(folder: epath.PathLike, num_steps: int, figures: Mapping[str, Any]) -> None:
    """Marks a stage as done, as its last act.

    Args:
      folder: of the stage.
      num_steps: that it took.
      figures: what else to keep, as JSON takes it.
    """
    text = to_json({"num_steps": num_steps, **figures}, indent=2) + "\n"
    write_atomically(epath.Path(folder) / _FILE, text)  # half a file would count as done
