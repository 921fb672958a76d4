"""Draws pictures with a trained NVAE.

    python scripts/sample_nvae.py --workdir=runs/demo

Writes to WORKDIR/samples (or --out):
  samples.png        a page of samples from the prior
  temperatures.png   samples from the prior, a row for each temperature
  interpolation.png  paths between pairs of held-out images
  resampled.png      held-out images whose first groups are kept and the others drawn anew
  neighbours.png     each sample next to the training images nearest to it: is it a copy?

    python scripts/sample_nvae.py --workdir=runs/demo --num=50000 --samples_out=DIR|FILE.npz

writes that many samples instead, for tools that compare sets of images, such as those of FID: PNG
files, to which the same command adds what is missing, or uint8 [N, height, width, 3] as "arr_0".
"""

from absl import flags, logging

from jaxlab import launch, plots
from jaxlab.errors import InputError
from jaxlab.files import output_folder
from jaxlab.tasks import images

DRAW = ("samples", "temperatures", "interpolation", "resampled", "neighbours")
OUT = flags.DEFINE_string("out", None, "Folder of the pictures.")
PICTURES = flags.DEFINE_list("pictures", list(DRAW), "Which pictures.")
TEMPERATURES = flags.DEFINE_list(
    "temperatures", ["0.6", "0.7", "0.8", "0.9", "1.0"], "Factors on sigma; 1:0.5 by group."
)
TEMPERATURE = flags.DEFINE_list(
    "temperature", ["1.0"], "Of the other pictures: one number, or one per group, coarsest first."
)
COLUMNS = flags.DEFINE_integer("columns", 10, "Images in a row.", lower_bound=1)
REESTIMATE = flags.DEFINE_integer(
    "reestimate", 0, "Measure batch statistics on N batches of samples at each temperature."
)
NEIGHBOURS = flags.DEFINE_integer(
    "neighbours", 5, "Training images next to each sample.", lower_bound=1
)
NUM = flags.DEFINE_integer("num", None, "Samples of --samples_out.", lower_bound=1)
SAMPLES_OUT = flags.DEFINE_string("samples_out", None, "Folder of PNG files, or FILE.npz.")
TRUE_SAMPLES = flags.DEFINE_bool(
    "true_samples", False, "There, draw pixels from the likelihood instead of its mean."
)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 100, "There, samples at a time.", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "Seed.")


def draw(name, pictures, rows, heat, path):
    """One picture."""
    labels, columns = [], COLUMNS.value
    if name == "temperatures":
        grid, labels = pictures.temperatures(rows), [images.temperature_label(t) for t in rows]
    elif name == "samples":
        grid = pictures.samples(pictures.heat(heat), rows=8)
    elif name == "interpolation":
        grid = pictures.interpolation()
    elif name == "resampled":
        grid, labels, columns = pictures.resampled(pictures.heat(heat))
    else:
        samples = pictures.samples(pictures.heat(heat))
        known = pictures.run.load_data("train").images
        found = images.nearest(samples, known, NEIGHBOURS.value)
        return plots.neighbours_grid(samples, known[found], path)
    return plots.image_grid(grid, path, ncols=columns, row_labels=labels)


def main(config, workdir):
    del config
    if not PICTURES.value or not TEMPERATURES.value:
        raise InputError("--pictures and --temperatures must not be empty: leave them out for all")
    if unknown := set(PICTURES.value) - set(DRAW):
        raise InputError(f"--pictures has {sorted(unknown)}, known are {sorted(DRAW)}")
    rows = [images.read_temperature(text) for text in TEMPERATURES.value]
    heat = [images.read_temperature(text) for text in TEMPERATURE.value]
    if bool(NUM.value) != bool(SAMPLES_OUT.value):
        raise InputError("--num=N and --samples_out=DIR or FILE.npz go together")
    run = launch.load_run(workdir, task="images")
    pictures = images.Pictures(run, COLUMNS.value, SEED.value, REESTIMATE.value)
    if SAMPLES_OUT.value and NUM.value:
        count = images.export_samples(
            pictures,
            SAMPLES_OUT.value,
            NUM.value,
            temperature=pictures.heat(heat),
            likelihood=TRUE_SAMPLES.value,
            batch_size=BATCH_SIZE.value,
        )
        logging.info("step %d: %d samples written to %s", run.step, count, SAMPLES_OUT.value)
        return
    out = output_folder(OUT.value or workdir / "samples")
    for name in PICTURES.value:
        draw(name, pictures, rows, heat, out / f"{name}.png")
        logging.info("step %d: %s", run.step, out / f"{name}.png")


if __name__ == "__main__":
    launch.run(main, reads_run=True, reads=("data_dir", "checkpoint", "pretrained"))
