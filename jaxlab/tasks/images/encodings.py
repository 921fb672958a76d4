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
from jaxlab.checks import check_count
from jaxlab.errors import InputError, MissingPackageError
from jaxlab.files import check_output, replacing
from jaxlab.models import nvae
from jaxlab.models.nvae.model import spherical
from jaxlab.tasks.images.exports import noise_of, to_bytes
from jaxlab.tasks.images.training import binarize

_END = "whitened_"  # of names of the ends of a path, which are not given back


def encode(
    run: train.LoadedRun,
    split: str = "test",
    *,
    limit: int | None = None,
    batch_size: int = 100,
    seed: int = 0,
    reconstruct: bool = False,
    interpolate: int = 0,
) -> dict[str, np.ndarray]:
    """Latents of every image of a set, and their price; pictures made of them, if asked.

    Binary images are drawn from the grey values as `evaluate` draws them. The noise of an image
    depends on the seed and its place in the set.

    Args:
      run: from `train.load_run`.
      split: which images.
      limit: only the first N of them.
      batch_size: images at a time.
      seed: of posterior noise and fixed binarisation.
      reconstruct: also give the mean image of each image's posterior means.
      interpolate: also give this number of mean images on the way from each image to the next
        (from the last to the first), both ends included: whitened posterior means turned into each
        other on the sphere; 0 for none.

    Returns:
      For each group, coarsest first, float32 [n, height, width, latents]: "mean_00", posterior
      means, each given the means before it, and "draw_00", a draw, each given the draws before it
      (with flows, z after them). "kl", float32 [n, groups], nats along that draw; "label", int32
      [n], where the set has labels. "reconstruction", uint8 [n, height, width, channels], and
      "interpolation", uint8 [n, interpolate, height, width, channels], where asked for.

    Raises:
      ValueError: a number is out of range.
      FileNotFoundError: there are no such images.
    """
    check_count("interpolate", interpolate, at_least=0)
    model, key = run.model, jax.random.key(seed)
    pixels = lambda output: to_bytes(model.observation.mean(output.parameters))
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
        if reconstruct:
            found["reconstruction"] = pixels(means)
        if interpolate:
            found |= {f"{_END}{i:02d}": group.whitened for i, group in enumerate(means.groups)}
        return found | {f"draw_{i:02d}": z for i, z in enumerate(drawn.latents)} | {"kl": drawn.kl}

    parts = []
    for i, batch in enumerate(batches):
        indices = np.arange(i * batch_size, (i + 1) * batch_size, dtype=np.int32)
        found = encoded(run.variables, jnp.asarray(batch["image"]), indices)
        parts.append(jax.tree.map(lambda x: np.asarray(x)[: len(images) - indices[0]], found))  # noqa: B023
        logging.info("%d of %d images", min((i + 1) * batch_size, len(images)), len(images))
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if interpolate:
        ends = [whole.pop(name) for name in sorted(n for n in whole if n.startswith(_END))]
        weights = jnp.linspace(0.0, 1.0, interpolate)

        @jax.jit
        def way(variables, pair):
            path = [spherical(a, b, weights) for a, b in pair]
            return pixels(model.apply(variables, whitened=path, method="top_down"))

        pairs = ([(g[i], g[(i + 1) % len(g)]) for g in ends] for i in range(len(ends[0])))
        whole["interpolation"] = np.stack([way(run.variables, pair) for pair in pairs])
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
