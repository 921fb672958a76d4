"""NVAE on pictures of your own: a small model, to start from.

    python scripts/train_nvae.py --config=configs/nvae/own.py --config.data.path=FOLDER \
        --workdir=runs/own

A folder of pictures of any kind and size, with or without classes and splits; `docs/data.md` has
the other kinds (npz, tables, saved sets). Every picture becomes 32x32 colour:
--config.data.image_size=64, --config.data.channels=1 (grey). What has no test files gives up a
tenth of its pictures. Minutes on two CPU cores. For real use take the model of a recipe for
pictures of your size (`cifar10.py`, `celeba64.py`, `ffhq256.py`) with the section `data` of this
one. Presets: "tiny" (seconds), "bf16".
"""

from configs.nvae import base

RECIPE = {
    **base.DEMO,
    "data.name": "folder",
    "data.image_size": 32,
    "data.shares": (0.0, 0.1),
    "num_eval_images": 1000,
}


def get_config(preset: str = ""):
    """Presets: "tiny" and "bf16", or both with a comma."""
    return base.recipe(RECIPE, tiny_groups=(2,), preset=preset)
