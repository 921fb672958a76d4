"""Checkpoints of a run: written whole, checked, the latest and the best kept."""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

import jax
import numpy as np
from absl import logging
from etils import epath
from flax import traverse_util
from orbax.checkpoint import v1 as ocp

from jaxlab import mesh as mesh_lib
from jaxlab.checkpoints import leaves as leaves_lib
from jaxlab.checkpoints import positions
from jaxlab.checkpoints.errors import (
    CheckpointMismatchError,
    DataChangedError,
    MismatchError,
    SaveError,
    UnreadableError,
)
from jaxlab.checkpoints.orbax_faults import (
    check_name,
    fault_of_the_disk,
    is_changed,
    quiet,
    write_sums,
)
from jaxlab.checks import check_count
from jaxlab.errors import InputError
from jaxlab.files import lock, read_json

State = TypeVar("State")
_OURS = "jaxlab"  # key in a checkpoint's metadata; a folder without it is not one of ours
_PARTIAL = ".orbax-checkpoint-tmp"  # in the names of folders that are being written or deleted


class Checkpointer:
    """Saves and restores training states, keeping the latest few and the best.

    All methods must be called by all processes together.

    Args:
      directory: folder of the checkpoints; made if missing.
      keep_latest: how many of the latest checkpoints to keep, >= 1.
      best_metric: name of a metric given to `save`; the checkpoint where it was best is kept too.
      best_mode: "min" or "max".
      read_only: leave alone what a run may be writing at this moment, and save nothing. Without it
        the folder is locked against other processes until `close`.
      notes: called by every `save` for JSON that is kept next to the state; `restore_latest` leaves
        that of the restored checkpoint in the attribute `notes`.

    Raises:
      ValueError: an argument is out of range; another process writes to the folder; or the folder's
        name is one below which orbax writes what it cannot read.

    Example:
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
        notes: Callable[[], Any] | None = None,
    ):
        check_count("keep_latest", keep_latest)
        if best_mode not in ("min", "max"):
            raise InputError(f"best_mode is {best_mode!r}, must be 'min' or 'max'")
        name = os.fspath(directory)
        self.directory = epath.Path(name if "://" in name else os.path.abspath(name))
        self.notes: Any = None
        self._keep_latest, self._make_notes = keep_latest, notes
        self._best_metric, self._best_mode = best_metric, best_mode
        self._read_only = read_only
        self._ranks: dict[int, float] = {}
        self._lock = None
        if not read_only:
            mesh_lib.in_process_0(self._prepare)

    def _prepare(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = lock(self.directory)
        check_name(self.directory)
        for left in self.directory.iterdir():  # by a process killed while saving
            if _PARTIAL in left.name:
                left.rmtree()

    @property
    def steps(self) -> list[int]:
        """Steps of the checkpoints in the folder, ascending."""
        if not self.directory.exists():
            return []
        found = [
            path for path in self.directory.iterdir() if re.fullmatch("0|[1-9][0-9]*", path.name)
        ]
        return sorted(int(path.name) for path in found if path.is_dir())

    @property
    def best_metric(self) -> str | None:
        """What `best_step` goes by; None where no checkpoint is kept for being the best."""
        return self._best_metric

    @property
    def best_step(self) -> int | None:
        """Step of the best checkpoint, None without one that was saved with `best_metric`."""
        ranked = [(rank, step) for step in self.steps if (rank := self._rank(step)) > -np.inf]
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
        leaves, path = leaves_lib.flatten(state), self.directory / str(step)
        kept = {
            "data": positions.gather(data),
            "metrics": {k: float(v) for k, v in (metrics or {}).items()},
            "notes": None if self._make_notes is None else self._make_notes(),
        }
        self._ranks.pop(step, None)
        try:
            with quiet():
                ocp.save_checkpointables(
                    path,
                    {"state": leaves},
                    overwrite=path.exists(),
                    custom_metadata={_OURS: kept},
                )
            # What was written counts, not what the library says: it may have left out a part.
            stored, _ = self._describe(step)
        except UnreadableError as error:
            raise SaveError(f"checkpoint {path} was saved, but cannot be read: {error}") from error
        except Exception as error:
            why = fault_of_the_disk(error)
            if why is None:
                raise
            raise SaveError(
                f"checkpoint {path} cannot be written: {why}; the earlier ones are as they were, "
                "and the same command goes on from there"
            ) from error
        lacking = leaves_lib.differences(stored, leaves)
        if lacking:
            raise SaveError(f"checkpoint {path} was saved, but not whole: {'; '.join(lacking)}")
        mesh_lib.in_process_0(lambda: self._finish(path))

    def _finish(self, path: epath.Path) -> None:
        """Keeps checksums, and deletes what is neither among the latest nor the best."""
        write_sums(path)
        steps = self.steps
        keep = {*steps[-self._keep_latest :], self.best_step}
        for step in [step for step in steps if step not in keep]:
            path = self.directory / str(step)
            if "://" not in os.fspath(path):  # killed while deleting, half a checkpoint would stay
                path = path.rename(self.directory / f"{step}.dropped{_PARTIAL}")
            path.rmtree()

    def restore_latest(
        self, state: State, data: Any = None, *, allow_change: bool = False
    ) -> State | None:
        """Restores the newest checkpoint that can be read and fits `state`.

        A checkpoint that is truncated, foreign, or of another model is named in a warning and set
        aside as `<step>.unusable`, never deleted, and the one before it is tried.

        Args:
          state: tree of arrays or `jax.ShapeDtypeStruct`s; gives names, shapes and shardings.
          data: iterator whose position is restored in place.
          allow_change: go on although the data are not those of the checkpoint.

        Returns:
          The restored tree, or None without any checkpoint.

        Raises:
          CheckpointMismatchError: there are checkpoints, and none can be used; the message lists
            the leaves that differ. Nothing is set aside then.
          DataChangedError: `data.set_state` says, by an `InputError`, that it is of other data.
        """
        passed: dict[int, Exception] = {}
        for step in reversed(self.steps):
            restored, error = None, None
            try:
                restored = self._load(step, state, data, allow_change)
            except (DataChangedError, UnreadableError, MismatchError) as e:
                error = e
            # A file may be unreadable in one process only; all must take the same checkpoint.
            if mesh_lib.all_processes(error is None):
                for bad, why in passed.items():
                    aside = "left alone" if self._read_only else f"now {self._set_aside(bad)}"
                    logging.warning("checkpoint %d not used, %s: %s", bad, aside, why)
                return restored
            if isinstance(error, DataChangedError):
                raise error
            passed[step] = error or UnreadableError("unreadable in another process")
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
        except (UnreadableError, MismatchError) as error:
            raise CheckpointMismatchError(
                f"checkpoint {self.directory / str(found)}: {error}"
            ) from error

    def load_params(
        self, *, step: int | Literal["best"] | None = None, ema: bool = True
    ) -> tuple[int, Any, Any]:
        """Reads what a model needs and nothing else; see the function `load_params`."""
        found = [self._resolve(step)]
        if step is None:
            found = self.steps[::-1]
        elif step == "best":
            ranked = sorted(((self._rank(s), s) for s in self.steps), reverse=True)
            found = [s for rank, s in ranked if rank > -np.inf]
        for candidate in found:
            try:
                return candidate, *self._params(candidate, ema)
            except UnreadableError as error:
                if candidate == found[-1]:
                    raise
                logging.warning("checkpoint %d not used, left alone: %s", candidate, error)
        raise AssertionError("there is a last candidate")

    def _params(self, found: int, ema: bool) -> tuple[Any, Any]:
        stored, _ = self._describe(found)
        field = (
            "ema_params" if ema and any(n.startswith("ema_params/") for n in stored) else "params"
        )
        wanted = {n: v for n, v in stored.items() if n.startswith((f"{field}/", "model_state/"))}
        leaves = self._read(found, stored, {n: leaves_lib.abstract(v) for n, v in wanted.items()})
        # Read onto one device; without a tie to it they go to any mesh, of several processes too.
        # (`jnp.asarray` would compile a program for every shape.)
        leaves = jax.device_put({name: np.asarray(leaf) for name, leaf in leaves.items()})
        tree = traverse_util.unflatten_dict(leaves, sep="/")
        if field not in tree:
            raise UnreadableError("truncated or foreign: it has no parameters")
        return tree[field], tree.get("model_state", {})

    def close(self) -> None:
        """Lets another process write to the folder."""
        self._lock = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _rank(self, step: int) -> float:
        """Higher is better; a checkpoint without the metric, or with NaN, comes last."""
        if step not in self._ranks:
            try:
                _, kept = self._describe(step)
                # Earlier versions left the metrics to orbax, in a file of their own.
                file = self.directory / str(step) / "metrics" / "metrics"
                metrics = (kept or {}).get("metrics", read_json(file) if file.exists() else {})
                value = float(metrics[self._best_metric])
            except (UnreadableError, OSError, ValueError, KeyError, TypeError, OverflowError):
                value = np.nan
            value = value if self._best_mode == "max" else -value
            self._ranks[step] = value if np.isfinite(value) else -np.inf
        return self._ranks[step]

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

    def _describe(self, step: int) -> tuple[dict[str, jax.ShapeDtypeStruct], dict | None]:
        """Returns the leaves of a checkpoint and what else we keep there, None if foreign."""
        try:
            with quiet():
                found = ocp.checkpointables_metadata(self.directory / str(step))
            leaves: Any = found.metadata["state"]
            stored = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in leaves.items()}
        except Exception as error:  # orbax raises many types on broken files
            raise UnreadableError("truncated or foreign: its arrays cannot be listed") from error
        custom: Any = found.custom_metadata
        kept = custom.get(_OURS) if isinstance(custom, Mapping) else None
        if not isinstance(kept, dict) or "data" not in kept:
            return stored, None
        return stored, kept

    def _read(self, step: int, stored: Mapping, wanted: Mapping) -> dict[str, jax.Array]:
        """Reads the leaves `wanted` out of those `stored`."""
        if is_changed(self.directory / str(step)):
            raise UnreadableError("truncated or damaged: its files are not as they were written")
        ask = {n: wanted.get(n, ocp.PLACEHOLDER) for n in stored}
        try:
            with quiet():
                path = self.directory / str(step)
                read = ocp.load_checkpointables(path, {"state": ask})["state"]
                return {n: read[n] for n in wanted}
        except Exception as error:
            raise UnreadableError("truncated: its arrays cannot be read") from error

    def _load(self, step: int, state: State, data: Any, allow_change: bool = False) -> State:
        stored, kept = self._describe(step)
        if kept is None:
            raise UnreadableError("truncated or foreign: its metadata are not those of a run")
        wanted = leaves_lib.flatten(state)
        differences = leaves_lib.differences(stored, wanted)
        if differences:
            raise MismatchError(f"does not fit this model: {'; '.join(differences)}")
        leaves = self._read(step, stored, {n: leaves_lib.abstract(v) for n, v in wanted.items()})
        if data is not None:
            try:
                positions.restore(data, kept["data"], allow_change)
            except InputError as error:
                raise DataChangedError(
                    f"checkpoint {self.directory / str(step)}: {error}"
                ) from error
            except positions.MismatchError as error:
                raise MismatchError(str(error)) from error
            except Exception as error:  # a state of another form
                raise UnreadableError("its position does not fit the data iterator") from error
        self.notes = kept.get("notes")
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
