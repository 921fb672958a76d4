"""`jaxlab.tasks.classification.study`, `jaxlab.tasks.classification.trainer`: a study is checked
before it trains; candidates of compare.py."""

import json

import numpy as np
import pytest

from jaxlab.data import load_classification
from jaxlab.errors import InputError
from jaxlab.launch import config as configs
from jaxlab.studies import cells
from jaxlab.tasks import classification
from jaxlab.tasks.classification import study, trainer


def load(path):
    """A config, its preset after a colon."""
    return configs.load(f"configs/studies/{path}")


def test_a_candidate_is_known_by_all_that_it_depends_on():
    def keys(change=lambda config: None):
        config = load("long_tail.py:tiny")
        change(config)
        arms = classification.arms_of(config).values()
        return {
            classification.key_of(config, s)
            for arm in arms
            for s, _ in classification.candidates(config, arm)
        }

    def add_arm(config):
        config.arms["focal"] = {"set": {"objective": {"name": "focal"}}}
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


def test_keys_that_are_none_are_no_part_of_a_name():
    """A record stays its candidate's when the functions get more keywords."""
    config = load("weissi.py:tiny")
    (setting, choice), *_ = classification.candidates(config, config.arms.none)
    assert setting == {
        "data": {"name": "mnist5k", "num_train": 50, "num_validation": 20, "num_test": 20},
        "model": {"kind": "mlp", "features": (8,)},
        "objective": {"name": "cross_entropy"},
        "optimizer": {"name": "adam", "learning_rate": 2.5e-4},
    }
    assert choice == {"learning_rate": 2.5e-4}
    key = classification.key_of(config, setting)
    report = {"norms": True, "epsilons": (0.05,), "pgd_steps": 2, "num_attacked": 20}
    run = {"num_steps": 4, "batch_size": 10, "eval_every": 2, "seeds": (0, 1), "report": report}
    assert key == cells.key_of({**setting, "run": run})
    config.report.taus = (1.0,)
    assert classification.key_of(config, setting) != key


@pytest.mark.parametrize(
    "path", ["long_tail.py:tiny", "flooding.py:tiny", "weissi.py:tiny", "long_tail.py:cifar100"]
)
def test_studies_that_ship_are_sound(path):
    config = load(path)
    classification.check_study(config)


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
    (
        {"arms.LDAM.set.objective.name": "focal"},
        "max_margin is 0.3, objective 'focal' takes",
    ),
    ({"arms.LDAM.set.model.head": "linear"}, "objective 'ldam' needs a model with head='cosine'"),
    ({"curves.arms": ("foo",)}, "curves is 'foo', must be one of"),
]


@pytest.mark.parametrize(("change", "message"), BAD_STUDIES)
def test_a_study_is_checked_before_its_first_candidate(change, message):
    config = load("long_tail.py:tiny")
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
        classification.check_study(config)


@pytest.mark.parametrize("key", ["order", "base", "select", "arms", "columns"])
def test_a_study_without_a_key_says_which_it_needs(key):
    config = load("long_tail.py:tiny")
    del config[key]
    with pytest.raises(InputError, match=f"config has no '{key}', a study needs seeds, "):
        classification.check_study(config)


def test_flood_levels_are_those_of_the_candidates_own_data(monkeypatch):
    config = load("flooding.py:tiny")
    train = classification.Trainer(config)
    contexts = {"train": {"label": np.zeros((2, 3), int)}}
    computed = []

    def held_out_losses(setting, given, **kwargs):
        assert set(setting) == {"model", "objective", "optimizer"}
        assert given is contexts
        assert (kwargs["seeds"], kwargs["batch_size"]) == (config.seeds, config.base.batch_size)
        computed.append(setting)
        return np.full((2, 3), float(len(computed)), np.float32)

    monkeypatch.setattr(trainer, "held_out_losses", held_out_losses)

    def level(noise, gamma=0.5):
        arm = {"set": {}, "grid": {"data": {"noise": (noise,)}, "adaptive": {"gamma": (gamma,)}}}
        ((setting, _),) = classification.candidates(config, arm)
        return np.asarray(train.with_levels(setting, contexts)["train"]["level"])

    first = level(0.1)
    assert (level(0.2) != first).all()
    np.testing.assert_array_equal(level(0.1), first)
    level(0.2, gamma=0.25)  # shares the models
    assert len(computed) == 2
    ((setting, _),) = classification.candidates(config, {"set": {"data": {"noise": 0.1}}})
    turned = {name: dict(reversed(values.items())) for name, values in setting.items()}
    train.with_levels(turned, contexts)  # in another order it is the same
    assert len(computed) == 2


def small(**changes):
    config = load("long_tail.py:tiny")
    config.unlock()
    for path, value in changes.items():
        config.update_from_flattened_dict({path.replace("__", "."): value})
    return config


def test_numbers_at_their_bounds():
    evaluations = small().base.num_steps // small().base.eval_every + 1
    classification.check_study(small(average_last=evaluations))
    with pytest.raises(InputError, match=f"there are {evaluations} evaluations"):
        classification.check_study(small(average_last=evaluations + 1))
    whole = small(base__eval_every=small().base.num_steps, average_last=2)
    classification.check_study(whole)


def test_arms_that_order_leaves_out_are_said(monkeypatch):
    said = []
    warn = lambda text, *args: said.append(text % args)
    monkeypatch.setattr(study.logging, "warning", warn)
    classification.check_study(small())
    assert said == []
    config = small()
    for picture in ("curves", "tradeoff", "layer_curves", "sweeps"):
        if picture in config:
            del config[picture]
    left = sorted({*config.order} - {config.baseline})
    config.order = (config.baseline,)
    classification.check_study(config)
    assert len(left) > 1
    assert said == [f"arms that order does not name are left out: {', '.join(left)}"]


def test_the_data_of_all_candidates_are_read_before_the_first_trains():
    data = {"name": "sinusoid", "num_train": 20, "num_validation": 5, "num_test": 5}
    train = classification.Trainer({"seeds": (0,)})
    train.read_all([{"data": data}, {"data": {**data, "num_train": 30}}, {"data": data}])
    assert set(train.found_by_name()) == {"num_train=20", "num_train=30"}
    train.found.popitem()
    assert train.found_by_name().splits["train"]["examples"] == 30
    (kept,) = train.contexts.values()
    assert kept["train"]["x"].shape == (1, 20, 2)
    with pytest.raises(ValueError, match="num_test is 0, must be"):
        train.read_all([{"data": data}, {"data": {**data, "num_test": 0}}])


def test_candidates_train_in_one_program_on_data_that_are_compared():
    base = {"num_steps": 4, "batch_size": 5, "eval_every": 2}
    config = {
        "seeds": (0, 3), "base": base, "seeds_in_program": "vmap", "report": {"taus": (1.0,)}
    }  # fmt: skip
    compared = []
    train = classification.Trainer(config, check_data=compared.append)
    data = {"num_test": 6, "num_validation": 5, "num_train": 20, "name": "sinusoid"}
    setting = lambda rate: {
        "data": data,
        "model": {"kind": "mlp", "features": (3,)},
        "objective": {"name": "cross_entropy"},
        "optimizer": {"name": "sgd", "learning_rate": rate, "schedule": "constant"},
    }
    slow, fast = train(setting(0.1)), train(setting(0.2))
    assert len(train.programs) == 1
    assert train(setting(0.1))["last"] == slow["last"] != fast["last"]
    ((name, rows),) = compared[0].items()
    assert len(compared) == 1  # read once
    assert name == json.dumps(data, sort_keys=True)
    sets = [load_classification(**data, seed=seed) for seed in (0, 3)]
    assert set(rows) == {
        *(f"{split}/{key}" for split in ("train", "validation", "test") for key in ("x", "label")),
        "counts",
    }
    for key in ("x", "label"):
        want = np.concatenate([one.train[key] for one in sets])
        np.testing.assert_allclose(rows[f"train/{key}"], want, rtol=1e-6)
    np.testing.assert_array_equal(rows["counts"], np.concatenate([s.train_counts for s in sets]))
    assert slow["steps"] == [0, 2, 4]
    assert {"validation/posthoc_1", "test/error", "train/loss"} <= set(slow["curves"])
    numbers, fixed = classification.split_numbers(
        {name: values for name, values in setting(0.2).items() if name != "data"}
    )
    program = classification.make_program(fixed, 2, num_steps=4, taus=(1.0,))
    contexts = classification.make_contexts((0, 3), **data)
    progress = list(program.train(numbers, contexts, seeds=(0, 3), **base))
    for name in ("validation/cross_entropy", "test/cross_entropy"):
        want = [row.figures[name] for row in progress]
        np.testing.assert_allclose(fast["curves"][name], want, atol=1e-6)
