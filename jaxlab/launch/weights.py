"""Weights that a run may start from: of another run, or of a file of arrays."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from flax import traverse_util

from jaxlab import checkpoints
from jaxlab.data.formats.npz import npz_keys, read_arrays
from jaxlab.errors import InputError
from jaxlab.models.bert.folder import WEIGHTS_FILE, safetensors

FILES = (".safetensors", ".npz")


class Weights(NamedTuple):
    """What a source holds.

    Attributes:
      step: of the run they are from; None for a file.
      params: nested dicts of arrays.
      model_state: likewise, such as batch statistics.
    """

    step: int | None
    params: Any
    model_state: Any


def read_weights(
    source: epath.PathLike,
    *,
    ema: bool = True,
    special: Callable[[epath.Path], Any] | None = None,
) -> Weights:
    """Reads the weights of a run's folder, a folder with model.safetensors, or a file.

    Args:
      source: a run's folder; FILE.safetensors or FILE.npz, or a folder with model.safetensors, such
        as `tasks.images.export` writes. Names of arrays are paths with slashes or dots; those
        under "params" are parameters, those next to it the model's state, and without it all are
        parameters.
      ema: the run's averaged parameters, where it kept them.
      special: path -> parameters, or None where it is none of the files or folders that a task
        reads itself.

    Raises:
      FileNotFoundError: there is no such run or file.
      ValueError: the file cannot be read.
    """
    source = epath.Path(source)
    if special is not None and (found := special(source)) is not None:
        return Weights(None, found, {})
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist: it must be a run or a file")
    if not (source / "checkpoints").exists() and (source / WEIGHTS_FILE).exists():
        source = source / WEIGHTS_FILE
    if not source.is_dir():
        if source.suffix not in FILES:
            raise InputError(f"{source} holds no weights: files end in {' or '.join(FILES)}")
        return _split(_read_arrays(source), str(source))
    if not (source / "checkpoints").exists():
        raise FileNotFoundError(f"{source} has neither checkpoints/ of a run nor {WEIGHTS_FILE}")
    return Weights(*checkpoints.load_params(source / "checkpoints", ema=ema))


def _read_arrays(path: epath.Path) -> dict[str, np.ndarray]:
    if path.suffix == ".npz":
        return read_arrays(Path(path), npz_keys(Path(path)))
    package = safetensors()
    try:
        return package.numpy.load(path.read_bytes())
    except package.SafetensorError as error:
        raise InputError(f"{path} is not a safetensors file: {error}") from error


def _split(leaves: Mapping[str, np.ndarray], name: str) -> Weights:
    """Arrays by path, as parameters and the state next to them."""
    by_slash = any("/" in key for key in leaves)
    paths = {tuple(key.split("/" if by_slash else ".")): x for key, x in leaves.items()}
    try:
        tree = traverse_util.unflatten_dict(paths)
    except (TypeError, AttributeError, ValueError, IndexError) as error:
        raise InputError(f"{name} holds an array and a folder of one name") from error
    if "params" not in tree:
        return Weights(None, tree, {})
    return Weights(None, tree.pop("params"), tree.pop("model_state", tree))
