"""The examples in all docstrings print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import jaxlab

MODULES = ["jaxlab", *(m.name for m in pkgutil.walk_packages(jaxlab.__path__, "jaxlab."))]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
