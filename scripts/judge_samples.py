"""How good are the samples of an NVAE? Fréchet distance and confident share under a classifier.

    python scripts/train_classifier.py --config=configs/classifier/judge.py --workdir=runs/judge
    python scripts/judge_samples.py --workdir=runs/demo --judge=runs/judge --num=2000 \\
        --temperatures=0.7,0.8,1.0 --reestimate=100

The judge is a run of train_classifier.py on pictures of the same size; nothing is downloaded.
Distances are to the training images, in the features that the classifier's last layer sees; the row
of the held-out images says what real pictures get. `--samples=FILE.npz` judges a file's pictures
too (uint8 "arr_0", as sample_nvae.py writes them). Prints a table and writes WORKDIR/quality.json.
"""

from absl import flags

from jaxlab import launch, train
from jaxlab.errors import InputError
from jaxlab.files import check_output, to_json, write_atomically
from jaxlab.tasks import classification, images

JUDGE = flags.DEFINE_string("judge", None, "Run of train_classifier.py.")
NUM = flags.DEFINE_integer("num", 2000, "Samples at each temperature.", lower_bound=2)
TEMPERATURES = flags.DEFINE_list("temperatures", ["0.7", "0.8", "0.9", "1.0"], "Of the samples.")
REESTIMATE = flags.DEFINE_integer(
    "reestimate", 0, "Measure batch statistics on N batches of samples at each temperature."
)
SAMPLES = flags.DEFINE_string("samples", None, "FILE.npz of pictures to judge too.")
TRUE_SAMPLES = flags.DEFINE_bool(
    "true_samples", False, "Draw pixels from the likelihood instead of its mean."
)
SEED = flags.DEFINE_integer("seed", 0, "Seed.")


def main(config, workdir):
    del config
    if not JUDGE.value:
        raise InputError("--judge=RUN is required: a run of train_classifier.py")
    out = check_output(workdir / "quality.json")
    run = launch.load_run(workdir, task="images")
    judge = train.load_run(launch.full_path(JUDGE.value), task="classification")
    others = {}
    if SAMPLES.value:
        others[SAMPLES.value] = images.read_pictures(SAMPLES.value, run.model.channels)
    rows = images.judge_samples(
        run,
        lambda x: classification.features(judge, x),
        num=NUM.value,
        temperatures=[images.read_temperature(text) for text in TEMPERATURES.value],
        reestimate=REESTIMATE.value,
        likelihood=TRUE_SAMPLES.value,
        seed=SEED.value,
        others=others,
    )
    write_atomically(out, to_json(rows, indent=1) + "\n")
    print(images.quality_table(rows), end="")


if __name__ == "__main__":
    launch.run(main, reads_run=True, reads=("data_dir", "checkpoint", "pretrained"))
