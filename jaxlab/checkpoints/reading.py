"""Parameters out of a run's checkpoints."""

from typing import Any, Literal

from etils import epath

from jaxlab.checkpoints.checkpointer import Checkpointer
from jaxlab.checkpoints.errors import CheckpointMismatchError, UnreadableError
from jaxlab.errors import InputError


def load_params(
    directory: epath.PathLike,
    *,
    step: int | Literal["best"] | None = None,
    ema: bool = True,
    best_metric: str | None = None,
    best_mode: Literal["min", "max"] = "min",
) -> tuple[int, Any, Any]:
    """Loads parameters for sampling or evaluation: no optimizer, no shapes needed.

    Args:
      directory: folder of the checkpoints.
      step: which; the latest that can be read when None, or "best" by `best_metric`, likewise.
      ema: the averaged parameters where the run kept them, else the raw ones.

    Returns:
      (step, params, model_state), the last two nested dicts of arrays.

    Raises:
      FileNotFoundError: there is no such checkpoint.
      CheckpointMismatchError: it cannot be read.
      ValueError: step is "best", and there is no metric to rank the steps by.
    """
    if step == "best" and best_metric is None:
        raise InputError(f"step is 'best', must be a number: nothing ranks those in {directory}")
    if not epath.Path(directory).exists():
        raise FileNotFoundError(f"no checkpoints: {directory} does not exist")
    best: Any = {"best_metric": best_metric, "best_mode": best_mode}
    with Checkpointer(directory, **best, read_only=True) as saved:
        try:
            return saved.load_params(step=step, ema=ema)
        except UnreadableError as error:
            raise CheckpointMismatchError(f"checkpoint in {directory}: {error}") from error
