"""Compares methods over seeds: a grid of settings, one table, pictures.

    python scripts/compare.py --config=configs/studies/long_tail.py --workdir=runs/long_tail

Every method ("arm") has its own few candidates; the one with the best mean validation figure is
reported on test data, next to the baseline. The seeds of a candidate train in one program. WORKDIR
then holds data.json (what was found of the data), results.jsonl (a line a candidate), table.md,
comparison.png, curves.png and a picture of every swept number. The same command goes on with the
candidates that are missing; with other steps, seeds or figures to report (--allow_config_change)
all of them are.

Keys of a study, all checked before anything trains:
  seeds, seeds_in_program   one run each; "vmap" or "map", see jaxlab.studies.program.Program
  base                      sections data, model, objective, optimizer, adaptive; num_steps,
                            batch_size, eval_every
  arms.NAME.set, .grid      what differs from base: values of sections, and tuples of values
  arms.NAME.read, .stop     figures to choose among (or read); "last", or "best": early stopping
  order, baseline           arms of the table in their order; what the others are compared with
  read                      validation figure that chooses, whose test figure is reported
  select                    validation figure that early stopping looks at, only for stop = "best"
  average_last              evaluations averaged at the end
  columns                   further figures of the table, such as test/tail_error
  report                    of jaxlab.tasks.classification.make_program: taus, norms, epsilons, ...
  curves, tradeoff, layer_curves, sweeps    pictures (may be left out)
"""

import numpy as np
from absl import logging

from jaxlab import launch, plots
from jaxlab import mesh as mesh_lib
from jaxlab.files import write_atomically
from jaxlab.studies import cells, comparison
from jaxlab.tasks import classification
from jaxlab.tasks.classification.settings import STUDY_KEYWORDS


def check(config):
    """Raises for what would otherwise be reported after candidates have trained."""
    classification.check_study(config)
    for name, arm in classification.arms_of(config).items():
        for setting, _ in classification.candidates(config, arm):
            for section, values in setting.items():
                launch.check_section(f"arms.{name}.{section}", values, STUDY_KEYWORDS[section])


def main(config, workdir):
    mesh_lib.refuse_several("a comparison trains the seeds of a candidate in one program")
    check(config)
    options = launch.options()
    check_data = lambda sets: launch.check_data(workdir, sets, allow_change=options.allow_change)
    train = classification.Trainer(config, data_dir=options.data_dir, check_data=check_data)
    records = comparison.read_records(workdir)
    described = classification.arms_of(config)
    plan = {
        name: [
            (classification.key_of(config, setting), setting, choice)
            for setting, choice in classification.candidates(config, arm)
        ]
        for name, arm in described.items()
    }
    wanted = [(key, setting) for rows in plan.values() for key, setting, _ in rows]
    missing = classification.missing(wanted, records)
    count = len({key for key, _ in wanted})
    logging.info("%d candidates, %d of them done", count, count - len(missing))
    train.read_all([setting for _, setting in missing])
    if missing:
        launch.report_data(workdir, train.found_by_name())
    for i, (key, setting) in enumerate(missing):
        records[key] = cells.append_record(workdir, key, train(setting))
        logging.info("%d of %d: %.0f s  %s", i + 1, len(missing), records[key]["seconds"], setting)
    arms = {
        name: comparison.choose(
            name,
            [(records[key], choice) for key, _, choice in plan[name]],
            select=config.select,
            reads=arm.get("read", (config.read,)),
            stop=arm.get("stop", "last"),
            average_last=config.average_last,
        )
        for name, arm in described.items()
    }
    for name, arm in arms.items():
        if np.isnan(arm.validation):
            logging.warning("every candidate of %r diverged", name)
    if len(config.seeds) == 1:
        logging.warning("one seed: differences have no interval, so that they say little")
    table = comparison.table(
        arms, baseline=config.baseline, columns=config.columns, seeds=len(config.seeds)
    )
    write_atomically(workdir / "table.md", table)
    draw(config, workdir, arms, {n: [(records[k], c) for k, _, c in r] for n, r in plan.items()})
    logging.info("table and pictures in %s", workdir)
    print(table)  # at the end: whoever reads it may go away


def draw(config, workdir, arms, runs):
    """Writes the pictures."""
    plots.dots(
        {name: 100 * arm.test for name, arm in arms.items()},
        workdir / "comparison.png",
        xlabel=f"test {config.read.replace('_', ' ')} (%), one dot per seed",
    )
    shown = config.get("curves", {}).get("arms") or tuple(arms)
    for figure in config.get("curves", {}).get("figures", ()):
        lines = {n: comparison.curve(arms[n].record, figure) for n in shown}
        lines = {name: line for name, line in lines.items() if line is not None}
        if lines:
            name = figure.replace("/", "_").replace("*", "all")
            plots.bands(lines, workdir / f"curve_{name}.png", xlabel="step", ylabel=figure)
    if config.get("tradeoff", {}).get("arms") and not all(
        np.isnan(arm.validation) for arm in arms.values()
    ):
        x, y = config.tradeoff.x, config.tradeoff.y
        points = {
            name: [[100 * comparison.final(r, f).mean() for f in (x, y)] for r, _ in runs[name]]
            for name in config.tradeoff.arms
        }
        found = [a for pairs in points.values() for a, _ in pairs]
        lowest = found[comparison.lowest(found) or 0]
        lines = {  # runs that broke down would leave the others no room
            name: np.array([pair for pair in pairs if pair[0] < 1.25 * lowest]).reshape(-1, 2).T
            for name, pairs in points.items()
        }
        plots.tradeoff(lines, workdir / "tradeoff.png", xlabel=f"{x} (%)", ylabel=f"{y} (%)")
    for name in config.get("layer_curves") or ():
        lines = comparison.layer_curves(arms[name].record)
        file = f"layers_{name.replace(' ', '_')}.png"
        plots.bands(lines, workdir / file, xlabel="step", ylabel="log norm", title=name)
    for sweep in config.get("sweeps", ()):
        lines = {
            label: comparison.sweep_line(
                runs[line["arm"]], number=sweep["number"], figure=line["figure"]
            )
            for label, line in sweep["lines"].items()
        }
        plots.bands(
            lines,
            workdir / f"sweep_{sweep['name']}.png",
            xlabel=sweep["number"],
            ylabel=sweep["ylabel"],
            logx=sweep.get("logx", False),
        )


if __name__ == "__main__":
    launch.run(
        main,
        default_config="configs/studies/long_tail.py",
        sections={n if n == "report" else f"base.{n}": k for n, k in STUDY_KEYWORDS.items()},
        reads=("data_dir", "distributed"),
    )
