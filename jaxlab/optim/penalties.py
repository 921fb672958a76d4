"""Penalties as gradient transformations: coupled, decoupled, and the exact flow of WEISSI."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxlab import regularizers
from jaxlab.checks import at_least_float32, check_scalar
from jaxlab.errors import InputError
from jaxlab.optim.freezing import filled, is_none, moving
from jaxlab.regularizers import Mask, Params

ScalarOrSchedule = float | jax.Array | optax.Schedule
Strength = ArrayLike | optax.Schedule


def _check_rate(name: str, value: Any) -> None:
    if not callable(value):
        check_scalar(name, value, at_least=0.0)


def _init(*values: Strength) -> optax.OptState:
    """The step count, if one of the values is a schedule."""
    if any(map(callable, values)):
        return optax.ScaleByScheduleState(count=jnp.zeros((), jnp.int32))
    return optax.EmptyState()


def _now(state: Any, *values: Strength) -> tuple[Any, ...]:
    """The state of the next step, and the values of this one."""
    if not any(map(callable, values)):
        return state, *values
    now = [value(state.count) if callable(value) else value for value in values]
    return optax.ScaleByScheduleState(count=optax.safe_increment(state.count)), *now


def _select(mask: Mask | None, params: Params, stacked: Mask = False) -> tuple[Any, Any]:
    """`select`, but a tree without any leaf, as of an unused part of `optax.partition`, may be."""
    if not jax.tree.leaves(params):
        return params, params
    return regularizers.select(mask, params, stacked=stacked)


def _need(params: Params, name: str) -> None:
    if params is None:
        raise InputError(f"params is None, {name} needs them: call update(updates, state, params)")


def penalty_grads(
    penalty: Callable[[Params], Any], updates: Any, params: Params, *, has_aux: bool = False
) -> Any:
    """Gradient of a penalty; None where the update is, for leaves that are frozen or no floats."""
    value = lambda part: penalty(filled(part, params))
    return jax.grad(value, has_aux=has_aux)(moving(updates, params))


def add_to(updates: Any, change: Callable[..., Any], *trees: Any) -> Any:
    """Adds `change(leaves of trees)` to each update, in its dtype; None stays for frozen leaves."""

    def add(u, *leaves):
        if u is None:
            return None
        delta = change(*leaves)
        return u if delta is None else (u + delta).astype(jnp.result_type(u))

    return jax.tree.map(add, updates, *trees, is_leaf=is_none)


def add_penalty(
    penalty: Callable[[Params], jax.Array], strength: Strength, mask: Mask | None = None
) -> optax.GradientTransformation:
    r"""Adds the gradient of a penalty to the updates, :math:`u + \lambda \nabla R(\theta)`.

    Before `optax.scale_by_adam` it is coupled (the same as a penalty in the loss); between it and
    `optax.scale_by_learning_rate` it is decoupled (as weight decay in AdamW).

    Args:
      penalty: R, from the whole parameter tree to a scalar, such as `regularizers.l2`.
      strength: lambda >= 0, a scalar or a schedule of the step.
      mask: leaves whose updates are changed (R still sees all); None for all.

    Returns:
      A transformation whose `update` needs `params`.

    Raises:
      ValueError: strength is negative; later, `params` is None, R is not scalar, or the mask does
        not fit or selects nothing.

    Example:
      >>> from jaxlab import regularizers
      >>> tx = optax.chain(add_penalty(regularizers.l2, 0.1), optax.sgd(1.0))
      >>> params = jnp.array([1.0, -2.0])
      >>> print(tx.update(jnp.zeros(2), tx.init(params), params)[0])
      [-0.1  0.2]
    """
    _check_rate("strength", strength)

    def init(params):
        if mask is not None:
            _select(mask, params)
        return _init(strength)

    def value(params):
        out = penalty(params)
        if jnp.shape(out) != ():
            raise InputError(f"penalty returned shape {jnp.shape(out)}, must return a scalar")
        return out

    def update(updates, state, params=None):
        _need(params, "add_penalty")
        state, now = _now(state, strength)
        if not jax.tree.leaves(updates):
            return updates, state
        grads = penalty_grads(value, updates, params)
        chosen = regularizers.expand_mask(True if mask is None else mask, params)
        change = lambda g, flag: now * g if flag else None
        return add_to(updates, change, grads, chosen), state

    return optax.GradientTransformation(init, update)


def add_weissi(
    log_norm: Strength,
    direction: Strength = 0.0,
    *,
    eps: ArrayLike = 1e-8,
    mask: Mask | None = None,
    stacked: Mask = False,
) -> optax.GradientTransformation:
    r"""Adds the gradient of `regularizers.weissi` to the updates, in closed form.

    Before `optax.scale_by_adam` it is coupled, after it decoupled. An explicit step overshoots
    where a squared norm is below rate times log_norm; `weissi_decay` does not.

    Args:
      log_norm: lambda_1 >= 0, the strength on the log norms; a scalar or a schedule of the step.
      direction: lambda_2 >= 0, the strength on the L1 norm of the unit directions; the same.
      eps: floor of the norms, at least 1e-15.
      mask: which leaves; None for those with two or more axes.
      stacked: leaves with a leading layer axis, which get a norm per layer.

    Returns:
      A transformation whose `update` needs `params`.

    Raises:
      ValueError: a strength is negative; later, `params` is None, or a mask does not fit or
        selects nothing.

    Example:
      >>> params = {"w": jnp.array([[3.0, 4.0]]), "b": jnp.array([5.0])}
      >>> tx = add_weissi(1.0)
      >>> updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
      >>> print(updates["w"], updates["b"])
      [[0.12 0.16]] [0.]

    Source: Liu, Cui & Chan, 2020, arXiv:2008.02965; kexue.fm/archives/7681.
    """
    for name, value in (("log_norm", log_norm), ("direction", direction)):
        _check_rate(name, value)
    check_scalar("eps", eps, at_least=1e-15)

    def init(params):
        _select(mask, params, stacked)
        return _init(log_norm, direction)

    def update(updates, state, params=None):
        _need(params, "add_weissi")
        chosen, layered = _select(mask, params, stacked)
        state, radial, tangent = _now(state, log_norm, direction)

        def change(p, flag, layer):
            if not flag:
                return None
            # In float32 until it is added: a bfloat16 gradient would be rounded twice.
            p = at_least_float32(p)
            return regularizers.weissi_grad(
                p, log_norm=radial, direction=tangent, eps=eps, stacked=layer
            )

        return add_to(updates, change, params, chosen, layered), state

    return optax.GradientTransformation(init, update)


def weissi_decay(
    strength: Strength,
    *,
    learning_rate: ScalarOrSchedule,
    min_norm: ArrayLike = 0.0,
    mask: Mask | None = None,
    stacked: Mask = False,
) -> optax.GradientTransformation:
    r"""Shrinks matrices by the exact flow of the log-norm penalty; place it last in the chain.

    .. math:: \lVert W \rVert^2 \leftarrow \max(\lVert W \rVert^2 - 2 \eta \lambda, m^2)

    Two steps compose to one of the summed strength, the sign never flips, and a norm reaches zero
    instead of jumping over it. Every matrix loses the same amount of squared norm a step (with L2,
    the same share), so the smallest dies first; `min_norm` holds it up. The strength follows the
    learning-rate schedule: retune it when the rate changes.

    Args:
      strength: lambda >= 0, a scalar or a schedule of the step.
      learning_rate: eta >= 0, a scalar or a schedule: that of the chain before it.
      min_norm: m >= 0. Norms do not fall below it, and a smaller norm, unless zero, is lifted to
        it, as the formula says.
      mask: which leaves; None for those with two or more axes.
      stacked: leaves with a leading layer axis, which get a norm per layer.

    Returns:
      A transformation whose `update` needs `params`, and adds W's change to the updates.

    Raises:
      ValueError: a number is negative; later, `params` is None, or a mask does not fit or selects
        nothing.

    Example:
      >>> params = jnp.array([[3.0, 4.0]])
      >>> tx = weissi_decay(8.0, learning_rate=1.0)
      >>> updates, _ = tx.update(jnp.zeros((1, 2)), tx.init(params), params)
      >>> print(f"{jnp.sum((params + updates) ** 2):.4f}")
      9.0000

    Source: the flow of the first term of arXiv:2008.02965.

    Departures: the paper adds the gradient to the loss's; this is its decoupled form.
    """
    _check_rate("strength", strength)
    check_scalar("min_norm", min_norm, at_least=0.0)
    _check_rate("learning_rate", learning_rate)

    def init(params):
        _select(mask, params, stacked)
        return _init(learning_rate, strength)

    def update(updates, state, params=None):
        _need(params, "weissi_decay")
        chosen, layered = _select(mask, params, stacked)
        state, rate, now = _now(state, learning_rate, strength)

        def change(p, flag, layer):
            if not flag:
                return None
            x = at_least_float32(p)
            r2 = regularizers.squared_norm(x, stacked=layer)
            safe = jnp.where(r2 > 0, r2, 1.0)
            # sqrt(1 - loss) - 1 without cancellation, so that tiny strengths still act.
            loss = jnp.minimum(2 * rate * now / safe, 1 - jnp.square(min_norm) / safe)
            return -x * jnp.where(r2 > 0, loss / (1 + jnp.sqrt(1 - loss)), 0.0)

        return add_to(updates, change, params, chosen, layered), state

    return optax.GradientTransformation(init, update)


def adamw_weissi(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    mu_dtype: Any = None,
    *,
    log_norm: Strength,
    direction: Strength = 0.0,
    min_norm: ArrayLike = 0.0,
    norm_eps: ArrayLike = 1e-8,
    mask: Mask | None = None,
    stacked: Mask = False,
    nesterov: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""AdamW with WEISSI in the place of weight decay: decoupled from the adaptive step.

    .. math:: W \leftarrow W \sqrt{\max(1 - 2 \eta \lambda_1 / \lVert W \rVert^2, \,
              m^2 / \lVert W \rVert^2)} -
              \eta \big( \mathrm{adam}(g) + \lambda_2 \nabla R_2(W) \big)

    Args:
      learning_rate: eta, a scalar or a schedule.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: added to the root of the second moment, at least 0.
      eps_root: added inside that root, at least 0.
      mu_dtype: dtype of the first moment; None for that of the parameters.
      log_norm: lambda_1 >= 0, a scalar or a schedule of the step, by `weissi_decay`.
      direction: lambda_2 >= 0, the same, by `add_weissi` after Adam.
      min_norm: m >= 0, floor of the norms, by `weissi_decay`.
      norm_eps: floor of the norms in the direction term, at least 1e-15.
      mask: which leaves get WEISSI; None for those with two or more axes.
      stacked: leaves with a leading layer axis, which get a norm per layer.
      nesterov: whether Adam uses Nesterov momentum.

    Returns:
      A transformation whose `update` needs `params`.

    Raises:
      ValueError: see `weissi_decay` and `add_weissi`.

    Example:
      >>> params = jnp.array([[3.0, 4.0]])
      >>> tx = adamw_weissi(0.5, log_norm=16.0)
      >>> updates, _ = tx.update(jnp.zeros((1, 2)), tx.init(params), params)
      >>> print(f"{jnp.sum((params + updates) ** 2):.4f}")
      9.0000

    Source: kexue.fm/archives/7681; Loshchilov & Hutter, 2019, arXiv:1711.05101.
    """
    for name, decay in (("b1", b1), ("b2", b2)):
        check_scalar(name, decay, at_least=0.0, below=1.0)
    for name, value in (("eps", eps), ("eps_root", eps_root)):
        check_scalar(name, value, at_least=0.0)
    chain = [optax.scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)]
    if not (isinstance(direction, int | float) and direction == 0):
        chain.append(add_weissi(0.0, direction, eps=norm_eps, mask=mask, stacked=stacked))
    chain.append(optax.scale_by_learning_rate(learning_rate))
    chain.append(
        weissi_decay(
            log_norm, learning_rate=learning_rate, min_norm=min_norm, mask=mask, stacked=stacked
        )
    )
    return optax.chain(*chain)
