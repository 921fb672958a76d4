"""Draws pictures with a trained NVAE.

    python scripts/sample_nvae.py --workdir=runs/demo

Writes to WORKDIR/samples (or --out):
  temperatures.png   samples from the prior, a row for each temperature
  interpolation.png  paths between pairs of held-out images
  resampled.png      held-out images whose first groups are kept and the others drawn anew
  neighbours.png     each sample beside the training images nearest to it: is it a copy?
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags, logging

from jaxlab import checkpoints, data, launch, plots
from jaxlab.errors import InputError
from jaxlab.files import output_folder
from jaxlab.models import nvae

OUT = flags.DEFINE_string("out", None, "Folder of the pictures.")
PICTURES = flags.DEFINE_list(
    "pictures", ["temperatures", "interpolation", "resampled", "neighbours"], "Which pictures."
)
TEMPERATURES = flags.DEFINE_list(
    "temperatures", ["0.6", "0.7", "0.8", "0.9", "1.0"], "Factors on the prior's sigma."
)
TEMPERATURE = flags.DEFINE_list(
    "temperature", ["1.0"], "Of the other pictures: one number, or one a group, coarsest first."
)
COLUMNS = flags.DEFINE_integer("columns", 10, "Images in a row.", lower_bound=1)
WEIGHTS = flags.DEFINE_enum("weights", "ema", ["ema", "raw"], "Averaged or last parameters.")
STEP = flags.DEFINE_integer("step", None, "Checkpoint of this step; default the latest.")
BEST = flags.DEFINE_bool("best", False, "Checkpoint with the lowest held-out NELBO.")
REESTIMATE = flags.DEFINE_integer(
    "reestimate", 0, "Measure batch statistics on so many batches of samples at each temperature."
)
NEIGHBOURS = flags.DEFINE_integer(
    "neighbours", 5, "Training images beside each sample.", lower_bound=1
)
SEED = flags.DEFINE_integer("seed", 0, "Seed.")


class Painter:
    """A trained model with its images and its way of turning outputs into pixels."""

    def __init__(self, workdir):
        self.config, self.options = launch.read_config(workdir), launch.options()
        self.source = {**self.config.data.to_dict(), "data_dir": self.options.data_dir}
        self.held_out = data.load(
            **self.source, split=self.config.eval_split, limit=2 * COLUMNS.value
        )
        self.model = nvae.for_images(self.held_out.spec, **self.config.model)
        self.step, params, state = checkpoints.load_params(
            workdir / "checkpoints",
            step="best" if BEST.value else STEP.value,
            ema=WEIGHTS.value == "ema",
            best_metric="eval/nelbo",
        )
        self.variables = {"params": params, "batch_stats": state["batch_stats"]}
        self.key = jax.random.key(SEED.value)
        batch = next(iter(data.eval_batches(self.held_out, len(self.held_out))))["image"]
        self.x = nvae.prepare_images(self.model, jnp.asarray(batch), self.key)

    def at(self, temperature):
        """Variables whose batch statistics suit a temperature."""
        if not REESTIMATE.value:
            return self.variables
        stats = nvae.reestimate_sampling_statistics(
            self.model,
            self.variables,
            self.key,
            temperature=temperature,
            num_batches=REESTIMATE.value,
        )
        return {**self.variables, "batch_stats": stats}

    def run(self, *args, variables=None, **kwargs):
        """Mean images of a model call."""
        output: Any = self.model.apply(variables or self.variables, *args, **kwargs)
        return np.asarray(self.model.observation.mean(output.parameters))


def temperatures(painter, path):
    """A row of samples for each temperature, the same noise in every row."""
    rows, labels = [], []
    for text in TEMPERATURES.value:
        t = positive(text)
        rows.append(
            painter.run(
                COLUMNS.value,
                key=painter.key,
                temperature=t,
                method="sample",
                variables=painter.at(t),
            )
        )
        labels.append(f"t = {t:g}")
    plots.image_grid(np.concatenate(rows), path, ncols=COLUMNS.value, row_labels=labels)


def interpolation(painter, path):
    """A row between each pair of neighbouring held-out images."""
    pairs = min(6, len(painter.x) // 2)
    rows = [
        painter.run(
            painter.x[2 * i], painter.x[2 * i + 1], steps=COLUMNS.value, method="interpolate"
        )
        for i in range(pairs)
    ]
    plots.image_grid(np.concatenate(rows), path, ncols=COLUMNS.value)


def resampled(painter, path):
    """Rows that keep ever fewer groups of the posterior; the last is all prior."""
    x, groups = painter.x[: COLUMNS.value], painter.model.num_groups
    kept = sorted({round(k) for k in np.linspace(groups, 0, min(groups + 1, 6))}, reverse=True)
    rows = [np.asarray(painter.model.observation.inner(x))]
    labels = ["image"]
    for k in kept:
        heat = temperature_list(groups)
        rows.append(
            painter.run(x, num_groups=k, key=painter.key, temperature=heat, method="reconstruct")
        )
        labels.append(f"{k} of {groups} kept")
    plots.image_grid(np.concatenate(rows), path, ncols=len(x), row_labels=labels)


def neighbours(painter, path):
    """Samples and the training images at the smallest Euclidean distance."""
    heat = temperature_list(painter.model.num_groups)
    samples = painter.run(COLUMNS.value, key=painter.key, temperature=heat, method="sample")
    train = data.load(**painter.source, split="train").images
    flat = samples.reshape(len(samples), -1)
    squares = np.concatenate(
        [  # by blocks: a large set in float would not fit
            np.sum(block**2, axis=1) - 2 * flat @ block.T
            for start in range(0, len(train), 4096)
            for block in [train[start : start + 4096].reshape(-1, flat.shape[1]) / np.float32(255)]
        ],
        axis=1,
    )
    nearest = np.argsort(squares, axis=1)[:, : NEIGHBOURS.value]
    plots.neighbours_grid(samples, train[nearest], path)


DRAW = {f.__name__: f for f in (temperatures, interpolation, resampled, neighbours)}


def positive(text):
    """A finite number of at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InputError(f"temperature is {text!r}, it must be a number of at least 0")
    return value


def temperature_list(groups):
    """--temperature as one number or one a group."""
    values = [positive(t) for t in TEMPERATURE.value]
    if len(values) not in (1, groups):
        raise InputError(f"--temperature has {len(values)} values, the model {groups} groups")
    return values[0] if len(values) == 1 else values


def main(config, workdir):
    del config
    unknown = set(PICTURES.value) - set(DRAW)
    if unknown:
        raise InputError(f"--pictures has {sorted(unknown)}, known are {sorted(DRAW)}")
    for text in (*TEMPERATURES.value, *TEMPERATURE.value):
        positive(text)
    out = output_folder(OUT.value or workdir / "samples")
    painter = Painter(workdir)
    for name in PICTURES.value:
        DRAW[name](painter, out / f"{name}.png")
        logging.info("step %d: %s", painter.step, out / f"{name}.png")


if __name__ == "__main__":
    launch.run(main, reads_run=True, reads=("data_dir",))
