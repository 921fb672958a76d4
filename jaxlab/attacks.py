"""Small changes of inputs that raise a loss, and how strongly logits depend on inputs.

What is asked for a batch is answered for each example: a loss function given here must not mix the
examples of a batch (no batch statistics), since its losses are summed before differentiating.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxlab.checks import at_least_float32, check_scalar, concrete
from jaxlab.errors import InputError

LossFn = Callable[[jax.Array], jax.Array]


def fgsm(
    loss_fn: LossFn,
    x: ArrayLike,
    *,
    epsilon: ArrayLike,
    low: ArrayLike = 0.0,
    high: ArrayLike = 1.0,
) -> jax.Array:
    r"""One step along the sign of the gradient, the fast gradient sign method.

    .. math:: x' = \mathrm{clip}(x + \epsilon \, \mathrm{sign} \nabla_x \ell(x), low, high)

    The strongest attack in the l-infinity ball where the loss is monotone in every input, as for a
    linear model of two classes.

    Args:
      loss_fn: from inputs [B, ...] to losses [B], such as the cross-entropy of a batch's labels.
      x: [B, ...], inputs in [low, high] up to rounding (checked when concrete).
      epsilon: radius of the l-infinity ball, >= 0, in the units of x.
      low: smallest value of an input: a number, or an array that broadcasts to x.
      high: largest value of an input, likewise.

    Returns:
      [B, ...] of the dtype of x, without a gradient.

    Raises:
      ValueError: epsilon is negative, x is outside its range, or the losses have a wrong shape.

    Example:
      >>> w = jnp.array([1.0, -2.0, 0.0])
      >>> print(fgsm(lambda x: x @ w, jnp.array([[0.5, 0.5, 0.5]]), epsilon=0.1))
      [[0.6 0.4 0.5]]

    Source: Goodfellow, Shlens & Szegedy, 2015, arXiv:1412.6572.
    """
    return pgd(loss_fn, x, epsilon=epsilon, step_size=epsilon, num_steps=1, low=low, high=high)


def pgd(
    loss_fn: LossFn,
    x: ArrayLike,
    *,
    epsilon: ArrayLike,
    step_size: ArrayLike,
    num_steps: int,
    key: jax.Array | None = None,
    low: ArrayLike = 0.0,
    high: ArrayLike = 1.0,
) -> jax.Array:
    r"""Steps along the sign of the gradient, each projected back: projected gradient ascent.

    .. math:: x_{t+1} = P\big(x_t + \alpha \, \mathrm{sign} \nabla_x \ell(x_t)\big)

    where P clips to :math:`[x_0 - \epsilon, x_0 + \epsilon]` and to [low, high]. To reach all of
    the ball, step_size times num_steps should exceed epsilon, 2.5 times say.

    Args:
      loss_fn: from inputs [B, ...] to losses [B].
      x: [B, ...], inputs in [low, high] up to rounding (checked when concrete).
      epsilon: radius of the l-infinity ball, >= 0, in the units of x.
      step_size: alpha >= 0.
      num_steps: number of steps, >= 1.
      key: for a start that is uniform in the ball, clipped to the box; None starts at x.
      low: smallest value of an input: a number, or an array that broadcasts to x.
      high: largest value of an input, likewise.

    Returns:
      [B, ...] of the dtype of x, the last step's inputs, without a gradient.

    Raises:
      ValueError: a number is out of range, x is outside its range, or the losses have a wrong
        shape.

    Example:
      >>> loss = lambda x: -jnp.sum((x - 0.7) ** 2, axis=-1)
      >>> print(pgd(loss, jnp.array([[0.5, 0.68]]), epsilon=0.1, step_size=0.02, num_steps=10))
      [[0.6 0.7]]

    Source: Madry et al., 2018, arXiv:1706.06083.
    """
    check_scalar("epsilon", epsilon, at_least=0.0)
    check_scalar("step_size", step_size, at_least=0.0)
    if num_steps < 1:
        raise InputError(f"num_steps is {num_steps}, must be at least 1")
    x = _check_inputs(x, low, high)
    dtype = x.dtype
    # The box cuts the ball once; clipping to what is left is projecting onto both.
    lower, upper = jnp.maximum(x - epsilon, low), jnp.minimum(x + epsilon, high)
    lower, upper = lower.astype(dtype), upper.astype(dtype)

    def total(x):
        losses = loss_fn(x)
        if jnp.shape(losses) != x.shape[:1]:
            raise InputError(
                f"loss_fn returned shape {jnp.shape(losses)}, inputs {x.shape} need {x.shape[:1]}"
            )
        return jnp.sum(losses)

    def step(_, attacked):
        moved = attacked + step_size * jnp.sign(jax.grad(total)(attacked))
        return jnp.clip(moved.astype(dtype), lower, upper)

    start = x
    if key is not None:
        noise = jax.random.uniform(key, x.shape, jnp.float32, -1.0, 1.0)
        start = jnp.clip((x + epsilon * noise).astype(dtype), lower, upper)
    # One step, as in `fgsm`, needs no loop to compile.
    attacked = step(0, start) if num_steps == 1 else jax.lax.fori_loop(0, num_steps, step, start)
    return jax.lax.stop_gradient(attacked)


def input_jacobian_norm(logits_fn: Callable[[jax.Array], jax.Array], x: ArrayLike) -> jax.Array:
    r"""Frobenius norm of the Jacobian of each example's logits in its inputs.

    .. math:: \sqrt{\sum_k \lVert \nabla_x f_k(x) \rVert^2}

    Costs K backward passes, one after another, so memory is that of one.

    Args:
      logits_fn: from inputs [B, ...] to logits [B, K].
      x: [B, ...], inputs.

    Returns:
      float32 [B]; infinitely steep where the Jacobian is zero, as any norm.

    Raises:
      ValueError: the logits have a wrong shape.

    Example:
      >>> w = jnp.array([[3.0, 0.0], [0.0, 4.0]])
      >>> print(input_jacobian_norm(lambda x: x @ w, jnp.zeros((3, 2))))
      [5. 5. 5.]
    """
    x = jnp.asarray(x)
    logits, backward = jax.vjp(logits_fn, x)
    if logits.ndim != 2 or len(logits) != len(x):
        raise InputError(
            f"logits_fn returned shape {logits.shape}, inputs {x.shape} need ({len(x)}, K)"
        )

    def squares(k):
        one_hot = jax.nn.one_hot(k, logits.shape[1], dtype=logits.dtype)
        (gradient,) = backward(jnp.broadcast_to(one_hot, logits.shape))
        return jnp.sum(at_least_float32(gradient) ** 2, axis=range(1, x.ndim))

    return jnp.sqrt(jax.lax.map(squares, jnp.arange(logits.shape[1])).sum(0))


def _check_inputs(x: ArrayLike, low: ArrayLike, high: ArrayLike) -> jax.Array:
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating) or not x.ndim:
        raise InputError(f"x is {x.dtype} {x.shape}, must be floats with a batch axis")
    for name, bound in (("low", low), ("high", high)):
        if np.broadcast_shapes(np.shape(bound), x.shape) != x.shape:
            raise InputError(f"{name} has shape {np.shape(bound)}, must broadcast to {x.shape}")
    values, smallest, largest = concrete(x), concrete(low), concrete(high)
    if values is None or smallest is None or largest is None or not values.size:
        return x
    # Bounds computed in float64 are off the rounded values of x by a few ulps.
    ends = np.concatenate([np.ravel(np.float64(bound)) for bound in (smallest, largest)])
    scale = np.abs(ends[np.isfinite(ends)]).max(initial=1.0)
    slack = 8 * float(jnp.finfo(x.dtype).eps) * scale
    if not ((values >= smallest - slack) & (values <= largest + slack)).all():
        raise InputError(
            f"x has values in [{values.min()}, {values.max()}], must lie in [{low}, {high}]"
        )
    return x
