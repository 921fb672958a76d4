"""`jaxlab.studies.comparison`: records, choice by validation, intervals, tables."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from jaxlab.studies import cells, comparison, program


def entry(validation, test, last=None):
    """A record with curves [E][seeds]."""
    curves = {"validation/error": validation, "test/error": test}
    steps = list(range(len(validation)))
    return {"steps": steps, "curves": curves, "last": last or {"x": test[-1]}, "seconds": 1.0}


GOOD = entry([[0.5, 0.5], [0.2, 0.4], [0.3, 0.3]], [[0.6, 0.6], [0.1, 0.3], [0.4, 0.5]])
POOR = entry([[0.5, 0.5], [0.4, 0.4], [0.4, 0.4]], [[0.6, 0.6], [0.0, 0.0], [0.0, 0.0]])


def choose(runs, **kwargs):
    return comparison.choose("arm", runs, select="error", reads=("error",), **kwargs)


def test_validation_chooses_and_test_is_reported():
    chosen = choose([(POOR, {"rate": 1.0}), (GOOD, {"rate": 2.0})])
    assert chosen.choice == {"rate": 2.0}
    assert chosen.candidates == 2
    np.testing.assert_allclose(chosen.test, [0.4, 0.5])  # although POOR has test error 0


def test_early_stopping_takes_each_seeds_best_validation():
    chosen = choose([(GOOD, {})], stop="best")
    np.testing.assert_array_equal(chosen.at, [1, 2])
    np.testing.assert_allclose(chosen.test, [0.1, 0.5])
    assert chosen.validation == pytest.approx(0.25)


def test_the_last_evaluations_are_averaged():
    np.testing.assert_allclose(choose([(GOOD, {})], average_last=2).test, [0.25, 0.4])


def test_a_diverged_run_is_not_chosen():
    lost = entry([[0.5, 0.5]] * 2 + [[np.nan, np.nan]], [[0.0, 0.0]] * 3)
    assert choose([(lost, {"n": 1}), (GOOD, {"n": 2})]).choice == {"n": 2}
    assert choose([(GOOD, {"n": 2}), (lost, {"n": 1})]).choice == {"n": 2}


NAN = float("nan")
WORN = entry([[0.5, 0.5], [0.1, 0.1], [NAN, NAN]], [[0.6, 0.6], [0.2, 0.3], [NAN, NAN]])
LOST = entry([[NAN, NAN]] * 3, [[NAN, NAN]] * 3)


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_what_diverged_neither_wins_nor_hides_the_others(order):
    runs = [[(GOOD, {"n": 1}), (WORN, {"n": 2}), (LOST, {"n": 3})][i] for i in order]
    assert choose(runs).choice == {"n": 1}  # at the end, only it is finite
    early = choose(runs, stop="best")  # the other one was better before it diverged
    assert early.choice == {"n": 2}
    assert early.validation == 0.1
    np.testing.assert_allclose(early.test, [0.2, 0.3])
    same = [(record, choice | {"level": 1.0}) for record, choice in runs]
    _, values = comparison.sweep_line(same, number="level", figure="test/error")
    np.testing.assert_allclose(values, [[0.4, 0.5]])


def test_one_seed_that_diverged_spoils_its_candidate():
    half = entry([[0.1, 0.1], [0.1, NAN]], [[0.1, 0.1], [0.1, NAN]])
    assert choose([(half, {"n": 1}), (GOOD, {"n": 2})]).choice == {"n": 2}
    endless = entry([[-np.inf, 0.0]], [[0.0, 0.0]])
    assert choose([(endless, {"n": 1}), (GOOD, {"n": 2})]).choice == {"n": 2}


def test_an_arm_that_diverged_is_reported_as_such():
    arms = {"plain": choose([(GOOD, {})]), "new": choose([(LOST, {"rate": 0.5})] * 2)}
    text = comparison.table(arms, baseline="plain", columns=("x",), seeds=2)
    assert text.splitlines()[3] == "| new | none: all diverged (2) | - | - | - | - | - |"
    text = comparison.table(arms, baseline="new", columns=("x",), seeds=2)
    assert "| 45.00 ± 7.07 | - | - | 0.45 ± 0.07 |" in text.splitlines()[2]


def test_taus_are_read_off_the_best_record_that_is_finite():
    def record(validation, test):
        curves = {"validation/balanced_error": [[validation]], "test/posthoc_1": [[test]]}
        return {"steps": [0], "curves": curves, "last": {"x": [0.0]}, "seconds": 1.0}

    for runs in itertools.permutations([record(NAN, 0.9), record(0.2, 0.3), record(0.4, 0.5)]):
        pairs = [(run, {}) for run in runs]
        _, values = comparison.sweep_line(pairs, number="tau", figure="test/posthoc_*")
        assert values.tolist() == [[0.3]]
    with pytest.raises(ValueError, match="no candidate"):
        comparison.sweep_line([], number="tau", figure="test/posthoc_*")


def test_one_seed_has_no_spread_and_none_has_no_mean():
    one = entry([[0.5], [0.25]], [[0.5], [0.25]])
    arms = {"plain": choose([(one, {})]), "new": choose([(one, {"rate": 0.5})])}
    text = comparison.table(arms, baseline="plain", columns=("test/error",), seeds=1)
    assert "nan" not in text
    assert "±" not in text.replace("(no ±)", "")
    assert "| 25.00 | +0.00 | 0 of 1 | 25.00 |" in text


@pytest.mark.parametrize("count", [0, -1, 4, 1.5, True])
def test_averaging_takes_as_many_evaluations_as_there_are(count):
    with pytest.raises(ValueError, match="average_last is"):
        choose([(GOOD, {})], average_last=count)


def test_an_unknown_stop_is_refused():
    with pytest.raises(ValueError, match="stop is 'first'"):
        choose([(GOOD, {})], stop="first")


def test_readouts_of_one_run_are_candidates():
    both = entry(GOOD["curves"]["validation/error"], GOOD["curves"]["test/error"])
    both["last"] = {"validation/other": [0.1, 0.1], "test/other": [0.7, 0.9]}
    chosen = comparison.choose("a", [(both, {})], select="error", reads=("error", "other"))
    assert chosen.choice == {"read": "other"}
    assert chosen.test.tolist() == [0.7, 0.9]
    with pytest.raises(ValueError, match="no figure 'validation/third'"):
        comparison.choose("a", [(both, {})], select="error", reads=("third",))


def test_table_holds_the_figures():
    arms = {"plain": choose([(POOR, {})]), "new": choose([(GOOD, {"rate": 0.5})])}
    text = comparison.table(arms, baseline="plain", columns=("x", "none"), seeds=2)
    lines = text.splitlines()
    assert len(lines) == 4
    assert "difference from plain" in lines[0]
    assert "| 45.00 ± 7.07 | +45.00 [-18.53, +108.53] | 0 of 2 | 0.45 ± 0.07 | - |" in lines[3]
    with pytest.raises(ValueError, match="baseline is 'old'"):
        comparison.table(arms, baseline="old", columns=(), seeds=2)


def test_sweep_line_takes_the_best_of_the_other_numbers():
    runs = [
        (POOR, {"level": 0.1, "rate": 1.0}),
        (GOOD, {"level": 0.1, "rate": 2.0}),
        (POOR, {"level": 0.2, "rate": 1.0}),
    ]
    x, values = comparison.sweep_line(runs, number="level", figure="test/error")
    np.testing.assert_allclose(x, [0.1, 0.2])
    np.testing.assert_allclose(values, [[0.4, 0.5], [0.0, 0.0]])
    with pytest.raises(ValueError, match="'tau' was not varied"):
        comparison.sweep_line(runs, number="tau", figure="test/error")


def test_sweep_line_reads_taus_off_one_record():
    read = entry([[0.5, 0.4]], [[0.5, 0.4]])
    read["curves"] |= {
        "validation/balanced_error": [[0.1, 0.1]],
        "test/posthoc_2": [[0.3, 0.3]],
        "test/posthoc_0.5": [[0.2, 0.2]],
    }
    x, values = comparison.sweep_line([(read, {})], number="tau", figure="test/posthoc_*")
    np.testing.assert_allclose(x, [0.5, 2.0])
    np.testing.assert_allclose(values, [[0.2, 0.2], [0.3, 0.3]])


def test_records_are_json_even_where_a_run_diverged(tmp_path):
    cells.append_record(tmp_path, "a", WORN)
    text = (tmp_path / "results.jsonl").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    (found,) = comparison.read_records(tmp_path).values()
    assert choose([(found, {})], stop="best").validation == 0.1
    assert np.isnan(choose([(found, {})]).validation)


def test_a_record_holds_curves_last_figures_and_seconds():
    array = lambda *values: np.array(values, np.float32)
    rows = [
        program.Progress(0, {"error": array(0.5, 0.75)}, {}, None),
        program.Progress(4, {"error": array(0.25, 0.5)}, {"loss": array(1.0, 2.0)}, None),
        program.Progress(
            8,
            {"error": array(1 / 3, 0.125), "norm": array(3.0, 4.0), "all": np.ones((2, 5))},
            {"loss": array(0.5, 0.25)},
            None,
        ),
    ]
    found = comparison.record(rows, seconds=1.23456)
    losses = found["curves"].pop("train/loss")
    assert np.isnan(losses[0]).all()
    assert np.shape(losses[0]) == (2,)
    assert losses[1:] == [[1.0, 2.0], [0.5, 0.25]]
    assert found == {
        "steps": [0, 4, 8],
        "curves": {"error": [[0.5, 0.75], [0.25, 0.5], [0.3333333, 0.125]]},
        "last": {"error": [0.3333333, 0.125], "norm": [3.0, 4.0]},  # one number per seed
        "seconds": 1.23,
    }


def test_what_was_chosen_stays_as_it_was():
    chosen = choose([(GOOD, {})])
    with pytest.raises(dataclasses.FrozenInstanceError):
        chosen.name = "other"
    assert chosen != dataclasses.replace(chosen)  # of arrays, which have no one answer


def test_columns_are_shares_numbers_and_large_numbers():
    """At the evaluation that counts; a share is in %, a thousand or more has no decimals."""
    one = entry([[0.5, 0.2], [0.25, 0.5]], [[0.5, 0.5], [0.25, 0.75]])
    one["curves"] |= {
        "train/flooded": [[0.5, 0.5], [1.0, 0.75]],
        "test/loss": [[3.0, 4.0], [5.0, 8.0]],
        "large": [[1.0, 1.0], [2000.0, 1500.0]],
        "edge": [[999.0, 1001.0]] * 2,
    }
    one["last"] = {"fgsm_1": [0.5, 0.5], "log": [-0.5, 1.5]}
    columns = ("train/flooded", "test/loss", "large", "edge", "fgsm_1", "log", "absent")
    arms = {"plain": choose([(one, {})], stop="best")}
    row = comparison.table(arms, baseline="plain", columns=columns, seeds=2).splitlines()[2]
    assert row == (
        "| plain | - (1) | 22.50 | 37.50 ± 17.68 |  |  | 75.00 ± 35.36 | 4.50 ± 0.71 | "
        "1000 ± 1414 | 1000 ± 1 | 50.00 ± 0.00 | 0.50 ± 1.41 | - |"
    )


def test_curves_are_by_name_and_layers_by_theirs():
    one = entry([[0.5, 0.25]], [[0.5, 0.5]])
    one["steps"] = [7]
    one["curves"] |= {"log_norm/a/kernel": [[1.0, 2.0]], "log_norm/b": [[3.0, 4.0]]}
    steps, values = comparison.curve(one, "validation/error")
    assert (steps.tolist(), values.tolist()) == ([7], [[0.5, 0.25]])
    assert comparison.curve(one, "validation/none") is None
    layers = comparison.layer_curves(one)
    assert {name: (x.tolist(), y.tolist()) for name, (x, y) in layers.items()} == {
        "a/kernel": ([7], [[1.0, 2.0]]),
        "b": ([7], [[3.0, 4.0]]),
    }
