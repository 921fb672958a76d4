"""Questions and answers from a passage: losses, pairs drawn from a model, texts, folders."""

from jaxlab import launch, train
from jaxlab.data.questions import segments, sets
from jaxlab.models import bert
from jaxlab.tasks.question_generation.folder import (
    Generator,
    load_generator,
    load_reader,
    save_generator,
)
from jaxlab.tasks.question_generation.losses import (
    TargetLayout,
    count_targets,
    make_target_loss,
    make_target_metrics,
    per_token,
    target_nll,
)
from jaxlab.tasks.question_generation.opened import open_run
from jaxlab.tasks.question_generation.pairs import Pairs, answer, ask, generate_pairs
from jaxlab.tasks.question_generation.study import Study, blueprint, check_study
from jaxlab.tasks.question_generation.written import as_pairs, keep_pairs

__all__ = [
    "KEYWORDS",
    "Generator",
    "Pairs",
    "Study",
    "TargetLayout",
    "answer",
    "as_pairs",
    "ask",
    "blueprint",
    "check_study",
    "count_targets",
    "generate_pairs",
    "keep_pairs",
    "load_generator",
    "load_reader",
    "make_target_loss",
    "make_target_metrics",
    "open_run",
    "per_token",
    "save_generator",
    "target_nll",
]

KEYWORDS = {  # what the sections of a config may hold
    "data": launch.keywords(sets.load_records, but=("data_dir", "skipped")),
    "limits": launch.keywords(segments.Limits),
    "model": launch.or_none(
        launch.keywords(bert.Bert, but=("vocab_size", "pooler", "name")) | {"dtype": str}
    ),
    "optimizer": launch.optimizer_keywords(but=launch.OF_STAGES),
    "step": launch.keywords(train.make_train_step, but=("loss_fn", "tx", "mesh")),
}
