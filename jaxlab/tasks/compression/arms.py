"""The arms of a study of compression, what they are made of, and what a study may ask for.

| arm | stages |
|---|---|
| direct | the first layers of the pretrained model, fine-tuned |
| distill | layers of the predecessor, trained on its soft targets |
| truncated | layers of the predecessor, fine-tuned for as many steps as Theseus, the control |
| constant, curriculum | the same layers by module replacing, then fine-tuned alone |
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxlab import optim, train
from jaxlab.checks import check_count, check_counts, check_scalar, check_seeds
from jaxlab.errors import InputError

ARMS = ("direct", "distill", "truncated", "constant", "curriculum")
REPLACING = ("constant", "curriculum")
STARTS = ("predecessor", "pretrained")  # where a successor's layers may come from


def check_study(config: Mapping[str, Any]) -> None:
    """Raises for what makes no sense, before anything is read.

    Args:
      config: the keys of `configs/theseus/study.py`.

    Raises:
      ValueError: an arm is unknown, or a number out of range.
    """
    if not config["arms"]:
        raise InputError(f"arms is (), must hold some of {ARMS}")
    check_seeds("seeds", config["seeds"])
    for name in ("depths", "buckets"):
        check_counts(name, config[name])
    check_count("latency_repeats", config["latency_repeats"])
    objective, optimizer = optim.flooded_by_optimizer(config["objective"], config["optimizer"])
    train.make_labelled_loss(lambda loss: loss, class_counts=np.ones(2), **objective)
    optim.make_optimizer(**optimizer, learning_rate=1.0, num_steps=1)
    for kind, stage in config["stages"].items():
        check_scalar(f"stages.{kind}.learning_rate", stage["learning_rate"], above=0.0)
        # Without steps a predecessor is taken as it is.
        least = int(kind not in ("successor", "distill", "predecessor"))
        check_count(f"stages.{kind}.num_steps", stage["num_steps"], at_least=least)
    unknown = sorted(set(config["arms"]) - set(ARMS))
    if unknown:
        raise InputError(f"arms hold {unknown[0]!r}, known are {ARMS}")


def last_stage(arm: str, successor_steps: int) -> str:
    """The stage of an arm whose model counts.

    Example:
      >>> last_stage("direct", 100), last_stage("constant", 100), last_stage("constant", 0)
      ('direct', 'successor', 'replacing')
    """
    if arm in ("direct", "distill"):
        return arm
    return "successor" if successor_steps else first_stage(arm)


def first_stage(arm: str) -> str:
    """The first stage of an arm that has two.

    Example:
      >>> first_stage("curriculum"), first_stage("truncated")
      ('replacing', 'truncated')
    """
    return "replacing" if arm in REPLACING else "truncated"


def replacing_rates(
    constant: float, num_steps: int, *, base: float, reach: float
) -> dict[str, dict[str, float]]:
    """What each replacing arm's rate starts at, and by how much it rises per step.

    Args:
      constant: the rate of the arm "constant".
      num_steps: of the stage.
      base: the curriculum's rate at step 0.
      reach: share of the steps after which its rate is 1.

    Example:
      >>> replacing_rates(0.5, 10, base=0.25, reach=0.3)["curriculum"]
      {'rate_base': 0.25, 'rate_slope': 0.25}
    """
    slope = (1 - base) / max(1, round(reach * num_steps))
    return {
        "constant": {"rate_base": constant, "rate_slope": 0.0},
        "curriculum": {"rate_base": base, "rate_slope": slope},
    }
