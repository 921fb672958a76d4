"""Supervised classification: training and reports, from keyword arguments.

Every argument that is a number may be traced, so that one compiled program serves a whole grid of
them; the number 0 leaves its part out.
"""

from jaxlab.tasks.classification.objectives import FLOODING, make_loss, prepare
from jaxlab.tasks.classification.optimizers import PENALTIES, make_training
from jaxlab.tasks.classification.reports import (
    figure_names,
    layer_log_norms,
    predict,
    report,
    tau_normalized_logits,
)
from jaxlab.tasks.classification.runs import (
    held_out_losses,
    make_contexts,
    make_program,
    split_numbers,
)
from jaxlab.tasks.classification.settings import SECTIONS, check_setting, setting_figures
from jaxlab.tasks.classification.study import check_study

__all__ = [
    "FLOODING",
    "PENALTIES",
    "SECTIONS",
    "check_setting",
    "check_study",
    "figure_names",
    "held_out_losses",
    "layer_log_norms",
    "make_contexts",
    "make_loss",
    "make_program",
    "make_training",
    "predict",
    "prepare",
    "report",
    "setting_figures",
    "split_numbers",
    "tau_normalized_logits",
]
