"""Evaluates a trained NVAE: NELBO and the importance-weighted bound, with standard errors.

    python scripts/evaluate_nvae.py --workdir=runs/demo --num_samples=100

Binary images are drawn from the grey values once, with a fixed seed, so the figures repeat. Prints
a table and writes WORKDIR/evaluation_SPLIT.json.
"""

from absl import flags, logging

from jaxlab import data, launch
from jaxlab.files import check_output, to_json, write_atomically
from jaxlab.tasks import images

SPLIT = flags.DEFINE_enum("split", "test", data.SPLITS, "Which images.")
LIMIT = flags.DEFINE_integer("limit", None, "Use only the first N images.", lower_bound=1)
NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", 100, "K of the bound; 0 leaves it out.", lower_bound=0
)
CHUNK = flags.DEFINE_integer(
    "chunk", 10, "Samples per image that are decoded at once.", lower_bound=1
)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 100, "Images at a time.", lower_bound=1)
REFRESH = flags.DEFINE_integer(
    "refresh", 0, "Measure batch statistics anew on N training batches first."
)
SEED = flags.DEFINE_integer("seed", 0, "Of posterior noise and fixed binarisation.")


def main(config, workdir):
    del config
    out = check_output(workdir / f"evaluation_{SPLIT.value}.json")
    run = launch.load_run(workdir, task="images")
    figures = images.evaluate(
        run,
        SPLIT.value,
        limit=LIMIT.value,
        num_samples=NUM_SAMPLES.value,
        chunk=CHUNK.value,
        batch_size=BATCH_SIZE.value,
        refresh=REFRESH.value,
        seed=SEED.value,
    )
    write_atomically(out, to_json(figures, indent=2) + "\n")
    logging.info("written to %s", out)
    print(images.table(figures, run.model))


if __name__ == "__main__":
    launch.run(main, reads_run=True, reads=("data_dir", "checkpoint", "pretrained"))
