"""NVAE on CelebA at 64x64, the published recipe.

    python scripts/train_nvae.py --config=configs/nvae/celeba64.py --workdir=RUN --data_dir=CELEBA

Published: 2.03 bits per dimension with flows, 2.04 without.
The authors used 8 V100 of 16 GB and 92 hours. Fits TPUs (scripts/plan.py): v5e:4x4 with 4.8 of
15.75 GiB a chip, v4:2x2x2 with 5.8 of 30.75.
153.28 million parameters; 114,390 steps of 128 images. CELEBA holds the aligned
images in the folders train and validation (162,770 and 19,867).
Presets: `celeba64.py:tiny` shrinks model and run to seconds, on the same data.
"""

import ml_collections


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Presets: "" and "tiny"."""
    config = ml_collections.ConfigDict()
    config.seed = 1
    config.num_steps = 114390  # 90 epochs of 1,271
    config.batch_size = 128

    config.data = ml_collections.ConfigDict(
        {"name": "folder", "crop": (15, 40, 163, 188), "image_size": 64}
    )
    config.flip = True
    config.eval_split = "validation"
    config.eval_batch_size = 64
    config.num_eval_images = 10_000

    # Keyword arguments of jaxlab.models.nvae.NVAE; image size, channels and crop come from data.
    config.model = ml_collections.ConfigDict(
        {
            "groups": (20, 10, 5),
            "latents": 20,
            "enc_channels": 64,
            "dec_channels": 64,
            "blocks": 1,
            "pre_cells": 2,
            "post_cells": 2,
            "enc_cells": 2,
            "dec_cells": 2,
            "arch": "res_mbconv",
            "flows": 1,
            "remat": "full",
            "scan": True,
            "dtype": "float32",
        }
    )

    # Keyword arguments of jaxlab.models.nvae.make_loss.
    config.loss = ml_collections.ConfigDict({"penalty": 1e-1})

    # Adamax with warm-up over 5 epochs and cosine decay.
    config.learning_rate = 1e-2
    config.final_learning_rate = 1e-4
    config.warmup_steps = 6355
    # Of all parameters, norms and biases too, as in the published code.
    config.weight_decay = 3e-4
    config.skip_factor = 10.0  # skip a step whose gradient norm exceeds this many running norms

    config.fsdp = 1  # devices that share one copy of parameters and optimizer state

    # Keyword arguments of jaxlab.train.make_train_step. With accumulate above 1 balancing of the
    # groups, like batch norm, sees a micro-batch at a time; see docs/methods/nvae.md.
    config.step = ml_collections.ConfigDict({"ema_decay": 0.9995, "accumulate": 1})

    config.log_every = 100
    config.eval_every = 5000
    config.checkpoint_every = 1000

    if preset == "tiny":
        config.fast_compile = True
        config.num_steps = 10
        config.batch_size = 8
        config.warmup_steps = 2
        config.model.update(enc_channels=8, dec_channels=8, groups=(1, 1, 1), latents=4, flows=0)
        config.model.update(enc_cells=1, dec_cells=1, pre_cells=1, post_cells=1, arch="res_bnswish")
        config.model.update(remat="none")
        config.eval_batch_size = config.num_eval_images = 8
        config.log_every = config.eval_every = config.checkpoint_every = 5
    elif preset:
        raise ValueError(f"preset is {preset!r}, known is 'tiny'")
    return config
