"""Arrays of npz and npy files: by their split's name, memory-mapped where that is asked for."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from jaxlab.data.formats.arrays import check_images, check_labels
from jaxlab.data.formats.pictures import reason
from jaxlab.data.formats.splits import SPLIT_NAMES
from jaxlab.errors import InputError


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
    arrays = read_arrays(path, [key for key in (image_key, label_key) if key is not None])
    images = check_images(f"{path}, {image_key}", arrays[image_key])
    if label_key is None:
        return images, None
    return images, check_labels(f"{path}, {label_key}", arrays[label_key], len(images))


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
