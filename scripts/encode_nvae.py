"""Writes the latents of a set of images, as a trained NVAE sees them, to a table.

    python scripts/encode_nvae.py --workdir=runs/demo --split=test --out=latents.npz
    python scripts/encode_nvae.py --workdir=runs/demo --split=train --out=latents.parquet

For each image and each latent group, coarsest first: mean_00, the posterior means, draw_00, a draw,
and in kl the nats of each group; label, where the set has labels. --reconstruct adds the mean image
of each, --interpolate=9 nine images on the way to the next. A .parquet file needs pyarrow.
"""

from absl import flags, logging

from jaxlab import data, launch
from jaxlab.errors import InputError
from jaxlab.tasks import images

OUT = flags.DEFINE_string("out", None, "The table: FILE.npz or FILE.parquet. Required.")
SPLIT = flags.DEFINE_enum("split", "test", data.SPLITS, "Which images.")
LIMIT = flags.DEFINE_integer("limit", None, "Use only the first N images.", lower_bound=1)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 100, "Images at a time.", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "Of posterior noise and fixed binarisation.")
RECONSTRUCT = flags.DEFINE_bool("reconstruct", False, "Add reconstructions, uint8.")
INTERPOLATE = flags.DEFINE_integer("interpolate", 0, "Add N images on the way to the next.")


def main(config, workdir):
    del config
    if not OUT.value:
        raise InputError("--out=FILE.npz or FILE.parquet is required")
    out = images.check_table(OUT.value)
    run = launch.load_run(workdir, task="images")
    numbers = {"limit": LIMIT.value, "batch_size": BATCH_SIZE.value, "seed": SEED.value}
    numbers |= {"reconstruct": RECONSTRUCT.value, "interpolate": INTERPOLATE.value}
    arrays = images.encode(run, SPLIT.value, **numbers)
    images.write_table(out, arrays)
    kl = ", ".join(f"{nats:.2f}" for nats in arrays["kl"].mean(0))
    logging.info("step %d: %d images in %s, KL %s nats", run.step, len(arrays["kl"]), out, kl)


if __name__ == "__main__":
    launch.run(main, reads_run=True, reads=("data_dir", "checkpoint", "pretrained"))
