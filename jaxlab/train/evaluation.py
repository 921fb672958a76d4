"""Means over a held-out set, exact under padding, with their standard errors."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxlab import mesh as mesh_lib
from jaxlab.checks import at_least_float32
from jaxlab.errors import InputError
from jaxlab.train.state import TrainState

Sums = dict[str, Any]


def make_eval_step(
    metric_fn: Callable[..., dict[str, jax.Array]], *, mesh: jax.sharding.Mesh | None = None
) -> Callable[[Any, Any, Any, jax.Array], Sums]:
    """Makes `eval_step(params, model_state, batch, key)`, which sums metrics over a batch.

    Args:
      metric_fn: `(params, model_state, batch, *, key) -> {name: [B]}`, one value per example.
      mesh: devices to split the batch over; None for one device.

    Returns:
      A jitted function whose result is `{name: (mean, rest, squares), "count": n}`, with the sums
      of value - mean and of its square: what float32 has no digits for where the spread is small
      compared with the mean. Examples with `batch["mask"] == 0` (padding) do not count, whatever
      their values; without "mask" all do.

    Example:
      >>> step = make_eval_step(lambda params, model_state, batch, *, key: {"x": batch["x"]})
      >>> batch = {"x": jnp.array([1.0, 3.0, 9.0]), "mask": jnp.array([1, 1, 0])}
      >>> sums = step({}, {}, batch, jax.random.key(0))
      >>> [float(v) for v in sums["x"]], float(sums["count"])
      ([2.0, 0.0, 2.0], 2.0)
    """

    def step_fn(params, model_state, batch, key):
        values = metric_fn(params, model_state, batch, key=key)
        rows = jax.tree.leaves(batch)[0].shape[0]
        mask = batch.get("mask") if isinstance(batch, dict) else None
        real = jnp.ones(rows, bool) if mask is None else mask > 0
        sums: Sums = {"count": jnp.sum(real, dtype=jnp.float32)}
        for name, value in values.items():
            if value.shape != (rows,):
                raise InputError(
                    f"metric {name!r} has shape {value.shape}, must be ({rows},): one per example"
                )
            value = jnp.where(real, at_least_float32(value), 0.0)  # padding may hold NaN
            mean = jnp.sum(value) / jnp.maximum(sums["count"], 1)
            apart = jnp.where(real, value - mean, 0.0)
            sums[name] = (mean, jnp.sum(apart), jnp.sum(apart**2))
        return sums

    step_fn = mesh_lib.splitting_over(mesh)(step_fn)
    if mesh is None:
        return jax.jit(step_fn)
    given, rows = mesh_lib.given_sharding(mesh), mesh_lib.split(mesh)
    whole = mesh_lib.replicated(mesh)
    return jax.jit(step_fn, in_shardings=(given, given, rows, whole), out_shardings=whole)


def evaluate(
    eval_step: Callable[[Any, Any, Any, jax.Array], Sums],
    params: Any,
    model_state: Any,
    batches: Iterable[Any],
    *,
    key: jax.Array,
    mesh: jax.sharding.Mesh | None = None,
) -> dict[str, float]:
    """Averages an evaluation step over batches.

    Args:
      eval_step: from `make_eval_step`, with the same mesh.
      params: raw or averaged parameters.
      model_state: the model's state.
      batches: this process's rows of every batch; the same number of batches in every process.
      key: batch i gets `fold_in(key, i)`, so numbers repeat.
      mesh: the mesh.

    Returns:
      For every metric its mean, and under `<name>_se` the standard error of that mean,
      sqrt(sample variance / n); NaN for n = 1.

    Raises:
      ValueError: there is no example to average.

    Example:
      >>> step = make_eval_step(lambda params, model_state, batch, *, key: {"x": batch["x"]})
      >>> batches = [{"x": jnp.array([1.0, 2.0])}, {"x": jnp.array([3.0, 6.0])}]
      >>> means = evaluate(step, {}, {}, batches, key=jax.random.key(0))
      >>> {name: round(value, 3) for name, value in means.items()}
      {'x': 3.0, 'x_se': 1.08}
    """
    count = 0.0
    merged: dict[str, tuple[float, float]] = {}  # sum, and squares about the mean, so far

    def add(sums: Sums) -> None:
        """Merges a batch, in float64 (Chan, Golub & LeVeque, 1983)."""
        nonlocal count
        sums = jax.device_get(sums)
        rows = float(sums.pop("count"))
        if rows == 0:
            return
        for name, values in sums.items():
            mean, rest, squares = (float(value) for value in values)
            total, known = merged.get(name, (0.0, 0.0))
            batch_total = mean * rows + (rest if math.isfinite(rest) else 0.0)
            apart = batch_total / rows - total / max(count, 1.0)
            squares += known + apart**2 * count * rows / (count + rows) - rest**2 / rows
            merged[name] = total + batch_total, squares
        count += rows

    previous = None
    for i, batch in enumerate(batches):
        sums = eval_step(
            params, model_state, mesh_lib.shard_batch(mesh, batch), jax.random.fold_in(key, i)
        )
        if previous is not None:
            add(previous)  # one batch late, so that the device never waits
        previous = sums
    if previous is not None:
        add(previous)
    if count == 0:
        raise InputError("nothing to evaluate: the batches hold 0 unmasked examples")
    means = {}
    for name, (total, squares) in sorted(merged.items()):
        variance = max(squares, 0.0) / (count - 1) if count > 1 else math.nan
        means[name] = total / count
        means[f"{name}_se"] = math.sqrt(variance / count)
    return means


def evaluate_state(
    eval_step: Callable[[Any, Any, Any, jax.Array], Sums],
    state: TrainState,
    batches: Iterable[Any],
    *,
    key: jax.Array,
    mesh: jax.sharding.Mesh | None = None,
    raw: Sequence[str] = (),
) -> dict[str, float]:
    """Evaluates a training state with its averaged parameters, where it keeps them.

    Args:
      eval_step: from `make_eval_step`, with the same mesh.
      state: the training state.
      batches: as `evaluate` takes them; iterated twice where `raw` asks for it.
      key: see `evaluate`.
      mesh: the mesh.
      raw: metrics that are also reported with the last parameters, as `<name>_raw`.

    Returns:
      What `evaluate` returns, and the raw figures.

    Raises:
      ValueError: there is no example to average.

    >>> import optax
    >>> from jaxlab.train import create_state
    >>> step = make_eval_step(lambda params, model_state, batch, *, key: {"x": batch["x"] * params})
    >>> state = create_state(lambda key: (jnp.float32(2.0), {}), optax.sgd(1.0),
    ...                      key=jax.random.key(0)).replace(ema_params=jnp.float32(1.0))
    >>> means = evaluate_state(step, state, [{"x": jnp.ones(3)}], key=jax.random.key(0), raw=["x"])
    >>> means["x"], means["x_raw"]
    (1.0, 2.0)
    """
    run = lambda params: evaluate(eval_step, params, state.model_state, batches, key=key, mesh=mesh)
    means = run(state.params if state.ema_params is None else state.ema_params)
    if raw:
        last = run(state.params)
        means |= {f"{name}_raw": last[name] for name in raw}
    return means
