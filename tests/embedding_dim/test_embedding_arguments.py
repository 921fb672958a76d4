"""`jaxlab.embedding_dim.arguments`: checks of numbers on the host."""

import fractions

import numpy as np
import pytest

from jaxlab.embedding_dim import arguments
from jaxlab.errors import InputError, InputTypeError


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3)])
def test_whole_numbers(value):
    found = arguments.integer("x", value, at_least=3)
    assert found == 3
    assert type(found) is int


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), fractions.Fraction(1, 2), np.array(0.5)])
def test_numbers(value):
    for bounds in ({}, {"at_least": 0.5}, {"above": 0.49}, {"at_least": 0.5, "above": 0}):
        found = arguments.number("x", value, **bounds)
        assert found == 0.5
        assert type(found) is float
    assert arguments.number("x", 0, at_least=0) == 0
    assert arguments.number("x", -3) == -3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: arguments.integer("x", 2, at_least=3), InputError, "x is 2, must be at least 3"),
        (lambda: arguments.integer("x", 3.0, at_least=3), InputTypeError, "must be an integer"),
        (lambda: arguments.integer("x", True, at_least=0), InputTypeError, "x is True, must be an"),
        (lambda: arguments.integer("x", np.True_, at_least=0), InputTypeError, "must be an"),
        (lambda: arguments.number("x", 0.4, at_least=0.5), InputError, "must be at least 0.5"),
        (lambda: arguments.number("x", 0.5, above=0.5), InputError, "x is 0.5, must be above 0.5"),
        (lambda: arguments.number("x", 0, above=0), InputError, "x is 0, must be above 0"),
        (lambda: arguments.number("x", float("-inf")), InputError, "x is -inf, must be finite"),
        (lambda: arguments.number("x", 10**400), InputTypeError, "must be a number"),
        (lambda: arguments.number("x", 1e300), InputError, "x is 1e.300, must be from 1e-100 to"),
        (lambda: arguments.number("x", 1e-300, above=0), InputError, "must be from 1e-100 to"),
        (lambda: arguments.number("x", b"1"), InputTypeError, "x is b'1', must be a number"),
        (lambda: arguments.number("x", None), InputTypeError, "x is None, must be a number"),
        (lambda: arguments.number("x", np.True_), InputTypeError, "must be a number"),
    ],
)
def test_what_is_no_such_number(call, error, message):
    with pytest.raises(error, match=message):
        call()
