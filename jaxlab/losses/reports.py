"""Errors per class, for test sets in which classes are not equally frequent."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxlab.checks import concrete
from jaxlab.errors import InputError
from jaxlab.losses.labels import check_labels, wide_labels


class BalancedError(NamedTuple):
    """Result of `balanced_error`."""

    error: jax.Array  # float32 [], mean of the error rates of the classes that are present
    per_class: jax.Array  # float32 [K], error rate of each class; NaN where it is not present
    present: jax.Array  # bool [K], whether the class has an example


def balanced_error(
    predictions: ArrayLike, labels: ArrayLike, num_classes: int, *, where: ArrayLike | None = None
) -> BalancedError:
    r"""Mean over the classes of their error rates, :math:`\frac1K \sum_y P(\hat y \ne y \mid y)`.

    Args:
      predictions: int [...], predicted classes, such as `logits.argmax(-1)`.
      labels: int [...], in [0, num_classes). Checked when concrete; under `jit` labels out of range
        are left out.
      num_classes: K.
      where: bool [...], which examples count (padding does not); None for all.

    Returns:
      `(error, per_class, present)`. Classes without examples have no error rate (NaN) and are left
      out of the mean; the mean over none is NaN.

    Raises:
      ValueError: shapes do not fit, or labels are not integer or out of range.

    Example:
      >>> report = balanced_error(jnp.array([0, 0, 0, 0]), jnp.array([0, 0, 0, 1]), 3)
      >>> print(report.error, report.per_class, report.present)
      0.5 [ 0.  1. nan] [ True  True False]

    Source: Menon et al., 2021, arXiv:2007.07314, section 2.
    """
    for name, array in (("predictions", predictions), ("where", where)):
        if array is not None and np.shape(array) != np.shape(labels):
            raise InputError(f"{name} has shape {np.shape(array)}, labels {np.shape(labels)}")
    check_labels(labels, num_classes, where=where)
    predictions, labels = jnp.asarray(predictions), wide_labels(labels)
    if not jnp.issubdtype(predictions.dtype, jnp.integer):
        raise InputError(f"predictions has dtype {predictions.dtype}, must be integer")
    kept = (labels >= 0) & (labels < num_classes)
    if where is not None:
        kept &= jnp.asarray(where).astype(bool)
    count = lambda which: jnp.bincount(
        jnp.where(which, labels, num_classes).ravel(), length=num_classes
    ).astype(jnp.float32)
    total = count(kept)
    present = total > 0
    per_class = count(kept & (predictions != labels)) / total  # 0 / 0 is NaN: no example, no rate
    return BalancedError(mean_of_classes(per_class, present), per_class, present)


def mean_of_classes(per_class: jax.Array, which: jax.Array) -> jax.Array:
    """Mean of the chosen classes' values, float32 []; NaN where none is chosen.

    Example:
      >>> rates = jnp.array([0.5, 0.1, jnp.nan])
      >>> print(mean_of_classes(rates, jnp.array([True, False, False])))
      0.5
    """
    return jnp.where(which, per_class, 0.0).sum() / which.sum()


def error_by_frequency(
    report: BalancedError, train_counts: ArrayLike, *, many: int = 100, few: int = 20
) -> dict[str, jax.Array]:
    """Balanced error of the frequent, middling and rare classes: many-, medium- and few-shot.

    Args:
      report: of `balanced_error`.
      train_counts: [K], training examples of each class; concrete, since groups without a class
        are left out of the result.
      many: classes with more training examples than this are "many".
      few: classes with fewer than this are "few"; the rest are "medium".

    Returns:
      `{"many": float32 [], "medium": ..., "few": ...}`, for each group that has a class the mean
      error of its classes that are present in the test set; NaN where none is.

    Raises:
      ValueError: train_counts is traced or of the wrong shape, or few is above many.

    Example:
      >>> report = balanced_error(jnp.array([0, 0, 0]), jnp.array([0, 1, 2]), 3)
      >>> {k: float(v) for k, v in error_by_frequency(report, [500, 50, 30]).items()}
      {'many': 0.0, 'medium': 1.0}

    Source: the split of Liu et al., 2019, arXiv:1904.05160.
    """
    if few > many:
        raise InputError(f"few is {few}, must not be above many, {many}")
    if np.shape(train_counts) != report.per_class.shape:
        raise InputError(
            f"train_counts has shape {np.shape(train_counts)}, "
            f"must have shape {report.per_class.shape}"
        )
    counts = concrete(train_counts)
    if counts is None:
        raise InputError("train_counts is traced, must be concrete")
    groups = {
        "many": counts > many,
        "medium": (counts <= many) & (counts >= few),
        "few": counts < few,
    }
    errors = {}
    for name, members in groups.items():
        if members.any():
            errors[name] = mean_of_classes(report.per_class, report.present & members)
    return errors
