"""Errors that users can act on: their message is complete, and no traceback is needed to read it.

A script prints an error of this family as one line and exits with 2. Every other exception is an
error in the program: it is printed with its traceback, and the exit code is 1. Each class is also
the built-in exception that Python users expect, so that `except ValueError` catches it.
"""

__all__ = [
    "DivergedError",
    "InputError",
    "InputTypeError",
    "MissingPackageError",
    "UserError",
    "missing",
]

DISTRIBUTION = "jaxlab-research"  # what pip calls this package


class UserError(Exception):
    """What the user gave cannot be used; the message says what was seen and what to do."""


class InputError(UserError, ValueError):
    """A value, shape, file, flag or key is not what it must be.

    Example:
      >>> raise InputError("level is -1.0, must be at least 0.0")
      Traceback (most recent call last):
      jaxlab.errors.ValueError: level is -1.0, must be at least 0.0
      >>> issubclass(InputError, ValueError)
      True
    """


# What a traceback or a log shows is what documentation names and `except` catches.
InputError.__name__ = InputError.__qualname__ = "ValueError"
ValueError = InputError  # where pickle looks for it


class InputTypeError(UserError, TypeError):
    """A value is of a type or dtype that cannot be used."""


class MissingPackageError(UserError, ModuleNotFoundError):
    """An optional package is needed; the message says how to install it."""


def missing(package: str, extra: str, *, whose: str = "") -> MissingPackageError:
    """The error about a package that one of the extras brings, to be raised.

    Args:
      package: what is missing.
      extra: one that has it.
      whose: what needs it, for the message.

    Example:
      >>> raise missing("safetensors", "text", whose="this folder")
      Traceback (most recent call last):
      jaxlab.errors.MissingPackageError: this folder needs safetensors, which is not installed: \
pip install 'jaxlab-research[text]'
    """
    what = f"{whose} needs {package}, which" if whose else package
    how = f"pip install '{DISTRIBUTION}[{extra}]'"
    return MissingPackageError(f"{what} is not installed: {how}", name=package)


class DivergedError(UserError, FloatingPointError):
    """Training went wrong: a figure is no longer finite."""
