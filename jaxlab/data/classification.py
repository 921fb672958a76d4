"""Training, validation and test sets of classification studies, from a name and a seed."""

import dataclasses
import functools
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxlab.checks import check_count, check_scalar
from jaxlab.data import labels as labels_lib
from jaxlab.data import tables
from jaxlab.data.images import OWN, SPECS, load
from jaxlab.data.own_classes import About, Arrays, load_own
from jaxlab.data.points import POINTS
from jaxlab.data.sources import Found, count_classes
from jaxlab.errors import InputError

_TABLES = tuple(tables.TABLES)


@dataclasses.dataclass(frozen=True, eq=False)
class ClassificationSplits:
    """Examples to train on, to choose on and to report on.

    Attributes:
      train: {"x": uint8 [N, H, W, C] or float32 [N, D], "label": int32 [N]}.
      validation: the same, of other examples, with labels as wrong as those of training.
      test: the same, with the labels of the source.
      num_classes: K.
      class_names: of the K classes; None where they are only numbers.
      found: what was read and taken, for the log and `data.json`.
    """

    train: dict[str, np.ndarray]
    validation: dict[str, np.ndarray]
    test: dict[str, np.ndarray]
    num_classes: int
    class_names: tuple[str, ...] | None = None
    found: Found | None = None

    @property
    def train_counts(self) -> np.ndarray:
        """Training examples of each class, int [K]."""
        return np.bincount(self.train["label"], minlength=self.num_classes)


def load_classification(
    name: str,
    data_dir: str | Path | None = None,
    *,
    seed: int,
    path: str | tuple[str, ...] | None = None,
    label_column: str | None = None,
    feature_columns: tuple[str, ...] | None = None,
    image_column: str | None = None,
    group_column: str | None = None,
    shares: tuple[float, ...] | None = None,
    split_seed: int | None = None,
    config_name: str | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    crop: tuple[int, ...] | None = None,
    num_train: int | None = None,
    num_validation: int = 1000,
    num_test: int | None = None,
    imbalance: float = 1.0,
    profile: Literal["exponential", "step"] = "exponential",
    largest: int | None = None,
    noise: float = 0.0,
    noise_kind: Literal["symmetric", "pair"] = "symmetric",
) -> ClassificationSplits:
    """Loads a set and takes from it what a study needs.

    Validation examples come from the training files, stratified, so that a balanced set stays
    balanced; they are chosen first. Test labels are never touched, but for sets of points, whose
    noise is part of the task.

    Sets of one's own are pictures (`folder`, `npz` of images, and tables with an `image_column`) or
    vectors (tables, and `npz` of rows of numbers; see `load_vectors`). Their validation and test
    examples are those of their own files, or `shares` of the training files, for every seed the
    same; `num_validation` is not looked at.

    Args:
      name: an image set of `load` with labels ("fashion_mnist", "cifar10_jpeg", ...), a table of
        `load_table` ("shuttle"), points: "sinusoid", "gaussians" or "spiral", or a kind of one's
        own: "folder", "npz", "csv", "tsv", "jsonl", "parquet", "hf".
      data_dir: as for `load`.
      seed: >= 0, of everything drawn here: a seed is a data set of its own.
      path: of one's own set, as for `load` and `load_rows`.
      label_column: of a table or metadata; default "label".
      feature_columns: of a table of vectors, those that are used; default all others.
      image_column: of a table of pictures or of metadata.
      group_column: of a table or metadata: examples of a group stay in one split.
      shares: of validation and test examples; default (0.1, 0.1).
      split_seed: of the shares; default 0.
      config_name: of "hf".
      image_size: of one's own pictures, as for `load`.
      channels: likewise; default 3.
      crop: likewise.
      num_train: training examples, stratified; None for all that are left, of points 100.
      num_validation: validation examples, >= 1; a table gives a fifth of its rows.
      num_test: test examples, >= 1, from the front; None for all, of points 10,000.
      imbalance: largest class over smallest, >= 1; see `long_tail_indices`.
      profile: of the long tail.
      largest: training examples of the largest class of a long tail.
      noise: share of wrong labels in training and validation.
      noise_kind: see `flip_labels`.

    Returns:
      The three sets. A table is split 60 / 20 / 20, stratified, and standardised.

    Raises:
      FileNotFoundError: files are missing; the message says how to get them.
      ValueError: an argument is out of range, or a class has no training example.

    Example:
      >>> sets = load_classification("sinusoid", seed=0, num_train=50, num_test=9)
      >>> sets.train["x"].shape, sets.num_classes
      ((50, 2), 2)
    """
    check_count("seed", seed, at_least=0, below=None)
    counts = {"num_train": num_train, "num_validation": num_validation, "num_test": num_test}
    for argument, value in (*counts.items(), ("largest", largest)):
        if value is not None or argument == "num_validation":
            check_count(argument, value)
    check_scalar("imbalance", imbalance, at_least=1)
    labels_lib.check_share("noise", noise)
    for argument, value, known in (
        ("profile", profile, labels_lib.PROFILES),
        ("noise_kind", noise_kind, labels_lib.FLIPS),
    ):
        if value not in known:
            raise InputError(f"{argument} is {value!r}, needs to be one of {known}")
    long_tail = imbalance != 1 or largest is not None
    own = {"path": path, "label_column": label_column, "feature_columns": feature_columns}
    own |= {"image_column": image_column, "group_column": group_column, "shares": shares}
    own |= {"split_seed": split_seed, "config_name": config_name, "image_size": image_size}
    own |= {"channels": channels, "crop": crop}
    given = {key: value for key, value in own.items() if value is not None}
    about = About()
    known = (*SPECS, *_TABLES, *POINTS, *OWN)
    if name not in known:
        raise InputError(f"data set is {name!r}, needs to be one of {', '.join(known)}")
    if name not in OWN and given:
        key, value = next(iter(given.items()))
        raise InputError(f"data.{key} is {value!r}, {name} takes none: leave it out")
    if name in POINTS:
        if long_tail:
            raise InputError(
                f"imbalance is {imbalance}, largest {largest}: {name} has no long tail"
            )
        return _points(name, seed, num_train or 100, num_validation, num_test or 10_000, noise)
    if name in OWN:
        splits, about = load_own(name, data_dir, **given)
        pool, validation, test = (splits[split] for split in ("train", "validation", "test"))
        num_classes = len(about.class_names)
    elif name in _TABLES:
        pool, validation, test, about = _table(name, data_dir, seed)
        num_classes = len(about.class_names)
    else:
        (train, about), (test, _) = (_images(name, data_dir, s) for s in ("train", "test"))
        num_classes = _count_classes(name, train["label"], test["label"])
        total = len(train["label"])
        if num_validation + (num_train or 1) > total:
            raise InputError(
                f"num_validation is {num_validation}, num_train {num_train}: {name} has {total} "
                "training examples for both"
            )
        sizes = (num_validation, total - num_validation)
        rows, rest = labels_lib.split_indices(train["label"], sizes=sizes, seed=3 * seed)
        validation, pool = _take(train, rows), _take(train, rest)
    if num_test is not None and num_test > len(test["label"]):
        raise InputError(f"num_test is {num_test}, {name} has {len(test['label'])} test examples")
    if long_tail:
        tail = {"ratio": imbalance, "seed": 3 * seed + 1, "profile": profile, "largest": largest}
        try:
            rows = labels_lib.long_tail_indices(pool["label"], **tail)
        except InputError as error:
            raise InputError(f"imbalance is {imbalance}: {error}") from None
        pool = _take(pool, rows)
    if num_train is not None:
        left = len(pool["label"])
        if num_train > left:
            raise InputError(
                f"num_train is {num_train}, {left} training examples are left of {name}"
            )
        (rows,) = labels_lib.split_indices(pool["label"], sizes=(num_train,), seed=3 * seed + 1)
        pool = _take(pool, rows)
    if noise:
        wrong = functools.partial(
            labels_lib.flip_labels, rate=noise, num_classes=num_classes, kind=noise_kind
        )
        pool = {**pool, "label": wrong(pool["label"], seed=3 * seed + 2)}
        validation = {**validation, "label": wrong(validation["label"], seed=3 * seed + 3)}
    test = _take(test, slice(num_test))
    report = _found(name, about, num_classes, pool, validation, test)
    found = ClassificationSplits(
        pool, validation, test, num_classes, about.class_names[:num_classes] or None, report
    )
    if not found.train_counts.all():
        lost = int(found.train_counts.argmin())
        raise InputError(
            f"num_train is {num_train}, imbalance {imbalance}, noise {noise}: of {name}, class "
            f"{lost} is left without a training example"
        )
    return found


def _count_classes(name: str, train: np.ndarray, test: np.ndarray) -> int:
    """K, where the training labels are the numbers 0 to K - 1 and the test labels among them."""
    everything = np.concatenate([train, test])
    unseen = np.setdiff1d(everything, train)
    gap = labels_lib.class_gap(everything)
    if len(unseen):
        raise InputError(
            f"{name}: class {unseen[0]} is in the test set only, no training example shows it: a "
            "classifier cannot learn it, and a mean over classes would be wrong"
        )
    if gap is not None:
        raise InputError(
            f"{name}: no label is {gap}, the largest is {everything.max()}: number the classes "
            "from 0 without a gap"
        )
    return int(train.max()) + 1


def _take(arrays: dict[str, np.ndarray], rows: Any) -> dict[str, np.ndarray]:
    return {name: values[rows] for name, values in arrays.items()}


@functools.lru_cache(maxsize=4)  # five seeds read the same files
def _images(name: str, data_dir: str | Path | None, split: str) -> tuple[Arrays, About]:
    images = load(name, data_dir, split)
    arrays = {"x": np.asarray(images.images), "label": np.asarray(images.labels, np.int32)}
    return arrays, About(images.class_names or (), images.source)


def _table(name: str, data_dir: str | Path | None, seed: int):
    x, y, classes = tables.load_table(name, data_dir)
    parts = labels_lib.split_indices(y, sizes=(0.6, 0.2, 0.2), seed=3 * seed)
    scaled = tables.standardize(*(x[rows] for rows in parts))
    sets = [{"x": part, "label": y[rows]} for part, rows in zip(scaled, parts, strict=True)]
    return *sets, About(classes)


def _points(name, seed, num_train, num_validation, num_test, noise) -> ClassificationSplits:
    sets = []
    for i, count in enumerate((num_train, num_validation, num_test)):
        x, y = POINTS[name](count, noise=noise, seed=3 * seed + i)
        sets.append({"x": x, "label": y})
    return ClassificationSplits(*sets, num_classes=2, found=_found(name, About(), 2, *sets))


def _found(name: str, about: About, num_classes: int, *sets: Arrays) -> Found:
    """What was taken of a set: training, validation and test examples."""
    names = about.class_names or tuple(map(str, range(num_classes)))
    splits = {
        split: {"examples": len(arrays["label"]), "classes": count_classes(arrays["label"], names)}
        for split, arrays in zip(("train", "validation", "test"), sets, strict=True)
    }
    sizes = about.sizes or "x".join(map(str, sets[0]["x"].shape[1:]))
    return Found(name, about.source or name, splits, sizes, about.left_out)
