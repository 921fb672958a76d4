"""Checks of arguments whose values may be unknown while JAX traces a function.

Shapes and dtypes are always known and always checked by the callers. Values are checked when they
are concrete: given from outside `jit`, `vmap` and `grad`, or closed over as constants.
"""

import inspect
import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxlab.errors import InputError


def concrete(x: Any) -> np.ndarray | None:
    """The value of `x` as a NumPy array, or None where it cannot be read.

    Args:
      x: an array, a number, or nested lists of numbers.

    Returns:
      The value; None for a traced value and for an array that is spread over other processes.

    Example:
      >>> print(concrete(jnp.ones(2)))
      [1. 1.]
      >>> jax.jit(lambda x: x + (concrete(x) is None))(jnp.zeros(())).item()
      1.0
    """
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(x)):
        return None
    if isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated):
        return None
    return np.asarray(x)


def check_scalar(
    name: str,
    value: Any,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> None:
    """Raises unless `value` is a finite number in its range, which is checked when concrete.

    Args:
      name: what the message calls it.
      value: a number or an array of shape [].
      at_least: smallest value allowed, or None.
      above: value that must be exceeded, or None.
      at_most: largest value allowed, or None.
      below: value that must not be reached, or None.

    Raises:
      ValueError: `value` is not a number, not a scalar, not finite or out of range.

    Example:
      >>> check_scalar("level", -1.0, at_least=0.0)
      Traceback (most recent call last):
      jaxlab.errors.ValueError: level is -1.0, must be at least 0.0
    """
    if np.shape(value) != ():
        raise InputError(f"{name} has shape {np.shape(value)}, must be a scalar")
    array = concrete(value)
    if array is None:
        return
    try:
        if isinstance(value, str | bytes | bool | np.bool_):
            raise TypeError
        number = float(array)
    except (TypeError, ValueError):
        raise InputError(f"{name} is {value!r}, must be a number") from None
    if not np.isfinite(number):
        raise InputError(f"{name} is {value}, must be finite")
    if at_least is not None and number < at_least:
        raise InputError(f"{name} is {value}, must be at least {at_least}")
    if above is not None and not number > above:
        raise InputError(f"{name} is {value}, must be above {above}")
    if at_most is not None and number > at_most:
        raise InputError(f"{name} is {value}, must be at most {at_most}")
    if below is not None and not number < below:
        raise InputError(f"{name} is {value}, must be below {below}")


def check_count(name: str, value: Any, *, at_least: int = 1, below: int | None = 2**31) -> None:
    """Raises unless `value` is a whole number of a type for integers, and in its range.

    Args:
      name: what the message calls it.
      value: a number.
      at_least: smallest value allowed.
      below: value that must not be reached: by default what int32 no longer holds, as steps and
        shapes are that on a device; None for seeds.

    Raises:
      ValueError: see above.

    Example:
      >>> check_count("num_steps", 2.5)
      Traceback (most recent call last):
      jaxlab.errors.ValueError: num_steps is 2.5, must be a whole number of at least 1
    """
    try:
        if isinstance(value, bool | np.bool_) or operator.index(value) < at_least:
            raise TypeError
    except TypeError:
        raise InputError(
            f"{name} is {value!r}, must be a whole number of at least {at_least}"
        ) from None
    if below is not None and operator.index(value) >= below:
        raise InputError(f"{name} is {value!r}, must be below {below}")


def check_counts(
    name: str, values: Sequence[Any], *, at_least: int = 1, below: int | None = 2**31
) -> None:
    """Raises unless `values` holds one whole number or more, each in range (see `check_count`).

    Example:
      >>> check_counts("features", ())
      Traceback (most recent call last):
      jaxlab.errors.ValueError: features is (), must hold one whole number or more
    """
    if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str) or not len(values):
        raise InputError(f"{name} is {values!r}, must hold one whole number or more")
    for i, value in enumerate(values):
        check_count(f"{name}[{i}]", value, at_least=at_least, below=below)


def check_scalars(name: str, values: Sequence[Any], *, at_least: float | None = None) -> None:
    """Raises unless `values` holds different numbers, each in range (see `check_scalar`), or none.

    Example:
      >>> check_scalars("taus", (1.0, 1))
      Traceback (most recent call last):
      jaxlab.errors.ValueError: taus is (1.0, 1), its numbers must differ
    """
    if not isinstance(values, tuple | list):
        raise InputError(f"{name} is {values!r}, must be a tuple of numbers")
    for value in values:
        check_scalar(name, value, at_least=at_least)
    if len({f"{value:g}" for value in values}) < len(values):  # as they are written in names
        raise InputError(f"{name} is {values!r}, its numbers must differ")


def check_seeds(name: str, seeds: Sequence[Any]) -> None:
    """Raises unless all are different whole numbers of 32 bits, and there is one or more.

    Example:
      >>> check_seeds("seeds", (3, 3))
      Traceback (most recent call last):
      jaxlab.errors.ValueError: seeds is (3, 3), seeds must differ
    """
    seeds = tuple(seeds) if isinstance(seeds, Iterable) and not isinstance(seeds, str) else seeds
    check_counts(name, seeds, at_least=0, below=None)
    if any(int(seed) >= 2**32 for seed in seeds):
        raise InputError(f"{name} is {seeds}, seeds must be below 2**32")
    if len({*seeds}) < len(seeds):
        raise InputError(f"{name} is {seeds}, seeds must differ")


def check_arguments(
    name: str,
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    *,
    given: Collection[str] = (),
) -> None:
    """Raises unless `arguments` are keyword arguments that a function takes, none missing.

    Args:
      name: what the message calls them.
      function: or class. What its `**kwargs` take it has to check itself.
      arguments: name -> value.
      given: arguments that the caller gives itself.

    Raises:
      ValueError: an unknown or missing name.

    Example:
      >>> check_arguments("step", lambda *, accumulate=1: None, {"acumulate": 2})
      Traceback (most recent call last):
      jaxlab.errors.ValueError: step has 'acumulate', must be one of: accumulate
    """
    parameters = inspect.signature(function).parameters.values()
    plain = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    known = [p.name for p in plain if p.name not in given]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for key in arguments:
            if key not in known:
                raise InputError(f"{name} has {key!r}, must be one of: {', '.join(known)}")
    for p in plain:
        if p.default is p.empty and p.name not in (*given, *arguments):
            raise InputError(f"{name} lacks {p.name!r}")


def absent(value: Any) -> bool:
    """Whether a number is None or a plain 0, which leaves its part out of a program.

    Example:
      >>> absent(0.0), absent(None), absent(0.1), absent(jnp.zeros(()))
      (True, True, False, False)
    """
    return value is None or (isinstance(value, int | float | np.number) and value == 0)


def check_choice(name: str, value: Any, known: Collection[Any]) -> None:
    """Raises unless `value` is one of the known ones, which the message lists.

    Example:
      >>> check_choice("schedule", "cosin", ("constant", "cosine"))
      Traceback (most recent call last):
      jaxlab.errors.ValueError: schedule is 'cosin', must be one of constant, cosine
    """
    try:
        found = value in known
    except TypeError:  # a list, where the known ones are the keys of a table
        found = False
    if not found:
        raise InputError(f"{name} is {value!r}, must be one of {', '.join(map(str, known))}")


def own_keywords(function: Callable[..., Any]) -> tuple[str, ...]:
    """The keyword-only arguments of a row of a table of methods: its own numbers.

    Example:
      >>> own_keywords(lambda counts, /, *, gamma=2.0: None)
      ('gamma',)
    """
    parameters = inspect.signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def takes(keywords: Sequence[str]) -> str:
    """What a row of a table takes, for a message."""
    return f"only {', '.join(keywords)}" if keywords else "no numbers"


def call_by_name(
    what: str,
    table: Mapping[str, Callable[..., Any]],
    name: str,
    numbers: Mapping[str, Any],
    *given: Any,
) -> Any:
    """Calls the row of a table of methods that a config section names.

    Args:
      what: what the messages call the table.
      table: name -> function of `given` and of keyword-only numbers of its own.
      name: of the row.
      numbers: of the section; None stands for the function's default.
      *given: positional arguments.

    Raises:
      ValueError: an unknown name, or a number that the function does not take.

    Example:
      >>> table = {"focal": lambda counts, /, *, gamma=2.0: gamma, "plain": lambda counts, /: 0.0}
      >>> call_by_name("objective", table, "focal", {"gamma": 1.0, "tau": None}, [3, 4])
      1.0
      >>> call_by_name("objective", table, "plain", {"gamma": 1.0}, [3, 4])
      Traceback (most recent call last):
      jaxlab.errors.ValueError: gamma is 1.0, objective 'plain' takes no numbers: set gamma to None
    """
    check_choice(what, name, table)
    numbers = {key: value for key, value in numbers.items() if value is not None}
    own = own_keywords(table[name])
    every = dict.fromkeys(key for function in table.values() for key in own_keywords(function))
    for key, value in numbers.items():
        if key not in every:
            raise InputError(f"{what} has {key!r}, must be one of: {', '.join(every)}")
        if key not in own:
            rule = f"{what} {name!r} takes {takes(own)}"
            raise InputError(f"{key} is {value}, {rule}: set {key} to None")
    return table[name](*given, **numbers)


def dtype_by_name(dtype: Any) -> Any:
    """What a config names "float32" or "bfloat16"; what is no text stays as it is.

    Raises:
      ValueError: another name.

    Example:
      >>> dtype_by_name("bfloat16"), dtype_by_name(None)
      (dtype(bfloat16), None)
    """
    if not isinstance(dtype, str):
        return dtype
    check_choice("dtype", dtype, ("float32", "bfloat16"))
    return jnp.dtype(dtype)


def at_least_float32(x: Any) -> jax.Array:
    """`x` as float32, or as float64 if it is that: the dtype that losses and norms compute in.

    Example:
      >>> at_least_float32(jnp.ones(2, jnp.bfloat16)).dtype
      dtype('float32')
    """
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
