"""Training scripts as planners and benchmarks see them: each starts what a task describes."""

import importlib
import re
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import jax

from jaxlab import train
from jaxlab.errors import InputError

# Script -> the package of `jaxlab.tasks` with its `blueprint(config, mesh, data_dir=...)` and its
# `KEYWORDS`, what the sections of its config may hold. Imported when it is asked for: the plan of
# one needs none of the others.
TASKS = {
    "compress_bert": "compression",
    "train_classifier": "classification",
    "train_embeddings": "embeddings",
    "train_nvae": "images",
    "train_qa_generation": "question_generation",
}


def task_of(script: str) -> ModuleType:
    """The task that a training script starts.

    Raises:
      ValueError: there is no such script.

    Example:
      >>> task_of("train")
      Traceback (most recent call last):
      jaxlab.errors.ValueError: script is 'train', known are compress_bert, train_classifier, \
train_embeddings, train_nvae, train_qa_generation
    """
    if script not in TASKS:
        raise InputError(f"script is {script!r}, known are {', '.join(TASKS)}")
    return importlib.import_module(f"jaxlab.tasks.{TASKS[script]}")


def sections(argv: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """What the config sections of the script that `--script` names may hold, before flags are read.

    Args:
      argv: the command line; train_nvae where it names none.

    Raises:
      ValueError: there is no such script, or no --config, which is train_nvae's without one.

    Example:
      >>> argv = ["plan.py", "--script=train_classifier", "--config=FILE"]
      >>> "gamma" in sections(argv)["objective"]
      True
    """
    named = [a.partition("=")[2] for a in argv if re.match("--?script=", a)]
    script = named[-1] if named else "train_nvae"
    found = task_of(script).KEYWORDS
    if script != "train_nvae" and not any(re.match("--?(config(=|$)|help|h$)", a) for a in argv):
        raise InputError(f"--config=FILE is required with --script={script}")
    return found


def blueprint(
    script: str,
    config: Mapping[str, Any],
    mesh: jax.sharding.Mesh,
    *,
    data_dir: str | None = None,
    **options: Any,
) -> train.Blueprint:
    """The run that a training script would start on a mesh.

    Args:
      script: its name, without folder and ending.
      config: of that script, as plain dicts.
      mesh: the devices.
      data_dir: folder of the data sets, where they are read.
      **options: of the task's blueprint, such as `stage`.

    Raises:
      ValueError: there is no such script, the config is another one's, or the batch cannot be
        split over the devices.
    """
    try:
        found = task_of(script).blueprint(config, mesh, data_dir=data_dir, **options)
    except KeyError as error:
        raise InputError(f"the config is not one of {script}: no {error.args[0]}") from error
    if found.mesh is not None and found.batch_size % found.mesh.size:
        raise InputError(
            f"batch_size is {found.batch_size}, must be a multiple of the {found.mesh.size} chips"
        )
    return found
