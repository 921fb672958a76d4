"""Penalties on the norms of parameters: L2, WEISSI, and the squared gradient norm."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxlab.checks import absent, at_least_float32, check_scalar
from jaxlab.regularizers.masks import Mask, Params, select


def l2(params: Params, *, mask: Mask | None = None) -> jax.Array:
    r"""Half the squared norm, :math:`\frac12 \sum_l \lVert W_l \rVert^2`, so its gradient is W.

    Args:
      params: parameter tree.
      mask: which leaves; None for all of them, biases too.

    Returns:
      float32 [].

    Raises:
      ValueError: the mask does not fit or selects nothing.

    Example:
      >>> print(l2({"w": jnp.array([[3.0]]), "b": jnp.array([4.0])}))
      12.5
    """
    chosen, _ = select(True if mask is None else mask, params)
    pairs = zip(jax.tree.leaves(params), jax.tree.leaves(chosen), strict=True)
    return 0.5 * sum(
        (jnp.sum(at_least_float32(p) ** 2) for p, flag in pairs if flag), jnp.float32(0)
    )


def squared_norm(w: ArrayLike, *, stacked: bool = False) -> jax.Array:
    """Squared norm of a leaf, one for each layer of a stack, with axes kept for broadcasting.

    Args:
      w: [...], or [L, ...] if stacked.
      stacked: whether the first axis is one of layers.

    Returns:
      float32 [1, ...] or [L, 1, ...].

    Example:
      >>> print(squared_norm(jnp.ones((2, 3, 4)), stacked=True).ravel())
      [12. 12.]
    """
    x = at_least_float32(w)
    return jnp.sum(x**2, axis=tuple(range(int(stacked), x.ndim)), keepdims=True)


def _check_weissi(log_norm, direction, eps):
    check_scalar("log_norm", log_norm, at_least=0.0)
    check_scalar("direction", direction, at_least=0.0)
    # Its square must not underflow in float32.
    check_scalar("eps", eps, at_least=1e-15)


def weissi(
    params: Params,
    *,
    log_norm: ArrayLike = 1.0,
    direction: ArrayLike = 0.0,
    eps: ArrayLike = 1e-8,
    mask: Mask | None = None,
    stacked: Mask = False,
) -> jax.Array:
    r"""WEISSI, a penalty that does not see how a network's scale is spread over its layers.

    .. math:: \lambda_1 \sum_l \tfrac12 \log(\lVert W_l \rVert^2 + \epsilon^2) + \lambda_2 \sum_l
              \frac{\lVert W_l \rVert_1}{\sqrt{\lVert W_l \rVert^2 + \epsilon^2}}

    Rescaling layers with gains of product 1 (`rescale_layers`) leaves a positively homogeneous
    network and this penalty as they were, while L2 can shrink by such balancing alone. The first
    term is the log of a bound on the network's Lipschitz constant, up to a constant for the
    patches of convolutions. It has no minimum: at W = 0 it ends at log eps, and a large strength
    destroys the model. For attention, where only W_Q W_K^T counts, the invariance holds for pairs.

    Args:
      params: parameter tree.
      log_norm: lambda_1 >= 0, the strength on the log norms.
      direction: lambda_2 >= 0, the strength on the L1 norm of the unit directions, which lies
        between 1 and sqrt(size).
      eps: floor of the norms, at least 1e-15; gradients are finite at W = 0.
      mask: which leaves; None for those with two or more axes. Embedding tables are among them:
        leave them out by `all_of(matrices_only, none_of(named("embedding")))`.
      stacked: leaves with a leading layer axis, which get a norm per layer; a bool, a tree of
        bools, or a function to that.

    Returns:
      float32 [].

    Raises:
      ValueError: a strength is negative, or a mask does not fit or selects nothing.

    Example:
      >>> params = {"a": 4.0 * jnp.eye(2), "b": 0.25 * jnp.eye(2)}
      >>> print(f"{weissi(params):.4f} {weissi(params, log_norm=0.0, direction=1.0):.4f}")
      0.6931 2.8284

    Source: Liu, Cui & Chan, 2020, arXiv:2008.02965; kexue.fm/archives/7681.
    """
    _check_weissi(log_norm, direction, eps)
    chosen, layered = select(mask, params, stacked=stacked)
    total = jnp.float32(0)
    for p, flag, layer in zip(*map(jax.tree.leaves, (params, chosen, layered)), strict=True):
        if not flag:
            continue
        x = at_least_float32(p)
        r2 = squared_norm(x, stacked=layer) + jnp.square(eps)
        if not absent(log_norm):
            total = total + 0.5 * log_norm * jnp.sum(jnp.log(r2))
        if not absent(direction):
            # x * sign(x), not abs(x): JAX gives abs the gradient 1 at 0, sign gives 0.
            l1 = jnp.sum(x * jnp.sign(x), axis=tuple(range(int(layer), x.ndim)), keepdims=True)
            total = total + direction * jnp.sum(l1 * jax.lax.rsqrt(r2))
    return total


def log_norm_sum(
    params: Params, *, eps: ArrayLike = 1e-8, mask: Mask | None = None, stacked: Mask = False
) -> jax.Array:
    r"""The sum of log norms, :math:`\sum_l \log \lVert W_l \rVert`, to log: `weissi` of strength 1.

    The exponential bounds the norm of the input Jacobian of a plain stack of linear layers and
    1-Lipschitz activations; it is never formed, since 30^100 is infinite in float32.

    Args:
      params: parameter tree.
      eps: floor of the norms, at least 1e-15.
      mask: which leaves; None for those with two or more axes.
      stacked: leaves with a leading layer axis.

    Returns:
      float32 [].

    Raises:
      ValueError: a mask does not fit or selects nothing.

    Example:
      >>> print(f"{log_norm_sum([30.0 * jnp.ones((1, 1))] * 100):.1f}")
      340.1
    """
    return weissi(params, eps=eps, mask=mask, stacked=stacked)


def weissi_grad(
    w: ArrayLike,
    *,
    log_norm: ArrayLike = 1.0,
    direction: ArrayLike = 0.0,
    eps: ArrayLike = 1e-8,
    stacked: bool = False,
) -> jax.Array:
    r"""Gradient of `weissi` for one leaf, in closed form.

    .. math:: \lambda_1 \frac{W}{n^2} + \lambda_2 \Big( \frac{\mathrm{sign} W}{n} -
              \frac{\lVert W \rVert_1 W}{n^3} \Big), \quad n^2 = \lVert W \rVert^2 + \epsilon^2

    The first part is radial, with inner product lambda_1 with W for every layer; the second is
    orthogonal to W.

    Args:
      w: [...], or [L, ...] if stacked.
      log_norm: lambda_1 >= 0.
      direction: lambda_2 >= 0.
      eps: floor of the norm, at least 1e-15.
      stacked: whether the first axis is one of layers.

    Returns:
      Array of the shape and dtype of `w`.

    Raises:
      ValueError: a strength is negative.

    Example:
      >>> print(weissi_grad(jnp.array([[3.0, 4.0]])))
      [[0.12 0.16]]
    """
    _check_weissi(log_norm, direction, eps)
    x = at_least_float32(w)
    # n2, never n ** 3, which underflows in float32 for a small eps.
    n2 = squared_norm(x, stacked=stacked) + jnp.square(eps)
    grad = jnp.multiply(log_norm, x) / n2
    if not absent(direction):
        # abs, not x * sign(x) as in the penalty: the compiler would store the signs, used twice.
        l1 = jnp.sum(jnp.abs(x), axis=tuple(range(int(stacked), x.ndim)), keepdims=True)
        grad = grad + direction * (jnp.sign(x) - x * (l1 / n2)) * jax.lax.rsqrt(n2)
    return grad.astype(jnp.result_type(w))


def squared_gradient_norm(
    loss_fn: Callable[..., Any], *, has_aux: bool = False, mask: Mask | None = None
) -> Callable[..., jax.Array]:
    r"""Makes the penalty :math:`\lVert \nabla_\theta L \rVert^2` of a loss.

    One descent and one ascent step of flooding at rate e are, to second order, one step of size
    e^2 / 2 on it. Its own gradient, 2 H g, is a second backward pass.

    Args:
      loss_fn: `(params, ...) -> loss`, or `(loss, aux)` with has_aux; the loss a scalar.
      has_aux: whether `loss_fn` returns a pair.
      mask: which leaves' gradients count; None for all.

    Returns:
      A function of the arguments of `loss_fn` that returns float32 [].

    Raises:
      ValueError: (when called) the mask does not fit or selects nothing.

    Example:
      >>> penalty = squared_gradient_norm(lambda w: 0.5 * jnp.sum(jnp.array([1.0, 3.0]) * w**2))
      >>> print(penalty(jnp.ones(2)), jax.grad(penalty)(jnp.ones(2)))
      10.0 [ 2. 18.]

    Source: kexue.fm/archives/7643.
    """

    def penalty(params, *args, **kwargs):
        grads = jax.grad(loss_fn, has_aux=has_aux)(params, *args, **kwargs)
        return 2 * l2(grads[0] if has_aux else grads, mask=mask)

    return penalty


def gradient_norm_penalty(
    loss_fn: Callable[..., Any], coefficient: ArrayLike, *, has_aux: bool = False
) -> Callable[..., Any]:
    r"""Adds the penalty to the loss, :math:`L + c \lVert \nabla L \rVert^2`, for any training step.

    A descent rate e1 alternating with an ascent rate e2 < e1 is, to second order, a rate e1 - e2
    on this loss with c = e1 e2 / (2 (e1 - e2)).

    Args:
      loss_fn: `(params, ...) -> loss`, or `(loss, aux)` with has_aux (jaxlab's loss functions).
      coefficient: c >= 0.
      has_aux: whether `loss_fn` returns a pair.

    Returns:
      A function like `loss_fn`. `train.make_train_step` does not accumulate it: the mean of the
      penalties of micro-batches is not that of the batch.

    Raises:
      ValueError: c is negative.

    Example:
      >>> print(gradient_norm_penalty(lambda w: 0.5 * w**2, 0.1)(2.0))
      2.4
    """
    check_scalar("coefficient", coefficient, at_least=0.0)

    def penalized(params, *args, **kwargs):
        out, grads = jax.value_and_grad(loss_fn, has_aux=has_aux)(params, *args, **kwargs)
        extra = 2 * coefficient * l2(grads)
        return (out[0] + extra, out[1]) if has_aux else out + extra

    penalized.whole_batch = "the penalty is on the gradient of the batch's mean loss"
    return penalized
