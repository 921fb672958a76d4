"""A study of NVAE: settings that differ from a base, each over seeds; one cell per training run."""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import optax
from absl import logging
from etils import epath

from jaxlab import launch, train
from jaxlab.checks import check_choice, check_count, check_scalars, check_seeds
from jaxlab.data.pipelines.endless import describe
from jaxlab.errors import DivergedError, InputError, UserError
from jaxlab.files import RECORD_FILE, to_json, write_atomically
from jaxlab.launch.config import flat
from jaxlab.models import nvae
from jaxlab.studies import cells, stages
from jaxlab.tasks.images import training
from jaxlab.tasks.images.evaluation import evaluate
from jaxlab.tasks.images.pictures import temperature_label
from jaxlab.tasks.images.quality import Judge, judge_samples

# Keys of a run on which its result does not depend.
_APART = ("log_every", "eval_every", "checkpoint_every", "fast_compile")
_SHARED = {"seed": "seeds", "fsdp": "base.fsdp"}  # of all arms -> what sets it
_WORDS = ("weights", "split", "key")  # of a record; all else is numbers


def check_study(config: Mapping[str, Any], data_dir: str | None = None) -> dict[str, Any]:
    """The config of each arm's runs, in the order of the table; all arms are built.

    Args:
      config: the keys of `configs/studies/nvae.py`.
      data_dir: the data folder.

    Raises:
      ValueError: an arm changes a key that the base lacks, or a value is out of range.
    """
    check_seeds("seeds", config["seeds"])
    check_count("bound_samples", config["bound_samples"], at_least=0)
    check_count("chunk", config["chunk"])
    total, chunk = config["bound_samples"], config["chunk"]
    if total > chunk and total % chunk:
        raise InputError(f"chunk is {chunk}, must divide the {total} of bound_samples")
    check_count("judge.num", config["judge"]["num"], at_least=2)
    check_count("judge.reestimate", config["judge"]["reestimate"])
    check_scalars("judge.temperatures", config["judge"]["temperatures"], at_least=0.0)
    for name in (*config["order"], config["baseline"]):
        check_choice("order", name, config["arms"])
    check_choice("baseline", config["baseline"], config["order"])
    runs: dict[str, Any] = {}
    for name in config["order"]:
        try:
            changes = config["arms"][name]
            if not isinstance(changes, Mapping):
                raise InputError(f"is {changes!r}, must be a dict of what differs from the base")
            for key in _SHARED.keys() & changes.keys():
                raise InputError(f"{key} is the same in all arms, set {_SHARED[key]} instead")
            run = launch.recipe(config["base"], flat(dict(changes))).to_dict()
            for section, known in training.KEYWORDS.items():
                if not isinstance(run[section], Mapping):
                    raise InputError(f"{section} is {run[section]!r}, must be a dict of its keys")
                launch.check_section(section, run[section], known)
            training.build(run, training.find_spec(run["data"], data_dir), None)
        except UserError as error:
            raise InputError(f"arm {name!r}: {error}") from error
        runs[name] = run
    folders = {_folder(name): name for name in runs}
    if len(folders) < len(runs):
        raise InputError(f"order is {tuple(runs)}, arms must differ in letters and digits")
    return runs


def _folder(arm: str) -> str:
    return re.sub(r"\W+", "_", arm)


def run_study(
    config: Mapping[str, Any],
    workdir: epath.PathLike,
    mesh: jax.sharding.Mesh,
    *,
    data_dir: str | None = None,
    judge: Judge | None = None,
    judge_sum: int | None = None,
    allow_change: bool = False,
    **options: Any,
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Trains the runs that are missing, in the middle of one too; yields (arm, seed, record).

    A record holds what `evaluate` finds at the end with averaged parameters, and `skipped_steps`;
    with a judge `frechet_T` and `confident_T` of samples at each temperature T, and the same with
    `_reestimated` statistics; of a run that diverged only `diverged`, the message. The folder of a
    cell is a run that `train.load_run` opens.

    Args:
      config: the keys of `configs/studies/nvae.py`.
      workdir: folder of the study; a run is in ARM/seed_SEED.
      mesh: the devices.
      data_dir: the data folder.
      judge: see `judge_samples`; `judge` of the config says how many samples, and at which
        temperatures; both belong to the record's key.
      judge_sum: `cells.sum_of` the judge's parameters, for that key: another judge's figures are
        not mixed in.
      allow_change: take what other settings have left, with a warning.
      **options: of `train.run`.

    Raises:
      ValueError: see `check_study`; or a folder holds a run of other settings.
    """
    runs, sets_of = check_study(config, data_dir), {}
    for arm, run in runs.items():
        source = json.dumps([run["data"], run["eval_split"], run["num_eval_images"]])
        if source not in sets_of:
            sets = training.load_sets(run, data_dir)
            parts = {"train": sets.train.images, "held out": sets.held_out.images}
            sets_of = {source: (sets, {k: describe({"image": v}) for k, v in parts.items()})}
        sets, described = sets_of[source]
        program = functools.cache(lambda run=run, sets=sets: training.begin(run, sets, mesh))
        for seed in config["seeds"]:
            own = {**run, "seed": seed}
            depends: dict[str, Any] = {k: v for k, v in own.items() if k not in _APART}
            depends |= {"sets": described, **{n: config[n] for n in ("bound_samples", "chunk")}}
            if judge is not None:
                depends["judge"] = {**config["judge"], "sum": judge_sum}
            place = epath.Path(workdir) / _folder(arm) / f"seed_{seed}"
            cell = cells.Cell(place, run["num_steps"], depends)
            logging.info("%s, seed %d", arm, seed)
            settings = {"data_dir": data_dir, "allow_change": allow_change, **options}
            yield arm, seed, _run_cell(cell, own, config, sets, program, mesh, judge, settings)


def _judged(trained: train.LoadedRun, judge: Judge, options: Mapping[str, Any]) -> dict[str, float]:
    """Figures of samples, with batch statistics of training and measured anew."""
    figures = {}
    given = {"num": options["num"], "temperatures": options["temperatures"]}
    for end, count in (("", 0), ("_reestimated", options["reestimate"])):
        rows = judge_samples(trained, judge, reestimate=count, **given)
        for heat in options["temperatures"]:
            for name in ("frechet", "confident"):
                figures[f"{name}_{heat:g}{end}"] = rows[temperature_label(heat)][name]
    return figures


def _read_record(folder: epath.Path, groups: int) -> dict[str, Any]:
    """The record of a finished cell, with the figures that a report needs."""
    record, needed = cells.read_result(folder), ["nelbo", *(f"kl_{i:02d}" for i in range(groups))]
    if "diverged" in record:
        return record
    for name in needed:
        if record.get(name) is None:
            raise InputError(f"{folder / 'result.json'} lacks {name}")
    for name, value in record.items():
        if name not in _WORDS and not isinstance(value, int | float | None):
            raise InputError(f"{folder / 'result.json'}: {name} is {value!r}, must be a number")
    return record


def _run_cell(cell, run, config, sets, program, mesh, judge, settings):
    """Trains and evaluates a cell unless it is done; returns its record."""
    data_dir = settings.pop("data_dir")

    def begin():
        _, described = program()  # the compiled step is the same for all seeds
        record = {"config": run, "task": "images", "data_dir": data_dir}
        write_atomically(cell.folder / RECORD_FILE, to_json(record, indent=2) + "\n")
        launch.report_data(cell.folder, training.describe_data(run, sets))
        state = described.create_state(key=jax.random.key(run["seed"]))
        return described, state, training.make_pipeline(run, sets)

    def conclude(state):
        params, variables = jax.device_get((state.ema_params, state.model_state))
        trained = train.LoadedRun(
            *(run, int(state.step), "ema", program()[0], params, variables),
            lambda split, limit=None: sets.train if split == "train" else sets.held_out,
        )
        figures = evaluate(
            trained,
            run["eval_split"],
            num_samples=config["bound_samples"],
            chunk=config["chunk"],
            batch_size=run["eval_batch_size"],
        )
        figures.pop("seed")  # of the evaluation: a record's seed is that of training
        skipped = optax.tree.get(state.opt_state, "skipped_total")
        figures["skipped_steps"] = 0 if skipped is None else int(skipped)
        figures["parameters"] = nvae.parameter_count(params)
        if judge is not None:
            figures |= _judged(trained, judge, config["judge"])
        training.conclude(cell.folder, step=int(state.step))
        return figures, lambda: figures

    make_eval_fn = functools.cache(
        lambda: training.make_eval_fn(run, program()[0], sets.held_out, mesh, cell.folder)
    )
    cell.folder.mkdir(parents=True, exist_ok=True)
    try:
        return stages.run(
            cell,
            begin,
            conclude=conclude,
            load=lambda: _read_record(cell.folder, sum(run["model"].get("groups", ()))),
            eval_fn=lambda state: make_eval_fn()(state),
            best_metric=training.BEST,
            **{name: run[name] for name in ("log_every", "eval_every", "checkpoint_every")},
            **settings,
        )
    except DivergedError as error:  # a result too: an arm may be what keeps a run from it
        logging.warning("%s diverged: %s", cell.folder, error)
        cells.finish(cell, {"diverged": str(error)})
        return cells.read_result(cell.folder)
