"""NVAE on ImageNet at 32x32, the published recipe.

    python scripts/train_nvae.py --config=configs/nvae/imagenet32.py --workdir=RUN --data_dir=DIR

Published: 3.92 bits per dimension with flows.
The authors used 24 V100 of 16 GB and 70 hours. Fits TPUs (scripts/plan.py): v5e:4x4 with 10.0 of
15.75 GiB a chip, v4:2x2x2 with 10.5 of 30.75.
268.51 million parameters; 100,080 steps of 576 images. DIR holds train.npz and
test.npz of the downsampled set of van den Oord et al. (1,281,147 and 50,000 images).
Presets: `imagenet32.py:tiny` shrinks model and run to seconds, on the same data.
"""

import ml_collections


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Presets: "" and "tiny"."""
    config = ml_collections.ConfigDict()
    config.seed = 1
    config.num_steps = 100080  # 45 epochs of 2,224
    config.batch_size = 576

    config.data = ml_collections.ConfigDict({"name": "npz", "image_size": 32})
    config.flip = True
    config.eval_split = "test"
    config.eval_batch_size = 64
    config.num_eval_images = 10_000

    # Keyword arguments of jaxlab.models.nvae.NVAE; image size, channels and crop come from data.
    config.model = ml_collections.ConfigDict(
        {
            "groups": (28,),
            "latents": 20,
            "enc_channels": 192,
            "dec_channels": 192,
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
    config.loss = ml_collections.ConfigDict({"penalty": 1e-2, "penalty_init": 1.0})

    # Adamax with warm-up over 1 epoch and cosine decay.
    config.learning_rate = 1e-2
    config.final_learning_rate = 1e-4
    config.warmup_steps = 2224
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
        config.model.update(enc_channels=8, dec_channels=8, groups=(2,), latents=4, flows=0)
        config.model.update(enc_cells=1, dec_cells=1, pre_cells=1, post_cells=1, arch="res_bnswish")
        config.model.update(remat="none")
        config.eval_batch_size = config.num_eval_images = 8
        config.log_every = config.eval_every = config.checkpoint_every = 5
    elif preset:
        raise ValueError(f"preset is {preset!r}, known is 'tiny'")
    return config
