"""Finished runs, opened in one line."""

import dataclasses
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, Literal

from etils import epath

from jaxlab.errors import InputError
from jaxlab.files import RECORD_FILE, read_record

_DEPTH = 4  # folders between a stage and its run: SEED/DEPTH/ARM/STAGE


@dataclasses.dataclass(frozen=True)
class LoadedRun:
    """A finished run.

    Attributes:
      config: what it was started with, as plain dicts.
      step: of the checkpoint.
      weights: "ema" or "raw".
      model: the model.
      params: its parameters, averaged or raw.
      model_state: its other variables, such as batch statistics.
      load_data: reads a data set of the run: `load_data("test", limit=100)`.
      parts: what belongs to the model: head and tokenizer, or the words of the vectors.
    """

    config: Mapping[str, Any]
    step: int
    weights: str
    model: Any
    params: Any
    model_state: Any
    load_data: Callable[..., Any]
    parts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes."""
        return {"params": self.params, **self.model_state}


def load_run(
    workdir: epath.PathLike,
    *,
    params: str = "ema",
    step: int | Literal["best"] | None = None,
    data_dir: str | None = None,
    task: str | None = None,
) -> LoadedRun:
    """Opens a finished run: its config, model, parameters and data.

        run = train.load_run("runs/demo")
        samples = run.model.apply(run.variables, 16, key=jax.random.key(0), method="sample")

    config.json names the task, and `open_run(config, workdir, params=..., step=..., data_dir=...)`
    of the module `jaxlab.tasks.TASK`, imported here by that name, does the rest: a task whose runs
    can be opened has such a function.

    Args:
      workdir: folder of the run, or of one of its stages.
      params: "ema", the averaged parameters where the run kept them, or "raw", the last ones.
      step: of the checkpoint; the latest when None, or "best" by the task's held-out figure.
      data_dir: folder of the data sets; that of the run when None.
      task: of which the run must be; any when None.

    Raises:
      FileNotFoundError: there is no run, or no such checkpoint.
      ValueError: config.json cannot be read or belongs to another task, or params is unknown.
    """
    if params not in ("ema", "raw"):
        raise InputError(f"params is {params!r}, must be 'ema' or 'raw'")
    place = epath.Path(workdir)
    above = [place, *place.parents][: _DEPTH + 1]
    folder = next((f for f in above if (f / RECORD_FILE).exists()), place)
    record = read_record(folder)
    path, config = folder / RECORD_FILE, record["config"]
    found = record.get("task") or _task_of(config)
    name = f"jaxlab.tasks.{found}"
    known = isinstance(found, str) and found.isidentifier() and importlib.util.find_spec(name)
    if not known:
        raise InputError(f"{path} names the task {found!r}, there is no package {name}")
    if task not in (None, found):
        raise InputError(f"{workdir} holds a run of the task {found!r}, must be one of {task!r}")
    open_run = getattr(importlib.import_module(name), "open_run", None)
    if open_run is None:
        raise InputError(f"runs of the task {found!r} cannot be opened: {name} has no open_run")
    data_dir = record.get("data_dir") if data_dir is None else data_dir
    try:
        return open_run(config, workdir, params=params, step=step, data_dir=data_dir)
    except KeyError as error:
        raise InputError(f"{path}: the config lacks {error}") from error
    except TypeError as error:  # a section that is none, or a key that its function has not
        raise InputError(f"{path}: the config is none of {found!r}: {error}") from error


def _task_of(config: Mapping[str, Any]) -> str | None:
    """The task of a record that names none: of earlier versions, NVAE's are known by its words."""
    model = config.get("model")
    return "images" if isinstance(model, Mapping) and "enc_channels" in model else None
