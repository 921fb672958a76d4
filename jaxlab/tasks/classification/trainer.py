"""The candidates of a study of classifiers: their settings, their names, and how they train."""

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from flax import traverse_util

from jaxlab import losses
from jaxlab.data import Found
from jaxlab.studies import cells, comparison
from jaxlab.tasks.classification.runs import (
    held_out_losses,
    make_contexts,
    make_program,
    split_numbers,
)
from jaxlab.tasks.classification.settings import SECTIONS
from jaxlab.tasks.classification.training import plain_objective

Setting = dict[str, dict[str, Any]]
TRAINED = ("model", "objective", "optimizer")


def arms_of(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The arms in the order of the table, which a config that sorts its keys does not keep.

    Example:
      >>> arms_of({"arms": {"a": {}, "b": {"stop": "best"}}, "order": ("b", "a")})
      {'b': {'stop': 'best'}, 'a': {}}
    """
    return {name: config["arms"][name] for name in config["order"]}


def candidates(
    config: Mapping[str, Any], arm: Mapping[str, Any]
) -> Iterator[tuple[Setting, dict[str, Any]]]:
    """Yields (setting, what was chosen from the grid) for an arm.

    Keys of value None are left out, and sections that have no other.

    Example:
      >>> config = {"base": {"optimizer": {"name": "sgd", "l2": None}, "num_steps": 9}}
      >>> arm = {"grid": {"optimizer": {"learning_rate": (0.1, 0.2)}}}
      >>> [setting for setting, _ in candidates(config, arm)][1]
      {'optimizer': {'name': 'sgd', 'learning_rate': 0.2}}
    """
    base = {name: dict(config["base"][name]) for name in SECTIONS if name in config["base"]}
    for section, values in arm.get("set", {}).items():
        base[section] = {**base.get(section, {}), **values}
    grid = [(s, k, v) for s, values in arm.get("grid", {}).items() for k, v in values.items()]
    for choice in itertools.product(*(values for _, _, values in grid)):
        setting = {section: dict(values) for section, values in base.items()}
        for (section, key, _), value in zip(grid, choice, strict=True):
            setting[section][key] = value
        chosen = {key: value for (_, key, _), value in zip(grid, choice, strict=True)}
        setting = {section: _known(values) for section, values in setting.items()}
        yield {s: values for s, values in setting.items() if values or not base[s]}, chosen


def key_of(config: Mapping[str, Any], setting: Setting) -> str:
    """Names a candidate by all that its record depends on: a record of other steps is not its."""
    run = {name: value for name, value in config["base"].items() if name not in SECTIONS}
    run |= {"seeds": config["seeds"], "report": report_of(config)}
    return cells.key_of({**setting, "run": run})


def report_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a study gives `make_program` to report; None stands for a default.

    Example:
      >>> report_of({"report": {"taus": (1.0,), "norms": None}}), report_of({})
      ({'taus': (1.0,)}, {})
    """
    return _known(config.get("report", {}))


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


class Trainer:
    """Trains settings; keeps data and compiled programs, which candidates share.

    Args:
      config: of the study.
      data_dir: the data folder.
      check_data: called with {name: arrays by name} of every set before it is used, to compare it
        with what the candidates that are done have seen; None does not compare.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        data_dir: str | None = None,
        check_data: Callable[[Mapping[str, Any]], None] | None = None,
    ):
        self.config, self.data_dir, self.check_data = config, data_dir, check_data
        self.contexts, self.programs = {}, {}
        self.found: dict[str, Found] = {}  # by the section `data`, as JSON

    def data(self, setting: Setting) -> Any:
        """The data of all seeds; one set at a time, since five copies of an image set are large."""
        key = json.dumps(setting["data"], sort_keys=True)
        if key not in self.contexts:
            on_found = lambda found: self.found.update({key: found})
            contexts = make_contexts(
                self.config["seeds"], self.data_dir, on_found=on_found, **setting["data"]
            )
            if self.check_data is not None:
                arrays: Any = traverse_util.flatten_dict(contexts, sep="/")
                rows = {name: a.reshape(-1, *a.shape[2:]) for name, a in arrays.items()}
                self.check_data({key: rows})
            self.contexts = {key: contexts}
        return self.contexts[key]

    def found_by_name(self) -> Found | dict[str, Found]:
        """What was found of the data; of several settings by what differs between them."""
        sections = {key: json.loads(key) for key in self.found}
        if len(sections) == 1:
            return next(iter(self.found.values()))
        keys = sorted({key for section in sections.values() for key in section})
        varied = [k for k in keys if len({json.dumps(s.get(k)) for s in sections.values()}) > 1]
        named = lambda section: ", ".join(f"{k}={section[k]}" for k in varied if k in section)
        return {named(sections[key]) or "base": found for key, found in self.found.items()}

    def read_all(self, settings: Sequence[Setting]) -> None:
        """Reads the data of every setting once, so that no wrong number is found between two."""
        each = {json.dumps(setting["data"], sort_keys=True): setting for setting in settings}
        for setting in [*each.values()][::-1]:  # the first one's come last, and stay
            self.data(setting)

    def __call__(self, setting: Setting) -> dict[str, Any]:
        """Returns the record of a setting: steps, curves and last figures, all [.., seeds]."""
        config, contexts = self.config, self.data(setting)
        run = {name: config["base"][name] for name in ("num_steps", "batch_size", "eval_every")}
        if setting["objective"].get("flooding") == "adaptive":
            contexts = self.with_levels(setting, contexts)
        numbers, fixed = split_numbers({name: dict(setting[name]) for name in TRAINED})
        key = json.dumps([fixed, sorted(numbers), jax.tree.map(np.shape, contexts)], default=str)
        if key not in self.programs:
            self.programs[key] = make_program(
                fixed,
                contexts["counts"].shape[1],
                num_steps=config["base"]["num_steps"],
                seeds=config["seeds_in_program"],
                **report_of(config),
            )
        started, rows = time.perf_counter(), []
        for progress in self.programs[key].train(numbers, contexts, seeds=config["seeds"], **run):
            rows.append(progress)
            if progress.step and not all(np.isfinite(v).all() for v in progress.metrics.values()):
                logging.warning("step %d: a figure is not finite", progress.step)
        return comparison.record(rows, seconds=time.perf_counter() - started)

    def with_levels(self, setting: Setting, contexts: Any) -> Any:
        """Adds the flood level of every example, from models that have not seen it."""
        arguments = dict(setting["adaptive"])
        gamma = arguments.pop("gamma")
        plain = {**setting, "objective": plain_objective(setting["objective"])}
        plain = {name: plain[name] for name in TRAINED}
        settings = [setting["data"], plain, arguments]  # steps and seeds are the same for all
        key = ("levels", json.dumps(settings, sort_keys=True, default=str))
        if key not in self.programs:
            self.programs[key] = held_out_losses(
                plain,
                contexts,
                seeds=self.config["seeds"],
                batch_size=self.config["base"]["batch_size"],
                **arguments,
            )
        levels = losses.adaflood_levels(self.programs[key], gamma=gamma)
        return {**contexts, "train": {**contexts["train"], "level": levels}}


def missing(plan: Sequence[tuple[str, Setting]], done: Mapping[str, Any]) -> list[Any]:
    """(key, setting) of the candidates without a record, those with the same data together.

    Example:
      >>> plan = [("a", {"data": {"n": 2}}), ("b", {"data": {"n": 1}}), ("a", {"data": {"n": 2}})]
      >>> missing(plan, {})
      [('b', {'data': {'n': 1}}), ('a', {'data': {'n': 2}})]
    """
    left = {key: setting for key, setting in plan if key not in done}
    return sorted(left.items(), key=lambda item: json.dumps(item[1]["data"], sort_keys=True))
