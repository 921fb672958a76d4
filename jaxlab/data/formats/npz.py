"""Arrays of npz and npy files: by their split's name, memory-mapped where that is asked for."""

import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from jaxlab.data.formats.arrays import MOST, check_images, check_labels
from jaxlab.data.formats.pictures import reason
from jaxlab.data.formats.splits import SPLIT_NAMES
from jaxlab.errors import InputError

MAPPED_BYTES = 2**32  # files of more are left on the disk, if they can be
_LOOKED_AT = 64  # rows of a memory-mapped array that are checked


def npz_has_split(path: str | Path, split: str) -> bool:
    """Whether an npz file has images under a key with the split's name, such as `x_test`."""
    if Path(path).suffix.lower() == ".npy":
        return False
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


def read_npz(
    path: str | Path, split: str, *, lazy: bool | None = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """Images and labels of an npz file with `images` or `x` (and `labels` or `y`) in it.

    Keys with the split's name (`x_train`, `train_images`; for validation also `val`, `valid`,
    `dev`), in upper or lower case, are preferred, so that one file can hold several splits.

    Args:
      path: the npz file; images are uint8 [N, H, H] or [N, H, H, C] with values from 0 to 255,
        labels integers [N] or [N, 1]. Or an npy file of the images, with the labels in
        `NAME_labels.npy`, if there are any.
      split: "train", "test" or "validation".
      lazy: keep the images on the disk, memory-mapped; None does so with more than 4 GiB that are
        not compressed.

    Returns:
      Images uint8 [N, H, H, C] and labels int32 [N], or None where the file has none.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it holds no such arrays, or not such values; the message names file and key.
    """
    path = Path(path)
    image_key, label_key = _keys(path, split)
    images = None
    if lazy or (lazy is None and path.is_file() and path.stat().st_size > MAPPED_BYTES):
        images = mapped(path, image_key)
        if images is None and lazy:
            raise InputError(
                f"{path}: is compressed, data.lazy needs np.savez, which does not compress, or npy"
            )
    source = f"{path}, {image_key}" if image_key else str(path)
    if images is None:
        images = check_images(source, read_arrays(path, [image_key])[image_key])
    else:  # what some rows show holds for the others
        check_images(source, images[np.linspace(0, len(images) - 1, _LOOKED_AT).astype(int)])
        images = images if images.ndim == 4 else images[..., None]
    if label_key is None:
        return images, None
    if not image_key:
        path, label_key = path.with_name(label_key), ""
    labels = read_arrays(path, [label_key])[label_key]
    return images, check_labels(f"{path}, {label_key}".strip(", "), labels, len(images))


def read_vectors(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Numbers float64 [N, D] and labels [N], numbers or words, under the keys of `read_npz`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it holds no such arrays, or a number is not finite.
    """
    key, label_key = _keys(path, split)
    if label_key is None:
        raise InputError(f"{path}: the {split} split has no labels, which are called y or labels")
    x = read_arrays(path, [key])[key]
    at = path if key else path.with_name(label_key)
    labels = read_arrays(at, [label_key if key else ""])[label_key if key else ""]
    if x.ndim != 2 or x.dtype.kind not in "iufb" or not x.size:
        raise InputError(f"{path}, {key}: vectors are {x.dtype} {x.shape}, numbers [N, D] needed")
    if labels.shape != (len(x),) or labels.dtype.kind not in "iubUSf":
        raise InputError(
            f"{path}, {label_key}: labels are {labels.dtype} {labels.shape}, numbers or words "
            f"({len(x)},) needed"
        )
    x = np.asarray(x, np.float64)
    if len(bad := np.argwhere(~(np.abs(x) <= MOST))):
        row, column = bad[0].tolist()
        raise InputError(
            f"{path}, {key}: row {row + 1}, number {column + 1} is {x[row, column]}, must be a "
            f"finite number, at most {MOST:.1e}: fill it in, or leave the row out"
        )
    return x, labels.astype(str) if labels.dtype.kind in "US" else labels


def is_vectors(path: Path) -> bool:
    """Whether the first array of an npz or npy file that `read_npz` would take is [N, D]."""
    for split in SPLIT_NAMES:
        try:
            key, _ = _keys(path, split)
        except InputError:
            continue
        return read_arrays(path, [key])[key].ndim == 2
    return False


class ChosenRows:
    """Rows of an array on the disk that stay there until they are indexed.

    Args:
      array: [N, ...].
      rows: which, int [n].
    """

    def __init__(self, array: np.ndarray, rows: np.ndarray):
        self.array, self.rows = array, rows
        self.shape, self.dtype, self.ndim = (len(rows), *array.shape[1:]), array.dtype, array.ndim
        self.size = int(np.prod(self.shape))
        self.nbytes = self.size * array.itemsize

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Any) -> np.ndarray:
        return np.asarray(self.array[self.rows[indices]])


def _keys(path: Path, split: str) -> tuple[str, str | None]:
    """The names of images and labels; of an npy file "", and the file of the labels."""
    if path.suffix.lower() == ".npy":
        labels = f"{path.stem}_labels{path.suffix}"
        return "", labels if path.with_name(labels).is_file() else None
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
    return image_key, _find_key(keys, (*_own_names(split, "labels", "y"), *shared))


def mapped(path: Path, key: str) -> np.ndarray | None:
    """An array of an npz or npy file that stays on the disk; None where it is compressed.

    Args:
      path: the file.
      key: of the array in an npz file.

    Raises:
      ValueError: it cannot be read.
    """
    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False)
        with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
            member = archive.getinfo(f"{key}.npy")
            if member.compress_type != zipfile.ZIP_STORED:
                return None
            file.seek(member.header_offset + 26)
            name, extra = struct.unpack("<HH", file.read(4))  # of the header that the file has here
            file.seek(name + extra, 1)
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, fortran, dtype = read(file)
            if dtype.hasobject:
                raise InputError("it holds Python objects, no plain numbers")
            order = "F" if fortran else "C"
            return np.memmap(path, dtype, "r", file.tell(), shape, order)
    except Exception as error:  # whatever zipfile and NumPy's header meet in a damaged file
        raise InputError(f"{path}: cannot be memory-mapped ({reason(error)})") from error


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


def read_arrays(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The named arrays; no others are read. Of an npy file the one called ""."""
    arrays = {}
    if path.suffix.lower() == ".npy":
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        try:
            return {"": np.load(path, allow_pickle=False)}
        except Exception as error:
            raise InputError(f"{path}: not a readable npy file ({_npz_reason(error)})") from error
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
