"""What a finished run makes of images, as tables: latents and what they cost."""

import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from etils import epath

from jaxlab import data, train
from jaxlab.errors import InputError, MissingPackageError
from jaxlab.files import check_output, replacing
from jaxlab.models import nvae
from jaxlab.tasks.images.exports import noise_of
from jaxlab.tasks.images.training import binarize


def encode(
    run: train.LoadedRun,
    split: str = "test",
    *,
    limit: int | None = None,
    batch_size: int = 100,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Latents of every image of a set, and their price.

    Binary images are drawn from the grey values as `evaluate` draws them. The noise of an image
    depends on the seed and its place in the set.

    Args:
      run: from `train.load_run`.
      split: which images.
      limit: only the first N of them.
      batch_size: images at a time.
      seed: of posterior noise and fixed binarisation.

    Returns:
      For each group, coarsest first, float32 [n, height, width, latents]: "mean_00", posterior
      means, each given the means before it, and "draw_00", a draw, each given the draws before it
      (with flows, z after them). "kl", float32 [n, groups], nats along that draw; "label", int32
      [n], where the set has labels.

    Raises:
      ValueError: a number is out of range.
      FileNotFoundError: there are no such images.
    """
    model, key = run.model, jax.random.key(seed)
    images = run.load_data(split, limit=limit)
    batches = data.eval_batches(images, batch_size, binarize=binarize(run.config, model), seed=seed)

    @jax.jit
    def encoded(variables, batch, indices):
        x = nvae.prepare_images(model, batch, key)
        noise = jax.vmap(lambda i: noise_of(model, jax.random.fold_in(key, i)))(indices)
        features: Any = model.apply(variables, x, method="bottom_up")
        means: Any = model.apply(variables, features, method="top_down")
        drawn: Any = model.apply(variables, features, noise=noise, method="top_down")
        found = {f"mean_{i:02d}": z for i, z in enumerate(means.latents)}
        return found | {f"draw_{i:02d}": z for i, z in enumerate(drawn.latents)} | {"kl": drawn.kl}

    parts = []
    for i, batch in enumerate(batches):
        indices = np.arange(i * batch_size, (i + 1) * batch_size, dtype=np.int32)
        found = encoded(run.variables, jnp.asarray(batch["image"]), indices)
        parts.append(jax.tree.map(lambda x: np.asarray(x)[: len(images) - indices[0]], found))  # noqa: B023
        logging.info("%d of %d images", min((i + 1) * batch_size, len(images)), len(images))
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return whole if images.labels is None else {**whole, "label": images.labels}


def check_table(path: epath.PathLike) -> epath.Path:
    """The path of a table that `write_table` can write: before the work, not after it.

    Raises:
      ValueError: it ends in neither .npz nor .parquet, or cannot be written.
      ModuleNotFoundError: .parquet, without pyarrow.
    """
    name = os.fspath(path)
    if not name.endswith((".npz", ".parquet")):
        raise InputError(f"{name} is no table: it must end in .npz or .parquet")
    if name.endswith(".parquet"):
        _parquet(name)
    return check_output(path)


def write_table(path: epath.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays [n, ...] whole, by name: an npz, or a Parquet table.

    A row of the table is an image; a column holds a number, or the flat list of an array's values.

    Args:
      path: FILE.npz or FILE.parquet.
      arrays: of n rows each.

    Raises:
      ValueError, ModuleNotFoundError: see `check_table`.

    Example:
      >>> import tempfile
      >>> path = tempfile.mkdtemp() + "/a.npz"
      >>> write_table(path, {"kl": np.ones((2, 3))})
      >>> np.load(path)["kl"].shape
      (2, 3)
    """
    path = check_table(path)
    with replacing(path) as part:
        if not os.fspath(path).endswith(".parquet"):
            named: Any = dict(arrays)
            with open(part, "wb") as file:
                np.savez(file, **named)
            return
        arrow, parquet = _parquet(os.fspath(path))
        columns = {}
        for name, values in arrays.items():
            flat = arrow.array(np.ascontiguousarray(values).ravel())
            width = int(np.prod(values.shape[1:]))
            one = values.ndim == 1
            columns[name] = flat if one else arrow.FixedSizeListArray.from_arrays(flat, width)
        parquet.write_table(arrow.table(columns), part)


def _parquet(name: str) -> tuple[Any, Any]:
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingPackageError(
            f"{name} needs pyarrow, which is not installed: pip install pyarrow, or take an .npz",
            name="pyarrow",
        ) from error
    return pyarrow, pyarrow.parquet
