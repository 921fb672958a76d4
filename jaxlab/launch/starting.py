"""Weights that a fresh run starts from, by the flags `--init_from`, `--init_weights` and so on."""

import os
from collections.abc import Callable
from typing import Any

import jax
import optax
from absl import flags
from etils import epath

from jaxlab import train
from jaxlab.launch import record
from jaxlab.launch.config import UsageError


def full_path(name: str) -> epath.Path:
    """Absolute, as orbax wants it, unless it is a bucket."""
    return epath.Path(name if "://" in name else os.path.abspath(os.path.expanduser(name)))


def start(
    state: train.TrainState,
    workdir: epath.Path,
    special: Callable[[epath.Path], Any] | None = None,
) -> train.TrainState:
    """A fresh state with the weights that the flags of `reads=(*READS, "init")` name, if any.

    Args:
      state: fresh.
      workdir: of the run.
      special: reads folders and files of the task's own; see `weights.read_weights`.
    """
    f = flags.FLAGS
    if f.init_from is None:
        if f.init_skip is not None:
            raise UsageError("--init_skip needs --init_from=RUN")
        return state
    source, ema = full_path(f.init_from), f.init_weights == "ema"
    return record.start_from(state, workdir, source, ema=ema, skip=f.init_skip, special=special)


def start_params(workdir: epath.Path) -> Callable[[Any, Any], Any] | None:
    """`start` for trees of parameters, as studies of stages begin with.

    Returns:
      (parameters, special) -> parameters; None where no flag names weights.
    """
    if flags.FLAGS.init_from is None and flags.FLAGS.init_skip is None:
        return None

    def started(params: Any, special: Callable[[epath.Path], Any] | None = None) -> Any:
        state = train.state_from_params(params, optax.identity(), key=jax.random.key(0))
        return start(state, workdir, special).params

    return started


def refuse_start(why: str) -> None:
    """Raises where a flag names weights to start from, which the job cannot take."""
    if flags.FLAGS.init_from is not None:
        raise UsageError(f"--init_from={flags.FLAGS.init_from}: {why}")
