"""Data sources and pipelines: files of a data folder -> `ImageSet` -> batches of NumPy arrays.

`load` reads a named set into memory, `train_pipeline` turns it into an endless grain iterator whose
position can be saved, `eval_batches` into the padded batches of one pass. Nothing is downloaded
here: `scripts/fetch_data.py` brings the files.
"""

from jaxlab.data.images import SPECS, SPLITS, ImageSet, ImageSpec, data_folder, load
from jaxlab.data.pipeline import EvalBatches, eval_batches, train_pipeline

__all__ = [
    "SPECS",
    "SPLITS",
    "EvalBatches",
    "ImageSet",
    "ImageSpec",
    "data_folder",
    "eval_batches",
    "load",
    "train_pipeline",
]
