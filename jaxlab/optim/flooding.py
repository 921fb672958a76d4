"""Flooding as a gradient transformation, and the two-rate rule that its analysis suggests."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxlab.checks import check_scalar
from jaxlab.errors import InputError


class FloodState(NamedTuple):
    """State of `flood_updates`; log `flooded_total / count`, about 1/2 where it is active."""

    count: jax.Array  # int32 [], updates seen
    flooded: jax.Array  # bool [], whether the last one was turned around
    flooded_total: jax.Array  # int32 [], how many were


def flood_updates(level: ArrayLike | optax.Schedule) -> optax.GradientTransformationExtraArgs:
    r"""Turns the gradient around while the loss is below the flood level.

    .. math:: u \leftarrow \begin{cases} u & L \ge b \\ -u & L < b \end{cases}

    The same updates as of differentiating `losses.flood(L, level=b)`, but the loss that is reported
    stays plain. Place it first in the chain: weight decay and penalties come after it, or it would
    turn them around too. Momentum and Adam see the turned gradients.

    `update` needs `value=`, the plain loss of the whole logical batch. `jaxlab.train` passes it,
    averaged over devices and over `accumulate` micro-batches; `nnx.Optimizer.update(model, grads,
    value=loss)` passes it on. Flax's `TrainState.apply_gradients` does not: call `state.tx.update(
    grads, state.opt_state, state.params, value=loss)` and put the result in by `state.replace`.
    `optax.MultiSteps` passes on the value of its last micro-batch only: give it the mean there, or
    put `flood_updates` before it to flood each micro-batch.

    Args:
      level: b >= 0, a scalar (checked when concrete) or a schedule of the updates seen.

    Returns:
      A transformation whose `update` needs `value=`.

    Raises:
      ValueError: level is negative, not finite or no scalar; later, value is missing or no scalar.

    Example:
      >>> tx = optax.chain(flood_updates(0.5), optax.sgd(1.0))
      >>> state = tx.init(jnp.zeros(1))
      >>> for loss in (1.0, 0.5, 0.25):
      ...     updates, state = tx.update(jnp.ones(1), state, value=loss)
      ...     print(float(updates[0]))
      -1.0
      -1.0
      1.0

    Source: Ishida et al., 2020, arXiv:2002.08709.
    """
    if not callable(level):
        check_scalar("level", level, at_least=0.0)

    def init(params):
        del params
        return FloodState(
            count=jnp.zeros((), jnp.int32),
            flooded=jnp.zeros((), bool),
            flooded_total=jnp.zeros((), jnp.int32),
        )

    def update(updates, state, params=None, *, value=None, **extra):
        del params, extra
        if value is None:
            raise InputError(
                "value is None, flood_updates needs it: update(..., value=loss). In a chain, "
                "optax.MultiSteps needs optax.GradientTransformationExtraArgs(m.init, m.update) "
                "to pass it on; flax's TrainState.apply_gradients cannot: call state.tx.update"
            )
        if jnp.shape(value) != ():
            raise InputError(f"value has shape {jnp.shape(value)}, must be a scalar: the mean loss")
        flooded = jnp.asarray(value) < (level(state.count) if callable(level) else level)
        return (
            jax.tree.map(lambda u: jnp.where(flooded, -u, u), updates),
            FloodState(
                count=jnp.asarray(optax.safe_increment(state.count)),
                flooded=flooded,
                flooded_total=state.flooded_total + flooded,
            ),
        )

    return optax.GradientTransformationExtraArgs(init, update)


class AlternatingState(NamedTuple):
    """State of `alternating_rates`."""

    count: jax.Array  # int32 [], steps taken, modulo 2


def alternating_rates(
    descent: ArrayLike, ascent: ArrayLike, *, ascent_first: bool = False
) -> optax.GradientTransformation:
    r"""Steps down and up in turn, each with its rate.

    Updates are :math:`-e_1 g, +e_2 g, -e_1 g, \ldots`.

    To second order a pair is one step of rate :math:`e_1 - e_2` on
    :math:`L + \frac{e_1 e_2}{2 (e_1 - e_2)} \lVert \nabla L \rVert^2`. That holds for both steps on
    one batch; with different batches, noise of order e outweighs it. Backstitch with parameter a
    and rate v is `alternating_rates((1 + a) * v, a * v, ascent_first=True)`.

    Args:
      descent: e1 >= 0.
      ascent: e2 >= 0.
      ascent_first: whether the first step goes up.

    Returns:
      A transformation in the place of `optax.scale_by_learning_rate`.

    Raises:
      ValueError: a rate is negative or not finite.

    Example:
      >>> tx = alternating_rates(0.1, 0.05)
      >>> state = tx.init(jnp.zeros(1))
      >>> for _ in range(3):
      ...     updates, state = tx.update(jnp.ones(1), state)
      ...     print(updates)
      [-0.1]
      [0.05]
      [-0.1]

    Source: kexue.fm/archives/7643, whose author advises the explicit penalty
    (`regularizers.gradient_norm_penalty`) instead; Backstitch is Wang et al., Interspeech 2017.
    """
    check_scalar("descent", descent, at_least=0.0)
    check_scalar("ascent", ascent, at_least=0.0)

    def init(params):
        del params
        return AlternatingState(count=jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
        del params
        up = state.count % 2 == (0 if ascent_first else 1)
        factor = jnp.where(up, ascent, -jnp.asarray(descent))
        return (
            jax.tree.map(lambda u: u * factor.astype(jnp.result_type(u)), updates),
            AlternatingState(count=(state.count + 1) % 2),
        )

    return optax.GradientTransformation(init, update)
