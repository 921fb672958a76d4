"""Word vectors: how they are trained, what is measured of them, and files that others read."""

from collections.abc import Mapping
from typing import Any

from jaxlab import launch, train
from jaxlab import mesh as mesh_lib
from jaxlab.data.corpus import load_corpus
from jaxlab.data.skipgram import SkipgramBlocks
from jaxlab.models import skipgram
from jaxlab.tasks.embeddings import sampling, sweep, texts
from jaxlab.tasks.embeddings.sampling import open_run

__all__ = ["KEYWORDS", "OPTIMIZER", "blueprint", "open_run", "sampling", "sweep", "texts"]

# The highest rate is of the run, or of a sweep's fit.
_GIVEN = (*launch.GIVEN, "learning_rate")
OPTIMIZER = launch.or_none(launch.optimizer_keywords(but=_GIVEN))
KEYWORDS = {  # what the sections of a config may hold
    "data": launch.keywords(load_corpus, but=("corpus", "data_dir", "left_out")),
    "fit": launch.keywords(skipgram.fit_counts, but=("key", "pairs", "held_out", "dim", "tx"))
    | {"every": int | None},  # None: the function's, and the cells of a sweep that names none
    "blocks": launch.keywords(SkipgramBlocks, but=("corpus", "seed")),
    "optimizer": OPTIMIZER,
}


def blueprint(
    config: Mapping[str, Any], mesh: Any, *, data_dir: str | None = None
) -> train.Blueprint:
    """The run as planners want it, on one device of the mesh; of a sweep its largest cell.

    Args:
      config: the keys of a file of `configs/embeddings`.
      mesh: the devices, or None.
      data_dir: the data folder.
    """
    one = None if mesh is None else mesh_lib.make_mesh(mesh.devices.ravel()[:1])
    if config["job"] == "sweep":
        config = sweep.check_sweep(config)
        return sweep.make_cell(config, max(config["vocab_sizes"]), max(config["dims"]), one)
    corpus, _ = sampling.load_words(config, data_dir)
    return sampling.make_run(config, corpus, one)[1]
