"""Supervised classification: training and reports, from keyword arguments.

Every argument that is a number may be traced, so that one compiled program serves a whole grid of
them; the number 0 leaves its part out.
"""

from jaxlab.tasks.classification.objectives import (
    FLOODING,
    flip_and_shift,
    make_loss,
    prepare,
)
from jaxlab.tasks.classification.reports import (
    features,
    figure_names,
    layer_log_norms,
    predict,
    report,
    tau_normalized_logits,
)
from jaxlab.tasks.classification.runs import (
    flood_levels,
    held_out_losses,
    make_contexts,
    make_program,
    split_numbers,
)
from jaxlab.tasks.classification.settings import KEYWORDS, SECTIONS, check_setting, setting_figures
from jaxlab.tasks.classification.study import check_study
from jaxlab.tasks.classification.trainer import Trainer, arms_of, candidates, key_of, missing
from jaxlab.tasks.classification.training import (
    PENALTIES,
    blueprint,
    describe,
    make_eval_fn,
    make_training,
    open_run,
)

__all__ = [
    "FLOODING",
    "KEYWORDS",
    "PENALTIES",
    "SECTIONS",
    "Trainer",
    "arms_of",
    "blueprint",
    "candidates",
    "check_setting",
    "check_study",
    "describe",
    "features",
    "figure_names",
    "flip_and_shift",
    "flood_levels",
    "held_out_losses",
    "key_of",
    "layer_log_norms",
    "make_contexts",
    "make_eval_fn",
    "make_loss",
    "make_program",
    "make_training",
    "missing",
    "open_run",
    "predict",
    "prepare",
    "report",
    "setting_figures",
    "split_numbers",
    "tau_normalized_logits",
]
