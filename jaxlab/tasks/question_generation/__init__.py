"""Questions and answers from a passage: losses, pairs drawn from a model, texts, folders."""

from jaxlab.tasks.question_generation.folder import Generator, load_generator, save_generator
from jaxlab.tasks.question_generation.losses import (
    TargetLayout,
    count_targets,
    make_target_loss,
    make_target_metrics,
    per_token,
    target_nll,
)
from jaxlab.tasks.question_generation.pairs import Pairs, answer, ask, generate_pairs

__all__ = [
    "Generator",
    "Pairs",
    "TargetLayout",
    "answer",
    "ask",
    "count_targets",
    "generate_pairs",
    "load_generator",
    "make_target_loss",
    "make_target_metrics",
    "per_token",
    "save_generator",
    "target_nll",
]
