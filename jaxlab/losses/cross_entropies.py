"""Cross-entropy and its relatives for unequal classes: labels and logits to per-example losses."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from optax import losses as optax_losses

from jaxlab.checks import at_least_float32, check_scalar, concrete
from jaxlab.errors import InputError
from jaxlab.losses.adjustment import with_log_prior
from jaxlab.losses.labels import (
    Axis,
    Examples,
    arrange,
    class_axes,
    class_mask,
    classes_last,
    is_label,
)
from jaxlab.losses.priors import log_class_prior


def _cross_entropy(logits: jax.Array, examples: Examples) -> jax.Array:
    return examples.finish(
        optax_losses.softmax_cross_entropy_with_integer_labels(
            logits, examples.labels, where=examples.kept
        )
    )


def _weighted(loss: jax.Array, weights: ArrayLike, examples: Examples) -> jax.Array:
    num_classes = examples.logits.shape[-1]
    if np.shape(weights) != (num_classes,):
        raise InputError(f"weights has shape {np.shape(weights)}, must have shape {(num_classes,)}")
    values = concrete(weights)
    if values is not None and not (np.isfinite(values) & (values >= 0)).all():
        raise InputError(f"weights is {values}, must be finite and at least 0")
    weight = jnp.asarray(weights).astype(loss.dtype)[examples.labels]
    left_out = examples.valid & (weight == 0)  # 0 times infinity is 0: it may be masked
    return jnp.where(left_out, 0.0, loss) * weight


def soft_cross_entropy(
    logits: ArrayLike, targets: ArrayLike, *, axis: Axis = -1, where: ArrayLike | None = None
) -> jax.Array:
    r"""Cross-entropy of target probabilities (mixup, label smoothing, distillation), 0 log 0 = 0.

    .. math:: -\sum_y t_y \log \mathrm{softmax}(f)_y

    Args:
      logits: [..., K]. A class that is masked by a logit of minus infinity adds 0, and no gradient,
        where its target is 0.
      targets: [..., K], probabilities; a row of zeros, as of padding, has a loss of 0.
      axis: of the classes, or several.
      where: bool of the shape of logits, or of it without the class axis: which classes or rows
        count.

    Returns:
      float32 [...] in nats, not reduced (float64 for float64 logits).

    Raises:
      ValueError: shapes do not fit.

    Example:
      >>> logits = jnp.array([[0.0, 0.0, -jnp.inf], [jnp.nan, 1.0, 2.0]])
      >>> targets = jnp.array([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]])
      >>> print(np.asarray(soft_cross_entropy(logits, targets)).round(4))
      [0.6931 0.    ]
    """
    if np.shape(targets) != np.shape(logits) or not np.shape(logits):
        raise InputError(
            f"targets has shape {np.shape(targets)}, logits need targets of {np.shape(logits)}"
        )
    axes = class_axes(np.shape(logits), axis)
    x = classes_last(at_least_float32(logits), axes)
    t = classes_last(targets, axes).astype(x.dtype)
    if where is not None:
        kept = class_mask(where, np.shape(logits), axes)
        x, t = jnp.where(kept, x, -jnp.inf), jnp.where(kept, t, 0.0)
    # Chosen before softmax and product, or the gradients would be 0 * NaN.
    x = jnp.where((t == 0).all(-1, keepdims=True), 0.0, x)
    log_p = jax.nn.log_softmax(x)
    return jnp.sum(t * jnp.where((t == 0) & jnp.isneginf(log_p), 0.0, -log_p), axis=-1)


def logit_adjusted_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    class_prior: ArrayLike,
    tau: float = 1.0,
    axis: Axis = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Cross-entropy of logits to which the log prior was added, for training only.

    .. math:: \ell(y, f) = -\log \frac{e^{f_y + \tau \log \pi_y}}{\sum_j e^{f_j + \tau \log \pi_j}}

    The prior explains what it can and the network learns the rest, so the raw logits `f` predict
    for balanced classes: `argmax f` afterwards, without `adjust_logits`. Tau = 1 is consistent for
    the balanced error. With a free bias in the last layer this is cross-entropy from another
    start: see `initial_bias`.

    Args:
      logits: [..., K].
      labels: int [...], in [0, K). Checked when concrete; under `jit` a label out of range gives a
        loss of NaN.
      class_prior: [K], positive, sums to 1 within 1e-4 (checked when concrete; under `jit` a prior
        that is not positive gives NaN).
      tau: strength, finite and >= 0; 0 is cross-entropy.
      axis: of the classes, or several, flattened to one; labels have the others.
      where: bool of the shape of labels or of logits, as in optax: rows that count (the loss of
        others is 0, whatever their label), or the classes that do.

    Returns:
      float32 [...] in nats, not reduced (float64 for float64 logits).

    Raises:
      ValueError: shapes do not fit, labels are not integer or out of range, or the prior or tau is
        out of range.

    Example:
      >>> logits, labels = jnp.zeros((2, 3)), jnp.array([0, 2])
      >>> prior = jnp.array([0.5, 0.3, 0.2])
      >>> loss = logit_adjusted_cross_entropy(logits, labels, class_prior=prior)
      >>> print(np.asarray(loss).round(4))
      [0.6931 1.6094]

    Source: Menon et al., 2021, arXiv:2007.07314, equation 10; kexue.fm/archives/7615.

    Departures: no epsilon. The published code adds 1e-12 to pi^tau, which bends the offset of rare
    classes (-27.63 instead of -41.45 for pi = 1e-6, tau = 3); here a zero prior is refused.
    """
    examples = arrange(logits, labels, axis, where)
    check_scalar("tau", tau, at_least=0.0)
    x = examples.logits
    offset = (tau * log_class_prior(class_prior, x.shape[-1])).astype(x.dtype)
    return _cross_entropy(x + offset, examples)


def logit_adjusted_soft_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    class_prior: ArrayLike,
    tau: float = 1.0,
    axis: Axis = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""The logit-adjusted loss for target probabilities; `soft_cross_entropy` says what 0 does.

    .. math:: -\sum_y t_y \log \mathrm{softmax}(f + \tau \log \pi)_y

    Args:
      logits: [..., K].
      targets: [..., K], probabilities.
      class_prior: [K], positive, sums to 1 (checked when concrete).
      tau: strength, >= 0.
      axis: see `soft_cross_entropy`.
      where: see there.

    Returns:
      float32 [...] in nats, not reduced.

    Raises:
      ValueError: shapes do not fit, or the prior or tau is out of range.

    Example:
      >>> loss = logit_adjusted_soft_cross_entropy(
      ...     jnp.zeros(2), jnp.array([0.5, 0.5]), class_prior=jnp.array([0.8, 0.2]))
      >>> print(np.asarray(loss).round(4))
      0.9163
    """
    x, log_prior = with_log_prior(logits, class_prior, axis)
    check_scalar("tau", tau, at_least=0.0)
    return soft_cross_entropy(
        x + (tau * log_prior).astype(x.dtype), targets, axis=axis, where=where
    )


def pairwise_margin_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    margins: ArrayLike | None = None,
    axis: Axis = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Cross-entropy with a weight for every class and a margin for every pair of classes.

    .. math:: \ell(y, f) = \alpha_y \log \Big[ 1 + \sum_{j \ne y} e^{D_{yj}} e^{f_j - f_y} \Big]

    Members: cross-entropy (neither), weighting (`inverse_prior_weights`, `class_balanced_weights`),
    LDAM-style margins (`ldam_margins`), the equalised loss (`equalized_margins`) and logit
    adjustment (`logit_adjustment_margins`). With :math:`\alpha_y = \delta_y / \pi_y` and
    :math:`D_{yj} = \log(\delta_j / \delta_y)` it is consistent for the balanced error, for any
    positive delta; full weights and full margins together are not.

    Args:
      logits: [..., K].
      labels: int [...], in [0, K). Checked when concrete; under `jit` a label out of range gives a
        loss of NaN.
      weights: alpha [K], >= 0 (checked when concrete); None for ones.
      margins: D [K, K], row y for examples of class y, the diagonal not used; None for zeros.
      axis: of the classes, or several, flattened to one; labels have the others.
      where: bool of the shape of labels or of logits, as in optax: rows that count (the loss of
        others is 0, whatever their label), or the classes that do.

    Returns:
      float32 [...] in nats, not reduced (float64 for float64 logits).

    Raises:
      ValueError: shapes do not fit, labels are not integer or out of range, or a weight is
        negative.

    Example:
      >>> margins = jnp.array([[0.0, 1.0], [0.0, 0.0]])
      >>> loss = pairwise_margin_cross_entropy(
      ...     jnp.zeros((2, 2)), jnp.array([0, 1]), weights=jnp.array([1.0, 2.0]), margins=margins)
      >>> print(np.asarray(loss).round(4))
      [1.3133 1.3863]

    Source: Menon et al., 2021, arXiv:2007.07314, equation 11 and theorem 1.
    """
    examples = arrange(logits, labels, axis, where)
    x = examples.logits
    num_classes = x.shape[-1]
    if margins is not None:
        square = (num_classes, num_classes)
        if np.shape(margins) != square:
            raise InputError(f"margins has shape {np.shape(margins)}, must have shape {square}")
        rows = jnp.asarray(margins).astype(x.dtype)[examples.labels]
        x = x + jnp.where(is_label(examples.labels, num_classes), 0.0, rows)
    loss = _cross_entropy(x, examples)
    return loss if weights is None else _weighted(loss, weights, examples)


def focal_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    gamma: float = 2.0,
    axis: Axis = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Softmax focal loss, :math:`(1 - p_y)^\gamma (-\log p_y)`, by optax's sigmoid focal loss.

    The log odds of the true class are :math:`z = f_y - \log \sum_{j \ne y} e^{f_j}` and
    :math:`p_y = \sigma(z)`, so the binary loss of z is the loss of the softmax.

    Args:
      logits: [..., K], K >= 2.
      labels: int [...], in [0, K). Checked when concrete; under `jit` a label out of range gives a
        loss of NaN.
      gamma: focus, >= 0; 0 is cross-entropy.
      axis: of the classes, or several, flattened to one; labels have the others.
      where: bool of the shape of labels or of logits, as in optax: rows that count (the loss of
        others is 0, whatever their label), or the classes that do (the label's always does).

    Returns:
      float32 [...] in nats, not reduced.

    Raises:
      ValueError: shapes do not fit, labels are not integer or out of range, or gamma is negative.

    Example:
      >>> print(np.asarray(focal_cross_entropy(jnp.zeros((1, 2)), jnp.array([1]))).round(4))
      [0.1733]

    Source: Lin et al., 2017, arXiv:1708.02002.
    """
    examples = arrange(logits, labels, axis, where)
    x, labels, _, kept = examples
    if x.shape[-1] < 2:
        raise InputError(f"logits has shape {np.shape(logits)}, the focal loss needs K >= 2")
    check_scalar("gamma", gamma, at_least=0.0)
    others = ~is_label(labels, x.shape[-1])
    if kept is not None:
        others &= kept
    target = jnp.take_along_axis(x, labels[..., None], -1)[..., 0]
    # With all other classes masked the true one is certain: its loss is 0.
    certain = jnp.isneginf(jnp.where(others, x, -jnp.inf)).all(-1) & jnp.isfinite(target)
    x = jnp.where(certain[..., None], 0.0, x)
    # Over no class the sum is -inf, whose gradient is NaN.
    others |= certain[..., None]
    log_odds = target - jax.nn.logsumexp(x, axis=-1, where=others)
    loss = optax_losses.sigmoid_focal_loss(log_odds, jnp.ones_like(log_odds), gamma=gamma)
    return examples.finish(jnp.where(certain, 0.0, loss))


def ldam_cross_entropy(
    cosines: ArrayLike,
    labels: ArrayLike,
    *,
    class_prior: ArrayLike,
    max_margin: float = 0.5,
    scale: float = 30.0,
    weights: ArrayLike | None = None,
    axis: Axis = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""LDAM: cosine logits, less a margin for the true class that grows as classes get rarer.

    .. math:: \ell = \alpha_y\,\mathrm{CE}\big(s\,(c - m_y \mathrm{onehot}_y),\, y\big), \quad
              m_y = m_{\max} (\pi_y / \min_j \pi_j)^{-1/4}

    Deferred reweighting is `weights=None` for most of training, then
    `weights=class_balanced_weights(counts)`.

    Args:
      cosines: [..., K] of `cosine_logits`, in [-1, 1] (checked when concrete). On raw logits this
        is another method: `pairwise_margin_cross_entropy` with `ldam_margins`.
      labels: int [...], in [0, K). Checked when concrete; under `jit` a label out of range gives a
        loss of NaN.
      class_prior: [K], positive, sums to 1 (checked when concrete).
      max_margin: margin of the rarest class, >= 0, in units of cosines.
      scale: s > 0.
      weights: alpha [K], >= 0, or None for ones.
      axis: of the classes, or several, flattened to one; labels have the others.
      where: bool of the shape of labels or of logits, as in optax: rows that count (the loss of
        others is 0, whatever their label), or the classes that do.

    Returns:
      float32 [...] in nats, not reduced.

    Raises:
      ValueError: shapes do not fit or an argument is out of range.

    Example:
      >>> cosines = jnp.array([[0.9, 0.1], [0.1, 0.9]])
      >>> prior = jnp.array([16 / 17, 1 / 17])
      >>> loss = ldam_cross_entropy(cosines, jnp.array([0, 1]), class_prior=prior, scale=5.0)
      >>> print(np.asarray(loss).round(4))
      [0.062  0.2014]

    Source: Cao et al., 2019, arXiv:1906.07413, and its published code.
    """
    examples = arrange(cosines, labels, axis, where)
    x, labels, *_ = examples
    check_scalar("max_margin", max_margin, at_least=0.0)
    check_scalar("scale", scale, above=0.0)
    values = concrete(cosines if where is None else x)
    if values is not None and values.size and not np.abs(values.astype(np.float32)).max() <= 1.01:
        raise InputError(
            f"cosines has value {np.abs(values).max()}, must be in [-1, 1]: use cosine_logits"
        )
    log_prior = log_class_prior(class_prior, x.shape[-1]).astype(x.dtype)
    class_margins = max_margin * jnp.exp(-0.25 * (log_prior - log_prior.min()))
    margin = jnp.where(is_label(labels, x.shape[-1]), class_margins, 0.0)
    loss = _cross_entropy(scale * (x - margin), examples)
    return loss if weights is None else _weighted(loss, weights, examples)
