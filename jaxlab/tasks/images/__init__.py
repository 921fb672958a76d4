"""VAEs of images: training, what a finished run gives, evaluation and pictures.

Configs are plain mappings with the keys of `configs/nvae/`; `KEYWORDS` says what their sections
may hold.
"""

from jaxlab.tasks.images.card import write_card
from jaxlab.tasks.images.encodings import check_table, encode, write_table
from jaxlab.tasks.images.evaluation import evaluate, table
from jaxlab.tasks.images.exports import draw_samples, export, export_samples, load_export
from jaxlab.tasks.images.imports import check_is_new, import_model
from jaxlab.tasks.images.pictures import Pictures, nearest, read_temperature, temperature_label
from jaxlab.tasks.images.quality import (
    QUALITY_FILE,
    compare,
    frechet_distance,
    judge_samples,
    quality_table,
    read_pictures,
)
from jaxlab.tasks.images.report import samples_table, study_table, write_report
from jaxlab.tasks.images.study import check_study, run_study
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
    "QUALITY_FILE",
    "Pictures",
    "Sets",
    "begin",
    "blueprint",
    "build",
    "check_is_new",
    "check_study",
    "check_table",
    "compare",
    "conclude",
    "describe_data",
    "draw_samples",
    "encode",
    "evaluate",
    "export",
    "export_samples",
    "find_spec",
    "frechet_distance",
    "import_model",
    "judge_samples",
    "load_export",
    "load_sets",
    "make_eval_fn",
    "make_pipeline",
    "nearest",
    "open_run",
    "quality_table",
    "read_pictures",
    "read_temperature",
    "run",
    "run_study",
    "samples_table",
    "study_table",
    "table",
    "temperature_label",
    "write_card",
    "write_report",
    "write_table",
]
