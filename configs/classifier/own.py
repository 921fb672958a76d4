"""A classifier of your own labelled data: an MLP with Adam, to start from.

    python scripts/train_classifier.py --config=configs/classifier/own.py \
        --config.data.path=FILE.csv --config.data.label_column=NAME --workdir=runs/own

`docs/data.md` has the kinds of data: tables of numbers and words, npz, pictures. Validation and
test examples are a tenth each, of every class alike, unless there are files of them. Seconds on two
CPU cores for thousands of rows. Presets: "images" (a small ResNet on a folder of pictures, 32x32:
--config.data.image_size), "tiny" (seconds).
"""

from configs.classifier import base

RECIPE = {
    "num_steps": 1000,
    "data.name": "csv",
    "model.features": (64, 64),
    "optimizer.name": "adam",
    "optimizer.learning_rate": 3e-3,
    "log_every": 50,
    "eval_every": 100,
    "checkpoint_every": 500,
}
IMAGES = {
    "data.name": "folder",
    "data.image_size": 32,
    "model.kind": "resnet",
    "model.features": None,
    "model.widths": (8, 16, 32),
    "model.stem_stride": 2,
}
TINY = {"fast_compile": True, "num_steps": 20, "batch_size": 8, "eval_every": 10}


def get_config(preset: str = ""):
    """Presets: "images", "bf16", "tiny", or several with commas."""
    return base.recipe(RECIPE, {"images": IMAGES, "tiny": TINY}, preset)
