"""Pictures of one's own: which files or bytes they are, and their labels, before any is decoded."""

import collections
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxlab.data import formats, sources
from jaxlab.data.formats.pictures import walk
from jaxlab.data.formats.rows import Rows, number_labels, read_rows
from jaxlab.errors import InputError

LAZY_BYTES = 2**32  # sets that take more memory are read when they are needed
METADATA = {"metadata.csv": "csv", "metadata.jsonl": "jsonl", "metadata.parquet": "parquet"}
LABEL, IMAGE, FILE = "label", "image", "file_name"  # columns where none is named
_LOOKED_AT = 64  # pictures of a lazily read set that are decoded before training


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures that are not read yet.

    Attributes:
      paths: files, or what a table holds of them.
      labels: int32 [N], or None.
      class_names: of the labels.
      groups: [N], of which equal ones stay in one split, or None.
      left_out: reason -> count.
    """

    paths: Sequence[Path | formats.Stored]
    labels: np.ndarray | None
    class_names: tuple[str, ...] | None
    groups: Sequence[Any] | None = None
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)


def list_folder(
    place: Path,
    root: Path,
    train: Path | None,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
) -> Pictures:
    """The pictures of a folder: those that its metadata file names, else all, by class.

    Args:
      place: folder of the split.
      root: folder of the set, which may have the metadata file of all splits.
      train: folder of the training split, which numbers the classes; None: this one is.
      image_column: of the metadata, path of the picture from the metadata's folder; default
        "file_name".
      label_column: of the metadata; default "label", where there is one.
      group_column: of the metadata.

    Raises:
      FileNotFoundError: a picture is missing.
      ValueError: a column is missing, a label is unknown, or a folder holds what it must not.
    """
    left_out: collections.Counter[str] = collections.Counter()
    found = _metadata(place, root)
    if found is None:
        for key, value in (
            ("image", image_column),
            ("label", label_column),
            ("group", group_column),
        ):
            if value is not None:
                raise InputError(
                    f"data.{key}_column is {value!r}, {place} has no {' or '.join(METADATA)}"
                )
        classes = formats.class_names(train) if train else None
        paths, labels, names = formats.list_images(
            place, classes=classes or None, left_out=left_out
        )
        return Pictures(paths, labels, tuple(names) or None, None, dict(+left_out))
    rows, at = found
    column = image_column or FILE
    files = rows.column(column, key="data.image_column")
    paths = [at / str(file) for file in files]
    for i, path in enumerate(paths):
        if not _is_below(path, at):
            raise InputError(f"{rows.place(i)}: {files[i]!r} names no picture in {at}")
    inside = [i for i, path in enumerate(paths) if _is_below(path, place)]
    if not inside:
        raise FileNotFoundError(f"{rows.source}: names no picture in {place}")
    rows, paths = rows.take(inside), [paths[i] for i in inside]
    first: dict[Path, int] = {}
    for i, path in enumerate(paths):
        if not path.is_file():
            raise FileNotFoundError(f"{rows.place(i)}: {path} is no file")
        if first.setdefault(path, i) != i:  # else it may be in two splits
            raise InputError(f"{rows.place(i)}: {path} is named in {rows.place(first[path])} too")
    unnamed = {*map(str, walk(place, left_out, ()))} - {*map(str, paths)}
    left_out["pictures without a row"] = len(unnamed)
    if at == place:
        left_out[Path(rows.source).suffix] -= 1  # the metadata itself
    label_column = label_column or (LABEL if LABEL in rows.columns else None)
    labels = names = None
    if label_column is not None:
        own = _metadata(train, root) if train else None
        splits = {"train": own[0] if own else rows, "own": rows}
        names, numbers = number_labels(splits, label_column)
        labels = numbers["own"]
    groups = None if group_column is None else rows.column(group_column, key="data.group_column")
    return Pictures(paths, labels, names, groups, dict(+left_out))


def _metadata(place: Path, root: Path) -> tuple[Rows, Path] | None:
    """The metadata of a folder, or of the set's, and the folder where its paths start."""
    for at in dict.fromkeys((place, root)):
        names = [name for name in METADATA if (at / name).is_file()]
        if len(names) > 1:
            raise InputError(f"{at}: has {' and '.join(names)}, keep one")
        if names:
            return read_rows(at / names[0], METADATA[names[0]]), at
    return None


def _is_below(path: Path, folder: Path) -> bool:
    return os.path.abspath(path).startswith(os.path.join(os.path.abspath(folder), ""))


def list_table(
    name: str,
    path: Any,
    split: str,
    *,
    data_dir: str | Path | None,
    image_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    shares: Sequence[float] | None = None,
    split_seed: int = 0,
    config_name: str | None = None,
) -> Pictures:
    """The pictures of a split of a table: bytes, or paths from the table's folder.

    Args:
      name: of `sources.TABLES`.
      path: as for `sources.load_rows`, as are the other arguments.
      split: which.
      data_dir: the data folder.
      image_column: of the pictures; default "image".
      label_column: default "label", where there is one.
      group_column: see `sources.load_rows`.
      shares: default 0.1 and 0.1.
      split_seed: of the split.
      config_name: of "hf".

    Raises:
      FileNotFoundError: there is no such file or split.
      ValueError: a column is missing, or holds no pictures.
    """
    splits = sources.load_rows(
        name, path, data_dir=data_dir, shares=(0.0, 0.0), config_name=config_name
    )
    label_column = label_column or (LABEL if LABEL in splits["train"].columns else None)
    splits = sources.complete(
        splits,
        shares=(0.1, 0.1) if shares is None else shares,
        group_column=group_column,
        label_column=label_column,
        seed=split_seed,
    )
    if split not in splits:
        raise FileNotFoundError(
            f"{name} {path}: no {split} rows: data.shares says which part of the training rows "
            f"they are (--config.data.shares='(0.1, 0.1)'), it is {shares}"
        )
    rows, labels, names = splits[split], None, None
    if label_column is not None:
        pair = {"train": splits["train"], split: rows}
        names, numbers = number_labels(pair, label_column)
        labels = numbers[split]
    cells = rows.column(image_column or IMAGE, key="data.image_column")
    paths = [_picture(cell, rows, i) for i, cell in enumerate(cells)]
    return Pictures(paths, labels, names)


def _picture(cell: Any, rows: Rows, index: int) -> Path | formats.Stored:
    """A cell of a table as a picture: its bytes, {"bytes", "path"} of `datasets`, or its path."""
    if isinstance(cell, Mapping):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, bytes):
        return formats.Stored(cell, rows.place(index))
    if not isinstance(cell, str) or not cell:
        kind = "nothing" if not cell else type(cell).__name__
        raise InputError(f"{rows.place(index)}: the picture is {kind}, must be bytes or a path")
    path = Path(rows.folder) / cell
    if not path.is_file():
        raise FileNotFoundError(f"{rows.place(index)}: {path} is no file")
    return path


def read_pictures(
    paths: Sequence[Path | formats.Stored],
    *,
    lazy: bool | None,
    image_size: int | None,
    channels: int,
    crop: formats.Box | None,
) -> np.ndarray | formats.LazyImages:
    """Decodes pictures, or, of sets larger than `LAZY_BYTES`, prepares to do so when needed.

    Args:
      paths: the pictures.
      lazy: True or False decides; None goes by the size.
      image_size: as for `formats.read_images`, as are the others.
      channels: 3 or 1.
      crop: box, or None.

    Raises:
      ValueError: lazy without an image_size, or a picture that cannot be read.
    """
    geometry: dict[str, Any] = {"image_size": image_size, "channels": channels, "crop": crop}
    if lazy is None:
        lazy = image_size is not None and len(paths) * image_size**2 * channels > LAZY_BYTES
    if not lazy:
        return formats.read_images(paths, **geometry)
    if image_size is None:
        raise InputError(
            "data.lazy is True and image_size None: pictures that are read when they are needed "
            "need a size (--config.data.image_size=N)"
        )
    # What is odd about some of them is found before training.
    formats.read_images(paths[:: max(len(paths) // _LOOKED_AT, 1)], **geometry)
    return formats.LazyImages(paths, image_size=image_size, channels=channels, crop=crop)
