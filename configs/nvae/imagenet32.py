"""NVAE on ImageNet at 32x32, the published recipe.

    python scripts/train_nvae.py --config=configs/nvae/imagenet32.py --workdir=RUN --data_dir=DIR

Published: 3.92 bits per dimension with flows.
The authors used 24 V100 of 16 GB and 70 hours. Fits TPUs (scripts/plan.py): v5e:4x4 with 10.0 of
15.75 GiB a chip, v4:2x2x2 with 10.5 of 30.75.
268.51 million parameters; 100,080 steps of 576 images. DIR holds train.npz and
test.npz of the downsampled set of van den Oord et al. (1,281,147 and 50,000 images).
Presets: `imagenet32.py:tiny` shrinks model and run to seconds, on the same data.
"""

from configs.nvae import base

RECIPE = {
    "num_steps": 100080,  # 45 epochs of 2,224
    "batch_size": 576,
    "data.name": "npz",
    "data.image_size": 32,
    "model.groups": (28,),
    "model.enc_channels": 192,
    "model.dec_channels": 192,
    "model.flows": 1,
    "loss.penalty_init": 1.0,
    "optimizer.warmup_steps": 2224,  # 1 epoch
}


def get_config(preset: str = ""):
    """Presets: "tiny" and "bf16", or several with commas."""
    return base.recipe(RECIPE, tiny_groups=(2,), preset=preset)
