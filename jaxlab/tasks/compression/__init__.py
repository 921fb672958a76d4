"""Compressing BERT: replacing its modules one by one, and what this is compared with."""

from jaxlab.tasks.compression.arms import check_study
from jaxlab.tasks.compression.kinds import (
    make_stage_loss,
    plain_params,
    stage_mask,
    stage_params,
)
from jaxlab.tasks.compression.losses import (
    distillation_loss,
    make_distillation_loss,
    make_replaced_metrics,
    make_replacing_loss,
)
from jaxlab.tasks.compression.replacing import apply_replaced, make_successor, num_gates
from jaxlab.tasks.compression.study import Study, blueprint

__all__ = [
    "Study",
    "apply_replaced",
    "blueprint",
    "check_study",
    "distillation_loss",
    "make_distillation_loss",
    "make_replaced_metrics",
    "make_replacing_loss",
    "make_stage_loss",
    "make_successor",
    "num_gates",
    "plain_params",
    "stage_mask",
    "stage_params",
]
