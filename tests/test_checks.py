"""Checks of numbers: ranges, whole numbers, lists of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import checks
from jaxlab.checks import check_count, check_counts, check_scalar, check_scalars, check_seeds
from jaxlab.errors import InputError


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", None, [1.0], -0.1, 1.0, False])
def test_a_scalar_outside_its_range_is_refused(value):
    with pytest.raises(InputError, match=r"^rate "):
        check_scalar("rate", value, at_least=0.0, below=1.0)


def test_a_scalar_at_its_bounds_is_taken():
    for value in (0.0, 1, np.float32(0.5), jnp.float32(0.5)):
        check_scalar("rate", value, at_least=0.0, at_most=1.0)
    with pytest.raises(InputError, match=r"rate is 1.5, must be at most 1.0"):
        check_scalar("rate", 1.5, at_most=1.0)
    with pytest.raises(InputError, match="rate is 0, must be above 0"):
        check_scalar("rate", 0, above=0)
    jax.jit(lambda x: check_scalar("rate", x, above=0.0) or x)(-1.0)  # unknown while traced


@pytest.mark.parametrize("value", [0, -1, 2.0, "2", None, True, float("nan"), (1,)])
def test_a_count_is_a_whole_number_of_at_least_one(value):
    with pytest.raises(InputError, match=r"n is .*, must be a whole number of at least 1"):
        check_count("n", value)


def test_what_no_int32_holds_is_no_count_but_a_seed():
    check_count("n", 2**31 - 1)
    with pytest.raises(InputError, match=r"^n is 2147483648, must be below 2147483648"):
        check_count("n", 2**31)
    with pytest.raises(InputError, match=r"n\[1\] is 1000.*, must be below"):
        check_counts("n", (1, 10**25))
    check_count("seed", 2**31, at_least=0, below=None)
    check_seeds("seeds", (0, 2**32 - 1))
    check_seeds("seeds", range(3))
    for bad in (3, None, True, "12", (), (1, 1), (-1,), (2**32,)):
        with pytest.raises(InputError, match=r"^seeds(\[0\])? is "):
            check_seeds("seeds", bad)


def test_numbers_that_name_figures_differ():
    check_scalars("taus", ())
    check_scalars("taus", [0, 0.5, np.float32(1.5)], at_least=0.0)
    for bad in (3.0, "12", None, (1.0, -1.0), (1, 1.0), (0.5, 0.50000001), ("1",), (None,)):
        with pytest.raises(InputError, match=r"^taus (is|has)"):
            check_scalars("taus", bad, at_least=0.0)


def test_counts_are_one_or_more():
    check_count("n", np.int64(3))
    check_counts("n", (2, np.int32(1)))
    check_counts("n", [0], at_least=0)
    for bad in ((), "12", 3, None, (2.5, 1), (1, 0), (1, -3)):
        with pytest.raises(InputError, match=r"^n"):
            check_counts("n", bad)


def test_none_and_plain_zeros_are_absent():
    assert all(map(checks.absent, (None, 0, 0.0, -0.0, np.float32(0), np.int64(0), False)))
    there = (1, 0.1, -1.0, float("nan"), np.float64(1e-300), jnp.zeros(()))
    assert not any(map(checks.absent, there))


def test_a_traced_number_is_there_whatever_its_value():
    seen = []
    jax.jit(lambda x: seen.append(checks.absent(x)) or x)(0.0)
    assert seen == [False]
