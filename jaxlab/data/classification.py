"""Training, validation and test sets of classification studies, from a name and a seed."""

import dataclasses
import functools
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxlab.data import labels as labels_lib
from jaxlab.data import tables
from jaxlab.data.images import SPECS, load
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
    """

    train: dict[str, np.ndarray]
    validation: dict[str, np.ndarray]
    test: dict[str, np.ndarray]
    num_classes: int

    @property
    def train_counts(self) -> np.ndarray:
        """Training examples of each class, int [K]."""
        return np.bincount(self.train["label"], minlength=self.num_classes)


def load_classification(
    name: str,
    data_dir: str | Path | None = None,
    *,
    seed: int,
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
    balanced; they are chosen first. Test labels are never touched, but for `sinusoid`, whose noise
    is part of the task.

    Args:
      name: an image set of `load` with labels ("fashion_mnist", "cifar10_jpeg", ...), a table of
        `load_table` ("shuttle"), or "sinusoid".
      data_dir: as for `load`.
      seed: >= 0, of everything drawn here: a seed is a data set of its own.
      num_train: training examples, stratified; None for all that are left, for `sinusoid` 100.
      num_validation: validation examples; a table gives a fifth of its rows.
      num_test: test examples, from the front; None for all.
      imbalance: largest class over smallest, >= 1; see `long_tail_indices`.
      profile: of the long tail.
      largest: training examples of the largest class of a long tail.
      noise: share of wrong labels in training and validation.
      noise_kind: see `flip_labels`.

    Returns:
      The three sets. A table is split 60 / 20 / 20, stratified, and standardised.

    Raises:
      FileNotFoundError: files are missing; the message says what brings them.
      ValueError: an argument is out of range.

    Example:
      >>> sets = load_classification("sinusoid", seed=0, num_train=50, num_test=9)
      >>> sets.train["x"].shape, sets.num_classes
      ((50, 2), 2)
    """
    if name == "sinusoid":
        return _sinusoid(seed, num_train or 100, num_validation, num_test or 10_000, noise)
    if name in _TABLES:
        pool, validation, test, num_classes = _table(name, data_dir, seed)
    elif name in SPECS:
        train = _images(name, data_dir, "train")
        test = _images(name, data_dir, "test")
        num_classes = int(train["label"].max()) + 1
        rows, rest = labels_lib.split_indices(
            train["label"],
            sizes=(num_validation, len(train["label"]) - num_validation),
            seed=3 * seed,
        )
        validation, pool = _take(train, rows), _take(train, rest)
    else:
        raise InputError(
            f"data set is {name!r}, needs to be one of {(*SPECS, *_TABLES, 'sinusoid')}"
        )
    if imbalance != 1 or largest is not None:
        rows = labels_lib.long_tail_indices(
            pool["label"], ratio=imbalance, seed=3 * seed + 1, profile=profile, largest=largest
        )
        pool = _take(pool, rows)
    if num_train is not None:
        (rows,) = labels_lib.split_indices(pool["label"], sizes=(num_train,), seed=3 * seed + 1)
        pool = _take(pool, rows)
    if noise:
        wrong = functools.partial(
            labels_lib.flip_labels, rate=noise, num_classes=num_classes, kind=noise_kind
        )
        pool = {**pool, "label": wrong(pool["label"], seed=3 * seed + 2)}
        validation = {**validation, "label": wrong(validation["label"], seed=3 * seed + 3)}
    return ClassificationSplits(pool, validation, _take(test, slice(num_test)), num_classes)


def _take(arrays: dict[str, np.ndarray], rows: Any) -> dict[str, np.ndarray]:
    return {name: values[rows] for name, values in arrays.items()}


@functools.lru_cache(maxsize=4)  # five seeds read the same files
def _images(name: str, data_dir: str | Path | None, split: str) -> dict[str, np.ndarray]:
    images = load(name, data_dir, split)
    return {"x": images.images, "label": np.asarray(images.labels, np.int32)}


def _table(name: str, data_dir: str | Path | None, seed: int):
    x, y, classes = tables.load_table(name, data_dir)
    parts = labels_lib.split_indices(y, sizes=(0.6, 0.2, 0.2), seed=3 * seed)
    scaled = tables.standardize(*(x[rows] for rows in parts))
    sets = [{"x": part, "label": y[rows]} for part, rows in zip(scaled, parts, strict=True)]
    return *sets, len(classes)


def _sinusoid(seed, num_train, num_validation, num_test, noise) -> ClassificationSplits:
    sets = []
    for i, count in enumerate((num_train, num_validation, num_test)):
        x, y = labels_lib.sinusoid(count, noise=noise, seed=3 * seed + i)
        sets.append({"x": x, "label": y})
    return ClassificationSplits(*sets, num_classes=2)
