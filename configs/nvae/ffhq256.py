"""NVAE on FFHQ at 256x256 with 5 bits, the published recipe.

    python scripts/train_nvae.py --config=configs/nvae/ffhq256.py --workdir=RUN --data_dir=FFHQ

Published: 0.69 bits per dimension with flows, 0.71 without (5 bits).
The authors used 24 V100 of 32 GB and 160 hours. Fits sixteen TPU v4 (scripts/plan.py, v4:2x2x4)
with 17.3 of 30.75 GiB a chip, and 32 TPU v5e (v5e:4x8) with 12.7 of 15.75 GiB.
330.80 million parameters; 131,200 steps of 96 images. FFHQ holds images in the
folders train and test (63,000 and 7,000; the authors split at random, without a seed).
Presets: `ffhq256.py:tiny` shrinks model and run to seconds, on the same data.
"""

from configs.nvae import base, celebahq256

RECIPE = celebahq256.RECIPE | {
    "num_steps": 131200,  # 200 epochs of 656
    "loss.penalty": 1e-1,
    "optimizer.learning_rate": 8e-3,
    "optimizer.warmup_steps": 3280,  # 5 epochs
}


def get_config(preset: str = ""):
    """Presets: "tiny" and "bf16", or several with commas."""
    return base.recipe(RECIPE, tiny_groups=(1, 1), preset=preset)
