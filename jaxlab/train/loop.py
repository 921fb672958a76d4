"""The training loop, and the three lines that make a run resumable."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from etils import epath
from tqdm import tqdm

from jaxlab import mesh as mesh_lib
from jaxlab.checkpoints import Checkpointer, DataChangedError
from jaxlab.checks import check_count
from jaxlab.errors import DivergedError, InputError, InputTypeError
from jaxlab.metrics import MetricsWriter
from jaxlab.signals import Interrupted, StopFlag
from jaxlab.train.state import TrainState


class NonFiniteError(DivergedError):
    """A metric or the state is no longer finite."""


class TooManySkipsError(DivergedError):
    """The optimizer skipped more steps in a row than allowed."""


def resume(
    workdir: epath.PathLike,
    state: TrainState,
    data: Any,
    *,
    keep_latest: int = 3,
    best_metric: str | None = None,
    best_mode: Literal["min", "max"] = "min",
    tensorboard: bool = False,
    allow_change: bool = False,
) -> tuple[TrainState, Checkpointer, MetricsWriter]:
    """Takes up the run in `workdir` where its newest usable checkpoint left it.

    Args:
      workdir: folder of the run; checkpoints are in `workdir/checkpoints`.
      state: a fresh state; returned as it is when there is no checkpoint.
      data: the training iterator; its position is restored in place.
      keep_latest: see `Checkpointer`, as for `best_metric` and `best_mode`.
      tensorboard: see `MetricsWriter`.
      allow_change: go on although the checkpoint is of another seed or other data.

    Returns:
      (state, checkpointer, writer), with metric rows after the state's step dropped. Rows that are
      missing up to that step are a warning.

    Raises:
      CheckpointMismatchError: there are checkpoints but none fits; nothing is changed.
      DataChangedError: the checkpoint's seed is another than `state`'s, or `data` is an iterator of
        `jaxlab.data` over other data.
    """
    workdir = epath.Path(workdir)
    checkpointer = Checkpointer(
        workdir / "checkpoints",
        keep_latest=keep_latest,
        best_metric=best_metric,
        best_mode=best_mode,
        notes=lambda: {"rows": writer.rows},
    )
    restored = checkpointer.restore_latest(state, data, allow_change=allow_change)
    if restored is not None:
        if not allow_change and not _same_key(restored.key, state.key):
            raise DataChangedError(
                f"the checkpoint of step {int(restored.step)} in {checkpointer.directory} is of "
                "another seed: choose another --workdir, or go on with --allow_config_change"
            )
        state = restored
        logging.info("resumed from step %d of %s", int(state.step), checkpointer.directory)
    writer = MetricsWriter(workdir, tensorboard=tensorboard)
    writer.truncate(int(state.step), rows=(checkpointer.notes or {}).get("rows"))
    return state, checkpointer, writer


def _same_key(restored: Any, fresh: Any) -> bool:
    """A state keeps its key for ever; one given by shapes alone has none to compare."""
    if isinstance(fresh, jax.ShapeDtypeStruct):
        return True
    data = lambda key: np.asarray(jax.device_get(jax.random.key_data(key)))
    return np.array_equal(data(restored), data(fresh))


def fit(
    state: TrainState,
    train_step: Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]],
    data: Any,
    *,
    num_steps: int,
    checkpointer: Checkpointer | None = None,
    writer: MetricsWriter | None = None,
    log_every: int = 100,
    eval_every: int = 0,
    eval_fn: Callable[[TrainState], Mapping[str, float]] | None = None,
    checkpoint_every: int = 0,
    mesh: jax.sharding.Mesh | None = None,
    batch_size: int | None = None,
    profile_dir: epath.PathLike | None = None,
    max_skipped_in_a_row: int = 20,
) -> TrainState:
    """Trains until `state.step == num_steps`.

    After step k: dispatch it, then read the metrics of step k - 1 (so the device never waits for
    the host); every `log_every` steps write them; then evaluate, then checkpoint, before the next
    batch is drawn, so that state, iterator and metrics file always agree. The last step is always
    logged, evaluated and saved. Rows hold the values of that one step, not means over steps, so
    that they do not depend on where a run was interrupted.

    Args:
      state: from `create_state` or `resume`; donated, do not use it afterwards.
      train_step: from `make_train_step`, with the same mesh.
      data: iterator over this process's rows of each batch, with `get_state`/`set_state`.
      num_steps: steps in all, the resumed ones included.
      checkpointer: where to save; None saves nothing.
      writer: where metrics go; None writes nothing.
      log_every: steps between rows and log lines.
      eval_every: steps between calls of `eval_fn`; 0 for the last step only.
      eval_fn: state -> figures, written as a row of their own under the names it gives
        ("eval/nelbo"); may draw pictures on the way. Must not depend on anything but the state.
      checkpoint_every: steps between checkpoints; 0 for the last step only. The best is chosen
        among the checkpoints: a warning says so where some steps are evaluated and not saved.
      mesh: the mesh.
      batch_size: global batch, for examples/s; by default read off the first batch.
      profile_dir: write a profiler trace of five steps there.
      max_skipped_in_a_row: stop when the optimizer skips more (see `optim.skip_large_updates`).

    Returns:
      The state at `num_steps`; `state` itself if it is there already.

    Raises:
      Interrupted: SIGTERM, SIGHUP or Ctrl-C came; the current step, and an evaluation that was
        under way, were finished and saved.
      NonFiniteError: a metric is not finite (unless that step was skipped), or the state about to
        be saved is not. Nothing is saved; earlier checkpoints stay. After a skipped step whose loss
        is not finite nothing is saved either, with a warning.
      TooManySkipsError: see `max_skipped_in_a_row`.
      ValueError: an argument is out of range, `data` ended early, or `eval_fn` does not give the
        checkpointer's `best_metric`.
      TypeError: `data` is no iterator.
    """
    if not hasattr(data, "__next__"):
        kind = type(data).__name__
        raise InputTypeError(f"data is of type {kind}, must be an iterator, such as iter(data)")
    check_count("num_steps", num_steps)
    check_count("log_every", log_every)
    for name, every in (("eval_every", eval_every), ("checkpoint_every", checkpoint_every)):
        check_count(name, every, at_least=0)
    check_count("max_skipped_in_a_row", max_skipped_in_a_row, at_least=0)
    start = int(state.step)
    if start >= num_steps:
        logging.info("already at step %d of %d: nothing to train", start, num_steps)
        return state

    def due(every: int, step: int) -> bool:
        return step == num_steps or (every > 0 and step % every == 0)

    def read(step: int, metrics: dict[str, jax.Array]) -> None:
        values = {k: v.item() for k, v in jax.device_get(metrics).items()}
        guard.check(step, values)
        if step == start + 1:
            progress.begin(step)
        if due(log_every, step):
            if writer is not None:
                writer.write(step, values)
            progress.report(step, values)

    if eval_fn is not None and checkpointer is not None and checkpointer.best_metric:
        evaluated = range(eval_every, num_steps, eval_every) if eval_every > 0 else ()
        if any(not due(checkpoint_every, step) for step in evaluated):
            logging.warning(
                "evaluations every %d steps, checkpoints every %d: the best %s of a checkpoint is "
                "kept, not the best of all evaluations; let checkpoint_every divide eval_every",
                eval_every,
                checkpoint_every,
                checkpointer.best_metric,
            )
    guard = _Guard(max_skipped_in_a_row)
    unread: tuple[int, dict[str, jax.Array]] | None = None
    several = jax.process_count() > 1
    with StopFlag(several=several) as stop, _Progress(start, num_steps, writer) as progress:
        for step in range(start + 1, num_steps + 1):
            with jax.profiler.StepTraceAnnotation("train", step_num=step):
                host_batch = _next(data, step, num_steps)
                if progress.batch_size is None:
                    rows = len(jax.tree.leaves(host_batch)[0]) * jax.process_count()
                    progress.batch_size = batch_size or rows
                state, metrics = train_step(state, mesh_lib.shard_batch(mesh, host_batch))
                if unread is not None:
                    read(*unread)
                unread = step, metrics
            stopping = mesh_lib.stop_agreed(stop.signum is not None)
            if profile_dir is not None:
                _profile(profile_dir, step - start, num_steps - start, state)
            evaluating = eval_fn is not None and due(eval_every, step)
            saving = checkpointer is not None and (due(checkpoint_every, step) or stopping)
            progress.advance(step)
            if not (evaluating or saving or stopping or step == num_steps):
                continue

            read(*unread)  # what is saved must be known to be finite
            unread = None
            progress.pause()
            figures = None
            if (evaluating or saving) and guard.why_not_save:
                if step == num_steps:
                    raise NonFiniteError(f"{guard.why_not_save}, the last; not saved")
                logging.warning("step %d not evaluated, not saved: %s", step, guard.why_not_save)
                evaluating = saving = False
            if evaluating or saving:
                _check_state(step, state)
            if evaluating:
                figures = {k: float(v) for k, v in eval_fn(state).items()}  # type: ignore[misc]
                best = None if checkpointer is None else checkpointer.best_metric
                if best is not None and best not in figures:
                    known = ", ".join(figures) or "none"
                    raise InputError(f"best_metric is {best!r}, the figures of eval_fn are {known}")
                if writer is not None:
                    writer.write(step, figures)
                logging.info("step %d  %s", step, _format(figures))
                # An evaluation may take long: who stops it does not wait for another step.
                if stop.signum is not None and not several:
                    stopping, saving = True, checkpointer is not None
            if saving:
                checkpointer.save(state, data, metrics=figures)  # type: ignore[union-attr]
            progress.resume()
            if step == num_steps and not several:  # no next step would see what came meanwhile
                stopping = stop.signum is not None
            if stopping and (saving or step < num_steps):
                done = "saved" if saving else "stopped without saving"
                message = f"{stop.name}: {done} step {step} of {num_steps}"
                raise Interrupted(message, stop.signum, saved=saving)
    return state


def _next(data: Any, step: int, num_steps: int) -> Any:
    try:
        return next(data)
    except StopIteration:
        raise InputError(
            f"data ended before step {step} of {num_steps}: the training iterator must repeat"
        ) from None


class _Guard:
    """Raises when training goes wrong; looks at the metrics of every step."""

    def __init__(self, max_skipped: int):
        self._max_skipped = max_skipped
        self._first = ""  # what the present row of skipped steps began with
        self.why_not_save = ""

    def check(self, step: int, values: Mapping[str, float]) -> None:
        names = sorted(values, key=lambda name: name != "loss")
        bad = [name for name in names if not math.isfinite(values[name])]
        first = bad[0] if bad else "grad_norm"
        what = f"{first} is {values[first]:.5g} at step {step}"
        if bad and not values.get("skipped"):
            others = f" (also {', '.join(bad[1:])})" if bad[1:] else ""
            raise NonFiniteError(f"{what}{others}")
        in_a_row = values.get("skipped_in_a_row", 0)
        if in_a_row <= 1:
            self._first = what
        if in_a_row > self._max_skipped:
            raise TooManySkipsError(
                f"{in_a_row:.0f} steps in a row were skipped up to step {step}, at most "
                f"{self._max_skipped} may be; the first because {self._first}"
            )
        # A bad gradient of a good loss was thrown away. A loss that is itself not finite may come
        # from this batch or from the state; only later steps can show which.
        self.why_not_save = what if set(bad) - {"grad_norm"} else ""


@jax.jit
def _all_finite(leaves: list[jax.Array]) -> jax.Array:
    return jnp.stack([jnp.all(jnp.isfinite(x)) for x in leaves])


def _check_state(step: int, state: TrainState) -> None:
    """Raises if a floating leaf is not finite: the last update may have overflowed."""
    named = [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in jax.tree.leaves_with_path(state)
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    finite = np.asarray(_all_finite([leaf for _, leaf in named])) if named else np.ones(0, bool)
    bad = [name for (name, _), ok in zip(named, finite, strict=True) if not ok]
    if bad:
        raise NonFiniteError(
            f"{bad[0]} is not finite after step {step}, nor are {len(bad) - 1} others; not saved"
        )


class _Progress:
    """Log lines with speed and time to go, and a bar where there is a terminal."""

    def __init__(self, start: int, num_steps: int, writer: MetricsWriter | None):
        self.batch_size: int | None = None
        self._num_steps, self._writer = num_steps, writer
        self._seconds = 0.0  # training alone, without evaluation and checkpoints
        self._since: float | None = time.perf_counter()
        self._last_step, self._last_seconds = start, 0.0
        shown = jax.process_index() == 0 and sys.stderr.isatty()
        self._bar = tqdm(total=num_steps, initial=start, leave=False) if shown else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()

    def begin(self, step: int) -> None:
        """Leaves the first step, which compiles, out of the speed, unless it is all there is."""
        if self._num_steps > step:
            self._last_step, self._last_seconds = step, self._elapsed()

    def pause(self) -> None:
        self._seconds, self._since = self._elapsed(), None

    def resume(self) -> None:
        self._since = time.perf_counter()

    def advance(self, step: int) -> None:
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def _elapsed(self) -> float:
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        return self._seconds + running

    def report(self, step: int, values: Mapping[str, float]) -> None:
        seconds = self._elapsed()
        steps = max(step - self._last_step, 1)
        rate = steps / max(seconds - self._last_seconds, 1e-9)
        self._last_step, self._last_seconds = step, seconds
        to_go = (self._num_steps - step) / rate
        examples = rate * (self.batch_size or 0)
        if self._writer is not None:
            self._writer.write_timing(
                step, {"seconds": seconds, "steps_per_s": rate, "examples_per_s": examples}
            )
        if self._bar is not None:
            self._bar.clear()
        logging.info(
            "step %d/%d  %s  %.3g steps/s  %.4g examples/s  %s to go",
            step,
            self._num_steps,
            _format(values),
            rate,
            examples,
            _duration(to_go),
        )


def _format(values: Mapping[str, float]) -> str:
    first = [name for name in ("loss",) if name in values]
    return "  ".join(f"{k} {values[k]:.5g}" for k in first + [k for k in values if k not in first])


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{seconds:02d}s"


def _profile(directory: epath.PathLike, done: int, total: int, state: TrainState) -> None:
    """Traces steps 11 to 15 of this process's run, or the last ones of a short run."""
    first = min(10, max(1, total - 5))
    if done == first and total > 1:
        jax.block_until_ready(state.step)
        jax.profiler.start_trace(str(directory))
    elif done == min(first + 5, total) and total > 1:
        jax.block_until_ready(state.step)
        jax.profiler.stop_trace()
        logging.info("profile of %d steps in %s", done - first, directory)
