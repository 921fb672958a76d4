"""Flooding: losses that turn around at a level instead of going to zero."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxlab.checks import at_least_float32, check_scalar, concrete
from jaxlab.errors import InputError


def flood(loss: ArrayLike, *, level: ArrayLike) -> jax.Array:
    r"""Reflects a loss at the flood level, :math:`|\ell - b| + b`, elementwise.

    A scalar, the mean over the batch, gives flooding; the vector of per-example losses gives iFlood
    with one level and AdaFlood with a vector of levels (`adaflood_levels`). Flood the mean over the
    whole logical batch: a mean over one device's rows or one micro-batch is a variant in between.
    Add penalties outside, where nothing flips their sign, and report the plain loss. By
    `optim.flood_updates` the optimizer floods instead.

    Args:
      loss: [...], a scalar or per-example losses.
      level: b >= 0, a scalar or of the shape of `loss` (checked when concrete).

    Returns:
      Array of the shape and dtype of `loss`, >= b. Its gradient is that of the loss, negated where
      `loss < level`; it is +1 at equality (autodiff of |.| leaves that to a convention).

    Raises:
      ValueError: level is negative, not finite or of another shape.

    Example:
      >>> print(flood(jnp.array([1.0, 0.5, 0.25]), level=0.5))
      [1.   0.5  0.75]
      >>> print(jax.vmap(jax.grad(lambda l: flood(l, level=0.5)))(jnp.array([1.0, 0.5, 0.25])))
      [ 1.  1. -1.]

    Source: Ishida et al., 2020, arXiv:2002.08709; Xie et al., 2022 (iFlood);
    kexue.fm/archives/7643.

    Departures: the authors' code floods only above level 0; here level 0 is the absolute value,
    the identity for losses that are not negative.
    """
    x = jnp.asarray(loss)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        x = x.astype(jnp.float32)
    if np.shape(level) not in ((), x.shape):
        raise InputError(
            f"level has shape {np.shape(level)}, must be a scalar or have shape {x.shape}"
        )
    values = concrete(level)
    if values is not None and not (np.isfinite(values) & (values >= 0)).all():
        value = values[~(np.isfinite(values) & (values >= 0))].flat[0]
        raise InputError(f"level is {value}, must be finite and at least 0")
    b = jnp.asarray(level).astype(x.dtype)
    return jnp.where(x >= b, x, 2 * b - x)


def adaflood_levels(
    aux_losses: ArrayLike, *, gamma: float = 0.5, alpha: float = 1.0, beta: float = 0.0
) -> jax.Array:
    r"""AdaFlood levels from losses of models that did not see the example.

    .. math:: \theta_i = -\log\big[ (1 - \gamma)\, e^{-(\alpha m_i + \beta)} + \gamma \big]

    Args:
      aux_losses: m [...], cross-entropy of each example under a model trained on the other folds,
        in nats, >= 0 (checked when concrete).
      gamma: probability mixed in, in [0, 1]; levels end at -log gamma.
      alpha: slope, >= 0.
      beta: offset, with alpha m + beta >= 0.

    Returns:
      float32 [...], levels >= 0 through which no gradient flows.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> print(np.asarray(adaflood_levels(jnp.array([0.0, 1.0, 1e6]))).round(4))
      [0.     0.3799 0.6931]

    Source: Bae et al., 2024, arXiv:2311.02891, and its published code.

    Departures: computed from logarithms, so gamma = 0 returns m itself for any m.
    """
    check_scalar("gamma", gamma, at_least=0.0)
    if (value := concrete(gamma)) is not None and value > 1:
        raise InputError(f"gamma is {gamma}, must be in [0, 1]")
    check_scalar("alpha", alpha, at_least=0.0)
    check_scalar("beta", beta)
    values = concrete(aux_losses)
    if values is not None and not (values >= 0).all():
        raise InputError(f"aux_losses has value {values.min()}, must be at least 0")
    m = alpha * at_least_float32(aux_losses) + beta
    levels = -jnp.logaddexp(jnp.log1p(-jnp.asarray(gamma, m.dtype)) - m, jnp.log(gamma))
    # Rounding must not take a level below 0, which `flood` refuses.
    return jax.lax.stop_gradient(jnp.where(levels <= 0, 0.0, levels))


def flood_level_from_noise(noise_rate: ArrayLike, num_classes: int) -> jax.Array:
    r"""Flood level that uniform label noise suggests: its irreducible cross-entropy.

    .. math:: H = -(1 - r) \log (1 - r) - r \log \frac{r}{K - 1}

    The best levels found by search lie slightly below it.

    Args:
      noise_rate: r in [0, 1], probability that a label is one of the K - 1 wrong ones, each as
        likely. Labels drawn anew from all K classes with probability r' have r = r' (K - 1) / K.
      num_classes: K >= 2.

    Returns:
      float32 of the shape of `noise_rate`, in nats.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> print(np.asarray(flood_level_from_noise(0.2, 10)).round(4))
      0.9398
    """
    if num_classes < 2:
        raise InputError(f"num_classes is {num_classes}, must be at least 2")
    values = concrete(noise_rate)
    if values is not None and not ((values >= 0) & (values <= 1)).all():
        raise InputError(f"noise_rate is {noise_rate}, must be in [0, 1]")
    r = at_least_float32(noise_rate)
    return (
        jax.scipy.special.entr(1 - r) + jax.scipy.special.entr(r) + r * jnp.log(num_classes - 1.0)
    )


def value_and_flood_grad(
    loss_fn: Callable[..., Any], *, level: ArrayLike, has_aux: bool = False
) -> Callable[..., Any]:
    r"""Like `jax.value_and_grad`, with the plain loss as value and the flooded gradient.

    The gradient is :math:`\pm \nabla L`, the minus sign where :math:`L < b`.

    Args:
      loss_fn: `(params, ...) -> loss`, or `(loss, aux)` with has_aux; the loss a scalar.
      level: b >= 0, a scalar.
      has_aux: whether `loss_fn` returns a pair.

    Returns:
      A function of the same arguments that returns `((loss, flooded), grads)`, or
      `((loss, aux, flooded), grads)` with has_aux; `flooded` is bool [], to log its mean.

    Raises:
      ValueError: level is negative, not finite or no scalar.

    Example:
      >>> (loss, flooded), grad = value_and_flood_grad(lambda w: w**2, level=0.5)(0.5)
      >>> print(loss, flooded, grad)
      0.25 True -1.0
    """
    check_scalar("level", level, at_least=0.0)

    def flooded_value_and_grad(params, *args, **kwargs):
        out, grads = jax.value_and_grad(loss_fn, has_aux=has_aux)(params, *args, **kwargs)
        loss, aux = out if has_aux else (out, None)
        flooded = loss < level
        grads = jax.tree.map(lambda g: jnp.where(flooded, -g, g), grads)
        return ((loss, aux, flooded) if has_aux else (loss, flooded)), grads

    return flooded_value_and_grad
