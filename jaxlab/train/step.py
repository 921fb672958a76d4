"""One optimization step as one jitted function."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxlab import mesh as mesh_lib
from jaxlab import optim
from jaxlab.errors import InputError
from jaxlab.train.state import TrainState

Metrics = dict[str, jax.Array]


def make_train_step(
    loss_fn: Callable[..., tuple[jax.Array, tuple[Any, Metrics]]],
    tx: optax.GradientTransformation,
    *,
    mesh: jax.sharding.Mesh | None = None,
    ema_decay: float = 0.999,
    ema_warmup: bool = True,
    accumulate: int = 1,
    clip_norm: float | None = None,
) -> Callable[[TrainState, Any], tuple[TrainState, Metrics]]:
    r"""Makes `step(state, batch) -> (state, metrics)`: jitted, the state donated, traced once.

    With :math:`g` the gradient of the mean loss over the whole global batch,

    .. math:: g \leftarrow g \min(1, c / \lVert g \rVert), \quad
              \theta \leftarrow \theta + \text{tx}(g), \quad
              \bar\theta \leftarrow d_t \bar\theta + (1 - d_t)\,\theta, \quad
              d_t = \min\left(d, \tfrac{1 + t}{10 + t}\right) .

    Args:
      loss_fn: `(params, model_state, batch, *, key, step) -> (loss, (model_state, metrics))`, the
        loss a mean over the examples, metrics a flat dict of scalars. `key` is
        `fold_in(state.key, state.step)`; `step` is the int32 number of steps done before it.
      tx: any optax transformation; its `update` is offered `value=loss`, `grad_norm=`, the norm
        before clipping, and `grad_fn(params, _)`, the gradient on this batch at other parameters,
        for `optax.contrib.sam(..., opaque_mode=True)` (without accumulation or clipping). If it is
        `optim.skip_large_updates(...)`, a step that it skips keeps params, model_state, EMA and
        optimizer state and only advances `step`.
      mesh: devices to split the batch over; None for one device. Sums over the batch, batch
        statistics included, are over all devices. The state stays as `mesh.state_sharding` says.
      ema_decay: d, in [0, 1).
      ema_warmup: whether d_t grows as above, so that early averages do not stick to the start;
        otherwise d_t = d.
      accumulate: k micro-batches of rows i::k run one after the other, model_state threaded
        through, keys `fold_in(step key, i)`, gradients and metrics averaged; k must divide the rows
        of each device.
      clip_norm: c, the largest global gradient norm; None does not clip.

    Returns:
      The step. Its metrics are those of the loss plus `loss` and `grad_norm` (before clipping), and
      with skipping `skipped` (0 or 1) and `skipped_in_a_row`.

    Raises:
      ValueError: an argument is out of range.

    >>> from jaxlab.train import create_state
    >>> loss = lambda params, model_state, batch, *, key, step: (
    ...     jnp.mean((params * batch["x"]) ** 2), (model_state, {}))
    >>> tx = optax.sgd(0.25)
    >>> state = create_state(lambda key: (jnp.float32(2.0), {}), tx, key=jax.random.key(0))
    >>> state, metrics = make_train_step(loss, tx)(state, {"x": jnp.ones(4)})
    >>> float(metrics["loss"]), float(metrics["grad_norm"]), float(state.params)
    (4.0, 4.0, 1.0)
    """
    if not 0 <= ema_decay < 1:
        raise InputError(f"ema_decay is {ema_decay}, must be in [0, 1)")
    if accumulate < 1:
        raise InputError(f"accumulate is {accumulate}, must be at least 1")
    if clip_norm is not None and not clip_norm > 0:
        raise InputError(f"clip_norm is {clip_norm}, must be above 0")
    update_fn = optax.with_extra_args_support(tx).update
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)

    def step_fn(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        if accumulate == 1:
            (loss, (model_state, metrics)), grads = grad_fn(
                state.params, state.model_state, batch, key=key, step=state.step
            )
        else:
            (loss, (model_state, metrics)), grads = _accumulated(
                grad_fn, state, batch, key, accumulate, mesh
            )
        grad_norm = optax.tree.norm(grads)
        _check_metrics(metrics)
        metrics = {**metrics, "loss": loss, "grad_norm": grad_norm}
        if clip_norm is not None:
            # where, not min(1, c / norm): a zero gradient must not become 0 * inf.
            scale = jnp.where(grad_norm > clip_norm, clip_norm / grad_norm, 1.0)
            grads = jax.tree.map(lambda g: g * scale.astype(g.dtype), grads)
        updates, opt_state = update_fn(
            grads,
            state.opt_state,
            state.params,
            value=loss,
            grad_norm=grad_norm,
            grad_fn=lambda params, _: _elsewhere(grad_fn, state, params, batch, key),
        )
        params = optax.apply_updates(state.params, updates)
        ema_params = state.ema_params
        if ema_params is not None:
            t = state.step.astype(jnp.float32)
            warm = jnp.minimum(ema_decay, (1 + t) / (10 + t))
            ema_params = optax.incremental_update(
                params, ema_params, 1 - (warm if ema_warmup else ema_decay)
            )
        if isinstance(opt_state, optim.SkipState):
            keep = lambda old, new: jnp.where(opt_state.skipped, old, new)
            model_state = jax.tree.map(keep, state.model_state, model_state)
            ema_params = jax.tree.map(keep, state.ema_params, ema_params)
            metrics["skipped"] = opt_state.skipped.astype(jnp.float32)
            metrics["skipped_in_a_row"] = opt_state.skipped_in_a_row
        new_state = dataclasses.replace(
            state,
            step=state.step + 1,
            params=params,
            model_state=model_state,
            opt_state=opt_state,
            ema_params=ema_params,
        )
        return new_state, metrics

    if mesh is None:
        return jax.jit(step_fn, donate_argnums=0)
    given, rows = mesh_lib.given_sharding(mesh), mesh_lib.split(mesh)

    def placed_step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        new_state, metrics = step_fn(state, batch)
        shardings = mesh_lib.state_sharding(mesh, new_state)
        return jax.lax.with_sharding_constraint(new_state, shardings), metrics

    return jax.jit(
        step_fn if given else placed_step,
        in_shardings=(given, rows),
        out_shardings=(given, mesh_lib.replicated(mesh)),
        donate_argnums=0,
    )


def _elsewhere(grad_fn, state, params, batch, key):
    """The gradient on the same batch and key at other parameters."""
    return grad_fn(params, state.model_state, batch, key=key, step=state.step)[1]


def _accumulated(grad_fn, state, batch, key, count, mesh):
    """Averages loss, metrics and gradients over `count` strided micro-batches, one at a time."""

    def micro(x):
        if x.shape[0] % count:
            raise InputError(f"batch has shape {x.shape}, accumulate={count} must divide its rows")
        # Rows i::count, so that every device keeps the rows it has.
        x = x.reshape(x.shape[0] // count, count, *x.shape[1:]).swapaxes(0, 1)
        if mesh is not None:
            x = jax.lax.with_sharding_constraint(x, mesh_lib.split(mesh, axis=1))
        return x

    def body(carry, inputs):
        model_state, total = carry
        i, rows = inputs
        (loss, (model_state, metrics)), grads = grad_fn(
            state.params, model_state, rows, key=jax.random.fold_in(key, i), step=state.step
        )
        total = jax.tree.map(lambda t, x: t + x / count, total, (loss, metrics, grads))
        return (model_state, total), None

    micros = jax.tree.map(micro, batch)
    first = jax.tree.map(lambda x: x[0], micros)
    (loss, (_, metrics)), grads = jax.eval_shape(
        lambda *args: grad_fn(*args, key=key, step=state.step),
        state.params,
        state.model_state,
        first,
    )
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, _mean_dtype(x.dtype)), (loss, metrics, grads))
    (model_state, (loss, metrics, grads)), _ = jax.lax.scan(
        body, (state.model_state, zeros), (jnp.arange(count), micros)
    )
    return (loss, (model_state, metrics)), grads


def _mean_dtype(dtype):
    """Means of counts are floats."""
    return dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.float32


def _check_metrics(metrics: Metrics) -> None:
    for name, value in metrics.items():
        if jnp.shape(value) != ():
            raise InputError(f"metric {name!r} has shape {jnp.shape(value)}, must be a scalar")
        if name in ("loss", "grad_norm", "skipped", "skipped_in_a_row"):
            raise InputError(f"metric {name!r} is written by the train step: choose another name")
