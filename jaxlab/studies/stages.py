"""Stages: cells that train one after another, each with a folder, metrics and checkpoints."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from etils import epath

from jaxlab import mesh as mesh_lib
from jaxlab import train
from jaxlab.studies import cells

T = TypeVar("T")


def run(
    cell: cells.Cell,
    begin: Callable[[], tuple[train.Blueprint | None, train.TrainState, Any]],
    *,
    conclude: Callable[[train.TrainState], tuple[T, Callable[[], Mapping[str, Any]]]],
    load: Callable[[], T],
    keep_checkpoints: bool = True,
    allow_change: bool = False,
    **options: Any,
) -> T:
    """Trains a stage unless it is done, in the middle of it too; returns what it left.

    All processes call it together; the first one decides whether the stage is done, and writes.

    Args:
      cell: the stage; one of 0 steps keeps the state that it begins with.
      begin: () -> (blueprint, state, data), made only where there is something to train; of 0 steps
        the state alone is looked at.
      conclude: state at the end -> (what the stage leaves, write), in every process; write() saves
        that into the folder and returns the figures of the record, in the first process.
      load: () -> what the stage left, where it is done.
      keep_checkpoints: whether the training state stays when the stage is done.
      allow_change: see `cells.finished` and `train.resume`.
      **options: of `train.run`.

    Raises:
      ValueError: the folder has another stage, or what it left cannot be read.
    """
    if mesh_lib.in_process_0(lambda: cells.finished(cell, allow_change=allow_change)):
        with cells.reading(cell.folder):
            return load()
    blueprint, state, data = begin()
    cell.folder.mkdir(parents=True, exist_ok=True)
    options = {"keep_latest": 2, "allow_change": allow_change, **options}
    if cell.num_steps:
        assert blueprint is not None
        state = train.run(blueprint, data, cell.folder, state=state, **options)
    left, write = conclude(state)

    def end() -> None:
        cells.finish(cell, write())
        if cell.num_steps and not keep_checkpoints:
            epath.Path(cell.folder / "checkpoints").rmtree()  # of a bucket too

    mesh_lib.in_process_0(end)
    return left
