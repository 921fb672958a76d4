"""NVAE on MNIST with dynamic binarisation, the published recipe.

    python scripts/train_nvae.py --config=configs/nvae/mnist.py --workdir=RUN

Published: 78.01 nats (importance-weighted bound, 1,000 samples, without flows).
The authors used 2 V100 of 16 GB and 21 hours. Fits four TPU chips (scripts/plan.py):
v5e:2x2 with 9.5 of 15.75 GiB each, v4:2x2x1 with 9.0 of 30.75.
33.36 million parameters; 60,000 steps of 400 images. The last 5,000 training images serve
for evaluation during the run; `evaluate_nvae.py --split=test` gives the number to report.
Presets: `mnist.py:tiny` shrinks model and run to seconds, on the same data; `mnist.py:cpu` is what
two CPU cores do in about a quarter of an hour (the demo's model, 8,000 steps of 64 images).
"""

import ml_collections


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Presets: "", "tiny" and "cpu"."""
    config = ml_collections.ConfigDict()
    config.seed = 1
    config.num_steps = 60000  # 400 epochs of 150
    config.batch_size = 400

    config.data = ml_collections.ConfigDict({"name": "mnist", "holdout": 5000})
    config.flip = False
    config.eval_split = "validation"
    config.eval_batch_size = 200
    config.num_eval_images = 10_000

    # Keyword arguments of jaxlab.models.nvae.NVAE; image size, channels and crop come from data.
    config.model = ml_collections.ConfigDict(
        {
            "groups": (10, 5),
            "latents": 20,
            "enc_channels": 32,
            "dec_channels": 32,
            "blocks": 2,
            "pre_cells": 3,
            "post_cells": 3,
            "enc_cells": 2,
            "dec_cells": 2,
            "arch": "res_mbconv",
            "flows": 0,
            "patch": 1,
            "branch_scale": 0.1,
            "remat": "none",
            "scan": True,
            "dtype": "float32",
        }
    )

    # Keyword arguments of jaxlab.models.nvae.make_loss.
    config.loss = ml_collections.ConfigDict({"kl_portion": 0.3, "penalty": 1e-2})

    # Adamax with warm-up over 5 epochs and cosine decay.
    config.learning_rate = 1e-2
    config.final_learning_rate = 1e-4
    config.warmup_steps = 750
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
    elif preset == "cpu":
        config.num_steps = 8000
        config.batch_size = 64
        config.warmup_steps = 50
        config.model.update(enc_channels=16, dec_channels=16, groups=(2, 1), latents=8, blocks=1)
        config.model.update(enc_cells=1, dec_cells=1, pre_cells=1, post_cells=1, arch="res_bnswish")
        config.model.update(patch=2, branch_scale=1.0)
        config.loss.kl_portion = 0.2
        config.step.ema_decay = 0.998
        config.eval_every = config.checkpoint_every = 1000
    elif preset:
        raise ValueError(f"preset is {preset!r}, known are 'tiny' and 'cpu'")
    return config
