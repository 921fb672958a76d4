"""Optax gradient transformations that training needs beyond optax itself."""

from jaxlab.optim.flooding import AlternatingState, FloodState, alternating_rates, flood_updates
from jaxlab.optim.freezing import freeze, train_only, trainable_mask
from jaxlab.optim.optimizers import (
    OPTIMIZERS,
    PENALTIES,
    STATIC,
    Given,
    flooded_by_optimizer,
    make_optimizer,
    rows,
)
from jaxlab.optim.penalties import adamw_weissi, add_penalty, add_weissi, weissi_decay
from jaxlab.optim.schedules import SCHEDULES, make_schedule, warmup_linear_decay
from jaxlab.optim.sharpness import sharpness_aware
from jaxlab.optim.skipping import SkipState, skip_large_updates
from jaxlab.regularizers import all_of, matrices_only, named, none_of, vectors_only

__all__ = [
    "OPTIMIZERS",
    "PENALTIES",
    "SCHEDULES",
    "STATIC",
    "AlternatingState",
    "FloodState",
    "Given",
    "SkipState",
    "adamw_weissi",
    "add_penalty",
    "add_weissi",
    "all_of",
    "alternating_rates",
    "flood_updates",
    "flooded_by_optimizer",
    "freeze",
    "make_optimizer",
    "make_schedule",
    "matrices_only",
    "named",
    "none_of",
    "rows",
    "sharpness_aware",
    "skip_large_updates",
    "train_only",
    "trainable_mask",
    "vectors_only",
    "warmup_linear_decay",
    "weissi_decay",
]
