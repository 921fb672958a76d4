"""Trains an NVAE on images, and draws what it has learned.

    python scripts/train_nvae.py --config=configs/nvae/mnist5k.py --workdir=runs/demo

The same command goes on where a run was stopped. WORKDIR then holds config.json, metrics.jsonl,
checkpoints/, and samples.png, reconstructions.png, curves.png and kl_per_group.png.
"""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags, logging

from jaxlab import data, launch, optim, plots, train
from jaxlab import mesh as mesh_lib
from jaxlab.checks import check_count, check_scalar
from jaxlab.errors import InputError
from jaxlab.metrics import read_evaluations
from jaxlab.models import nvae
from jaxlab.models.nvae.objective import elbo_terms

GRID = 64  # samples in a picture
NUM_SHOWN = 30  # held-out images beside their reconstructions
SECTIONS = {  # what those of the config may hold
    "data": launch.keywords(data.load, but=("data_dir", "split")),
    "model": launch.keywords(nvae.NVAE, but=("name",)),
    "loss": launch.keywords(nvae.make_loss, but=("model", "total_steps")),
    "step": launch.keywords(train.make_train_step, but=("loss_fn", "tx", "mesh")),
}
SUMMARY = flags.DEFINE_bool("summary", False, "Print the model's parts and sizes, and stop.")


def make_optimizer(config) -> optax.GradientTransformation:
    """Adamax as NVAE uses it, with warm-up and cosine decay; steps with huge gradients skipped."""
    check_count("num_steps", config.num_steps)
    check_count("warmup_steps", config.warmup_steps, at_least=0)
    if config.warmup_steps >= config.num_steps:
        raise InputError(
            f"warmup_steps is {config.warmup_steps}, must be below num_steps {config.num_steps}"
        )
    check_scalar("learning_rate", config.learning_rate, above=0.0)
    check_scalar("final_learning_rate", config.final_learning_rate, at_least=0.0)
    check_scalar("weight_decay", config.weight_decay, at_least=0.0)
    check_scalar("skip_factor", config.skip_factor, above=1.0)
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.learning_rate,
        warmup_steps=config.warmup_steps,
        decay_steps=config.num_steps,
        end_value=config.final_learning_rate,
    )
    adamax = optax.chain(
        optax.add_decayed_weights(config.weight_decay),
        optax.scale_by_adamax(eps=1e-3),
        optax.scale_by_learning_rate(schedule),
    )
    return optim.skip_large_updates(adamax, factor=config.skip_factor)


def find_spec(config, data_dir):
    """What a model must know about the images; they are read only where nothing else says it."""
    try:
        return data.image_spec(**config.data)
    except InputError as error:
        try:
            return data.load(**config.data, data_dir=data_dir).spec
        except FileNotFoundError:
            raise error from None


def build(config, spec, mesh, images=None):
    """The model, and the run that `main` starts.

    Args:
      spec: a `data.ImageSpec`.
      images: uint8 [n, size, size, channels]: what `arch="res_elu"` is initialised with; zeros
        where only shapes matter.
    """
    tx = make_optimizer(config)  # first: it names the numbers as the config does
    model = nvae.for_images(spec, **config.model)
    loss_fn = nvae.make_loss(model, total_steps=config.num_steps, **config.loss)
    shape = (spec.image_size, spec.image_size, spec.channels)
    if images is None:
        images = jnp.zeros((min(config.batch_size, 32), *shape), jnp.uint8)
    return model, train.Blueprint(
        functools.partial(
            train.create_state,
            lambda key: nvae.init_variables(model, key, images),
            tx,
            key=jax.random.key(config.seed),
            mesh=mesh,
        ),
        train.make_train_step(loss_fn, tx, mesh=mesh, **config.step),
        {"image": jax.ShapeDtypeStruct((config.batch_size, *shape), np.uint8)},
        num_steps=config.num_steps,
        batch_size=config.batch_size,
        mesh=mesh,
    )


def blueprint(config, mesh, data_dir=None):
    """The run as planners want it: without labels, which no loss reads, and data if it can be."""
    return build(config, find_spec(config, data_dir), mesh)[1]


def make_eval_fn(config, model, held_out, mesh, workdir):
    """Builds state -> figures: NELBO with averaged and raw parameters, and pictures."""
    mode = "static" if config.loss.get("static_binarization") else "fixed"
    binarize = mode if model.likelihood == "bernoulli" else None
    batches = data.eval_batches(
        held_out, config.eval_batch_size, binarize=binarize, **mesh_lib.this_process()
    )
    shown = next(iter(data.eval_batches(held_out, NUM_SHOWN, binarize=binarize)))["image"]
    eval_step = train.make_eval_step(nvae.make_metrics(model), mesh=mesh)
    key = jax.random.key(config.seed)

    @functools.partial(jax.jit, out_shardings=mesh_lib.replicated(mesh))
    def draw(params, model_state):
        variables = {"params": params, "batch_stats": model_state["batch_stats"]}
        samples = model.apply(variables, GRID, key=key, method="sample")
        x = nvae.prepare_images(model, jnp.asarray(shown), key)
        _, _, output, _ = elbo_terms(model, params, model_state, x, key=None, train=False)
        mean = model.observation.mean
        return mean(samples.parameters), model.observation.inner(x), mean(output.parameters)

    def eval_fn(state):
        means = train.evaluate_state(eval_step, state, batches, key=key, mesh=mesh, raw=["nelbo"])
        figures = {f"eval/{name}": value for name, value in means.items()}
        figures["eval/bits_per_dim"] = means["nelbo"] / (held_out.spec.dims * np.log(2))
        pictures = draw(state.ema_params, state.model_state)
        samples, originals, decoded = (np.asarray(x) for x in pictures)

        def paint():
            plots.image_grid(samples, workdir / "samples.png")
            plots.reconstruction_grid(originals, decoded, workdir / "reconstructions.png")
            groups = [means[f"kl_{i:02d}"] for i in range(model.num_groups)]
            plots.bars(groups, workdir / "kl_per_group.png", ylabel="KL (nats)")

        mesh_lib.in_process_0(paint)
        return figures

    return eval_fn


def main(config, workdir):
    options = launch.options()
    mesh = mesh_lib.make_mesh(fsdp=config.fsdp)
    if SUMMARY.value:
        print(nvae.summary(build(config, find_spec(config, options.data_dir), mesh)[0]))
        sys.exit()  # no run: nothing is recorded
    source = {**config.data, "data_dir": options.data_dir}
    train_set = data.load(**source, split="train")
    held_out = data.load(**{**source, "split": config.eval_split, "limit": config.num_eval_images})
    held = {"held-out images": {"image": held_out.images}}
    launch.check_data(workdir, held, allow_change=options.allow_change)
    first = data.eval_batches(train_set, min(config.batch_size, 32))  # "res_elu" looks at images
    model, run = build(config, train_set.spec, mesh, next(iter(first))["image"])
    state = run.create_state()
    logging.info(
        "%d training images, %s parameters, latent groups %s",
        len(train_set),
        f"{nvae.parameter_count(state.params):,}",
        tuple(model.groups),
    )
    pipeline = data.train_pipeline(
        train_set,
        config.batch_size,
        seed=config.seed,
        flip=config.flip,
        **mesh_lib.this_process(),
    )
    state, checkpointer, writer = train.resume(
        workdir,
        state,
        pipeline,
        best_metric="eval/nelbo",
        tensorboard=options.tensorboard,
        allow_change=options.allow_change,
    )
    state = train.fit(
        state,
        run.step,
        pipeline,
        num_steps=run.num_steps,
        checkpointer=checkpointer,
        writer=writer,
        log_every=config.log_every,
        eval_every=config.eval_every,
        eval_fn=make_eval_fn(config, model, held_out, mesh, workdir),
        checkpoint_every=config.checkpoint_every,
        mesh=mesh,
        profile_dir=options.profile_dir,
    )
    mesh_lib.in_process_0(lambda: conclude(workdir, state))


def conclude(workdir, state):
    """Draws the curves and tells the last held-out figure."""
    rows, evaluated = read_evaluations(workdir, "eval/nelbo", step=int(state.step))
    plots.curves(rows, workdir / "curves.png", ["nelbo", "eval/nelbo", "kl", "reconstruction"])
    logging.info(
        "held-out NELBO %.2f nats, %.4f bits/dim; pictures in %s",
        *(evaluated[-1]["eval/nelbo"], evaluated[-1]["eval/bits_per_dim"], workdir),
    )


if __name__ == "__main__":
    launch.run(main, default_config="configs/nvae/mnist5k.py", sections=SECTIONS)
