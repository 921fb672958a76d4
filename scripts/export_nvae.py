"""Writes a trained NVAE as a folder to share: weights as safetensors, config, model card.

    python scripts/evaluate_nvae.py --workdir=runs/demo --split=test --num_samples=1000
    python scripts/evaluate_nvae.py --workdir=runs/demo --judge=runs/judge
    python scripts/export_nvae.py --workdir=runs/demo --out=pretrained/digits \\
        --data_licence="CC BY-SA 3.0"

Figures that evaluate_nvae.py left in WORKDIR go into the card. `sample_nvae.py --pretrained=OUT`
draws with it; evaluate_nvae.py and encode_nvae.py take --pretrained too, and in Python
`train.load_run("OUT")` opens it.
"""

from absl import flags, logging

from jaxlab import launch
from jaxlab.errors import InputError
from jaxlab.files import output_folder
from jaxlab.tasks import images

OUT = flags.DEFINE_string("out", None, "The folder to write. Required.")
LICENCE = flags.DEFINE_string("data_licence", "not stated", "Licence of the training images.")


def main(config, workdir):
    del config
    if not OUT.value:
        raise InputError("--out=FOLDER is required")
    folder = output_folder(OUT.value)
    run = launch.load_run(workdir, task="images")
    images.write_card(run, workdir, folder, data_licence=LICENCE.value)
    logging.info("step %d, %s weights: %s", run.step, run.weights, folder)


if __name__ == "__main__":
    launch.run(main, reads_run=True, reads=("data_dir", "checkpoint"))
