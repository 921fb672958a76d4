"""A run folder for a model that was trained elsewhere."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from absl import logging
from etils import epath

from jaxlab import checkpoints
from jaxlab.errors import InputError
from jaxlab.files import RECORD_FILE
from jaxlab.launch import record
from jaxlab.launch.config import Config
from jaxlab.models import nvae
from jaxlab.tasks.images.training import find_spec

_OF_TRAINING = ("scan", "remat", "dtype")  # arguments of a model that change no weight


def check_is_new(workdir: epath.PathLike) -> None:
    """Raises where a folder holds a run."""
    for name in (RECORD_FILE, "checkpoints"):
        if (epath.Path(workdir) / name).exists():
            raise InputError(f"{workdir} holds a run already ({name}): choose another --workdir")


def import_model(
    recipe: Mapping[str, Any],
    model: nvae.NVAE,
    variables: Mapping[str, Any],
    workdir: epath.PathLike,
    *,
    other_data: bool = False,
    data_dir: str | None = None,
) -> dict[str, Any]:
    """Makes a run folder at step 0 that `train.load_run` opens and `--init_from` starts from.

    Args:
      recipe: what further training takes; its model gives way to the given one, and its data to
        pictures of a folder where the model is for others.
      model: from `nvae.load_reference`.
      variables: {"params", "batch_stats"}.
      workdir: a folder without a run.
      other_data: the model is for other data than the recipe's, whatever their size.
      data_dir: folder of the data sets, for the record.

    Returns:
      The config of the run.

    Raises:
      ValueError: the folder holds a run.
    """
    check_is_new(workdir)
    workdir, own = epath.Path(workdir), nvae.arguments_of(model)
    kept = {name: recipe["model"][name] for name in _OF_TRAINING}
    config = {**recipe, "data": dict(recipe["data"]), "model": {**own, **kept}}
    spec = None if other_data else find_spec(config["data"], data_dir)
    wanted = (model.image_size, model.channels, model.crop)
    if spec is None or (spec.image_size, spec.channels, spec.pad) != wanted:
        side = model.image_size - 2 * model.crop
        config["data"] |= {"name": "folder", "image_size": side, "channels": model.channels}
        config["data"] |= {"pad": model.crop, "crop": None}
        logging.info("data are pictures of a folder, %dx%dx%d", side, side, model.channels)
    state = {
        "step": jnp.zeros((), jnp.int32),
        "params": variables["params"],
        "model_state": {"batch_stats": variables["batch_stats"]},
    }
    with checkpoints.Checkpointer(workdir / "checkpoints") as saved:
        saved.save(state)
    record.prepare(workdir, Config(config), {}, data_dir, task="images", allow_change=False)()
    return config
