"""Data sources and pipelines: files of a data folder -> `ImageSet` -> batches of NumPy arrays.

`load` reads a named set into memory, `train_pipeline` turns it into an endless grain iterator whose
position can be saved, `eval_batches` into the padded batches of one pass. Nothing is downloaded
here: `scripts/fetch_data.py` downloads the files.
"""

from jaxlab.data.classification import ClassificationSplits, load_classification
from jaxlab.data.folder import data_folder
from jaxlab.data.image_sets import SPECS, ImageSet, ImageSpec, describe_sets
from jaxlab.data.images import SPLITS, image_spec, load
from jaxlab.data.labels import (
    flip_labels,
    long_tail_counts,
    long_tail_indices,
    sinusoid,
    split_indices,
)
from jaxlab.data.pipelines.arrays import (
    EvalBatches,
    array_pipeline,
    epoch_order,
    eval_batches,
    train_pipeline,
)
from jaxlab.data.points import gaussians, spiral
from jaxlab.data.sources import Found, Rows, load_rows, number_labels, read_rows
from jaxlab.data.tables import load_table, standardize

__all__ = [
    "SPECS",
    "SPLITS",
    "ClassificationSplits",
    "EvalBatches",
    "Found",
    "ImageSet",
    "ImageSpec",
    "Rows",
    "array_pipeline",
    "data_folder",
    "describe_sets",
    "epoch_order",
    "eval_batches",
    "flip_labels",
    "gaussians",
    "image_spec",
    "load",
    "load_classification",
    "load_rows",
    "load_table",
    "long_tail_counts",
    "long_tail_indices",
    "number_labels",
    "read_rows",
    "sinusoid",
    "spiral",
    "split_indices",
    "standardize",
    "train_pipeline",
]
