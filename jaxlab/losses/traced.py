"""Checks of priors and labels inside `jit`, for `jax.experimental.checkify`.

The losses check values when they are concrete; under `jit` a bad label or prior shows as NaN. To
learn there which class or label it is, call these in the function and transform it by checkify.
"""

import jax.numpy as jnp
from jax.experimental import checkify
from jax.typing import ArrayLike

from jaxlab.checks import concrete
from jaxlab.losses.labels import check_labels, wide_labels
from jaxlab.losses.priors import check_class_prior


def check_traced_prior(
    class_prior: ArrayLike, num_classes: int | None = None, *, zeros: bool = False
) -> None:
    """`check_class_prior` that also sees traced values, where checkify transforms the function.

    Without checkify a traced prior is let through; the losses do not call this themselves, since
    even then it takes a jitted function off JAX's fast way of being called.

    Args:
      class_prior: [K].
      num_classes: K, or None for any.
      zeros: whether a class may have probability zero.

    Raises:
      ValueError: the shape is wrong, or a concrete prior is out of range. A traced one gives a
        checkify error that names the class.

    Example:
      >>> import jax
      >>> def offset(prior):
      ...     check_traced_prior(prior)
      ...     return jnp.log(prior)
      >>> error, _ = checkify.checkify(jax.jit(offset))(jnp.array([1.0, 0.0]))
      >>> print(error.get().splitlines()[0])
      class_prior is 0.0 for class 1, must be positive (`check` failed)
    """
    check_class_prior(class_prior, num_classes, zeros=zeros)
    if concrete(class_prior) is not None:
        return
    prior = jnp.asarray(class_prior)
    bad = ~jnp.isfinite(prior) | (prior < 0 if zeros else prior <= 0)
    worst = jnp.argmax(bad)
    rule = "at least 0" if zeros else "positive"
    checkify.debug_check(
        ~bad.any(),
        "class_prior is {value} for class {worst}, must be " + rule,
        value=prior[worst],
        worst=worst,
    )
    total = jnp.sum(prior)
    checkify.debug_check(
        jnp.abs(total - 1) <= 1e-4,
        "class_prior sums to {total}, must sum to 1 within 1e-4",
        total=total,
    )


def check_traced_labels(labels: ArrayLike, num_classes: int) -> None:
    """Checks that labels lie in [0, num_classes), also traced ones where checkify is in use.

    Args:
      labels: int, any shape.
      num_classes: K.

    Raises:
      ValueError: labels are not integer, or concrete ones out of range. Traced ones give a
        checkify error that names the label.

    Example:
      >>> import jax
      >>> check = lambda labels: check_traced_labels(labels, 3)
      >>> error, _ = checkify.checkify(jax.jit(check))(jnp.array([0, 3]))
      >>> print(error.get().splitlines()[0])
      labels has value 3, must be in [0, 3) (`check` failed)
    """
    check_labels(labels, num_classes)
    if concrete(labels) is not None:
        return
    flat = wide_labels(labels).ravel()
    if not flat.size:
        return
    bad = (flat < 0) | (flat >= num_classes)
    checkify.debug_check(
        ~bad.any(),
        f"labels has value {{value}}, must be in [0, {num_classes})",
        value=flat[jnp.argmax(bad)],
    )
