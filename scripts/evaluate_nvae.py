"""Evaluates a trained NVAE: NELBO and the importance-weighted bound, with standard errors.

    python scripts/evaluate_nvae.py --workdir=runs/demo --num_samples=100

Binary images are drawn from the grey values once, with a fixed seed, so the figures repeat. Prints
a table and writes WORKDIR/evaluation_SPLIT.json.

    python scripts/train_classifier.py --config=configs/classifier/judge.py --workdir=runs/judge
    python scripts/evaluate_nvae.py --workdir=runs/demo --judge=runs/judge --reestimate=100

judges samples instead: their Fréchet distance to the training images, in the features that the
classifier's last layer sees, and the share that is confidently of a class. The row of the held-out
images says what real pictures get. `--samples=FILE.npz` judges a file's pictures too (uint8
"arr_0", as sample_nvae.py writes them). WORKDIR/quality.json has the figures.
"""

from absl import flags, logging

from jaxlab import data, launch, train
from jaxlab.files import check_output, to_json, write_atomically
from jaxlab.tasks import classification, images

SPLIT = flags.DEFINE_enum("split", "test", data.SPLITS, "Which images.")
LIMIT = flags.DEFINE_integer("limit", None, "Use only the first N images.", lower_bound=1)
NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", 100, "K of the bound; 0 leaves it out.", lower_bound=0
)
CHUNK = flags.DEFINE_integer(
    "chunk", 10, "Samples per image that are decoded at once.", lower_bound=1
)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 100, "Images at a time.", lower_bound=1)
REFRESH = flags.DEFINE_integer("refresh", 0, "New batch statistics of N training batches first.")
SEED = flags.DEFINE_integer("seed", 0, "Of posterior noise and fixed binarisation.")
JUDGE = flags.DEFINE_string("judge", None, "Run of train_classifier.py that judges samples.")
NUM = flags.DEFINE_integer("num", 2000, "There, samples at each temperature.", lower_bound=2)
HEATS = flags.DEFINE_list("temperatures", ["0.7", "0.8", "0.9", "1.0"], "There; 1:0.5 by group.")
REESTIMATE = flags.DEFINE_integer("reestimate", 0, "There, new batch statistics of N batches.")
SAMPLES = flags.DEFINE_string("samples", None, "There, FILE.npz of pictures to judge too.")


def judge_samples(workdir, by):
    """Writes quality.json."""
    out = check_output(workdir / images.QUALITY_FILE)
    heats = [images.read_temperature(text) for text in HEATS.value]
    run = launch.load_run(workdir, task="images")
    judge = train.load_run(launch.full_path(by), task="classification")
    others = [(n, images.read_pictures(n, run.model.channels)) for n in (SAMPLES.value,) if n]
    see = lambda x: classification.features(judge, x)
    numbers: dict = {"num": NUM.value, "reestimate": REESTIMATE.value, "seed": SEED.value}
    rows = images.judge_samples(run, see, temperatures=heats, others=dict(others), **numbers)
    found = {"step": run.step, "weights": run.weights, **numbers, **rows}
    write_atomically(out, to_json(found, indent=1) + "\n")
    print(images.quality_table(rows), end="")


def main(config, workdir):
    del config
    if JUDGE.value:
        return judge_samples(workdir, JUDGE.value)
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
    return print(images.table(figures, run.model))


if __name__ == "__main__":
    launch.run(main, reads_run=True, reads=("data_dir", "checkpoint", "pretrained"))
