"""NVAE on CelebA-HQ at 256x256 with 5 bits, the published recipe.

    python scripts/train_nvae.py --config=configs/nvae/celebahq256.py --workdir=RUN --data_dir=DIR

Published: 0.70 bits per dimension with flows (5 bits).
The authors used 24 V100 of 32 GB and 94 hours. Fits sixteen TPU v4 (scripts/plan.py, v4:2x2x4)
with 17.3 of 30.75 GiB a chip, and 32 TPU v5e (v5e:4x8) with 12.7 of 15.75 GiB.
330.80 million parameters; 84,300 steps of 96 images. DIR holds images in the
folders train and test (27,000 and 3,000).
Presets: `celebahq256.py:tiny` shrinks model and run to seconds, on the same data.
"""

import ml_collections


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Presets: "" and "tiny"."""
    config = ml_collections.ConfigDict()
    config.seed = 1
    config.num_steps = 84300  # 300 epochs of 281
    config.batch_size = 96

    config.data = ml_collections.ConfigDict({"name": "folder", "image_size": 256, "bits": 5})
    config.flip = True
    config.eval_split = "test"
    config.eval_batch_size = 8
    config.num_eval_images = 10_000

    # Keyword arguments of jaxlab.models.nvae.NVAE; image size, channels and crop come from data.
    config.model = ml_collections.ConfigDict(
        {
            "groups": (16, 8, 4, 4, 4),
            "latents": 20,
            "enc_channels": 30,
            "dec_channels": 30,
            "blocks": 1,
            "pre_cells": 2,
            "post_cells": 2,
            "enc_cells": 2,
            "dec_cells": 2,
            "arch": "res_mbconv",
            "flows": 2,
            "remat": "full",
            "scan": True,
            "dtype": "float32",
        }
    )

    # Keyword arguments of jaxlab.models.nvae.make_loss.
    config.loss = ml_collections.ConfigDict({"penalty": 1e-2, "penalty_init": 1.0})

    # Adamax with warm-up over 5 epochs and cosine decay.
    config.learning_rate = 1e-2
    config.final_learning_rate = 1e-4
    config.warmup_steps = 1405
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
        config.model.update(enc_channels=8, dec_channels=8, groups=(1, 1), latents=4, flows=0)
        config.model.update(enc_cells=1, dec_cells=1, pre_cells=1, post_cells=1, arch="res_bnswish")
        config.model.update(remat="none")
        config.eval_batch_size = config.num_eval_images = 8
        config.log_every = config.eval_every = config.checkpoint_every = 5
    elif preset:
        raise ValueError(f"preset is {preset!r}, known is 'tiny'")
    return config
