"""NVAE on CelebA-HQ at 256x256 with 5 bits, the published recipe.

    python scripts/train_nvae.py --config=configs/nvae/celebahq256.py --workdir=RUN --data_dir=DIR

Published: 0.70 bits per dimension with flows (5 bits).
The authors used 24 V100 of 32 GB and 94 hours. Fits sixteen TPU v4 (scripts/plan.py, v4:2x2x4)
with 17.3 of 30.75 GiB a chip, and 32 TPU v5e (v5e:4x8) with 12.7 of 15.75 GiB.
330.80 million parameters; 84,300 steps of 96 images. DIR holds images in the
folders train and test (27,000 and 3,000).
Presets: `celebahq256.py:tiny` shrinks model and run to seconds, on the same data.
"""

from configs.nvae import base

RECIPE = {
    "num_steps": 84300,  # 300 epochs of 281
    "batch_size": 96,
    "data.name": "folder",
    "data.image_size": 256,
    "data.bits": 5,
    "eval_batch_size": 8,
    "model.groups": (16, 8, 4, 4, 4),
    "model.enc_channels": 30,
    "model.dec_channels": 30,
    "model.flows": 2,
    "loss.penalty_init": 1.0,
    "optimizer.warmup_steps": 1405,  # 5 epochs
}


def get_config(preset: str = ""):
    """Presets: "tiny" and "bf16", or several with commas."""
    return base.recipe(RECIPE, tiny_groups=(1, 1), preset=preset)
