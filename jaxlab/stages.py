"""Runs of several stages: one folder a stage, whose `result.json` says that the stage is done.

A stage without that file is trained, or goes on from its checkpoint; one with it is left as it is.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from jaxlab.errors import InputError

__all__ = ["finish", "finished"]

_FILE = "result.json"


def finished(folder: str | os.PathLike[str], num_steps: int | None = None) -> dict[str, Any] | None:
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
    path = pathlib.Path(folder) / _FILE
    if not path.exists():
        return None
    try:
        result = json.loads(path.read_text())
        steps = result["num_steps"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is damaged: delete it, and the stage goes on from its checkpoint"
        ) from error
    if num_steps not in (None, steps):
        raise InputError(
            f"{folder} was trained for {steps} steps, the config has {num_steps}: choose another "
            "--workdir, or delete that folder and those that start from it"
        )
    return result


def finish(folder: str | os.PathLike[str], num_steps: int, figures: Mapping[str, Any]) -> None:
    """Marks a stage as done, as its last act.

    Args:
      folder: of the stage.
      num_steps: that it took.
      figures: what else to keep, as JSON takes it.
    """
    path = pathlib.Path(folder) / _FILE
    beside = path.with_suffix(".part")  # renamed when whole: half a file would count as done
    beside.write_text(json.dumps({"num_steps": num_steps, **figures}, indent=2) + "\n")
    beside.replace(path)
