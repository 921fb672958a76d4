"""Checks of a study of `scripts/compare.py` before its first candidate trains."""

from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

from jaxlab.checks import check_arguments, check_choice, check_count, check_seeds
from jaxlab.errors import InputError, UserError
from jaxlab.studies import comparison, program
from jaxlab.tasks.classification.runs import make_program, split_numbers
from jaxlab.tasks.classification.settings import (
    GIVEN,
    SECTIONS,
    check_setting,
    setting_figures,
)
from jaxlab.tasks.classification.trainer import candidates, report_of

KEYS = ("seeds", "seeds_in_program", "base", "arms", "order", "baseline", "select", "read")
KEYS += ("average_last", "columns")


def check_study(config: Mapping[str, Any]) -> None:
    """Raises for what would only be found after candidates have trained; names what there is.

    Args:
      config: of `scripts/compare.py`.

    Raises:
      ValueError: a key is missing, a name is unknown, a grid is empty, or a number out of range.

    Example:
      >>> check_study(dict.fromkeys(KEYS) | {"seeds": (1, 1)})
      Traceback (most recent call last):
      jaxlab.errors.ValueError: seeds is (1, 1), seeds must differ
    """
    for key in KEYS:
        if key not in config:
            raise InputError(f"config has no {key!r}, a study needs {', '.join(KEYS)}")
    check_seeds("seeds", config["seeds"])
    check_choice("seeds_in_program", config["seeds_in_program"], program.SEEDS)
    counts = {}
    for key in ("num_steps", "batch_size", "eval_every"):
        check_count(f"base.{key}", config["base"].get(key))
        counts[key] = config["base"][key]
    if counts["num_steps"] % counts["eval_every"]:
        raise InputError(f"base.num_steps must be a multiple of base.eval_every: {counts}")
    evaluations = counts["num_steps"] // counts["eval_every"] + 1
    check_count("average_last", config["average_last"])
    if config["average_last"] > evaluations:
        raise InputError(
            f"average_last is {config['average_last']}, there are {evaluations} evaluations"
        )
    arms, order = config["arms"], config["order"]
    if not isinstance(order, tuple | list) or not order or len({*order}) < len(order):
        raise InputError(f"order is {order!r}, must name arms, each once")
    for name in order:
        check_choice("order", name, arms)
    left_out = sorted(set(arms) - set(order))
    if left_out:
        logging.warning("arms that order does not name are left out: %s", ", ".join(left_out))
    check_choice("baseline", config["baseline"], order)
    check_arguments("report", make_program, report_of(config), given=GIVEN)
    found = [_check_arm(config, name, arms[name]) for name in order]
    figures = list(dict.fromkeys(figure for names in found for figure in names))
    check_choice("select", config["select"], figures)
    check_choice("read", config["read"], figures)
    _check_pictures(config)


def _check_arm(config, name, arm) -> Sequence[str]:
    """Checks every candidate of an arm; returns the figures that they have."""
    figures: list[str] = []
    report, num_steps = report_of(config), config["base"]["num_steps"]
    for key in arm:
        check_choice(f"arm {name!r}", key, ("set", "grid", "read", "stop"))
    check_choice(f"stop of arm {name!r}", arm.get("stop", "last"), comparison.STOPS)
    for part in ("set", "grid"):
        for section, values in arm.get(part, {}).items():
            check_choice(f"{part} of arm {name!r}", section, SECTIONS)
            for key, value in values.items() if part == "grid" else ():
                if not isinstance(value, tuple | list) or not value:
                    raise InputError(
                        f"arm {name!r}: grid of {section}.{key} is {value!r}, must hold values"
                    )
    for setting, choice in candidates(config, arm):
        try:
            check_setting(setting, num_steps=num_steps)
            make_program(split_numbers(setting)[1], 2, num_steps=num_steps, **report)
        except UserError as error:
            at = ", ".join(f"{k}={v}" for k, v in choice.items())
            raise InputError(f"arm {name!r} ({at}): {error}") from error
        figures += setting_figures(setting, taus=report.get("taus", ()))
        for read in arm.get("read", (config["read"],)):
            check_choice(f"read of arm {name!r}", read, dict.fromkeys(figures))
    return figures


def _check_pictures(config):
    """Checks the arms that pictures name, and the numbers that they show."""
    curves, tradeoff = config.get("curves", {}), config.get("tradeoff", {})
    for picture, names in (
        ("curves", curves.get("arms") or ()),
        ("tradeoff", tradeoff.get("arms") or ()),
        ("layer_curves", config.get("layer_curves") or ()),
        ("sweeps", [line["arm"] for s in config.get("sweeps", ()) for line in s["lines"].values()]),
    ):
        for name in names:
            check_choice(picture, name, config["order"])
    for shown in config.get("sweeps", ()):
        for line in shown["lines"].values():
            grid = config["arms"][line["arm"]].get("grid", {})
            if "*" not in line["figure"]:
                varied = [key for values in grid.values() for key in values]
                check_choice(f"number of sweep {shown['name']!r}", shown["number"], varied)
