"""VAEs of images: training, what a finished run gives, evaluation and pictures.

Configs are plain mappings with the keys of `configs/nvae/`; `KEYWORDS` says what their sections
may hold.
"""

from jaxlab.tasks.images.encodings import check_table, encode, write_table
from jaxlab.tasks.images.evaluation import evaluate, table
from jaxlab.tasks.images.exports import export, export_samples, load_export
from jaxlab.tasks.images.imports import check_is_new, import_model
from jaxlab.tasks.images.pictures import Pictures, nearest
from jaxlab.tasks.images.study import check_study, run_study, study_table
from jaxlab.tasks.images.training import (
    KEYWORDS,
    Sets,
    begin,
    blueprint,
    build,
    conclude,
    describe_data,
    find_spec,
    load_sets,
    make_eval_fn,
    make_pipeline,
    open_run,
    run,
)

__all__ = [
    "KEYWORDS",
    "Pictures",
    "Sets",
    "begin",
    "blueprint",
    "build",
    "check_is_new",
    "check_study",
    "check_table",
    "conclude",
    "describe_data",
    "encode",
    "evaluate",
    "export",
    "export_samples",
    "find_spec",
    "import_model",
    "load_export",
    "load_sets",
    "make_eval_fn",
    "make_pipeline",
    "nearest",
    "open_run",
    "run",
    "run_study",
    "study_table",
    "table",
    "write_table",
]
