"""What a finished run gives to other tools: many samples, and its weights."""

import io
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from etils import epath
from flax import traverse_util
from PIL import Image

from jaxlab import data, train
from jaxlab import mesh as mesh_lib
from jaxlab.checkpoints.leaves import differences, flatten
from jaxlab.checks import check_count
from jaxlab.errors import DivergedError, InputError
from jaxlab.files import (
    check_output,
    output_folder,
    read_json,
    replacing,
    to_json,
    write_atomically,
)
from jaxlab.metrics import METRICS_FILE
from jaxlab.models import nvae
from jaxlab.models.bert.folder import CONFIG_FILE, WEIGHTS_FILE, safetensors
from jaxlab.models.nvae.latent_inputs import draw_noise
from jaxlab.tasks.images.pictures import Pictures

SETTINGS_FILE = "samples.json"  # of a folder of samples: what they were drawn with


def noise_of(model: nvae.NVAE, key: jax.Array) -> list[jax.Array]:
    """Standard normal noise of every group of one image, coarsest first, from its own key."""
    drawn = draw_noise(tuple(reversed(model.groups)), model.latent_shapes, 1, key)
    return [group[0] for scale in drawn for group in scale]


def to_bytes(x: jax.Array) -> jax.Array:
    """Pictures in [0, 1] as uint8, rounded; what lies outside is cut off."""
    return jnp.round(255 * jnp.clip(x, 0, 1)).astype(jnp.uint8)


def export_samples(
    pictures: Pictures,
    out: epath.PathLike,
    num: int,
    *,
    temperature: float | Sequence[float] = 1.0,
    likelihood: bool = False,
    batch_size: int = 100,
) -> int:
    """Draws samples on all devices and writes them for tools that compare sets of images.

    Sample i depends on the seed and on i alone, but for rounding, which may differ with the batch
    size and the devices.

    Args:
      pictures: a run, the seed, and whether statistics are measured anew at the temperature.
      out: FILE.npz, written whole: uint8 [num, height, width, 3] as "arr_0", grey repeated. Else a
        folder: 000000.png, 000001.png and so on, and what they were drawn with in samples.json; the
        same call goes on after the last file, and one with a larger num adds to them.
      num: samples.
      temperature: factor on the prior's sigma, one or one per group.
      likelihood: draw pixels from p(x | z) instead of its mean.
      batch_size: samples at a time, rounded up to a multiple of the devices.

    Returns:
      How many were written.

    Raises:
      ValueError: a number is out of range, or the folder holds other pictures.
      FloatingPointError: a sample is not finite.
    """
    check_count("num", num)
    check_count("batch_size", batch_size)
    run, sums = pictures.run, 0
    for leaf in jax.tree.leaves(run.params):
        sums = zlib.crc32(np.asarray(leaf).tobytes(), sums)
    settings = {
        "weights": f"{run.weights} of step {run.step}, sum {sums:08x}",
        "seed": pictures.seed,
        "temperature": np.asarray(temperature, float).tolist(),
        "reestimate": pictures.reestimate,
        "true_samples": likelihood,
    }
    to_file = os.fspath(out).endswith(".npz")
    ending = os.path.splitext(os.fspath(out))[1].lower()
    if ending in (".npy", ".zip", ".png", ".jpg", ".jpeg"):
        raise InputError(f"samples go to a folder or FILE.npz, not to {ending}: {out}")
    place = check_output(out) if to_file else _folder(out, settings, num)
    names = [] if to_file else [place / f"{i:06d}.png" for i in range(num)]
    there = {path.name for path in place.iterdir()} if names else set()
    first = next((i for i, path in enumerate(names) if path.name not in there), len(names))
    if names and first == num:
        logging.info("%s holds its %d samples already", place, num)
        return 0
    drawn = _batches(pictures, 0 if to_file else first, num, temperature, likelihood, batch_size)
    if to_file:
        _write_npz(place, drawn, num)
        return num
    count = 0
    for start, batch in drawn:
        for path, image in zip(names[start:], batch, strict=False):
            if path.name not in there:
                buffer, grey = io.BytesIO(), image.shape[-1] == 1
                Image.fromarray(image[..., 0] if grey else image).save(buffer, "PNG")
                write_atomically(path, buffer.getvalue())
                count += 1
        logging.info("%d of %d samples", min(start + len(batch), num), num)
    return count


def draw_samples(
    pictures: Pictures,
    num: int,
    *,
    temperature: float | Sequence[float] = 1.0,
    likelihood: bool = False,
    batch_size: int = 100,
) -> np.ndarray:
    """The samples that `export_samples` writes, in memory: uint8 [num, height, width, channels]."""
    check_count("num", num)
    check_count("batch_size", batch_size)
    drawn = _batches(pictures, 0, num, temperature, likelihood, batch_size)
    return np.concatenate([batch for _, batch in drawn])


def _folder(out: epath.PathLike, settings: dict[str, Any], num: int) -> epath.Path:
    """The folder of the PNG files, which holds no others."""
    folder = output_folder(out)
    path = folder / SETTINGS_FILE
    count = sum(file.name.endswith(".png") for file in folder.iterdir())
    if not count:
        write_atomically(path, to_json(settings, indent=1) + "\n")
        return folder
    found = read_json(path) if path.exists() else None
    if not isinstance(found, dict):
        raise InputError(f"{folder} holds {count} pictures of others: choose another folder")
    unlike = [f"{k} {found.get(k)!r}, not {v!r}" for k, v in settings.items() if found.get(k) != v]
    if unlike:
        raise InputError(f"{folder} holds samples of {'; '.join(unlike)}: choose another folder")
    if count > num:
        raise InputError(f"{folder} holds {count} samples, num is {num}: choose another folder")
    return folder


def _batches(
    pictures: Pictures,
    first: int,
    num: int,
    temperature: float | Sequence[float],
    likelihood: bool,
    batch_size: int,
) -> Iterator[tuple[int, np.ndarray]]:
    """(index of the first, uint8 [batch, height, width, channels]), from the batch with `first`.

    A sample is always at the same place of the same batch: where a run goes on does not change it.
    """
    model, mesh = pictures.run.model, mesh_lib.make_mesh()
    size = -(-batch_size // mesh.size) * mesh.size
    variables = mesh_lib.place(pictures.variables_at(temperature), mesh_lib.replicated(mesh))

    @jax.jit
    def draw(variables, key, indices):
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(indices)
        latent, pixel = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        noise = jax.vmap(lambda k: noise_of(model, k))(latent)
        output: Any = model.apply(
            variables, noise=noise, temperature=temperature, method="top_down"
        )
        if likelihood:
            one = lambda key, parameters: model.observation.sample(key, parameters[None])[0]
            x = jax.vmap(one)(pixel, output.parameters)
        else:
            x = model.observation.mean(output.parameters)
        return to_bytes(x), jnp.isfinite(x).all()

    for start in range(first // size * size, num, size):
        indices = mesh_lib.shard_batch(mesh, np.arange(start, start + size, dtype=np.int32))
        with mesh_lib.splitting_over(mesh):
            images, finite = draw(variables, pictures.key, indices)
        if not finite:
            raise DivergedError(f"samples {start} to {start + size - 1} are not finite")
        yield start, np.asarray(images)[: num - start]


def _write_npz(path: epath.Path, drawn: Iterator[tuple[int, np.ndarray]], num: int) -> None:
    """Writes batch after batch: all samples together may be larger than the memory."""
    with (
        replacing(path) as part,
        zipfile.ZipFile(part, "w") as archive,
        archive.open("arr_0.npy", "w", force_zip64=True) as file,
    ):
        for start, batch in drawn:
            colour = np.broadcast_to(batch, (*batch.shape[:-1], 3))
            if start == 0:
                header = {"descr": "|u1", "fortran_order": False, "shape": (num, *colour.shape[1:])}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(colour).data)
            logging.info("%d of %d samples", start + len(batch), num)


def export(
    run: train.LoadedRun, folder: epath.PathLike, *, about: Mapping[str, Any] | None = None
) -> None:
    """Writes a model as config.json and model.safetensors; `load_export` reads it back.

    `train.load_run(folder)` opens it as the run that it was. Names of the weights are
    `params/stem/kernel`, `batch_stats/...`; layouts are Flax's.

    Args:
      run: from `train.load_run`.
      folder: made if missing; an older export in it is replaced.
      about: what config.json shall say besides, such as figures.

    Raises:
      ValueError: the folder cannot be written to, or holds a run or another tool's config.json.
      ModuleNotFoundError: safetensors is not installed.
    """
    package, place = safetensors(), output_folder(folder)
    _check_holds_no_run(place)
    described = {"task": "images", "config": run.config, **(about or {})}
    described |= {"model": nvae.arguments_of(run.model), "step": run.step, "weights": run.weights}
    variables = {"params": run.params, "batch_stats": run.model_state["batch_stats"]}
    leaves = {n: np.asarray(x) for n, x in flatten(variables).items()}
    write_atomically(place / WEIGHTS_FILE, package.numpy.save(leaves))
    write_atomically(place / CONFIG_FILE, to_json(described, indent=1) + "\n")


def _check_holds_no_run(place: epath.Path) -> None:
    """Raises where an export would replace the record of a run, or what another tool wrote."""
    for name in ("checkpoints", METRICS_FILE):
        if (place / name).exists():
            raise InputError(f"{place} holds a run ({name}): export to another folder")
    path = place / CONFIG_FILE
    found = read_json(path) if path.exists() else {"step": None, "weights": None}
    if not isinstance(found, dict) or not {"step", "weights"} <= found.keys():
        raise InputError(f"{path} is not that of an exported model: export to another folder")


def load_export(folder: epath.PathLike) -> tuple[nvae.NVAE, dict[str, Any]]:
    """Reads a folder of `export`: (model, {"params", "batch_stats"}), as `model.apply` takes them.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: one is damaged, or the weights are not those of the model or not finite.
      ModuleNotFoundError: safetensors is not installed.
    """
    package, place = safetensors(), epath.Path(folder)
    about = read_json(place / CONFIG_FILE)
    found = about.get("model") if isinstance(about, dict) else None
    names = ("image_size", "channels", "crop", "likelihood", "bits")
    if not isinstance(found, dict) or any(name not in found for name in names):
        raise InputError(f"{place / CONFIG_FILE} does not describe an NVAE: {', '.join(names)}")
    size, channels, crop, likelihood, bits = (found[name] for name in names)
    model = nvae.for_images(
        data.ImageSpec("export", channels, size, crop, likelihood, bits), **found
    )
    try:
        leaves = package.numpy.load((place / WEIGHTS_FILE).read_bytes())
    except package.SafetensorError as error:
        raise InputError(f"{place / WEIGHTS_FILE} is not a safetensors file: {error}") from error
    shape = (2, size, size, channels)
    wanted, state = jax.eval_shape(
        lambda key: nvae.init_variables(model, key, jnp.zeros(shape, jnp.uint8)), jax.random.key(0)
    )
    wanted = flatten({"params": wanted, "batch_stats": state["batch_stats"]})
    if unlike := differences(leaves, wanted):
        raise InputError(f"{place / WEIGHTS_FILE} does not fit its config: {'; '.join(unlike)}")
    for name, leaf in leaves.items():
        if not np.isfinite(leaf).all() or (name.endswith("/var") and (leaf < 0).any()):
            what = "values that are not finite, or negative variances"
            raise InputError(f"{place / WEIGHTS_FILE}: {name} holds {what}: export the run again")
    return model, traverse_util.unflatten_dict(leaves, sep="/")
