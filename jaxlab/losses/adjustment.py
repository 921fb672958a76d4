"""Logits moved to another class prior: the post-hoc side of logit adjustment."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxlab.checks import at_least_float32, check_scalar
from jaxlab.losses.labels import Axis, along_classes, class_axes
from jaxlab.losses.priors import check_class_prior, log_class_prior


def with_log_prior(
    logits: ArrayLike, class_prior: ArrayLike, axis: Axis
) -> tuple[jax.Array, jax.Array]:
    """Logits as float32, and the log prior in the shape that broadcasts with them.

    Example:
      >>> x, log_prior = with_log_prior(jnp.zeros((2, 3)), jnp.array([0.5, 0.5]), 0)
      >>> print(log_prior.shape)
      (2, 1)
    """
    shape = np.shape(logits)
    axes = class_axes(shape, axis)
    log_prior = log_class_prior(class_prior, math.prod(shape[a] for a in axes))
    return at_least_float32(logits), along_classes(log_prior, shape, axes)


def adjust_logits(
    logits: ArrayLike, *, class_prior: ArrayLike, tau: float = 1.0, axis: Axis = -1
) -> jax.Array:
    r"""Post-hoc adjustment of a model trained with cross-entropy, :math:`f_y - \tau \log \pi_y`.

    The argmax predicts for balanced classes. A model trained with `logit_adjusted_cross_entropy`
    does so already: never do both.

    Args:
      logits: [..., K], of a model trained with plain cross-entropy.
      class_prior: [K] of its training set, positive, sums to 1 (checked when concrete).
      tau: strength, >= 0.
      axis: of the classes, or several.

    Returns:
      float32 of the shape of logits.

    Raises:
      ValueError: shapes do not fit, or the prior or tau is out of range.

    Example:
      >>> adjusted = adjust_logits(jnp.array([1.0, 0.0]), class_prior=jnp.array([0.9, 0.1]))
      >>> print(np.asarray(adjusted).round(4))
      [1.1054 2.3026]

    Source: Menon et al., 2021, arXiv:2007.07314, equation 9.
    """
    check_scalar("tau", tau, at_least=0.0)
    x, log_prior = with_log_prior(logits, class_prior, axis)
    return x - (tau * log_prior).astype(x.dtype)


def logits_for_prior(
    logits: ArrayLike,
    *,
    test_prior: ArrayLike,
    class_prior: ArrayLike | None = None,
    axis: Axis = -1,
) -> jax.Array:
    r"""Logits for test data whose class prior q is known, :math:`f_y - \log \pi_y + \log q_y`.

    Args:
      logits: [..., K].
      test_prior: q [K], >= 0, sums to 1 (checked when concrete). A class with 0 gets logit -inf.
      class_prior: pi [K] of the training set of a model trained with cross-entropy, positive; None
        for a model trained with the logit-adjusted loss (tau = 1), whose logits hold no prior.
      axis: of the classes, or several.

    Returns:
      float32 of the shape of logits; their softmax is the posterior under q.

    Raises:
      ValueError: shapes do not fit or a prior is out of range.

    Example:
      >>> shifted = logits_for_prior(jnp.array([1.0, 0.0]), test_prior=jnp.array([0.1, 0.9]))
      >>> print(np.asarray(shifted).round(4))
      [-1.3026 -0.1054]
    """
    shape = np.shape(logits)
    axes = class_axes(shape, axis)
    num_classes = math.prod(shape[a] for a in axes)
    check_class_prior(test_prior, num_classes, name="test_prior", zeros=True)
    x = at_least_float32(logits)
    if class_prior is not None:
        x = adjust_logits(x, class_prior=class_prior, axis=axis)
    return x + along_classes(jnp.log(at_least_float32(test_prior)), shape, axes).astype(x.dtype)
