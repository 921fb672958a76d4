"""VAEs of images: training, what a finished run gives, evaluation and pictures.

Configs are plain mappings with the keys of `configs/nvae/`; `KEYWORDS` says what their sections
may hold.
"""

from jaxlab.tasks.images.evaluation import evaluate, table
from jaxlab.tasks.images.pictures import Pictures, nearest
from jaxlab.tasks.images.training import (
    KEYWORDS,
    Sets,
    blueprint,
    build,
    conclude,
    find_spec,
    load_sets,
    make_eval_fn,
    open_run,
    run,
)

__all__ = [
    "KEYWORDS",
    "Pictures",
    "Sets",
    "blueprint",
    "build",
    "conclude",
    "evaluate",
    "find_spec",
    "load_sets",
    "make_eval_fn",
    "nearest",
    "open_run",
    "run",
    "table",
]
