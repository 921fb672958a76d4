"""NVAE on CelebA at 64x64, the published recipe.

    python scripts/train_nvae.py --config=configs/nvae/celeba64.py --workdir=RUN --data_dir=CELEBA

Published: 2.03 bits per dimension with flows, 2.04 without.
The authors used 8 V100 of 16 GB and 92 hours. Fits TPUs (scripts/plan.py): v5e:4x4 with 4.8 of
15.75 GiB a chip, v4:2x2x2 with 5.8 of 30.75.
153.28 million parameters; 114,390 steps of 128 images. CELEBA holds the aligned
images in the folders train and validation (162,770 and 19,867).
Presets: `celeba64.py:tiny` shrinks model and run to seconds, on the same data.
"""

from configs.nvae import base

RECIPE = {
    "num_steps": 114390,  # 90 epochs of 1,271
    "batch_size": 128,
    "data.name": "folder",
    "data.crop": (15, 40, 163, 188),
    "data.image_size": 64,
    "eval_split": "validation",
    "model.groups": (20, 10, 5),
    "model.enc_channels": 64,
    "model.dec_channels": 64,
    "model.flows": 1,
    "loss.penalty": 1e-1,
    "optimizer.warmup_steps": 6355,  # 5 epochs
}


def get_config(preset: str = ""):
    """Presets: "tiny" and "bf16", or several with commas."""
    return base.recipe(RECIPE, tiny_groups=(1, 1, 1), preset=preset)
