"""NVAE on CIFAR-10, the published recipe.

    python scripts/train_nvae.py --config=configs/nvae/cifar10.py --workdir=RUN

Published: 2.91 bits per dimension with flows, 2.93 without.
The authors used 8 V100 of 16 GB and 55 hours. Fits TPUs (scripts/plan.py): v5e:4x4 with 4.2 of
15.75 GiB a chip, v4:2x2x2 with 5.0 of 30.75.
130.85 million parameters; 78,000 steps of 256 images. This reads the JPEG
packing `cifar10_jpeg`, whose bits per dimension do not compare with the published number; give
original pixels as train.npz and test.npz with --config.data.name=npz.
Presets: `cifar10.py:tiny` shrinks model and run to seconds, on the same data; `cifar10.py:cpu` is
a small model for some minutes on two CPU cores.
"""

import ml_collections


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Presets: "", "tiny" and "cpu"."""
    config = ml_collections.ConfigDict()
    config.seed = 1
    config.num_steps = 78000  # 400 epochs of 195
    config.batch_size = 256

    config.data = ml_collections.ConfigDict({"name": "cifar10_jpeg"})
    config.flip = True
    config.eval_split = "test"
    config.eval_batch_size = 64
    config.num_eval_images = 10_000

    # Keyword arguments of jaxlab.models.nvae.NVAE; image size, channels and crop come from data.
    config.model = ml_collections.ConfigDict(
        {
            "groups": (30,),
            "latents": 20,
            "enc_channels": 128,
            "dec_channels": 128,
            "blocks": 1,
            "pre_cells": 2,
            "post_cells": 2,
            "enc_cells": 2,
            "dec_cells": 2,
            "arch": "res_mbconv",
            "flows": 1,
            "num_mixtures": 10,
            "patch": 1,
            "branch_scale": 0.1,
            "remat": "full",
            "scan": True,
            "dtype": "float32",
        }
    )

    # Keyword arguments of jaxlab.models.nvae.make_loss.
    config.loss = ml_collections.ConfigDict({"penalty": 1e-2})

    # Adamax with warm-up over 5 epochs and cosine decay.
    config.learning_rate = 1e-2
    config.final_learning_rate = 1e-4
    config.warmup_steps = 975
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
    elif preset == "cpu":
        config.num_steps = 1500
        config.batch_size = 32
        config.warmup_steps = 50
        config.model.update(enc_channels=24, dec_channels=24, groups=(3, 2), latents=8, flows=0)
        config.model.update(enc_cells=1, dec_cells=1, pre_cells=1, post_cells=1, arch="res_bnswish")
        config.model.update(num_mixtures=5, patch=2, branch_scale=1.0, remat="none")
        config.step.ema_decay = 0.995
        config.num_eval_images = 500
        config.log_every = 50
        config.eval_every = config.checkpoint_every = 250
    elif preset:
        raise ValueError(f"preset is {preset!r}, known are 'tiny' and 'cpu'")
    return config
