"""Compressing BERT: replacing its modules one by one, and what this is compared with."""

from jaxlab import launch, train
from jaxlab.data.text import load_text
from jaxlab.losses import OBJECTIVES
from jaxlab.models import bert
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
from jaxlab.tasks.compression.opened import open_run
from jaxlab.tasks.compression.predictions import (
    classify_texts,
    score,
    score_labels,
    write_predictions,
)
from jaxlab.tasks.compression.replacing import apply_replaced, make_successor, num_gates
from jaxlab.tasks.compression.study import Study, blueprint

__all__ = [
    "KEYWORDS",
    "Study",
    "apply_replaced",
    "blueprint",
    "check_study",
    "classify_texts",
    "distillation_loss",
    "make_distillation_loss",
    "make_replaced_metrics",
    "make_replacing_loss",
    "make_stage_loss",
    "make_successor",
    "num_gates",
    "open_run",
    "plain_params",
    "score",
    "score_labels",
    "stage_mask",
    "stage_params",
    "write_predictions",
]

KEYWORDS = {  # what the sections of a config may hold
    "data": launch.keywords(load_text, but=("data_dir", "split", "limit")),
    "model": launch.or_none(
        launch.keywords(bert.Bert, but=("vocab_size", "name")) | {"dtype": str}
    ),
    # Classes, their names and their kind are the data's.
    "head": launch.keywords(
        bert.SequenceClassifier, but=("num_labels", "label_names", "problem_type", "name")
    ),
    "distillation": {"temperature": float, "soft": float},
    "objective": launch.keywords(
        train.make_labelled_loss,
        rows=OBJECTIVES.values(),
        but=("make_loss", "class_counts", "plain"),
    ),
    "optimizer": launch.optimizer_keywords(but=launch.OF_STAGES),
    "step": launch.keywords(train.make_train_step, but=("loss_fn", "tx", "mesh")),
}
