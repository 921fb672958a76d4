"""Masks by purpose: which leaves of a parameter tree a penalty or a transformation is for.

A mask is a tree of bools that fits the parameters (or the beginning of their tree), or a function
from parameters to one, as in `optax.masked`. `stacked` is of the same kind, or one bool: it marks
leaves with a leading layer axis, as scanned models have.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxlab.errors import InputError

Params = Any
Mask = Any


def expand_mask(mask: Mask, params: Params, *, name: str = "mask") -> Any:
    """A tree of bools with the structure of `params`.

    Args:
      mask: one bool, a tree of bools that fits `params` or its beginning, or a function to that.
      params: parameter tree.
      name: what the message calls the mask.

    Returns:
      Tree of Python bools.

    Raises:
      ValueError: the mask does not fit.

    Example:
      >>> expand_mask({"a": True, "b": False}, {"a": {"w": 1.0, "b": 2.0}, "b": 3.0})
      {'a': {'b': True, 'w': True}, 'b': False}
    """
    flags = mask(params) if callable(mask) else mask
    try:
        return jax.tree.map(
            lambda flag, part: jax.tree.map(lambda _: bool(flag), part), flags, params
        )
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{name} must be a tree of bools that fits params: {reason}") from None


def matrices_only(params: Params, *, stacked: Mask = False) -> Any:
    """Marks leaves with two or more axes: kernels and tables, but no biases and scales.

    Args:
      params: parameter tree.
      stacked: leaves with a leading layer axis, which does not count; see above.

    Returns:
      Tree of bools.

    Example:
      >>> matrices_only({"w": jnp.ones((2, 3)), "b": jnp.ones(3)})
      {'b': False, 'w': True}
      >>> matrices_only({"w": jnp.ones((9, 2, 3)), "b": jnp.ones((9, 3))}, stacked=True)
      {'b': False, 'w': True}
    """
    layered = expand_mask(stacked, params, name="stacked")
    return jax.tree.map(lambda p, layer: jnp.ndim(p) - layer >= 2, params, layered)


def vectors_only(params: Params, *, stacked: Mask = False) -> Any:
    """Marks leaves with fewer than two axes: biases, scales and offsets; not `matrices_only`.

    Example:
      >>> vectors_only({"w": jnp.ones((2, 3)), "b": jnp.ones(3)})
      {'b': True, 'w': False}
    """
    return jax.tree.map(lambda flag: not flag, matrices_only(params, stacked=stacked))


def named(*names: str) -> Callable[[Params], Any]:
    """A mask of the leaves that have one of these names on their path.

    Example:
      >>> named("embedding", "head")({"embed": {"embedding": 1}, "head": {"bias": 2}, "body": 3})
      {'body': False, 'embed': {'embedding': True}, 'head': {'bias': True}}
    """

    def mask(params):
        path_names = lambda path: {jax.tree_util.keystr((key,), simple=True) for key in path}
        return jax.tree_util.tree_map_with_path(
            lambda path, _: not path_names(path).isdisjoint(names), params
        )

    return mask


def all_of(*masks: Mask) -> Callable[[Params], Any]:
    """A mask of the leaves that all of these masks mark.

    Example:
      >>> mask = all_of(matrices_only, none_of(named("embedding")))
      >>> mask({"embedding": jnp.ones((5, 2)), "w": jnp.ones((2, 2)), "b": jnp.ones(2)})
      {'b': False, 'embedding': False, 'w': True}
    """
    return lambda params: jax.tree.map(
        lambda _, *flags: all(flags), params, *(expand_mask(mask, params) for mask in masks)
    )


def none_of(*masks: Mask) -> Callable[[Params], Any]:
    """A mask of the leaves that none of these masks marks.

    Example:
      >>> none_of(matrices_only)({"w": jnp.ones((2, 2)), "b": jnp.ones(2)})
      {'b': True, 'w': False}
    """
    return lambda params: jax.tree.map(
        lambda _, *flags: not any(flags), params, *(expand_mask(mask, params) for mask in masks)
    )


def select(mask: Mask | None, params: Params, *, stacked: Mask = False) -> tuple[Any, Any]:
    """The leaves that a norm penalty is for, and which of those are stacks of layers.

    Args:
      mask: which leaves; None for `matrices_only`.
      params: parameter tree.
      stacked: leaves with a leading layer axis.

    Returns:
      Two trees of bools.

    Raises:
      ValueError: a mask does not fit or selects nothing, or a stacked leaf has no axis.

    Example:
      >>> select(None, {"b": jnp.ones(3)})
      Traceback (most recent call last):
      jaxlab.errors.ValueError: params has no leaf with two or more axes: choose leaves by mask=
    """
    layered = expand_mask(stacked, params, name="stacked")
    if mask is None:
        chosen = matrices_only(params, stacked=layered)
        rule = "params has no leaf with two or more axes: choose leaves by mask="
    else:
        chosen = expand_mask(mask, params)
        rule = "mask selects no leaf of params, must select at least one"
    if not any(jax.tree.leaves(chosen)):
        raise InputError(rule)
    for p, flag, layer in zip(*map(jax.tree.leaves, (params, chosen, layered)), strict=True):
        if flag and layer and not jnp.ndim(p):
            raise InputError("a stacked leaf has shape (), needs a leading layer axis")
    return chosen, layered
