"""Trains an MLP or a small ResNet, on unequal classes or wrong labels if you like.

    python scripts/train_classifier.py --config=configs/classifier/fashion_long_tail.py \\
        --workdir=runs/tail

The same command goes on where a run was stopped. WORKDIR then holds config.json, data.json (what
was found of the data), metrics.jsonl, checkpoints/, curves.png, class_errors.png and report.json,
the figures on test data of the step with the best validation figure. `scripts/compare.py` compares
settings over seeds. Tables and pictures of your own: docs/data.md.
`--init_from=RUN` starts from another run's weights, `--init_skip=REGEX` leaves some out.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxlab import data, launch, losses, plots, train
from jaxlab import mesh as mesh_lib
from jaxlab.errors import InputError
from jaxlab.files import to_json, write_atomically
from jaxlab.metrics import read_evaluations
from jaxlab.studies.comparison import lowest
from jaxlab.tasks import classification


def main(config, workdir):
    known = classification.figure_names(config.report.taus)
    if config.select not in known:
        raise InputError(f"select is {config.select!r}, must be one of {', '.join(known)}")
    options = launch.options()
    mesh = mesh_lib.make_mesh()
    sets = data.load_classification(**config.data, data_dir=options.data_dir, seed=config.seed)
    held = {"validation": sets.validation, "test": sets.test}
    launch.check_data(workdir, held, allow_change=options.allow_change)
    levels = None
    if config.objective.get("flooding") == "adaptive":
        logging.info("training models that score the examples they have not seen")
        levels = classification.flood_levels(config, options.data_dir)
    model, run, arrays = classification.describe(config, sets, mesh, levels=levels)
    if sets.found is not None:
        launch.report_data(workdir, sets.found)
    state = launch.start(run.create_state(), workdir)
    logging.info(
        "%d training examples, %s parameters",
        len(arrays["label"]),
        f"{sum(p.size for p in jax.tree.leaves(state.params)):,}",
    )
    pipeline = data.array_pipeline(
        arrays,
        config.batch_size,
        seed=config.seed,
        **mesh_lib.this_process(),
    )
    state = train.run(
        run,
        pipeline,
        workdir,
        state=state,
        eval_fn=classification.make_eval_fn(model, sets, taus=config.report.taus, mesh=mesh),
        best_metric=f"validation/{config.select}",
        log_every=config.log_every,
        eval_every=config.eval_every,
        checkpoint_every=config.checkpoint_every,
        tensorboard=options.tensorboard,
        allow_change=options.allow_change,
        profile_dir=options.profile_dir,
    )
    state = jax.device_get(
        dataclasses.replace(state, key=None)
    )  # the pictures are drawn in process 0 alone
    mesh_lib.in_process_0(lambda: conclude(config, workdir, model, state, sets))


def conclude(config, workdir, model, state, sets):
    """Writes report.json and the pictures."""
    rows, evaluated = read_evaluations(workdir, f"validation/{config.select}", step=int(state.step))
    which = lowest([row[f"validation/{config.select}"] for row in evaluated])
    if which is None:
        logging.warning("validation %s is finite at no step: the last one counts", config.select)
    best = evaluated[-1 if which is None else which]
    names = sets.class_names or tuple(map(str, range(sets.num_classes)))
    report = {"last": evaluated[-1], "best_by_validation": best, "class_names": names}
    write_atomically(workdir / "report.json", to_json(report, indent=1) + "\n")
    figures = ["objective", "*/cross_entropy", "*/error", "*/balanced_error"]
    figures += ["flooded"] if "flooded" in rows[0] else []
    plots.curves(rows, workdir / "curves.png", figures)
    logits = classification.predict(
        model, state.params, state.model_state, jnp.asarray(sets.test["x"])
    )
    wrong = losses.balanced_error(
        logits.argmax(-1), jnp.asarray(sets.test["label"]), sets.num_classes
    )
    plots.bars(
        np.where(wrong.present, wrong.per_class, np.nan),
        workdir / "class_errors.png",
        xlabel="class",
        ylabel="test error",
        labels=[f"{k}\n({n})" for k, n in zip(names, sets.train_counts, strict=True)],
        title="error of each class (training examples)",
    )
    logging.info(
        "test %s %.2f %% at the end, %.2f %% at step %d, the best by validation",
        config.select,
        100 * evaluated[-1][f"test/{config.select}"],
        100 * best[f"test/{config.select}"],
        best["step"],
    )


if __name__ == "__main__":
    launch.run(
        main,
        default_config="configs/classifier/fashion_long_tail.py",
        sections=classification.KEYWORDS,
        task="classification",
        reads=(*launch.READS, "init"),
    )
