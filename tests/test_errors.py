"""The family of errors that are meant for users."""

import copy
import pickle

import pytest

from jaxlab import errors


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.InputError, ValueError),
        (errors.InputTypeError, TypeError),
        (errors.MissingPackageError, ModuleNotFoundError),
        (errors.DivergedError, FloatingPointError),
    ],
)
def test_each_is_the_exception_that_python_users_expect(kind, builtin):
    assert issubclass(kind, errors.UserError)
    with pytest.raises(builtin, match="x is 3"):
        raise kind("x is 3")
    for error in (pickle.loads(pickle.dumps(kind("x is 3"))), copy.copy(kind("x is 3"))):
        assert type(error) is kind
        assert str(error) == "x is 3"


def test_what_is_raised_by_accident_is_none_of_them():
    with pytest.raises(ValueError, match="cannot reshape") as caught:
        __import__("numpy").zeros(2).reshape(3)
    assert not isinstance(caught.value, errors.UserError)
