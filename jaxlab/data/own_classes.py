"""Labelled sets of one's own: pictures or vectors, each split with all of the classes."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxlab.data import formats, sources
from jaxlab.data.folder import data_folder
from jaxlab.data.images import load
from jaxlab.data.vectors import load_vectors
from jaxlab.errors import InputError

Arrays = dict[str, np.ndarray]
SPLITS = ("train", "validation", "test")
_OF_PICTURES = ("image_column", "image_size", "channels", "crop")
_OF_VECTORS = ("feature_columns",)


@dataclasses.dataclass(frozen=True)
class About:
    """What a reader says of a set besides its arrays; see `sources.Found`."""

    class_names: tuple[str, ...] = ()
    source: str = ""
    sizes: str = ""
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)


def load_own(
    name: str, data_dir: str | Path | None, **given: Any
) -> tuple[dict[str, Arrays], About]:
    """Reads the three splits of a set of one's own; see `load_classification`.

    Args:
      name: of `images.OWN`.
      data_dir: the data folder.
      **given: arguments of `load_classification` that are not None.

    Raises:
      FileNotFoundError: there are no such files.
      ValueError: no labels, an argument that does not belong to such a set, or a split without an
        example of a class.
    """
    given = {"shares": (0.1, 0.1), **given}
    path = given.get("path")
    if path is None and name not in sources.TABLES:
        path = str(data_folder(data_dir))
    pictures = name == "folder" or "image_column" in given
    if name == "npz":
        pictures = not _is_vectors(path, data_dir)
    for key in _OF_VECTORS if pictures else _OF_PICTURES:
        if key in given:
            what = "pictures" if pictures else "vectors (pictures need data.image_column)"
            raise InputError(f"data.{key} is {given[key]!r}, {name} holds {what}: leave it out")
    if pictures:
        sets = {split: load(name, data_dir, split, lazy=False, **given) for split in SPLITS}
        train = sets["train"]
        if any(one.labels is None for one in sets.values()):
            raise InputError(
                f"{train.source} has no labels: needs a folder for each class, a label column "
                "(data.label_column), or y in an npz"
            )
        count = max(int(np.max(np.asarray(one.labels))) for one in sets.values()) + 1
        names = train.class_names or tuple(map(str, range(count)))
        splits = {s: {"x": one.images, "label": one.labels} for s, one in sets.items()}
        size = "x".join(map(str, train.images.shape[1:]))
        about = About(names, train.source, size, train.left_out)
    else:
        found = load_vectors(name, path, data_dir=data_dir, **_without(given, "path"))
        splits = {split: dict(arrays) for split, arrays in found.splits.items()}
        about = About(found.class_names, str(path), found.sizes, found.left_out)
    for split in SPLITS:
        if split not in splits:
            raise InputError(
                f"{name} {path}: no {split} examples, data.shares is {given['shares']}: they are "
                "needed"
            )
        _check_classes(split, splits[split]["label"], about)
    return splits, about


def _check_classes(split: str, labels: np.ndarray, about: About) -> None:
    """Raises where a class is missing in a split: no mean over classes would say anything."""
    if len(about.class_names) < 2:
        raise InputError(
            f"{about.source}: all labels are {', '.join(about.class_names)}: a classifier needs "
            "two classes"
        )
    counts = np.bincount(labels, minlength=len(about.class_names))
    if len(lost := np.flatnonzero(counts == 0)):
        names = [about.class_names[k] for k in lost[:6]]
        raise InputError(
            f"{about.source}: the {split} split has no example of class {', '.join(names)}"
            f"{' and others' * (len(lost) > 6)}: take larger data.shares, or leave the class out"
        )


def _is_vectors(path: Any, data_dir: str | Path | None) -> bool:
    place = Path(sources.find_path(path, data_dir))
    if place.is_dir():
        files = sorted(p for p in place.iterdir() if p.suffix.lower() == ".npz")
        place = files[0] if files else place
    return place.is_file() and formats.is_vectors(place)


def _without(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in values.items() if k != key}
