"""`jaxlab.comparison`: records, choice by validation, intervals, tables; candidates of
compare.py."""

import importlib.util
import itertools
import json
import pathlib

import numpy as np
import pytest
from processes import ROOT
from scipy import stats

from jaxlab import classification, comparison
from jaxlab.errors import InputError


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
    assert comparison.paired(np.array([3.0]), np.array([1.0]))[0] == 2.0
    assert np.isnan(comparison.paired(np.array([3.0]), np.array([1.0]))[1])
    assert np.isnan(comparison.paired(np.array([]), np.array([]))).all()
    assert comparison.percent_difference([0.5], [0.25]) == "+25.00"
    assert comparison.percent_difference([], []) == "-"
    assert comparison.percent([NAN, 0.5]) == "-"


def test_statistics_do_not_depend_on_the_dtype_given():
    ours = np.float32(0.9) + np.arange(5, dtype=np.float32) * 1e-6
    exact = 100 * ours.astype(np.float64)
    mean, half = comparison.paired(ours, np.zeros(5, np.float32))
    assert mean == pytest.approx(ours.astype(np.float64).mean(), abs=1e-12)
    spread = exact.std(ddof=1) / 5**0.5
    assert half == pytest.approx(stats.t.ppf(0.975, 4) * spread / 100, rel=1e-6)
    assert comparison.percent(ours) == f"{exact.mean():.2f} ± {spread:.2f}"


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


def test_interval_is_students():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 7))
    mean, half = comparison.paired(a, b)
    low, high = stats.ttest_rel(a, b).confidence_interval(0.95)
    np.testing.assert_allclose([mean - half, mean + half], [low, high])
    with pytest.raises(ValueError, match="equal vectors"):
        comparison.paired(a, b[:3])


def test_table_holds_the_figures():
    arms = {"plain": choose([(POOR, {})]), "new": choose([(GOOD, {"rate": 0.5})])}
    text = comparison.table(arms, baseline="plain", columns=("x", "none"), seeds=2)
    lines = text.splitlines()
    assert len(lines) == 4
    assert "difference from plain" in lines[0]
    assert "| 45.00 ± 7.07 | +45.00 ± 63.53 | 0 of 2 | 0.45 ± 0.07 | - |" in lines[3]
    with pytest.raises(ValueError, match="baseline is 'old'"):
        comparison.table(arms, baseline="old", columns=(), seeds=2)


def test_records_survive_a_cut_line_and_nothing_else(tmp_path):
    comparison.append_record(tmp_path, "a", GOOD)
    comparison.append_record(tmp_path, "b", POOR)
    path = tmp_path / "results.jsonl"
    assert comparison.read_records(tmp_path) == {"a": GOOD, "b": POOR}
    whole = path.read_text()
    path.write_text(whole[:-30])
    assert comparison.read_records(tmp_path) == {"a": GOOD}
    comparison.append_record(tmp_path, "b", POOR)  # what was cut is gone, so lines stay whole
    assert comparison.read_records(tmp_path) == {"a": GOOD, "b": POOR}
    path.write_text("nonsense\n" + whole)
    with pytest.raises(ValueError, match=r"results.jsonl line 1 is no record"):
        comparison.read_records(tmp_path)
    assert comparison.read_records(tmp_path / "empty") == {}
    assert json.loads(whole.splitlines()[0])["key"] == "a"


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


def load(path):
    """A script or config file as a module."""
    spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def compare():
    return load("scripts/compare.py")


def test_a_candidate_is_known_by_all_that_it_depends_on(compare):
    def keys(change=lambda config: None):
        config = load("configs/studies/long_tail.py").get_config("tiny")
        change(config)
        arms = compare.arms_of(config).values()
        return {
            compare.key_of(config, s) for arm in arms for s, _ in compare.candidates(config, arm)
        }

    def add_arm(config):
        config.arms["focal"] = {"set": {"objective": {"objective": "focal"}}}
        config.order += ("focal",)

    plain = keys()
    assert keys() == plain
    added = keys(add_arm)
    assert added > plain
    assert len(added) == len(plain) + 1
    for change in (
        {"base.num_steps": 9},
        {"base.batch_size": 4},
        {"base.eval_every": 2},
        {"base.data.imbalance": 5.0},
        {"seeds": (0, 2)},
        {"report.taus": (0.0, 1.0, 2.0)},
    ):
        changed = keys(lambda config, change=change: config.update_from_flattened_dict(change))
        assert not plain & changed, change


@pytest.mark.parametrize(
    "path", ["long_tail.py:tiny", "flooding.py:tiny", "weissi.py:tiny", "long_tail.py:cifar100"]
)
def test_studies_that_ship_are_sound(compare, path):
    file, preset = path.split(":")
    config = load(f"configs/studies/{file}").get_config(preset)
    classification.check_study(config, compare.candidates)


BAD_STUDIES = [
    ({"select": "accuracy"}, "select is 'accuracy', must be one of balanced_error, cross"),
    ({"read": "foo"}, "read of arm 'cross-entropy' is 'foo', must be one of .*posthoc_1"),
    ({"baseline": "foo"}, "baseline is 'foo', must be one of cross-entropy, post-hoc"),
    ({"order": ("foo",)}, "order is 'foo', must be one of"),
    ({"order": ()}, r"order is \(\), must name arms"),
    ({"order": ("LDAM", "LDAM")}, "must name arms, each once"),
    ({"seeds": ()}, "seeds is"),
    ({"seeds": (1, 1)}, "seeds must differ"),
    ({"seeds_in_program": "both"}, "seeds_in_program is 'both', must be one of vmap, map"),
    ({"average_last": 0}, "average_last is 0"),
    ({"average_last": 9}, "average_last is 9, there are 3 evaluations"),
    *(({f"base.{key}": 0}, f"base.{key} is 0") for key in ("num_steps", "batch_size")),
    ({"base.eval_every": 4}, "base.num_steps must be a multiple of base.eval_every"),
    ({"base.data.nmae": "x"}, "data has 'nmae', must be one of: name"),
    ({"base.model.features": ()}, "features is"),
    ({"base.optimizer.l2": -1.0}, "l2 is -1.0"),
    ({"report.taus": (float("nan"),)}, "taus is nan"),
    ({"report.tau": (1.0,)}, "report has 'tau', must be one of: taus"),
    ({"arms.LDAM.stop": "first"}, "stop of arm 'LDAM' is 'first'"),
    ({"arms.LDAM.red": ("error",)}, "arm 'LDAM' is 'red', must be one of set, grid, read, stop"),
    ({"arms.LDAM.read": ("normalized_1",)}, "read of arm 'LDAM' is 'normalized_1'"),
    ({"arms.LDAM.grid.optimizer.learning_rate": ()}, "grid of optimizer.learning_rate is"),
    ({"arms.LDAM.grid.optimizer.learning_rate": 0.1}, "is 0.1, must hold values"),
    ({"arms.LDAM.grid.optimizer.learning_rate": (float("nan"),)}, "learning_rate is nan"),
    ({"arms.LDAM.grid.optimiser.rate": (0.1,)}, "grid of arm 'LDAM' is 'optimiser'"),
    ({"arms.LDAM.set.objective.label_smothing": 0.1}, "objective has 'label_smothing'"),
    ({"arms.LDAM.set.objective.objective": "focal"}, "max_margin is 0.3, objective 'focal' takes"),
    ({"arms.LDAM.set.model.head": "linear"}, "objective 'ldam' needs a model with head='cosine'"),
    ({"curves.arms": ("foo",)}, "curves is 'foo', must be one of"),
]


@pytest.mark.parametrize(("change", "message"), BAD_STUDIES)
def test_a_study_is_checked_before_its_first_candidate(compare, change, message):
    config = load("configs/studies/long_tail.py").get_config("tiny")
    config.unlock()
    for path, value in change.items():
        *parents, key = path.split(".")
        holder = config
        for name in parents:
            if name not in holder:
                holder[name] = {}
            holder = holder[name]
        with holder.ignore_type():
            holder[key] = value
    with pytest.raises(InputError, match=message):
        classification.check_study(config, compare.candidates)


@pytest.mark.parametrize("key", ["order", "base", "select", "arms", "columns"])
def test_a_study_without_a_key_says_which_it_needs(compare, key):
    config = load("configs/studies/long_tail.py").get_config("tiny")
    del config[key]
    with pytest.raises(InputError, match=f"config has no '{key}', a study needs seeds, "):
        classification.check_study(config, compare.candidates)


def test_records_are_json_even_where_a_run_diverged(tmp_path):
    comparison.append_record(tmp_path, "a", WORN)
    text = (tmp_path / "results.jsonl").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    (found,) = comparison.read_records(tmp_path).values()
    assert choose([(found, {})], stop="best").validation == 0.1
    assert np.isnan(choose([(found, {})]).validation)


def test_flood_levels_are_those_of_the_candidates_own_data(compare, monkeypatch):
    config = load("configs/studies/flooding.py").get_config("tiny")
    train = compare.Trainer(config, None)
    contexts = {"train": {"label": np.zeros((2, 3), int)}}
    computed = []

    def held_out_losses(setting, contexts, **kwargs):
        computed.append(setting)
        return np.full((2, 3), float(len(computed)), np.float32)

    monkeypatch.setattr(compare.classification, "held_out_losses", held_out_losses)

    def level(noise, gamma=0.5):
        arm = {"set": {}, "grid": {"data": {"noise": (noise,)}, "adaptive": {"gamma": (gamma,)}}}
        ((setting, _),) = compare.candidates(config, arm)
        return np.asarray(train.with_levels(setting, contexts)["train"]["level"])

    first = level(0.1)
    assert (level(0.2) != first).all()
    np.testing.assert_array_equal(level(0.1), first)
    level(0.2, gamma=0.25)  # shares the models
    assert len(computed) == 2


def test_a_record_without_its_newline_does_not_swallow_the_next(tmp_path):
    comparison.append_record(tmp_path, "a", GOOD)
    path = tmp_path / "results.jsonl"
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    comparison.append_record(tmp_path, "b", POOR)
    assert comparison.read_records(tmp_path) == {"a": GOOD, "b": POOR}


@pytest.mark.parametrize(
    "line", [b"\xff", b"[]", b"3", b'{"key": "a"}', b"[" * 9999, b'{"key": [1], "steps": []}']
)
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    (tmp_path / "results.jsonl").write_bytes(line + b"\n")
    with pytest.raises(ValueError, match=r"results\.jsonl line 1 is no record .*remove the line"):
        comparison.read_records(tmp_path)
