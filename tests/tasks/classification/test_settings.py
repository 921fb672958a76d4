"""`jaxlab.tasks.classification.settings`: candidates that cannot be trained, others' figures."""

import pytest

from jaxlab.errors import InputError
from jaxlab.tasks.classification import check_setting, setting_figures, settings

GOOD = {
    "data": {"name": "sinusoid"},
    "model": {"kind": "mlp", "features": (4,), "gains": (2.0, 1.0)},
    "objective": {"name": "focal", "gamma": 1.0},
    "optimizer": {"name": "sgd", "learning_rate": 0.1},
}
ADAPTIVE = GOOD | {
    "objective": {"flooding": "adaptive"},
    "adaptive": {"gamma": 0.5, "num_steps": 3},
}


def without(setting, section):
    return {name: values for name, values in setting.items() if name != section}


@pytest.mark.parametrize(
    "setting",
    [
        GOOD,
        GOOD | {"model": {"kind": "mlp", "gains": None}},
        GOOD | {"model": {"kind": "mlp", "gains": (0.001, 1000.0)}},
        GOOD | {"adaptive": {"gamma": 9.0}},  # not looked at
        ADAPTIVE,
        ADAPTIVE | {"adaptive": {"gamma": 0.0, "num_steps": 1, "folds": 2}},
        ADAPTIVE | {"adaptive": {"gamma": 1.0, "num_steps": 1, "folds": 3}},
    ],
)
def test_settings_that_can_be_trained(setting):
    check_setting(setting, num_steps=9)


WRONG = [
    (GOOD | {"date": {}}, r"section is 'date', must be one of \('data', 'model', "),
    *((without(GOOD, name), f"section '{name}' is missing") for name in GOOD),
    (without(ADAPTIVE, "adaptive"), "section 'adaptive' is missing"),
    (GOOD | {"data": {"name": "sinusoid", "seed": 1}}, "data has 'seed'"),
    (GOOD | {"data": {"nmae": "x"}}, "data has 'nmae'"),
    (GOOD | {"model": {"features": (4,)}}, "model lacks 'kind'"),
    (GOOD | {"model": {"kind": "mlp", "gains": (1.0, 0.0)}}, "gains is 0.0, must be above 0"),
    (GOOD | {"optimizer": {"name": "sgd"}}, "learning_rate"),
    (GOOD | {"optimizer": {"name": "sgd", "rate": 1.0}}, "optimizer has 'rate'"),
    (GOOD | {"optimizer": {"name": "sgd", "learning_rate": -1.0}}, "learning_rate is -1.0"),
    (GOOD | {"objective": {"name": "focal", "tau": 1.0}}, "tau is 1.0"),
    (ADAPTIVE | {"adaptive": {"num_steps": 3}}, "adaptive lacks 'gamma'"),
    (ADAPTIVE | {"adaptive": {"gamma": -0.1, "num_steps": 3}}, "gamma is -0.1, must be at least"),
    (ADAPTIVE | {"adaptive": {"gamma": 1.1, "num_steps": 3}}, "gamma is 1.1, must be at most"),
    (ADAPTIVE | {"adaptive": {"gamma": 0.5, "num_steps": 0}}, "num_steps is 0"),
    (ADAPTIVE | {"adaptive": {"gamma": 0.5, "num_steps": 3, "folds": 1}}, "folds is 1"),
    (ADAPTIVE | {"adaptive": {"gamma": 0.5, "num_steps": 3, "batch_size": 1}}, "'batch_size'"),
]


@pytest.mark.parametrize(("setting", "message"), WRONG)
def test_settings_that_cannot(setting, message):
    with pytest.raises(InputError, match=message):
        check_setting(setting, num_steps=9)


def test_the_setting_is_left_as_it_was():
    setting = {name: dict(values) for name, values in ADAPTIVE.items()}
    setting["model"]["gains"] = (1.0,)
    check_setting(setting, num_steps=9)
    assert setting["model"]["gains"] == (1.0,)
    assert setting["adaptive"] == ADAPTIVE["adaptive"]


def test_figures_are_those_of_a_report_and_those_of_a_linear_head():
    plain = {"error", "balanced_error", "cross_entropy", "tail_error", "head_error"}
    figures = lambda model, taus=(): {*setting_figures({"model": model}, taus=taus)} - plain
    assert plain == {*setting_figures({"model": {}})}
    shown = {"posthoc_1", "posthoc_0.5", "normalized_1", "normalized_0.5"}
    assert figures({}, (1.0, 0.5)) == figures({"head": "linear"}, (1.0, 0.5)) == shown
    assert figures({"head": "cosine"}, (1.0,)) == {"posthoc_1"}


def test_a_config_may_not_hold_what_a_script_gives():
    known = settings.KEYWORDS
    assert not {"data_dir", "seed"} & set(known["data"])
    assert not {"num_classes", "name"} & set(known["model"])
    assert not {"model", "class_counts"} & set(known["objective"])
    assert not {"loss_fn", "tx", "mesh"} & set(known["step"])
    assert {"features", "kind"} <= set(known["model"])
    assert {"tau", "gamma", "flooding"} <= set(known["objective"])
