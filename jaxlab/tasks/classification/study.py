"""Checks of a study of `scripts/compare.py` before its first candidate trains."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from absl import logging

from jaxlab.checks import check_arguments, check_count, check_seeds
from jaxlab.errors import InputError, UserError
from jaxlab.studies import comparison, program
from jaxlab.tasks.classification.runs import make_program, split_numbers
from jaxlab.tasks.classification.settings import SECTIONS, check_setting, setting_figures

KEYS = ("seeds", "seeds_in_program", "base", "arms", "order", "baseline", "select", "read")
KEYS += ("average_last", "columns")
GIVEN = ("fixed", "num_classes", "num_steps", "seeds")

Candidates = Callable[[Any, Any], Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]]


def check_study(config: Mapping[str, Any], candidates: Candidates) -> None:
    """Raises for what would only be found after candidates have trained; names what there is.

    Args:
      config: of `scripts/compare.py`.
      candidates: (config, arm) -> (setting, choice) of each candidate of an arm.

    Raises:
      ValueError: a key is missing, a name is unknown, a grid is empty, or a number out of range.

    Example:
      >>> check_study(dict.fromkeys(KEYS) | {"seeds": (1, 1)}, lambda config, arm: [])
      Traceback (most recent call last):
      jaxlab.errors.ValueError: seeds is (1, 1), seeds must differ
    """
    for key in KEYS:
        if key not in config:
            raise InputError(f"config has no {key!r}, a study needs {', '.join(KEYS)}")
    check_seeds("seeds", config["seeds"])
    _one_of("seeds_in_program", config["seeds_in_program"], program.SEEDS)
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
        _one_of("order", name, arms)
    left_out = sorted(set(arms) - set(order))
    if left_out:
        logging.warning("arms that order does not name are left out: %s", ", ".join(left_out))
    _one_of("baseline", config["baseline"], order)
    check_arguments("report", make_program, config.get("report", {}), given=GIVEN)
    found = [_check_arm(config, name, arms[name], candidates) for name in order]
    figures = list(dict.fromkeys(figure for names in found for figure in names))
    _one_of("select", config["select"], figures)
    _one_of("read", config["read"], figures)
    _check_pictures(config)


def _check_arm(config, name, arm, candidates) -> Sequence[str]:
    """Checks every candidate of an arm; returns the figures that they have."""
    figures: list[str] = []
    report, num_steps = config.get("report", {}), config["base"]["num_steps"]
    for key in arm:
        _one_of(f"arm {name!r}", key, ("set", "grid", "read", "stop"))
    _one_of(f"stop of arm {name!r}", arm.get("stop", "last"), comparison.STOPS)
    for part in ("set", "grid"):
        for section, values in arm.get(part, {}).items():
            _one_of(f"{part} of arm {name!r}", section, SECTIONS)
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
            _one_of(f"read of arm {name!r}", read, dict.fromkeys(figures))
    return figures


def _check_pictures(config):
    """Checks the arms that pictures name, and the numbers that they show."""
    curves, tradeoff = config.get("curves", {}), config.get("tradeoff", {})
    for picture, names in (
        ("curves", curves.get("arms", ())),
        ("tradeoff", tradeoff.get("arms", ())),
        ("layer_curves", config.get("layer_curves", ())),
        ("sweeps", [line["arm"] for s in config.get("sweeps", ()) for line in s["lines"].values()]),
    ):
        for name in names:
            _one_of(picture, name, config["order"])
    for shown in config.get("sweeps", ()):
        for line in shown["lines"].values():
            grid = config["arms"][line["arm"]].get("grid", {})
            if "*" not in line["figure"]:
                varied = [key for values in grid.values() for key in values]
                _one_of(f"number of sweep {shown['name']!r}", shown["number"], varied)


def _one_of(name, value, known):
    if value not in known:
        raise InputError(f"{name} is {value!r}, must be one of {', '.join(map(str, known))}")
