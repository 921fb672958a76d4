"""Types of config values: which there is, what fits it, and how a message says it."""

import collections.abc
import types
import typing
from typing import Any

_SEQUENCES = (tuple, list, collections.abc.Sequence)


def kind_of(value: Any) -> Any:
    """The type of a value, of a tuple of one type with it."""
    types_ = {type(x) for x in value} if isinstance(value, tuple) else set()
    return tuple[types_.pop(), ...] if len(types_) == 1 else type(value)


def plain_type(kind: Any) -> type:
    """The one type that a flag's text can be turned into; object takes any literal."""
    plain = (int, float, str, bool, tuple)
    members = {typing.get_origin(m) or m for m in _members(kind)} - {type(None)}
    members = {tuple if m in _SEQUENCES else m for m in members}
    return members.pop() if len(members) == 1 and members <= {*plain} else object


def _members(kind: Any) -> tuple[Any, ...]:
    """Int and None of `int | None`; the type itself of others."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return tuple({type(x) for x in typing.get_args(kind)})
    return (kind,)


def fits(value: Any, kind: Any) -> bool:
    """Whether a value can be of a type; of types that say little everything is."""
    origin, args = typing.get_origin(kind) or kind, typing.get_args(kind)
    members = _members(kind)
    if members != (kind,):
        return any(fits(value, m) for m in members)
    if origin in _SEQUENCES:
        if not isinstance(value, tuple | list):
            return False
        if origin is tuple and args and args[-1] is not ...:
            return len(value) == len(args) and all(map(fits, value, args))
        return not args or all(fits(x, args[0]) for x in value)
    if kind in (int, float):
        numbers = int if kind is int else (int, float)
        return isinstance(value, numbers) and not isinstance(value, bool)
    return kind in (Any, object) or not isinstance(kind, type) or isinstance(value, kind)


def in_words(kind: Any) -> str:
    """A type in words.

    Example:
      >>> in_words(float | None), in_words(tuple[int, ...])
      ('float or None', 'a tuple of int')
    """
    if _members(kind) != (kind,):
        return " or ".join(in_words(m) for m in _members(kind))
    origin, args = typing.get_origin(kind) or kind, typing.get_args(kind)
    if kind is type(None):
        return "None"
    if origin in _SEQUENCES:
        inner = [in_words(a) for a in args if a is not ...]
        return f"a tuple of {', '.join(inner)}" if inner else "a tuple"
    return getattr(origin, "__name__", str(kind))
