"""Checks of a candidate before anything is trained: names, numbers, and what they go with."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from jaxlab import data, launch, losses, optim, train
from jaxlab.checks import check_arguments, check_count, check_scalar
from jaxlab.errors import InputError
from jaxlab.models import classifiers
from jaxlab.tasks.classification.objectives import make_loss
from jaxlab.tasks.classification.reports import figure_names
from jaxlab.tasks.classification.runs import held_out_losses, make_program
from jaxlab.tasks.classification.training import PENALTIES, make_training

# Section of a setting -> the function whose keyword arguments it holds.
SECTIONS = {
    "data": data.load_classification,
    "model": classifiers.make_classifier,
    "objective": make_loss,
    "optimizer": optim.make_optimizer,
    "adaptive": held_out_losses,
}

FIELDS = launch.keywords(classifiers.MLP, classifiers.ResNet, but=("num_classes", "name"))

KEYWORDS = {  # what the sections of a config may hold
    "data": launch.keywords(data.load_classification, but=("data_dir", "seed")),
    # Fields of the other kind of model are None.
    "model": {"kind": str, **launch.or_none(FIELDS)},
    "objective": launch.keywords(
        make_loss, rows=losses.OBJECTIVES.values(), but=("model", "class_counts")
    ),
    "optimizer": launch.optimizer_keywords(PENALTIES),
    "adaptive": {"folds": int, "num_steps": int, "gamma": float},
    "step": launch.keywords(train.make_train_step, but=("loss_fn", "tx", "mesh")),
}
GIVEN = ("fixed", "num_classes", "num_steps", "seeds")  # what a study gives `make_program`
# Of a study: None stands for the default of each, and an MLP's layers may have gains.
STUDY_KEYWORDS = {
    section: launch.or_none(known)
    for section, known in {
        **{section: KEYWORDS[section] for section in SECTIONS},
        "model": KEYWORDS["model"] | {"gains": Sequence[float]},
        "report": launch.keywords(make_program, but=GIVEN),
    }.items()
}


def check_setting(setting: Mapping[str, Mapping[str, Any]], *, num_steps: int) -> None:
    """Raises unless a setting can be trained, as far as that is known without its data.

    Args:
      setting: section of `SECTIONS` -> keyword arguments; "adaptive", which holds `gamma` too, only
        where `objective.flooding` is "adaptive".
      num_steps: of the run.

    Raises:
      ValueError: a section or an argument is missing or unknown, or a number is out of range.

    Example:
      >>> check_setting({"data": {"name": "sinusoid"}, "model": {"kind": "mlp"}, "objective": {},
      ...                "optimizer": {"name": "sgd", "learning_rate": -1.0}}, num_steps=9)
      Traceback (most recent call last):
      jaxlab.errors.ValueError: learning_rate is -1.0, must be above 0.0
    """
    for section in setting:
        if section not in SECTIONS:
            raise InputError(f"section is {section!r}, must be one of {tuple(SECTIONS)}")
    adaptive = setting.get("objective", {}).get("flooding") == "adaptive"
    for section in SECTIONS:
        if section not in setting and (section != "adaptive" or adaptive):
            raise InputError(f"section {section!r} is missing")
    check_arguments("data", data.load_classification, setting["data"], given=("data_dir", "seed"))
    fields = dict(setting["model"])
    for gain in fields.pop("gains", None) or ():
        check_scalar("gains", gain, above=0.0)
    if "kind" not in fields:
        raise InputError("model lacks 'kind'")
    model = classifiers.make_classifier(num_classes=2, **fields)
    known = KEYWORDS["optimizer"]
    for key in setting["optimizer"]:
        if key not in known:
            raise InputError(f"optimizer has {key!r}, must be one of: {', '.join(known)}")
    given = ("num_steps", "trainable", "stacked", "penalties")
    check_arguments("optimizer", optim.make_optimizer, setting["optimizer"], given=given)
    sections = {name: setting[name] for name in ("objective", "optimizer")}
    make_training(model, class_counts=jnp.ones(2), num_steps=num_steps, **sections)
    if adaptive:
        own = dict(setting["adaptive"])
        if "gamma" not in own:
            raise InputError("adaptive lacks 'gamma'")
        check_scalar("gamma", own.pop("gamma"), at_least=0.0, at_most=1.0)
        given = ("setting", "contexts", "seeds", "batch_size")
        check_arguments("adaptive", held_out_losses, own, given=given)
        check_count("num_steps", own["num_steps"])
        check_count("folds", own.get("folds", 2), at_least=2)


def setting_figures(
    setting: Mapping[str, Mapping[str, Any]], *, taus: Sequence[float] = ()
) -> tuple[str, ...]:
    """Names of the figures that a trained setting has on validation and on test data.

    Example:
      >>> setting_figures({"model": {"kind": "mlp"}}, taus=(1.0,))[-2:]
      ('posthoc_1', 'normalized_1')
    """
    linear = setting["model"].get("head", "linear") == "linear"
    return (*figure_names(taus), *(f"normalized_{tau:g}" for tau in taus if linear))
