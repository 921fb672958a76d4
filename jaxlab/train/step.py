"""One optimization step as one jitted function."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from jaxlab import mesh as mesh_lib
from jaxlab import optim
from jaxlab.checks import at_least_float32, check_count, check_scalar
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
        `fold_in(state.key, state.step)`; `step` is the int32 number of steps done before it. A loss
        that is no such mean says why in an attribute `whole_batch`, and is not accumulated.
      tx: any optax transformation; its `update` is offered `value=loss`, `grad_norm=`, the norm
        before clipping, and `grad_fn(params, _)`, the gradient on this batch at other parameters,
        accumulated and clipped in the same way, for `optim.sharpness_aware`. With
        `optim.skip_large_updates` anywhere in it, a step that is skipped keeps params, model_state,
        EMA and optimizer state and only advances `step`. Inside `optax.MultiSteps`, for which a
        batch is a micro-batch, the guard judges the gradient it is given.
      mesh: devices to split the batch over; None for one device. Sums over the batch, batch
        statistics included, are over all devices. The state stays as `mesh.state_sharding` says.
      ema_decay: d, in [0, 1).
      ema_warmup: whether d_t grows as above, so that early averages do not stick to the start;
        otherwise d_t = d.
      accumulate: k micro-batches of rows i::k run one after the other, model_state threaded
        through, keys `fold_in(step key, i)`, gradients and metrics averaged, in float32 or better;
        k must divide the rows of each device.
      clip_norm: c, the largest global gradient norm; None does not clip.

    Returns:
      The step; every array of the state keeps its dtype. Its metrics are those of the loss plus
      `loss` and `grad_norm` (before clipping), with skipping `skipped` (0 or 1) and
      `skipped_in_a_row`, and with `optim.flood_updates` `flooded` (0 or 1).

    Raises:
      ValueError: an argument is out of range; later, the state changes its form, or
        `optax.MultiSteps` is around `optim.sharpness_aware`.

    Example:
      >>> from jaxlab.train import create_state
      >>> loss = lambda params, model_state, batch, *, key, step: (
      ...     jnp.mean((params * batch["x"]) ** 2), (model_state, {}))
      >>> tx = optax.sgd(0.25)
      >>> state = create_state(lambda key: (jnp.float32(2.0), {}), tx, key=jax.random.key(0))
      >>> state, metrics = make_train_step(loss, tx)(state, {"x": jnp.ones(4)})
      >>> float(metrics["loss"]), float(metrics["grad_norm"]), float(state.params)
      (4.0, 4.0, 1.0)
    """
    check_scalar("ema_decay", ema_decay, at_least=0.0, below=1.0)
    check_count("accumulate", accumulate)
    if clip_norm is not None:
        check_scalar("clip_norm", clip_norm, above=0.0)
    reason = getattr(loss_fn, "whole_batch", None)
    if accumulate > 1 and reason:
        raise InputError(
            f"accumulate is {accumulate}, must be 1: {reason}, and a micro-batch is not the batch"
        )
    update_fn = _update_fn(tx)
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)

    def gradients(params: Any, state: TrainState, batch: Any, key: jax.Array):
        """Loss, model state and metrics, and the gradient, clipped, with its norm before that."""
        if accumulate == 1:
            out, grads = grad_fn(params, state.model_state, batch, key=key, step=state.step)
        else:
            out, grads = _accumulated(grad_fn, params, state, batch, key, accumulate, mesh)
        norm = optax.tree.norm(jax.tree.map(at_least_float32, grads))
        if clip_norm is not None:
            # where, not min(1, c / norm): a zero gradient must not become 0 * inf.
            scale = jnp.where(norm > clip_norm, clip_norm / norm, 1.0)
            grads = jax.tree.map(lambda g: g * scale.astype(g.dtype), grads)
        return out, grads, norm

    def step_fn(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        (loss, (model_state, metrics)), grads, grad_norm = gradients(
            state.params, state, batch, key
        )
        _check_metrics(metrics)
        metrics = {**metrics, "loss": loss, "grad_norm": grad_norm}
        offered = {
            "value": loss,
            "grad_norm": grad_norm,
            "grad_fn": lambda params, _: gradients(params, state, batch, key)[1],
        }
        for inside in (s.inner_opt_state for s in _find(optax.MultiStepsState, state.opt_state)):
            if _find(contrib.SAMState, inside):
                raise InputError(
                    "optax.MultiSteps is around sharpness_aware, which needs the gradient of the "
                    "whole batch elsewhere: use accumulate= of make_train_step"
                )
            if _find(optim.SkipState, inside):
                offered.pop("grad_norm", None)  # that of the last micro-batch
        updates, opt_state = update_fn(grads, state.opt_state, state.params, **offered)
        params = optax.apply_updates(state.params, updates)
        model_state = _as_before("model_state", state.model_state, model_state)
        opt_state = _as_before("opt_state", state.opt_state, opt_state)
        ema_params = state.ema_params
        if ema_params is not None:
            t = state.step.astype(jnp.float32)
            warm = jnp.minimum(ema_decay, (1 + t) / (10 + t))
            ema_params = optax.incremental_update(
                jax.tree.map(lambda p, e: p.astype(e.dtype), params, ema_params),
                ema_params,
                1 - (warm if ema_warmup else ema_decay),
            )
            ema_params = _as_before("ema_params", state.ema_params, ema_params)
        if guards := _find(optim.SkipState, opt_state):
            # By the totals: inside MultiSteps `skipped` is still that of the last full batch.
            before = _find(optim.SkipState, state.opt_state)
            totals = zip(before, guards, strict=True)
            skipped = jnp.stack([n.skipped_total != o.skipped_total for o, n in totals]).any()
            keep = lambda old, new: jax.tree.map(lambda o, n: jnp.where(skipped, o, n), old, new)
            params = keep(state.params, params)
            model_state = keep(state.model_state, model_state)
            ema_params = keep(state.ema_params, ema_params)
            opt_state = _kept(keep, state.opt_state, opt_state)
            metrics["skipped"] = skipped.astype(jnp.float32)
            metrics["skipped_in_a_row"] = jnp.stack([g.skipped_in_a_row for g in guards]).max()
        if floods := _find(optim.FloodState, opt_state):
            metrics.setdefault("flooded", floods[0].flooded.astype(jnp.float32))
        new_state = dataclasses.replace(
            state,
            step=state.step + 1,
            params=params,
            model_state=model_state,
            opt_state=opt_state,
            ema_params=ema_params,
        )
        return new_state, metrics

    step_fn = mesh_lib.splitting_over(mesh)(step_fn)
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


def _update_fn(tx):
    """`tx.update` with any extra arguments: MultiSteps passes them on and its type denies it."""
    if isinstance(getattr(tx.update, "__self__", None), optax.MultiSteps):
        return tx.update
    return optax.with_extra_args_support(tx).update


def _find(kind, tree):
    """The states of a kind anywhere in the optimizer's, those within others of it too."""
    found = []
    for leaf in jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, kind)):
        if isinstance(leaf, kind):
            found += [leaf, *_find(kind, tuple(leaf))]
    return found


def _kept(keep, old, new):
    """The optimizer's state after a skipped step: guards and accumulators count, all else waits."""

    def one(old, new):
        if isinstance(new, optim.SkipState):
            return new._replace(inner_state=_kept(keep, old.inner_state, new.inner_state))
        if isinstance(new, optax.MultiStepsState):
            return new._replace(
                inner_opt_state=_kept(keep, old.inner_opt_state, new.inner_opt_state),
                # Empty again, where optax leaves 0 * NaN.
                acc_grads=keep(jax.tree.map(jnp.zeros_like, new.acc_grads), new.acc_grads),
            )
        return keep(old, new)

    counts = lambda x: isinstance(x, optim.SkipState | optax.MultiStepsState)
    return jax.tree.map(one, old, new, is_leaf=counts)


def _as_before(name, old, new):
    """`new` in the dtypes of `old`: another would compile the step anew, and resume nowhere."""
    if jax.tree.structure(old) != jax.tree.structure(new):
        raise InputError(
            f"{name} has the structure {jax.tree.structure(new)} after the step, before it "
            f"{jax.tree.structure(old)}: it must stay"
        )

    def one(path, old, new):
        was, now = jnp.result_type(old), jnp.result_type(new)
        if was != now and jnp.issubdtype(was, jnp.integer) and jnp.issubdtype(now, jnp.inexact):
            leaf = jax.tree_util.keystr(path, simple=True, separator="/")
            raise InputError(f"{name}/{leaf} is {was} before the step, {now} after: it must stay")
        return new if jnp.issubdtype(was, jax.dtypes.extended) else jnp.asarray(new).astype(was)

    return jax.tree_util.tree_map_with_path(one, old, new)


def _accumulated(grad_fn, params, state, batch, key, count, mesh):
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
            params, model_state, rows, key=jax.random.fold_in(key, i), step=state.step
        )
        model_state = _as_before("model_state", state.model_state, model_state)
        total = jax.tree.map(lambda t, x: t + x / count, total, (loss, metrics, grads))
        return (model_state, total), None

    micros = jax.tree.map(micro, batch)
    first = jax.tree.map(lambda x: x[0], micros)
    (loss, (_, metrics)), grads = jax.eval_shape(
        lambda *args: grad_fn(*args, key=key, step=state.step), params, state.model_state, first
    )
    # In float32: 1,024 micro-batches in bfloat16 would lose half of the sum.
    zero = lambda x: jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32))
    zeros = jax.tree.map(zero, (loss, metrics, grads))
    (model_state, (loss, metrics, total)), _ = jax.lax.scan(
        body, (state.model_state, zeros), (jnp.arange(count), micros)
    )
    total = jax.tree.map(lambda t, g: t.astype(g.dtype), total, grads)
    return (loss, (model_state, metrics)), total


def _check_metrics(metrics: Metrics) -> None:
    for name, value in metrics.items():
        if jnp.shape(value) != ():
            raise InputError(f"metric {name!r} has shape {jnp.shape(value)}, must be a scalar")
        if name in ("loss", "grad_norm", "skipped", "skipped_in_a_row"):
            raise InputError(f"metric {name!r} is written by the train step: choose another name")
