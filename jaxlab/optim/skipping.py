"""Skipping updates that would break a run."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlab.checks import at_least_float32, check_count, check_scalar


class SkipState(NamedTuple):
    """State of `skip_large_updates`."""

    inner_state: optax.OptState
    count: jax.Array  # int32 [], gradients seen that were finite and not zero
    log_norm: jax.Array  # float32 [], running mean of the log of the gradient norm
    skipped: jax.Array  # bool [], whether the last update was skipped
    skipped_in_a_row: jax.Array  # int32 []
    skipped_total: jax.Array  # int32 []


def skip_large_updates(
    inner: optax.GradientTransformation,
    *,
    factor: float = 10.0,
    decay: float = 0.99,
    warmup_steps: int = 100,
) -> optax.GradientTransformationExtraArgs:
    r"""Skips an update whose global gradient norm is not finite or far above the recent ones.

    With `m` the running mean of `log(norm)` and `n` the gradients seen so far that were finite and
    not zero, skip if

    .. math:: \text{norm is not finite} \quad\text{or}\quad
              n \ge \text{warmup} \;\wedge\; \text{norm} > \text{factor} \cdot e^{m} .

    An update that is itself not finite is skipped too, whatever norm is given. A skipped update is
    zero and leaves the state of `inner` (moments, counters) as it was. Skipped finite norms still
    move `m`, capped at the limit, so the limit rises by `factor ** (1 - decay)` a step (2.3 % by
    default) and a lasting change of scale is accepted after a while instead of never. Non-finite
    norms do not move it, nor do norms of zero, as of a batch that is all padding. Skipping may go
    on for long, so `fit` stops after a stated number of skips in a row.

    The counters of `inner` wait too, and with them its schedules; `TrainState.step` goes on.

    Args:
      inner: the transformation to guard; best all of it, with this the outermost one.
      factor: how many times the running (geometric mean) norm is too much, > 1.
      decay: weight of the past in the running mean, in [0, 1); a plain mean until
        1 / (1 - decay) gradients were seen.
      warmup_steps: gradients to see before any is called too large, >= 1.

    Returns:
      A transformation whose `update` takes an optional `grad_norm=`, the norm to judge by (such as
      the one before clipping); by default the norm of the updates it is given.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> tx = skip_large_updates(optax.sgd(1.0), factor=3.0, warmup_steps=2)
      >>> state = tx.init(jnp.zeros(1))
      >>> for g in (1.0, 1.0, 100.0, jnp.nan, 2.0):
      ...     update, state = tx.update(jnp.array([g]), state)
      ...     print(float(update[0]), int(state.skipped_in_a_row))
      -1.0 0
      -1.0 0
      0.0 1
      0.0 2
      -2.0 0

    Departures: the published very deep VAE code skips above a fixed norm, which can freeze training
    for ever once norms stay above it; here the limit follows the norms.
    """
    check_scalar("factor", factor, above=1)
    check_scalar("decay", decay, at_least=0, below=1)
    check_count("warmup_steps", warmup_steps)
    inner = optax.with_extra_args_support(inner)
    log_factor = math.log(factor)

    def init(params):
        # One buffer a field: a shared zero could not be donated twice.
        return SkipState(
            inner_state=inner.init(params),
            count=jnp.zeros((), jnp.int32),
            log_norm=jnp.zeros((), jnp.float32),
            skipped=jnp.zeros((), bool),
            skipped_in_a_row=jnp.zeros((), jnp.int32),
            skipped_total=jnp.zeros((), jnp.int32),
        )

    def update(updates, state, params=None, *, grad_norm=None, **extra):
        own_norm = optax.tree.norm(jax.tree.map(at_least_float32, updates))
        norm = jnp.asarray(own_norm if grad_norm is None else grad_norm, jnp.float32)
        # A norm that is given may be that of another gradient.
        finite = jnp.isfinite(norm) & jnp.isfinite(own_norm)
        counts = finite & (norm > 0)
        log_norm = jnp.log(jnp.maximum(norm, jnp.finfo(jnp.float32).tiny))
        limit = state.log_norm + log_factor
        warm = state.count >= warmup_steps
        skipped = ~finite | (warm & (log_norm > limit))
        rate = jnp.maximum(1 - decay, 1 / (1 + state.count))
        seen = jnp.where(warm, jnp.minimum(log_norm, limit), log_norm)
        moved = state.log_norm + rate * (seen - state.log_norm)

        new_updates, inner_state = inner.update(updates, state.inner_state, params, **extra)
        keep = lambda old, new: jnp.where(skipped, old, new)
        return (
            jax.tree.map(lambda u: jnp.where(skipped, jnp.zeros_like(u), u), new_updates),
            SkipState(
                inner_state=jax.tree.map(keep, state.inner_state, inner_state),
                count=jnp.where(counts, optax.safe_increment(state.count), state.count),
                log_norm=jnp.where(counts, moved, state.log_norm),
                skipped=skipped,
                skipped_in_a_row=jnp.where(skipped, state.skipped_in_a_row + 1, 0),
                skipped_total=state.skipped_total + skipped,
            ),
        )

    return optax.GradientTransformationExtraArgs(init, update)
