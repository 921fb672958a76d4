"""`jaxlab.studies.tables`: cells, spreads and intervals, by hand and against scipy."""

import numpy as np
import pytest
from scipy import stats

from jaxlab.studies import tables

NAN = float("nan")


def test_a_table_by_hand():
    text = tables.markdown(["", "a"], [["x", 1.5], ["y|z", "two\nlines"]])
    assert text == "|  | a |\n| --- | --- |\n| x | 1.5 |\n| y\\|z | two lines |\n"
    assert tables.markdown(["a"], []) == "| a |\n| --- |\n"
    with pytest.raises(ValueError, match="a row has 1 cells, the head 2"):
        tables.markdown(["a", "b"], [["x"]])


def test_one_seed_has_no_spread_and_none_has_no_mean():
    assert tables.paired(np.array([3.0]), np.array([1.0]))[0] == 2.0
    assert np.isnan(tables.paired(np.array([3.0]), np.array([1.0]))[1])
    assert np.isnan(tables.paired(np.array([]), np.array([]))).all()
    assert tables.difference([0.5], [0.25]) == "+25.00"
    assert tables.difference([], []) == "-"
    assert tables.percent([NAN, 0.5]) == tables.spread([]) == "-"
    assert tables.percent([0.5]) == "50.00"


def test_an_interval_stands_in_brackets():
    # 0.1 and 0.3: mean 20, deviation 14.142, t(0.975, 1) = 12.706, half 12.706 * 10 = 127.06.
    assert tables.difference([0.6, 0.8], [0.5, 0.5]) == "+20.00 [-107.06, +147.06]"


def test_large_numbers_have_no_digits_behind_the_point():
    assert tables.spread([1000.0, 1200.0]) == "1100 ± 141"
    assert tables.spread([-999.0]) == "-999.00"


def test_interval_is_students():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 7))
    mean, half = tables.paired(a, b)
    low, high = stats.ttest_rel(a, b).confidence_interval(0.95)
    np.testing.assert_allclose([mean - half, mean + half], [low, high])
    with pytest.raises(ValueError, match="equal vectors"):
        tables.paired(a, b[:3])


@pytest.mark.parametrize("count", [2, 3])
def test_shares_have_the_standard_deviation_over_seeds(count):
    values = [0.5, 0.75, 0.5][:count]
    spread = np.std(values, ddof=1)
    assert tables.percent(values) == f"{100 * np.mean(values):.2f} ± {100 * spread:.2f}"
    assert tables.percent(values[:1]) == "50.00"


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, float("nan")])
def test_a_level_is_a_share(level):
    with pytest.raises(ValueError, match="level is"):
        tables.paired(np.ones(2), np.ones(2), level=level)


def test_the_level_widens_the_interval():
    difference = np.array([1.0, 2.0, 4.0])
    for level in (0.005, 0.8, 0.995):
        _, half = tables.paired(difference, np.zeros(3), level=level)
        interval = stats.ttest_1samp(difference, 0.0).confidence_interval(level)
        assert half == pytest.approx((interval.high - interval.low) / 2)


def test_statistics_do_not_depend_on_the_dtype_given():
    ours = np.float32(0.9) + np.arange(5, dtype=np.float32) * 1e-6
    exact = 100 * ours.astype(np.float64)
    mean, half = tables.paired(ours, np.zeros(5, np.float32))
    assert mean == pytest.approx(ours.astype(np.float64).mean(), abs=1e-12)
    spread = exact.std(ddof=1) / 5**0.5
    assert half == pytest.approx(stats.t.ppf(0.975, 4) * spread / 100, rel=1e-6)
    assert tables.percent(1e3 * ours) == f"{1e3 * exact.mean():.0f} ± {1e3 * exact.std(ddof=1):.0f}"
