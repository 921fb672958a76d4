"""Trains an MLP or a small ResNet, on unequal classes or wrong labels if you like.

    python scripts/train_classifier.py --config=configs/classifier/fashion_long_tail.py \\
        --workdir=runs/tail

The same command goes on where a run was stopped. WORKDIR then holds config.json, metrics.jsonl,
checkpoints/, curves.png, class_errors.png and report.json, the figures on test data of the step
with the best validation figure. `scripts/compare.py` compares settings over seeds.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxlab import data, launch, losses, plots, train
from jaxlab import mesh as mesh_lib
from jaxlab.errors import InputError
from jaxlab.files import to_json, write_atomically
from jaxlab.metrics import read_evaluations
from jaxlab.models import classifiers
from jaxlab.studies.comparison import lowest
from jaxlab.tasks import classification

SECTIONS = {  # what those of the config may hold
    "data": launch.keywords(data.load_classification, but=("data_dir", "seed")),
    "model": launch.keywords(
        classifiers.make_classifier,
        classifiers.MLP,
        classifiers.ResNet,
        but=("num_classes", "name", "kwargs"),
    ),
    "objective": launch.keywords(
        classification.make_loss, rows=losses.OBJECTIVES.values(), but=("model", "class_counts")
    ),
    "optimizer": launch.optimizer_keywords(classification.PENALTIES),
    "adaptive": {"folds": int, "num_steps": int, "gamma": float},
    "step": launch.keywords(train.make_train_step, but=("loss_fn", "tx", "mesh")),
}


def build(config, sets, arrays, mesh):
    """The model, and the run that `main` starts on `arrays`, of which only shapes matter here."""
    model = classifiers.make_classifier(num_classes=sets.num_classes, **config.model)
    counts = jnp.asarray(sets.train_counts, jnp.float32)
    loss_fn, tx = classification.make_training(
        model,
        class_counts=counts,
        num_steps=config.num_steps,
        objective=config.objective,
        optimizer=config.optimizer,
    )
    first = classification.prepare(jnp.asarray(arrays["x"][:2]))
    rows = lambda a: jax.ShapeDtypeStruct((config.batch_size, *a.shape[1:]), a.dtype)
    return model, train.Blueprint(
        functools.partial(
            train.create_state,
            lambda key: classifiers.init_variables(model, key, first),
            tx,
            key=jax.random.key(config.seed),
            mesh=mesh,
            ema=False,
        ),
        train.make_train_step(loss_fn, tx, mesh=mesh, **config.step),
        {name: rows(values) for name, values in arrays.items()},
        num_steps=config.num_steps,
        batch_size=config.batch_size,
        mesh=mesh,
    )


def blueprint(config, mesh, data_dir=None):
    """The run as planners want it; the data are read, for their shapes and the classes' sizes."""
    sets = data.load_classification(**config.data, data_dir=data_dir, seed=config.seed)
    arrays = sets.train
    if config.objective.get("flooding") == "adaptive":
        arrays = {**arrays, "level": np.zeros(len(arrays["label"]), np.float32)}
    return build(config, sets, arrays, mesh)[1]


def make_eval_fn(config, model, sets, mesh):
    """Builds state -> figures on validation and test data."""
    counts = jnp.asarray(sets.train_counts, jnp.float32)

    @jax.jit
    def report(params, model_state, held):
        logits = classification.predict(model, params, model_state, held["x"])
        return classification.report(
            logits, held["label"], class_counts=counts, taus=config.report.taus
        )

    held = mesh_lib.place(
        {"validation": sets.validation, "test": sets.test}, mesh_lib.replicated(mesh)
    )

    def eval_fn(state):
        return {
            f"{split}/{name}": float(value)
            for split, arrays in held.items()
            for name, value in report(state.params, state.model_state, arrays).items()
        }

    return eval_fn


def flood_levels(config, contexts):
    """Levels of every training example, for `objective.flooding = "adaptive"`."""
    arguments = config.adaptive.to_dict()
    gamma = arguments.pop("gamma")
    plain = {name: config[name].to_dict() for name in ("model", "optimizer")}
    plain["objective"] = {"name": config.objective.get("name", "cross_entropy")}
    logging.info("training models that score the examples they have not seen")
    scored = classification.held_out_losses(
        plain, contexts, seeds=[config.seed], batch_size=config.batch_size, **arguments
    )
    return np.asarray(losses.adaflood_levels(scored[0], gamma=gamma))


def main(config, workdir):
    known = classification.figure_names(config.report.taus)
    if config.select not in known:
        raise InputError(f"select is {config.select!r}, must be one of {', '.join(known)}")
    options = launch.options()
    mesh = mesh_lib.make_mesh()
    sets = data.load_classification(**config.data, data_dir=options.data_dir, seed=config.seed)
    held = {"validation": sets.validation, "test": sets.test}
    launch.check_data(workdir, held, allow_change=options.allow_change)
    arrays = sets.train
    if config.objective.get("flooding") == "adaptive":
        contexts = classification.make_contexts([config.seed], options.data_dir, **config.data)
        arrays = {**arrays, "level": flood_levels(config, contexts)}
    model, run = build(config, sets, arrays, mesh)
    state = run.create_state()
    logging.info(
        "%d training examples, classes of %s, %s parameters",
        len(arrays["label"]),
        sets.train_counts.tolist(),
        f"{sum(p.size for p in jax.tree.leaves(state.params)):,}",
    )
    pipeline = data.array_pipeline(
        arrays,
        config.batch_size,
        seed=config.seed,
        **mesh_lib.this_process(),
    )
    state, checkpointer, writer = train.resume(
        workdir,
        state,
        pipeline,
        best_metric=f"validation/{config.select}",
        tensorboard=options.tensorboard,
        allow_change=options.allow_change,
    )
    eval_fn = make_eval_fn(config, model, sets, mesh)
    state = train.fit(
        state,
        run.step,
        pipeline,
        num_steps=run.num_steps,
        checkpointer=checkpointer,
        writer=writer,
        log_every=config.log_every,
        eval_every=config.eval_every,
        eval_fn=eval_fn,
        checkpoint_every=config.checkpoint_every,
        mesh=mesh,
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
    report = {"last": evaluated[-1], "best_by_validation": best}
    write_atomically(workdir / "report.json", to_json(report, indent=1) + "\n")
    names = ["objective", "*/cross_entropy", "*/error", "*/balanced_error"]
    names += ["flooded"] if "flooded" in rows[0] else []
    plots.curves(rows, workdir / "curves.png", names)
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
        labels=[f"{k}\n({n})" for k, n in enumerate(sets.train_counts)],
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
    launch.run(main, default_config="configs/classifier/fashion_long_tail.py", sections=SECTIONS)
