"""Checkpoints of a training state and its data iterator: the only file that imports orbax.

A checkpoint is one folder a step, `checkpoints/<step>`. Leaves are stored flat under readable
names (`params/Dense_0/kernel`), so that what does not fit can be named, and so that parameters can
be read without the optimizer that made them. The iterator's position is plain JSON beside them,
which lets a run that was saved by one process go on with two.
"""

import base64
import contextlib
import functools
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from etils import epath
from flax import traverse_util
from orbax.checkpoint import v1 as ocp

from jaxlab import mesh as mesh_lib
from jaxlab.errors import InputError

State = TypeVar("State")
_MOST_LISTED = 12  # leaves named in a message
_OURS = "jaxlab"  # key in a checkpoint's metadata; a folder without it is not one of ours


class CheckpointMismatchError(InputError):
    """Every checkpoint found belongs to another model; nothing was changed."""


class _UnreadableError(Exception):
    """This checkpoint is truncated or was not written by this file."""


class _MismatchError(Exception):
    """This checkpoint holds leaves of other names or shapes."""


class Checkpointer:
    """Saves and restores training states, keeping the latest few and the best.

    All methods must be called by all processes together.

    Args:
      directory: folder of the checkpoints; made if missing.
      keep_latest: how many of the latest checkpoints to keep, >= 1.
      best_metric: name of a metric given to `save`; the checkpoint where it was best is kept too.
      best_mode: "min" or "max".
      read_only: leave alone what a run may be writing at this moment, and save nothing.

    >>> import tempfile, jax.numpy as jnp
    >>> saved = Checkpointer(tempfile.mkdtemp(), keep_latest=2, best_metric="loss")
    >>> for step, loss in ((1, 0.5), (2, 0.9), (3, 0.8), (4, 0.7)):
    ...     saved.save({"step": jnp.int32(step), "w": jnp.ones(2) * step}, metrics={"loss": loss})
    >>> saved.steps, saved.best_step
    ([1, 3, 4], 1)
    >>> saved.restore_latest({"step": jnp.int32(0), "w": jnp.zeros(2)})["w"]
    Array([4., 4.], dtype=float32)
    """

    def __init__(
        self,
        directory: epath.PathLike,
        *,
        keep_latest: int = 3,
        best_metric: str | None = None,
        best_mode: Literal["min", "max"] = "min",
        read_only: bool = False,
    ):
        if keep_latest < 1:
            raise InputError(f"keep_latest is {keep_latest}, must be at least 1")
        if best_mode not in ("min", "max"):
            raise InputError(f"best_mode is {best_mode!r}, must be 'min' or 'max'")
        name = os.fspath(directory)
        self.directory = epath.Path(name if "://" in name else os.path.abspath(name))
        self._best_metric, self._best_mode = best_metric, best_mode
        self._read_only = read_only
        policies: Any = ocp.training.preservation_policies
        keep: list[Any] = [policies.LatestN(keep_latest)]
        if best_metric is not None:
            keep.append(
                policies.BestN(
                    get_metric_fn=self._rank, n=1, keep_checkpoints_without_metrics=False
                )
            )
        self._orbax = ocp.training.Checkpointer(
            self.directory,
            preservation_policy=policies.AnyPreservationPolicy(keep),
            cleanup_tmp_directories=not read_only,  # left by a process killed while saving
        )

    @property
    def steps(self) -> list[int]:
        """Steps of the checkpoints in the folder, ascending."""
        return [c.step for c in self._orbax.checkpoints]

    @property
    def best_step(self) -> int | None:
        """Step of the best checkpoint, None without one that was saved with `best_metric`."""
        ranked = [(self._rank(c.metrics), c.step) for c in self._orbax.checkpoints if c.metrics]
        ranked = [(rank, step) for rank, step in ranked if rank > -np.inf]
        return max(ranked)[1] if ranked else None

    def save(
        self, state: Any, data: Any = None, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Writes `state` and the position of `data` as checkpoint `state.step`, drops old ones.

        Returns once the checkpoint is complete; a process killed before that leaves the earlier
        ones untouched. A checkpoint of the same step is overwritten.

        Args:
          state: tree of arrays with a scalar "step", as attribute or key.
          data: iterator with `get_state()`, JSON or bytes.
          metrics: figures of this step, read by `best_metric`.
        """
        if self._read_only:
            raise InputError(f"{self.directory} was opened read-only: it cannot be saved to")
        step = int(state["step"] if isinstance(state, Mapping) else state.step)
        self._orbax.save_checkpointables(
            step,
            {"state": _flatten(state)},
            force=True,  # fit decides when, not orbax
            overwrite=step in self.steps,
            metrics={k: float(v) for k, v in metrics.items()} if metrics else None,
            custom_metadata={_OURS: {"data": _iterator_states(data)}},
        )

    def restore_latest(self, state: State, data: Any = None) -> State | None:
        """Restores the newest checkpoint that can be read and fits `state`.

        A checkpoint that is truncated, foreign, or of another model is named in a warning and set
        aside as `<step>.unusable`, never deleted, and the one before it is tried.

        Args:
          state: tree of arrays or `jax.ShapeDtypeStruct`s; gives names, shapes and shardings.
          data: iterator whose position is restored in place.

        Returns:
          The restored tree, or None without any checkpoint.

        Raises:
          CheckpointMismatchError: there are checkpoints, and none can be used; the message lists
            the leaves that differ. Nothing is set aside then.
        """
        passed: dict[int, Exception] = {}
        for step in reversed(self.steps):
            restored, error = None, None
            try:
                restored = self._load(step, state, data)
            except (_UnreadableError, _MismatchError) as e:
                error = e
            # A file may be unreadable in one process only; all must take the same checkpoint.
            if mesh_lib.all_processes(error is None):
                for bad, why in passed.items():
                    aside = "left alone" if self._read_only else f"now {self._set_aside(bad)}"
                    logging.warning("checkpoint %d not used, %s: %s", bad, aside, why)
                if passed:
                    self._orbax.reload()
                return restored
            passed[step] = error or _UnreadableError("unreadable in another process")
        if passed:
            reasons: dict[str, list[str]] = {}
            for step, why in passed.items():
                reasons.setdefault(str(why), []).append(str(step))
            text = "; ".join(f"{', '.join(steps)}: {why}" for why, steps in reasons.items())
            raise CheckpointMismatchError(f"no usable checkpoint in {self.directory}: {text}")
        return None

    def restore(
        self, state: State, data: Any = None, *, step: int | Literal["best"] | None = None
    ) -> State:
        """Restores one given checkpoint: `step`, the best, or (None) the latest.

        Raises:
          FileNotFoundError: there is no such checkpoint.
          CheckpointMismatchError: it is unreadable or does not fit.
        """
        found = self._resolve(step)
        try:
            return self._load(found, state, data)
        except (_UnreadableError, _MismatchError) as error:
            raise CheckpointMismatchError(
                f"checkpoint {self.directory / str(found)}: {error}"
            ) from error

    def load_params(
        self, *, step: int | Literal["best"] | None = None, ema: bool = True
    ) -> tuple[int, Any, Any]:
        """Reads what a model needs and nothing else; see the function `load_params`."""
        found = self._resolve(step)
        stored = self._stored(found)
        field = (
            "ema_params" if ema and any(n.startswith("ema_params/") for n in stored) else "params"
        )
        wanted = {n: v for n, v in stored.items() if n.startswith((f"{field}/", "model_state/"))}
        leaves = self._read(found, stored, {n: _abstract(v) for n, v in wanted.items()})
        tree = traverse_util.unflatten_dict(leaves, sep="/")
        return found, tree[field], tree.get("model_state", {})

    def close(self) -> None:
        """Releases orbax's threads."""
        self._orbax.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _rank(self, metrics: Any) -> float:
        """Higher is better; a checkpoint without the metric, or with NaN, comes last."""
        value = float((metrics or {}).get(self._best_metric, np.nan))
        value = value if self._best_mode == "max" else -value
        return value if np.isfinite(value) else -np.inf

    def _resolve(self, step: int | Literal["best"] | None) -> int:
        if not self.steps:
            raise FileNotFoundError(f"no checkpoint in {self.directory}")
        found = self.best_step if step == "best" else self.steps[-1] if step is None else step
        if found is None:
            raise FileNotFoundError(
                f"no checkpoint in {self.directory} was saved with the metric {self._best_metric!r}"
            )
        if found not in self.steps:
            raise FileNotFoundError(
                f"no checkpoint {found} in {self.directory}, which holds {self.steps}"
            )
        return found

    def _stored(self, step: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns names, shapes and dtypes of the leaves of a checkpoint."""
        try:
            with _quiet_orbax():
                leaves = self._orbax.checkpointables_metadata(step).metadata["state"]
            return {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in leaves.items()}
        except Exception as error:  # orbax raises many types on broken files
            raise _UnreadableError("truncated or foreign: its arrays cannot be listed") from error

    def _read(self, step: int, stored: Mapping, wanted: Mapping) -> dict[str, jax.Array]:
        """Reads the leaves `wanted` out of those `stored`."""
        ask = {n: wanted.get(n, ocp.PLACEHOLDER) for n in stored}
        try:
            with _quiet_orbax():
                read = self._orbax.load_checkpointables(step, {"state": ask})["state"]
        except Exception as error:
            raise _UnreadableError("truncated: its arrays cannot be read") from error
        return {n: read[n] for n in wanted}

    def _load(self, step: int, state: State, data: Any) -> State:
        stored = self._stored(step)
        with _quiet_orbax():
            custom: Any = self._orbax.checkpointables_metadata(step).custom_metadata
        extra = (custom or {}).get(_OURS)
        if extra is None:
            raise _UnreadableError("truncated or foreign: its metadata are not those of a run")
        wanted = _flatten(state)
        differences = _differences(stored, wanted)
        if differences:
            raise _MismatchError(f"does not fit this model: {'; '.join(differences)}")
        leaves = self._read(step, stored, {n: _abstract(v) for n, v in wanted.items()})
        if data is not None:
            _set_iterator(data, extra["data"])
        return jax.tree.unflatten(jax.tree.structure(state), [leaves[n] for n in wanted])

    def _set_aside(self, step: int) -> str:
        source = self.directory / str(step)
        target = self.directory / f"{step}.unusable"
        if jax.process_index() == 0:
            number = 1
            while target.exists():
                number += 1
                target = self.directory / f"{step}.unusable{number}"
            source.rename(target)
        mesh_lib.wait_for_all(f"jaxlab set aside {step}")
        return target.name


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
      step: which; the latest when None, or "best" by `best_metric`.
      ema: the averaged parameters where the run kept them, else the raw ones.

    Returns:
      (step, params, model_state), the last two nested dicts of arrays.

    Raises:
      FileNotFoundError: there is no such checkpoint.
      CheckpointMismatchError: it cannot be read.
    """
    if not epath.Path(directory).exists():
        raise FileNotFoundError(f"no checkpoints: {directory} does not exist")
    best: Any = {"best_metric": best_metric, "best_mode": best_mode}
    with Checkpointer(directory, **best, read_only=True) as saved:
        try:
            return saved.load_params(step=step, ema=ema)
        except _UnreadableError as error:
            raise CheckpointMismatchError(f"checkpoint in {directory}: {error}") from error


def _flatten(tree: Any) -> dict[str, Any]:
    """Names every leaf by its path: `params/Dense_0/kernel`; None and empty nodes have no name."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    sharding = getattr(leaf, "sharding", None) or mesh_lib.local_device()
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _as_stored(leaf: Any) -> jax.ShapeDtypeStruct:
    """A typed key is stored as its key data."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def _differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Lists leaves whose presence, shape or dtype differ."""
    wanted = {name: _as_stored(leaf) for name, leaf in wanted.items()}
    found = []
    for name in sorted({*stored, *wanted}):
        seen, want = (
            f"{x.dtype}{list(x.shape)}" if (x := leaves.get(name)) is not None else "absent"
            for leaves in (stored, wanted)
        )
        if seen != want:
            found.append(f"{name} seen {seen}, wanted {want}")
    if len(found) > _MOST_LISTED:
        found[_MOST_LISTED:] = [f"and {len(found) - _MOST_LISTED} more"]
    return found


def _iterator_states(data: Any) -> list[Any] | None:
    """Returns the positions of all processes' iterators, in order."""
    if data is None:
        return None
    state = data.get_state()
    if isinstance(state, bytes):
        state = {"base64": base64.b64encode(state).decode()}
    return [json.loads(text) for text in mesh_lib.gather_texts(json.dumps(state))]


def _set_iterator(data: Any, states: list[Any] | None) -> None:
    if states is None:
        raise _MismatchError("it was saved without a data iterator")
    if len(states) == jax.process_count():
        state = states[jax.process_index()]
    elif all(s == states[0] for s in states):
        state = states[0]  # all processes were at the same position, so any number may go on
    else:
        raise _MismatchError(
            f"its {len(states)} processes were at different positions of the data, "
            f"so it cannot go on with {jax.process_count()}"
        )
    if isinstance(state, dict) and set(state) == {"base64"}:
        state = base64.b64decode(state["base64"])
    data.set_state(state)


@contextlib.contextmanager
def _quiet_orbax():
    """Drops what orbax logs about broken files, pages long; our warning says it in a line."""
    _ignore_closed_loops()
    quiet = lambda record: "orbax" not in record.pathname
    logger = logging.get_absl_logger()
    logger.addFilter(quiet)
    try:
        yield
    finally:
        logger.removeFilter(quiet)


@functools.cache
def _ignore_closed_loops() -> None:
    """Drops a page that is printed when parts of a failed read answer after orbax has left it."""
    late = lambda error: str(error) == "Event loop is closed"
    raised, unraisable = sys.excepthook, sys.unraisablehook
    sys.excepthook = lambda kind, e, trace: None if late(e) else raised(kind, e, trace)
    sys.unraisablehook = lambda found: None if late(found.exc_value) else unraisable(found)
