"""What all NVAE recipes share: every key of the functions that the sections feed.

A recipe is what differs, see `mnist.py`. The sections, each the keyword arguments of a function:

  data        jaxlab.data.load
  model       jaxlab.models.nvae.NVAE; image size, channels and crop come from the data
  loss        jaxlab.models.nvae.make_loss
  optimizer   jaxlab.optim.make_optimizer: Adamax with warm-up and cosine decay; L2 of all
              parameters, norms and biases too, as in the published code; skip_factor skips a step
              whose gradient norm exceeds this many running norms
  step        jaxlab.train.make_train_step; with accumulate above 1 balancing of the groups, like
              batch norm, sees a micro-batch at a time, see docs/methods/nvae.md
"""

from jaxlab import data, launch, optim, train
from jaxlab.models import nvae

OF_DATA = ("image_size", "channels", "crop", "likelihood", "bits")  # what a model takes from them

BASE = {
    "fast_compile": False,
    "seed": 1,
    "num_steps": 0,
    "batch_size": 0,
    "data": launch.defaults(data.load, but=("data_dir", "split")),
    "flip": True,
    "shift": 0,  # most pixels by which training images are moved at random
    "eval_split": "test",
    "eval_batch_size": 64,
    "num_eval_images": 10_000,
    "model": launch.defaults(nvae.NVAE, but=("name", *OF_DATA))
    | {"latents": 20, "blocks": 1, "pre_cells": 2, "post_cells": 2, "enc_cells": 2, "dec_cells": 2}
    | {"arch": "res_mbconv", "flows": 0, "remat": "full", "scan": True, "dtype": "float32"},
    "loss": launch.defaults(nvae.make_loss, but=("model", "total_steps")) | {"penalty": 1e-2},
    "optimizer": launch.defaults(optim.make_optimizer, rows=optim.rows(), but=launch.GIVEN)
    | {"name": "adamax", "eps": 1e-3, "l2": 3e-4, "decay_mask": "all", "skip_factor": 10.0}
    | {"learning_rate": 1e-2, "schedule": "cosine", "final_learning_rate": 1e-4},
    "fsdp": 1,  # devices that share one copy of parameters and optimizer state
    "step": launch.defaults(train.make_train_step, but=("loss_fn", "tx", "mesh"))
    | {"ema_decay": 0.9995},
    "log_every": 100,
    "eval_every": 5000,
    "checkpoint_every": 1000,
}

TINY = {  # shrinks model and run to seconds, on the same data
    "fast_compile": True,
    "num_steps": 10,
    "batch_size": 8,
    "optimizer.warmup_steps": 2,
    **{f"model.{name}": 8 for name in ("enc_channels", "dec_channels")},
    **{f"model.{name}": 1 for name in ("enc_cells", "dec_cells", "pre_cells", "post_cells")},
    **{"model.latents": 4, "model.flows": 0, "model.arch": "res_bnswish", "model.remat": "none"},
    **dict.fromkeys(("eval_batch_size", "num_eval_images"), 8),
    **dict.fromkeys(("log_every", "eval_every", "checkpoint_every"), 5),
}

SMALL = {  # a model for minutes on two CPU cores, but for its width and its groups
    **{f"model.{name}": 1 for name in ("enc_cells", "dec_cells", "blocks")},
    **{"model.pre_cells": 1, "model.post_cells": 1, "model.latents": 8, "model.flows": 0},
    **{"model.arch": "res_bnswish", "model.patch": 2, "model.branch_scale": 1.0},
    "model.remat": "none",
}

FOUND = {  # model and rates that the search found, see docs/methods/nvae_search.md
    **SMALL,
    "model.enc_channels": 16,
    "model.dec_channels": 16,
    "model.groups": (2, 2),  # a second coarse one: fewer digits that cannot be read
    "model.post_cells": 3,  # what draws at the finest resolution: worth more than its time
    "model.scan": False,  # compiles in the same time with so few groups, and is faster
    "loss.kl_portion": 0.05,
    "optimizer.learning_rate": 3e-2,
    "optimizer.warmup_steps": 50,
    "optimizer.l2": 1e-4,
}

DEMO = {  # minutes on two CPU cores, on a few thousand small pictures
    "seed": 0,
    "num_steps": 5000,
    "batch_size": 16,
    "flip": False,
    **FOUND,
    "step.ema_decay": 0.995,
    "log_every": 100,
    "eval_every": 1000,
    "checkpoint_every": 500,
    "eval_batch_size": 100,
}


def recipe(changes, *, tiny_groups=(1, 1), presets=None, preset=""):
    """A config of `BASE` and `changes`; the presets tiny and bf16 are those of all recipes."""
    known = {
        "tiny": TINY | {"model.groups": tiny_groups},
        "bf16": {"model.dtype": "bfloat16"},
        **(presets or {}),
    }
    return launch.recipe(BASE, changes, presets=known, preset=preset)
