"""Checks of host-side numbers: what is no number of the right kind raises in one line."""

import math
import operator
from typing import Any

import numpy as np

from jaxlab.errors import InputError, InputTypeError

_LARGEST = 1e100  # its square is a float, and so is that of the inverse


def integer(name: str, value: Any, *, at_least: int) -> int:
    """`value` as a Python int, or TypeError (also for a bool) or ValueError."""
    if isinstance(value, bool | np.bool_):
        raise InputTypeError(f"{name} is {value}, must be an integer")
    try:
        found = operator.index(value)
    except TypeError:
        raise InputTypeError(f"{name} is {value!r}, must be an integer") from None
    if found < at_least:
        raise InputError(f"{name} is {found}, must be at least {at_least}")
    return found


def number(
    name: str, value: Any, *, at_least: float | None = None, above: float | None = None
) -> float:
    """`value` as a finite float, or TypeError (also for a bool or a text) or ValueError."""
    if isinstance(value, bool | np.bool_ | str | bytes):
        raise InputTypeError(f"{name} is {value!r}, must be a number")
    try:
        found = float(value)
    except (TypeError, OverflowError):
        raise InputTypeError(f"{name} is {value!r}, must be a number") from None
    if not math.isfinite(found):
        raise InputError(f"{name} is {found}, must be finite")
    if at_least is not None and found < at_least:
        raise InputError(f"{name} is {value}, must be at least {at_least}")
    if above is not None and not found > above:
        raise InputError(f"{name} is {value}, must be above {above}")
    if found and not 1 / _LARGEST <= abs(found) <= _LARGEST:
        raise InputError(f"{name} is {value}, must be from {1 / _LARGEST:g} to {_LARGEST:g}")
    return found
