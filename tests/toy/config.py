"""Config of the toy run that the resume and multi-process tests start as real processes."""

import ml_collections


def get_config(preset: str = ""):
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.learning_rate = 0.01
    config.width = 8
    config.batch_size = 16
    config.num_steps = 40
    config.log_every = 5
    config.eval_every = 10
    config.checkpoint_every = 10
    config.accumulate = 1
    if preset:
        raise ValueError(f"preset is {preset!r}, there is none")
    return config
