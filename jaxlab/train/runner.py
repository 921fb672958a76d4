"""One runner for every script, stage and cell: resume, train, evaluate, save, close."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from etils import epath

from jaxlab.errors import InputError
from jaxlab.train.blueprint import Blueprint
from jaxlab.train.loop import fit, resume
from jaxlab.train.state import TrainState


def run(
    blueprint: Blueprint,
    data: Any,
    workdir: epath.PathLike,
    *,
    state: TrainState | None = None,
    eval_fn: Callable[[TrainState], Mapping[str, float]] | None = None,
    best_metric: str | None = None,
    best_mode: Literal["min", "max"] = "min",
    keep_latest: int = 3,
    log_every: int = 100,
    eval_every: int = 0,
    checkpoint_every: int = 0,
    tensorboard: bool = False,
    allow_change: bool = False,
    profile_dir: epath.PathLike | None = None,
) -> TrainState:
    """Trains what a blueprint describes; the same call goes on where a run was stopped.

    Args:
      blueprint: the run.
      data: iterator over this process's rows of each batch, with `get_state`/`set_state`.
      workdir: folder of the run; it then holds metrics.jsonl, timing.jsonl and checkpoints/.
      state: to start from; by default what the blueprint makes.
      eval_fn: state -> figures; see `fit`, as for `log_every`, `eval_every`, `checkpoint_every` and
        `profile_dir`.
      best_metric: see `resume`, as for `best_mode`, `keep_latest`, `tensorboard`, `allow_change`.

    Returns:
      The state after the last step; what is there already where the run is done.

    Raises:
      ValueError, Interrupted, NonFiniteError, TooManySkipsError: see `fit`.
      CheckpointMismatchError, DataChangedError: see `resume`.

    Example:
      >>> import tempfile, jax, jax.numpy as jnp, numpy as np, optax
      >>> from jaxlab import data, train
      >>> loss = lambda params, model_state, batch, *, key, step: (
      ...     jnp.mean((batch["x"] - params) ** 2), (model_state, {}))
      >>> tx = optax.sgd(0.5)
      >>> described = train.Blueprint(
      ...     lambda: train.create_state(lambda key: (jnp.zeros(2), {}), tx, key=jax.random.key(0)),
      ...     train.make_train_step(loss, tx), {"x": jax.ShapeDtypeStruct((4, 2), "float32")},
      ...     num_steps=20, batch_size=4)
      >>> rows = data.array_pipeline({"x": np.ones((8, 2), np.float32)}, 4, seed=0)
      >>> print(train.run(described, rows, tempfile.mkdtemp()).params.round(3))
      [1. 1.]
    """
    if best_metric is not None and eval_fn is None:
        raise InputError(
            f"best_metric is {best_metric!r}, eval_fn must be a function that gives it"
        )
    start: TrainState = blueprint.create_state() if state is None else state
    state, checkpointer, writer = resume(
        workdir,
        start,
        data,
        keep_latest=keep_latest,
        best_metric=best_metric,
        best_mode=best_mode,
        tensorboard=tensorboard,
        allow_change=allow_change,
    )
    with checkpointer, writer:
        return fit(
            state,
            blueprint.step,
            data,
            num_steps=blueprint.num_steps,
            checkpointer=checkpointer,
            writer=writer,
            log_every=log_every,
            eval_every=eval_every,
            eval_fn=eval_fn,
            checkpoint_every=checkpoint_every,
            mesh=blueprint.mesh,
            batch_size=blueprint.batch_size,
            profile_dir=profile_dir,
        )
