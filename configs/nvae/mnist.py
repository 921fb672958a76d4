"""NVAE on MNIST with dynamic binarisation, the published recipe.

    python scripts/train_nvae.py --config=configs/nvae/mnist.py --workdir=RUN

Published: 78.01 nats (importance-weighted bound, 1,000 samples, without flows).
The authors used 2 V100 of 16 GB and 21 hours. Fits four TPU chips (scripts/plan.py):
v5e:2x2 with 9.5 of 15.75 GiB each, v4:2x2x1 with 9.0 of 30.75.
33.36 million parameters; 60,000 steps of 400 images. The last 5,000 training images serve
for evaluation during the run; `evaluate_nvae.py --split=test` gives the number to report.
Presets: `mnist.py:tiny` shrinks model and run to seconds, on the same data; `mnist.py:cpu` is what
a CPU core does in half an hour (the demo's model with one coarse group, 22,000 steps of 32 images),
`mnist.py:cpu_long` the demo's model, 36,000 steps.
"""

from configs.nvae import base

RECIPE = {
    "num_steps": 60000,  # 400 epochs of 150
    "batch_size": 400,
    "data.name": "mnist",
    "data.holdout": 5000,
    "flip": False,
    "eval_split": "validation",
    "eval_batch_size": 200,
    "model.groups": (10, 5),
    "model.blocks": 2,
    "model.pre_cells": 3,
    "model.post_cells": 3,
    "model.remat": "none",
    "optimizer.warmup_steps": 750,  # 5 epochs
}

CPU = {
    "num_steps": 22000,
    "batch_size": 32,
    **base.FOUND,
    "model.groups": (2, 1),  # what its figures are of
    "step.ema_decay": 0.998,
    "eval_every": 4000,
    "checkpoint_every": 2000,
}

CPU_LONG = CPU | {"num_steps": 36000, "model.groups": (2, 2)}


def get_config(preset: str = ""):
    """Presets: "tiny", "bf16", "cpu" and "cpu_long", or several with commas."""
    presets = {"cpu": CPU, "cpu_long": CPU_LONG}
    return base.recipe(RECIPE, tiny_groups=(1, 1), presets=presets, preset=preset)
