"""The training run of an NVAE: data, model, optimizer, held-out figures and their pictures."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from etils import epath

from jaxlab import checkpoints, data, launch, optim, plots, train
from jaxlab import mesh as mesh_lib
from jaxlab.errors import InputError
from jaxlab.files import RECORD_FILE, read_json
from jaxlab.metrics import read_evaluations
from jaxlab.models import nvae
from jaxlab.models.bert.folder import WEIGHTS_FILE
from jaxlab.models.nvae.objective import elbo_terms
from jaxlab.tasks.images.exports import load_export

GRID = 64  # samples in a picture
NUM_SHOWN = 30  # held-out images that are shown next to their reconstructions
BEST = "eval/nelbo"  # what the best checkpoint is the lowest in
KEYWORDS = {  # what those of a config may hold
    "data": launch.keywords(data.load, but=("data_dir", "split")),
    "model": launch.keywords(nvae.NVAE, but=("name",)),
    "loss": launch.keywords(nvae.make_loss, but=("model", "total_steps")),
    "optimizer": launch.optimizer_keywords(),
    "step": launch.keywords(train.make_train_step, but=("loss_fn", "tx", "mesh")),
}


class Sets(NamedTuple):
    """The images of a run."""

    train: data.ImageSet
    held_out: data.ImageSet


def find_spec(source: Mapping[str, Any], data_dir: str | None = None) -> data.ImageSpec:
    """What a model must know about images; one is read only where nothing else says it.

    Args:
      source: keyword arguments of `data.load`.
      data_dir: folder of the data sets.

    Raises:
      ValueError: nothing says it, and there are no images.
    """
    try:
        return data.image_spec(**source)
    except InputError:
        for split in data.SPLITS:
            try:
                return data.load(**{**source, "split": split, "limit": 1}, data_dir=data_dir).spec
            except FileNotFoundError:
                continue
        raise


def build(
    config: Mapping[str, Any],
    spec: data.ImageSpec,
    mesh: jax.sharding.Mesh | None,
    images: Any = None,
) -> tuple[nvae.NVAE, train.Blueprint]:
    """The model, and the run that `run` starts.

    Args:
      config: sections and numbers, see `configs/nvae/`.
      spec: what the images are.
      mesh: the devices.
      images: uint8 [n, size, size, channels]: what `arch="res_elu"` is initialised with; zeros
        where only shapes matter.

    Raises:
      ValueError: a number is out of range.
    """
    # First: it names the numbers as the config does.
    steps = config["num_steps"]
    tx = optim.make_optimizer(**config["optimizer"], num_steps=steps, stacked=nvae.stacked)
    model = nvae.for_images(spec, **config["model"])
    loss_fn = nvae.make_loss(model, total_steps=config["num_steps"], **config["loss"])
    train_step = train.make_train_step(loss_fn, tx, mesh=mesh, **config["step"])
    parts, rows = config["step"].get("accumulate", 1), config["batch_size"]
    if rows % parts:
        raise InputError(f"step.accumulate is {parts}, must divide the {rows} of batch_size")
    shape = (spec.image_size, spec.image_size, spec.channels)
    if images is None:
        images = jnp.zeros((min(config["batch_size"], 32), *shape), jnp.uint8)
    return model, train.Blueprint(
        functools.partial(
            train.create_state,
            lambda key: nvae.init_variables(model, key, images),
            tx,
            key=jax.random.key(config["seed"]),
            mesh=mesh,
        ),
        train_step,
        {"image": jax.ShapeDtypeStruct((config["batch_size"], *shape), np.uint8)},
        num_steps=config["num_steps"],
        batch_size=config["batch_size"],
        mesh=mesh,
    )


def blueprint(
    config: Mapping[str, Any], mesh: jax.sharding.Mesh, data_dir: str | None = None
) -> train.Blueprint:
    """The run as planners want it: without labels, which no loss reads, and data if it can be."""
    return build(config, find_spec(config["data"], data_dir), mesh)[1]


def load_sets(config: Mapping[str, Any], data_dir: str | None = None) -> Sets:
    """Reads the training images and the held-out ones of a config."""
    source = {**config["data"], "data_dir": data_dir}
    held = {"split": config["eval_split"], "limit": config["num_eval_images"]}
    return Sets(data.load(**source, split="train"), data.load(**{**source, **held}))


def describe_data(config: Mapping[str, Any], sets: Sets) -> data.Found:
    """What was read, for `launch.report_data`."""
    return data.describe_sets({"train": sets.train, config["eval_split"]: sets.held_out})


def binarize(config: Mapping[str, Any], model: nvae.NVAE) -> str | None:
    """How held-out images become binary; see `data.eval_batches`."""
    if model.likelihood != "bernoulli":
        return None
    return "static" if config["loss"].get("static_binarization") else "fixed"


def make_eval_fn(
    config: Mapping[str, Any],
    model: nvae.NVAE,
    held_out: data.ImageSet,
    mesh: jax.sharding.Mesh,
    workdir: epath.Path,
) -> Callable[[train.TrainState], dict[str, float]]:
    """Builds state -> figures: NELBO with averaged and raw parameters, and pictures in workdir.

    state -> figures raises `train.NonFiniteError` where NELBO or pictures are not finite.
    """
    mode = binarize(config, model)
    batches = data.eval_batches(
        held_out, config["eval_batch_size"], binarize=mode, **mesh_lib.this_process()
    )
    shown = next(iter(data.eval_batches(held_out, NUM_SHOWN, binarize=mode)))["image"]
    eval_step = train.make_eval_step(nvae.make_metrics(model), mesh=mesh)
    key = jax.random.key(config["seed"])

    @functools.partial(jax.jit, out_shardings=mesh_lib.replicated(mesh))
    def draw(params, model_state):
        variables = {"params": params, "batch_stats": model_state["batch_stats"]}
        samples: Any = model.apply(variables, GRID, key=key, method="sample")
        x = nvae.prepare_images(model, jnp.asarray(shown), key)
        _, _, output, _ = elbo_terms(model, params, model_state, x, key=None, train=False)
        mean = model.observation.mean
        return mean(samples.parameters), model.observation.inner(x), mean(output.parameters)

    def eval_fn(state):
        means = train.evaluate_state(eval_step, state, batches, key=key, mesh=mesh, raw=["nelbo"])
        at = f"at step {int(state.step)}"
        if not np.isfinite(means["nelbo"]):
            raise train.NonFiniteError(f"eval/nelbo is {means['nelbo']:.5g} {at}")
        figures = {f"eval/{name}": value for name, value in means.items()}
        figures["eval/bits_per_dim"] = means["nelbo"] / (held_out.spec.dims * np.log(2))
        pictures = draw(state.ema_params, state.model_state)
        samples, originals, decoded = (np.asarray(x) for x in pictures)
        if not (np.isfinite(samples).all() and np.isfinite(decoded).all()):
            raise train.NonFiniteError(f"pixels of samples or reconstructions are not finite {at}")

        def paint():
            plots.image_grid(samples, workdir / "samples.png")
            plots.reconstruction_grid(originals, decoded, workdir / "reconstructions.png")
            groups = [means[f"kl_{i:02d}"] for i in range(model.num_groups)]
            plots.bars(groups, workdir / "kl_per_group.png", ylabel="KL (nats)")

        mesh_lib.in_process_0(paint)
        return figures

    return eval_fn


def begin(
    config: Mapping[str, Any], sets: Sets, mesh: jax.sharding.Mesh
) -> tuple[nvae.NVAE, train.Blueprint]:
    """`build` for images that are there, which `arch="res_elu"` looks at."""
    first = data.eval_batches(sets.train, min(config["batch_size"], 32))
    return build(config, sets.train.spec, mesh, next(iter(first))["image"])


def make_pipeline(config: Mapping[str, Any], sets: Sets) -> Any:
    """This process's rows of every training batch."""
    return data.train_pipeline(
        sets.train,
        config["batch_size"],
        seed=config["seed"],
        flip=config["flip"],
        shift=config["shift"],
        **mesh_lib.this_process(),
    )


def run(
    config: Mapping[str, Any],
    sets: Sets,
    workdir: epath.PathLike,
    mesh: jax.sharding.Mesh,
    *,
    start: Callable[[train.TrainState], train.TrainState] | None = None,
    **options: Any,
) -> train.TrainState:
    """Trains what a config describes; the same call goes on where a run was stopped.

    Args:
      config: sections and numbers, see `configs/nvae/`.
      sets: from `load_sets`.
      workdir: folder of the run; it gets pictures too.
      mesh: the devices.
      start: gives the fresh state other weights, as `launch.start` does.
      **options: tensorboard, allow_change and profile_dir of `train.run`.

    Returns:
      The state after the last step.

    Raises:
      ValueError: a number is out of range; see also `train.run`.
    """
    workdir = epath.Path(workdir)
    model, described = begin(config, sets, mesh)
    state = described.create_state()
    state = state if start is None else start(state)
    logging.info(
        "%d training images, %s parameters, latent groups %s",
        len(sets.train),
        f"{nvae.parameter_count(state.params):,}",
        tuple(model.groups),
    )
    state = train.run(
        described,
        make_pipeline(config, sets),
        workdir,
        state=state,
        eval_fn=make_eval_fn(config, model, sets.held_out, mesh, workdir),
        best_metric=BEST,
        log_every=config["log_every"],
        eval_every=config["eval_every"],
        checkpoint_every=config["checkpoint_every"],
        **options,
    )
    mesh_lib.in_process_0(lambda: conclude(workdir, step=int(state.step)))
    return state


def conclude(workdir: epath.Path, *, step: int) -> None:
    """Draws the curves and reports the last held-out figure of a run that is at `step`."""
    rows, evaluated = read_evaluations(workdir, BEST, step=step)
    plots.curves(rows, workdir / "curves.png", ["nelbo", "eval/nelbo", "kl", "reconstruction"])
    logging.info(
        "held-out NELBO %.2f nats, %.4f bits/dim; pictures in %s",
        *(evaluated[-1]["eval/nelbo"], evaluated[-1]["eval/bits_per_dim"], workdir),
    )


def open_run(
    config: Mapping[str, Any],
    workdir: epath.PathLike,
    *,
    params: str = "ema",
    step: int | Literal["best"] | None = None,
    data_dir: str | None = None,
) -> train.LoadedRun:
    """The finished run in `workdir`, or a folder of `export`; see `train.load_run`.

    The best step is that of `BEST`.
    """
    place = epath.Path(workdir)
    if (place / WEIGHTS_FILE).exists():
        found, params, model, values, state = _open_export(place, step)
    else:
        model = nvae.for_images(find_spec(config["data"], data_dir), **config["model"])
        found, values, state = checkpoints.load_params(
            place / "checkpoints", step=step, ema=params == "ema", best_metric=BEST
        )

    def load_data(split: str = "test", *, limit: int | None = None) -> data.ImageSet:
        source = dict(config["data"])
        if limit is not None:
            source["limit"] = limit
        return data.load(**source, split=split, data_dir=data_dir)

    variables = {"batch_stats": state["batch_stats"]}
    return train.LoadedRun(config, found, params, model, values, variables, load_data)


def _open_export(place: epath.Path, step: Any) -> tuple[Any, ...]:
    """Step, which weights, model, parameters and other variables of a folder of `export`."""
    about = read_json(place / RECORD_FILE)
    if step not in (None, about["step"]):
        raise InputError(f"--step is {step!r}, {place} holds only step {about['step']}")
    model, variables = load_export(place)
    values = variables.pop("params")
    return about["step"], about["weights"], model, values, variables
