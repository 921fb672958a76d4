"""Evaluates a trained NVAE: NELBO and the importance-weighted bound, with standard errors.

    python scripts/evaluate_nvae.py --workdir=runs/demo --num_samples=100

Binary images are drawn from the grey values once, with a fixed seed, so the figures repeat. Prints
a table and writes WORKDIR/evaluation_SPLIT.json.
"""

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags, logging

from jaxlab import checkpoints, data, launch, train
from jaxlab.files import check_output, to_json, write_atomically
from jaxlab.models import nvae

SPLIT = flags.DEFINE_enum("split", "test", data.SPLITS, "Which images.")
LIMIT = flags.DEFINE_integer("limit", None, "Use only the first N images.", lower_bound=1)
NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", 100, "K of the bound; 0 leaves it out.", lower_bound=0
)
CHUNK = flags.DEFINE_integer(
    "chunk", 10, "Samples an image that are decoded at once.", lower_bound=1
)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 100, "Images at a time.", lower_bound=1)
WEIGHTS = flags.DEFINE_enum("weights", "ema", ["ema", "raw"], "Averaged or last parameters.")
STEP = flags.DEFINE_integer("step", None, "Checkpoint of this step; default the latest.")
BEST = flags.DEFINE_bool("best", False, "Checkpoint with the lowest held-out NELBO.")
REFRESH = flags.DEFINE_integer(
    "refresh", 0, "Measure batch statistics anew on so many training batches first."
)
SEED = flags.DEFINE_integer("seed", 0, "Of posterior noise and fixed binarisation.")


def main(config, workdir):
    del config
    config, options = launch.read_config(workdir), launch.options()
    out = check_output(workdir / f"evaluation_{SPLIT.value}.json")
    source = {**config.data.to_dict(), "data_dir": options.data_dir}
    images = data.load(**source, split=SPLIT.value, limit=LIMIT.value)
    model = nvae.for_images(images.spec, **config.model)
    step, params, state = checkpoints.load_params(
        workdir / "checkpoints",
        step="best" if BEST.value else STEP.value,
        ema=WEIGHTS.value == "ema",
        best_metric="eval/nelbo",
    )
    if NUM_SAMPLES.value:  # before the work: chunk may not divide
        chunk = min(CHUNK.value, NUM_SAMPLES.value)
        bound = nvae.importance_bound(model, num_samples=NUM_SAMPLES.value, chunk=chunk)
    variables = {"params": params, "batch_stats": state["batch_stats"]}
    key = jax.random.key(SEED.value)
    if REFRESH.value:
        training = data.load(**source, split="train", limit=REFRESH.value * config.batch_size)
        batches = (jnp.asarray(b["image"]) for b in data.eval_batches(training, config.batch_size))
        variables["batch_stats"] = nvae.refresh_statistics(model, variables, batches, key)

    mode = "static" if config.loss.get("static_binarization") else "fixed"
    binarize = mode if model.likelihood == "bernoulli" else None
    batches = data.eval_batches(images, BATCH_SIZE.value, binarize=binarize, seed=SEED.value)
    eval_step = train.make_eval_step(nvae.make_metrics(model))
    figures = train.evaluate(eval_step, params, variables, batches, key=key)
    if NUM_SAMPLES.value:
        values = []
        for i, batch in enumerate(batches):
            x = nvae.prepare_images(model, jnp.asarray(batch["image"]), key)
            nats = bound(variables, x, jax.random.fold_in(key, i))
            values.append(nats[batch["mask"] > 0])
            done = sum(map(len, values))
            logging.info("bound of %d/%d images: %.3f", done, len(images), np.mean(values[-1]))
        values = np.concatenate(values)
        figures["bound"] = float(values.mean())
        spread = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        figures["bound_se"] = float(spread)
    x = nvae.prepare_images(model, jnp.asarray(next(iter(batches))["image"]), key)
    channels = nvae.active_channels(model)(variables, x, key)
    figures["active_groups"], figures["active_channels"] = nvae.count_active(np.asarray(channels))

    figures |= {"step": step, "weights": WEIGHTS.value, "split": SPLIT.value, "images": len(images)}
    figures["bound_samples"] = NUM_SAMPLES.value
    write_atomically(out, to_json(figures, indent=2) + "\n")
    logging.info("written to %s", out)
    scale = 1 / (np.log(2) * images.spec.dims)
    print(f"{SPLIT.value}, {len(images)} images, {WEIGHTS.value} weights of step {step}")
    for name in ("nelbo", "reconstruction", "kl", "bound"):
        if name in figures:
            mean, error = figures[name], figures[f"{name}_se"]
            shown = f"{name:15s}{mean:10.3f} " + (f"+- {error:.3f} " if error == error else "")
            print(f"  {shown}nats {mean * scale:9.4f} bits/dim")
    print(
        f"  active          {figures['active_groups']} of {model.num_groups} groups, "
        f"{figures['active_channels']} of {model.num_groups * model.latents} channels"
    )


if __name__ == "__main__":
    launch.run(main, reads_run=True, reads=("data_dir",))
