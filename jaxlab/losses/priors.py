"""Class priors: estimating them, and the weights, margins and biases that follow from them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxlab.checks import at_least_float32, check_scalar, concrete
from jaxlab.errors import InputError
from jaxlab.losses.labels import check_labels, wide_labels


def check_class_prior(
    class_prior: ArrayLike,
    num_classes: int | None = None,
    *,
    name: str = "class_prior",
    zeros: bool = False,
) -> None:
    """Raises unless `class_prior` is a probability vector of positive entries.

    Args:
      class_prior: [K]; its shape is always checked, its values when concrete: not under `jit`, for
        which there is `check_traced_prior`.
      num_classes: K, or None for any.
      name: what the message calls it.
      zeros: whether a class may have probability zero.

    Raises:
      ValueError: it has the wrong shape, an entry that is not finite or not positive (the message
        names the class), or a sum further than 1e-4 from 1.

    Example:
      >>> check_class_prior([0.5, 0.5, 0.0])  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      jaxlab.errors.ValueError: class_prior is 0.0 for class 2, must be positive: estimate ...
    """
    shape = np.shape(class_prior)
    if len(shape) != 1 or (num_classes is not None and shape[0] != num_classes):
        expected = "(K,)" if num_classes is None else (num_classes,)
        raise InputError(f"{name} has shape {shape}, must have shape {expected}")
    values = concrete(class_prior)
    if values is None:
        return
    values = values.astype(np.float64)
    bad = ~np.isfinite(values) | (values < 0 if zeros else values <= 0)
    if bad.any():
        k = int(bad.argmax())
        rule = "be at least 0" if zeros else "be positive: estimate it with smoothing > 0"
        raise InputError(f"{name} is {values[k]} for class {k}, must {rule}")
    if abs(values.sum() - 1) > 1e-4:
        raise InputError(f"{name} sums to {values.sum():.6g}, must sum to 1 within 1e-4")


def _histogram(labels, num_classes, where):
    """Counts of the labels in range and in the mask, float32 [K]."""
    if where is not None and np.shape(where) != np.shape(labels):
        raise InputError(f"where has shape {np.shape(where)}, labels {np.shape(labels)}")
    check_labels(labels, num_classes, where=where)
    labels = wide_labels(labels)
    valid = (labels >= 0) & (labels < num_classes)
    if where is not None:
        valid &= jnp.asarray(where).astype(bool)
    # Labels that do not count go to bin K, which `length` cuts off.
    kept = jnp.where(valid, labels, num_classes).ravel()
    return jnp.bincount(kept, length=num_classes).astype(jnp.float32)


def _float_counts(counts):
    """Counts as float32; on the host where they are known, since JAX would wrap above 2^31."""
    values = concrete(counts)
    return jnp.asarray(counts if values is None else values.astype(np.float64), jnp.float32)


def class_prior_from_counts(counts: ArrayLike, *, smoothing: float = 0.0) -> jax.Array:
    r"""Class prior of class counts, :math:`(n_y + s) / (N + K s)`.

    Args:
      counts: [K], numbers of examples, >= 0 (checked when concrete).
      smoothing: s, examples added to every class, >= 0.

    Returns:
      float32 [K] that sums to 1; uniform, the limit of small s, where all counts are 0.

    Raises:
      ValueError: counts is no vector or has a negative entry, or smoothing is out of range.

    Example:
      >>> print(np.asarray(class_prior_from_counts([6, 2, 0], smoothing=1.0)).round(4))
      [0.6364 0.2727 0.0909]
    """
    check_scalar("smoothing", smoothing, at_least=0.0)
    if len(np.shape(counts)) != 1:
        raise InputError(f"counts has shape {np.shape(counts)}, must have shape (K,)")
    values = concrete(counts)
    if values is not None and not (np.isfinite(values) & (values >= 0)).all():
        bad = values[~(np.isfinite(values) & (values >= 0))][0]
        raise InputError(f"counts has value {bad}, must be finite and at least 0")
    smoothed = _float_counts(counts) + smoothing
    total = smoothed.sum()
    share = smoothed / jnp.where(total > 0, total, 1.0)
    return jnp.where(total > 0, share, 1.0 / smoothed.size)


def estimate_class_prior(
    labels: ArrayLike,
    num_classes: int,
    *,
    smoothing: float = 0.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Estimates the class prior of labels, :math:`\pi_y = (n_y + s) / (N + K s)`.

    Args:
      labels: int, any shape, in [0, num_classes). The range is checked when concrete; under `jit`
        labels out of range are left out.
      num_classes: K.
      smoothing: s >= 0, examples added to every class. With 0 a class without examples gets prior
        0, which the losses refuse.
      where: bool of the shape of `labels`, which of them count; None for all.

    Returns:
      float32 [K] that sums to 1; uniform where the mask is empty and s = 0.

    Raises:
      ValueError: labels are empty, not integer, out of range or of another shape than where, or
        smoothing is negative.

    Example:
      >>> labels = jnp.array([0, 0, 0, 1])
      >>> print(estimate_class_prior(labels, 3))
      [0.75 0.25 0.  ]
      >>> print(np.asarray(estimate_class_prior(labels, 3, smoothing=1.0)).round(4))
      [0.5714 0.2857 0.1429]
    """
    check_scalar("smoothing", smoothing, at_least=0.0)
    if np.size(labels) == 0:
        raise InputError(f"labels has shape {np.shape(labels)}, a prior needs at least one label")
    return class_prior_from_counts(_histogram(labels, num_classes, where), smoothing=smoothing)


def update_class_prior(
    class_prior: ArrayLike, labels: ArrayLike, *, decay: float, where: ArrayLike | None = None
) -> jax.Array:
    r"""Moves a running class prior towards a batch, :math:`d\,\pi + (1 - d)\,n / N`.

    Start from a uniform prior, which keeps every class positive, and keep it in the model state.

    Args:
      class_prior: [K], sums to 1 and stays so.
      labels: int, any shape, in [0, K) (checked when concrete; else left out).
      decay: d in [0, 1], the weight of the past.
      where: bool of the shape of `labels`, which of them count; None for all.

    Returns:
      float32 [K]; the prior as it was if no label counts.

    Raises:
      ValueError: an argument is out of range or of the wrong shape.

    Example:
      >>> print(update_class_prior(jnp.array([0.5, 0.5]), jnp.array([0, 0, 0, 1]), decay=0.9))
      [0.525 0.475]

    Source: the discussion below kexue.fm/archives/7615, by which a running histogram will do.
    """
    check_scalar("decay", decay, at_least=0.0)
    if (value := concrete(decay)) is not None and value > 1:
        raise InputError(f"decay is {decay}, must be in [0, 1]")
    check_class_prior(class_prior, zeros=True)
    prior = jnp.asarray(class_prior).astype(jnp.float32)
    counts = _histogram(labels, prior.size, where)
    total = counts.sum()
    moved = decay * prior + (1 - decay) * counts / jnp.maximum(total, 1)
    return jnp.where(total > 0, moved, prior)


def log_class_prior(class_prior: ArrayLike, num_classes: int | None = None) -> jax.Array:
    """Logarithm of a class prior; a prior that is not positive gives NaN where it cannot raise.

    Minus infinity would silence its class for good: no gradient, and an arbitrary logit in tests.

    Args:
      class_prior: [K], positive, sums to 1 (checked when concrete).
      num_classes: K, or None for any.

    Returns:
      float32 [K] (float64 for a float64 prior).

    Raises:
      ValueError: see `check_class_prior`.

    Example:
      >>> print(np.asarray(log_class_prior(jnp.array([0.5, 0.5]))).round(4))
      [-0.6931 -0.6931]
    """
    check_class_prior(class_prior, num_classes)
    prior = at_least_float32(class_prior)
    return jnp.where(prior > 0, jnp.log(jnp.where(prior > 0, prior, 1.0)), jnp.nan)


def initial_bias(class_prior: ArrayLike, *, tau: float = 1.0) -> jax.Array:
    r"""Bias of the last layer that stands for the logit adjustment, :math:`\tau \log \pi_y`.

    Training with cross-entropy from this bias and training with the logit-adjusted loss from bias
    0 are the same trajectory, for any optimizer that sees only gradients: the adjusted model's
    logits are those of the other minus this vector, at every step. Weight decay on the bias breaks
    that.

    Args:
      class_prior: [K], positive, sums to 1 (checked when concrete).
      tau: strength, >= 0.

    Returns:
      float32 [K].

    Raises:
      ValueError: the prior or tau is out of range.

    Example:
      >>> print(np.asarray(initial_bias(jnp.array([0.9, 0.1]))).round(4))
      [-0.1054 -2.3026]

    Source: kexue.fm/archives/7615; the theorem is ours.
    """
    check_scalar("tau", tau, at_least=0.0)
    return tau * log_class_prior(class_prior)


def inverse_prior_weights(class_prior: ArrayLike, *, power: float = 1.0) -> jax.Array:
    r"""Weights :math:`\alpha_y = \pi_y^{-p}` of the classes.

    With p = 1 the weighted cross-entropy is consistent for the balanced error, with a mean weight
    of K over the examples; p = 1 - tau is what the logit-adjusted loss with another tau needs to
    become so again.

    Args:
      class_prior: [K], positive, sums to 1 (checked when concrete).
      power: p, any finite number.

    Returns:
      float32 [K].

    Raises:
      ValueError: the prior is out of range.

    Example:
      >>> print(np.asarray(inverse_prior_weights(jnp.array([0.75, 0.25]))).round(4))
      [1.3333 4.    ]

    Source: Menon et al., 2021, arXiv:2007.07314, theorem 1.
    """
    check_scalar("power", power)
    return jnp.exp(-power * log_class_prior(class_prior))


def class_balanced_weights(counts: ArrayLike, *, beta: ArrayLike = 0.999) -> jax.Array:
    r"""Weights by the effective number of examples, :math:`\frac{1-\beta}{1-\beta^{n_y}}`, mean 1.

    beta = 0 gives ones, beta -> 1 weights in proportion to :math:`1/n_y`.

    Args:
      counts: [K], examples of each class, positive (checked when concrete).
      beta: in [0, 1), a Python number.

    Returns:
      float32 [K] with mean 1 over the classes.

    Raises:
      ValueError: a class has no examples, or beta is out of range.

    Example:
      >>> print(np.asarray(class_balanced_weights(jnp.array([1000, 10]), beta=0.99)).round(4))
      [0.1746 1.8254]

    Source: Cui et al., 2019, arXiv:1901.05555.
    """
    check_scalar("beta", beta, at_least=0.0)
    known = concrete(beta)
    if known is not None and not known < 1:
        raise InputError(f"beta is {beta}, must be in [0, 1)")
    if len(np.shape(counts)) != 1:
        raise InputError(f"counts has shape {np.shape(counts)}, must have shape (K,)")
    values = concrete(counts)
    if values is not None and not (np.isfinite(values) & (values > 0)).all():
        k = int((~(np.isfinite(values) & (values > 0))).argmax())
        raise InputError(f"counts is {values[k]} for class {k}, must be positive and finite")
    counts = _float_counts(counts)
    # expm1 keeps the difference from 1 that beta ** n loses for beta near 1.
    log_beta = math.log(known) if known else -math.inf if known == 0 else jnp.log(beta)
    inverse = -1 / jnp.expm1(counts * log_beta)
    return inverse / inverse.mean()


def logit_adjustment_margins(class_prior: ArrayLike, *, tau: float = 1.0) -> jax.Array:
    r"""Margins :math:`D_{yj} = \tau (\log \pi_j - \log \pi_y)` of the logit-adjusted loss.

    Args:
      class_prior: [K], positive, sums to 1 (checked when concrete).
      tau: strength, >= 0.

    Returns:
      float32 [K, K], row y for examples of class y.

    Raises:
      ValueError: the prior or tau is out of range.

    Example:
      >>> print(np.asarray(logit_adjustment_margins(jnp.array([0.8, 0.2]))).round(4))
      [[ 0.     -1.3863]
       [ 1.3863  0.    ]]

    Source: Menon et al., 2021, arXiv:2007.07314, equation 11. Balanced softmax (Ren et al., 2020,
    arXiv:2007.10740) is the same with tau = 1.
    """
    check_scalar("tau", tau, at_least=0.0)
    offset = tau * log_class_prior(class_prior)
    return offset[None, :] - offset[:, None]


def ldam_margins(class_prior: ArrayLike, *, scale: float = 1.0) -> jax.Array:
    r"""Margins :math:`D_{yj} = C \pi_y^{-1/4}`, larger for rare classes; LDAM-style on raw logits.

    This is LDAM as Menon et al. write it; `ldam_cross_entropy` is the method with cosine logits.
    Added to `logit_adjustment_margins` it gives their "adaptive" combination.

    Args:
      class_prior: [K], positive, sums to 1 (checked when concrete).
      scale: C >= 0.

    Returns:
      float32 [K, K], row y for examples of class y; the diagonal is not used by the loss.

    Raises:
      ValueError: the prior or scale is out of range.

    Example:
      >>> print(np.asarray(ldam_margins(jnp.array([15 / 16, 1 / 16]))).round(4))
      [[1.0163 1.0163]
       [2.     2.    ]]

    Source: Cao et al., 2019, arXiv:1906.07413, in the form of arXiv:2007.07314.
    """
    check_scalar("scale", scale, at_least=0.0)
    rows = scale * jnp.exp(-0.25 * log_class_prior(class_prior))
    return jnp.broadcast_to(rows[:, None], (rows.size, rows.size))


def equalized_margins(class_prior: ArrayLike, *, tau: float = 1.0) -> jax.Array:
    r"""Margins :math:`D_{yj} = \tau \log \pi_j`: rare classes are pushed down less.

    Args:
      class_prior: [K], positive, sums to 1 (checked when concrete).
      tau: strength, >= 0.

    Returns:
      float32 [K, K], row y for examples of class y; the diagonal is not used by the loss.

    Raises:
      ValueError: the prior or tau is out of range.

    Example:
      >>> print(np.asarray(equalized_margins(jnp.array([0.8, 0.2]))).round(4))
      [[-0.2231 -1.6094]
       [-0.2231 -1.6094]]

    Source: Tan et al., 2020, arXiv:2003.05176, in the form of Menon et al., arXiv:2007.07314, with
    F(pi) = pi^tau.
    """
    check_scalar("tau", tau, at_least=0.0)
    columns = tau * log_class_prior(class_prior)
    return jnp.broadcast_to(columns[None, :], (columns.size, columns.size))
