"""NVAE on CIFAR-10, the published recipe.

    python scripts/train_nvae.py --config=configs/nvae/cifar10.py --workdir=RUN

Published: 2.91 bits per dimension with flows, 2.93 without.
The authors used 8 V100 of 16 GB and 55 hours. Fits TPUs (scripts/plan.py): v5e:4x4 with 4.2 of
15.75 GiB a chip, v4:2x2x2 with 5.0 of 30.75.
130.85 million parameters; 78,000 steps of 256 images. This reads the JPEG
packing `cifar10_jpeg`, whose bits per dimension do not compare with the published number; give
original pixels as train.npz and test.npz with --config.data.name=npz.
Presets: `cifar10.py:tiny` shrinks model and run to seconds, on the same data; `cifar10.py:cpu` is
a small model for an hour of a CPU core.
"""

from configs.nvae import base

RECIPE = {
    "num_steps": 78000,  # 400 epochs of 195
    "batch_size": 256,
    "data.name": "cifar10_jpeg",
    "model.groups": (30,),
    "model.enc_channels": 128,
    "model.dec_channels": 128,
    "model.flows": 1,
    "optimizer.warmup_steps": 975,  # 5 epochs
}

CPU = {
    "num_steps": 18000,
    "batch_size": 16,
    **base.FOUND,
    "model.enc_channels": 24,
    "model.dec_channels": 24,
    "model.groups": (4, 2),
    "model.num_mixtures": 5,
    "step.ema_decay": 0.998,
    "num_eval_images": 1000,
    "eval_every": 6000,
    "checkpoint_every": 1000,
}


def get_config(preset: str = ""):
    """Presets: "tiny", "bf16" and "cpu", or several with commas."""
    return base.recipe(RECIPE, tiny_groups=(2,), presets={"cpu": CPU}, preset=preset)
