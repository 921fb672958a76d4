"""Masks by purpose: which leaves of a parameter tree a penalty or a transformation is for.

A mask is a tree of bools that fits the parameters (or the beginning of their tree), or a function
from parameters to one, as in `optax.masked`. `stacked` is of the same kind, or one bool: it marks
leaves with a leading layer axis, as scanned models have. Parameters are any tree: dicts, an
Equinox or NNX module, an `nnx.State`.
"""

import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.checks import check_choice
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
    flags = _ask(mask, params)
    try:
        return jax.tree.map(
            lambda flag, part: jax.tree.map(lambda _: bool(flag), part), flags, params
        )
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        rule = f"{name} must be a tree of bools that fits params, or a function from them to one"
        raise InputError(f"{rule}: {reason}") from None


def _ask(mask: Mask, params: Params) -> Any:
    # A tree of bools of a model's own class can be called like the model, and must not be.
    function = callable(mask) and jax.tree_util.all_leaves([mask])
    return mask(params) if function or isinstance(mask, jax.tree_util.Partial) else mask


def for_optax(mask: Mask) -> Callable[[Params], Any]:
    """The mask as optax asks for it: a function of the updates, in which frozen leaves are None.

    Example:
      >>> for_optax(matrices_only)({"w": jnp.ones((2, 3)), "frozen": None})
      {'frozen': False, 'w': True}
    """
    return lambda updates: jax.tree.map(bool, _ask(mask, updates), is_leaf=lambda x: x is None)


def matrices_only(params: Params, *, stacked: Mask = False) -> Any:
    """Marks floats with two or more axes: kernels and tables, but no biases and scales.

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
    return _has_axes(2, params, stacked)


def _has_axes(least: int, params: Params, stacked: Mask) -> Any:
    layered = expand_mask(stacked, params, name="stacked")
    # A model as it is holds more than that: Equinox's activations, counters, tables of integers.
    floats = lambda p: jnp.issubdtype(getattr(p, "dtype", float), jnp.inexact)
    # NumPy's ndim is 0 for what is no array.
    return jax.tree.map(lambda p, l: np.ndim(p) - l >= least and floats(p), params, layered)


def vectors_only(params: Params, *, stacked: Mask = False) -> Any:
    """Marks leaves with fewer than two axes: biases, scales and offsets; not `matrices_only`.

    Example:
      >>> vectors_only({"w": jnp.ones((2, 3)), "b": jnp.ones(3)})
      {'b': True, 'w': False}
    """
    return jax.tree.map(lambda flag: not flag, matrices_only(params, stacked=stacked))


def named(*names: str) -> Callable[[Params], Any]:
    """A mask of the leaves that have one of these names on their path.

    Args:
      *names: of keys, or parts of such a key between its "/" (haiku's "mlp/~/linear_0").

    Example:
      >>> named("embedding", "head")({"embed": {"embedding": 1}, "head": {"bias": 2}, "body": 3})
      {'body': False, 'embed': {'embedding': True}, 'head': {'bias': True}}
    """
    return matching(*map(re.escape, names))


def matching(*patterns: str) -> Callable[[Params], Any]:
    """A mask of the leaves whose path, names joined by "/", has a part that a pattern matches.

    Args:
      *patterns: regular expressions, each for one name or several of them in a row.

    Example:
      >>> matching("dense_[0-9]+", "head/bias")({"dense_0": {"w": 1}, "head": {"bias": 2, "w": 3}})
      {'dense_0': {'w': True}, 'head': {'bias': True, 'w': False}}
    """
    found = re.compile(f"(^|/)({'|'.join(patterns)})(/|$)")

    def mask(params):
        name = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
        return jax.tree_util.tree_map_with_path(lambda p, _: bool(found.search(name(p))), params)

    return mask


def _matrices_of(*patterns: str) -> Callable[..., Any]:
    def mask(params: Params, *, stacked: Mask = False) -> Any:
        matrices = functools.partial(matrices_only, stacked=stacked)
        return all_of(matrices, matching(*patterns))(params)

    return mask


# Pairs of matrices whose product the network sees, so that one can give its scale to the other;
# names of this library, of Linen, of Hugging Face's BERT and of LLaMA.
query_key = _matrices_of("(query|key|[qk]_proj)")
value_output = _matrices_of("(value|[vo]_proj|out|attention_output|attention/output)")
feed_forward = _matrices_of(
    "(intermediate|(?<!attention/)output|(gate|up|down)_proj|fc[12]|w[io](_[01])?)"
)


def convolutions(params: Params, *, stacked: Mask = False) -> Any:
    """Marks kernels of convolutions over two dimensions or more: four axes or more.

    Example:
      >>> convolutions({"conv": jnp.ones((3, 3, 8, 8)), "dense": jnp.ones((8, 8))})
      {'conv': True, 'dense': False}
    """
    return _has_axes(4, params, stacked)


def every_leaf(params: Params, *, stacked: Mask = False) -> Any:
    """Marks all leaves, biases and scales too.

    Example:
      >>> every_leaf({"w": jnp.ones((2, 2)), "b": jnp.ones(2)})
      {'b': True, 'w': True}
    """
    del stacked
    return jax.tree.map(lambda _: True, params)


# Name -> (params, *, stacked) -> tree of bools.
MASKS: dict[str, Callable[..., Any]] = {
    "all": every_leaf,
    "matrices": matrices_only,
    "query_key": query_key,
    "value_output": value_output,
    "feed_forward": feed_forward,
    "convolutions": convolutions,
}


def mask_by_name(what: str, names: str, *, stacked: Mask = False) -> Callable[[Params], Any]:
    """The mask that a config names, or the leaves of several, joined by a plus sign.

    Args:
      what: what the message calls it.
      names: of `MASKS`, such as "query_key+value_output".
      stacked: leaves with a leading layer axis.

    Raises:
      ValueError: an unknown name; from the mask, parameters that have no such part.

    Example:
      >>> params = {"query": jnp.ones((2, 2)), "value": jnp.ones((2, 2)), "w": jnp.ones(2)}
      >>> mask_by_name("mask", "query_key+value_output")(params)
      {'query': True, 'value': True, 'w': False}
    """
    chosen = []
    for name in names.split("+") if isinstance(names, str) else [names]:
        check_choice(what, name, MASKS)
        chosen.append(functools.partial(MASKS[name], stacked=stacked))
    mask = chosen[0] if len(chosen) == 1 else any_of(*chosen)

    def checked(params):
        found = mask(params)
        # optax would decay nothing and say nothing.
        if names not in ("all", "matrices") and not any(jax.tree.leaves(found)):
            raise InputError(f"{what} is {names!r}, must select a leaf: params has no such part")
        return found

    return checked


def any_of(*masks: Mask) -> Callable[[Params], Any]:
    """A mask of the leaves that one of these masks marks, or more.

    Example:
      >>> any_of(named("a"), named("b"))({"a": 1, "b": 2, "c": 3})
      {'a': True, 'b': True, 'c': False}
    """
    return none_of(none_of(*masks))


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
    paths = jax.tree.leaves_with_path(params)
    for (path, p), flag, layer in zip(paths, *map(jax.tree.leaves, (chosen, layered)), strict=True):
        if not flag:
            continue
        dtype = p.dtype if hasattr(p, "dtype") else np.asarray(p).dtype
        if not (jnp.issubdtype(dtype, np.number) or jnp.issubdtype(dtype, np.bool_)):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise InputError(
                f"{name} is {type(p).__name__}, must be an array of numbers: leave it out by "
                "mask=, or give the arrays of the model alone (eqx.filter, nnx.state)"
            )
        if jnp.issubdtype(dtype, np.complexfloating):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise InputError(
                f"{name} is {dtype}, must be real: give its real and imaginary parts as leaves"
            )
        if layer and not np.ndim(p):
            raise InputError("a stacked leaf has shape (), needs a leading layer axis")
    return chosen, layered
