"""Labelled vectors of one's own: tables of numbers and words, and npz files of floats."""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxlab.data import formats, sources
from jaxlab.data.formats.arrays import MOST as _MOST
from jaxlab.data.formats.rows import Rows, label_text, number_labels
from jaxlab.data.split_files import ARRAYS, find_split
from jaxlab.data.tables import standardize
from jaxlab.errors import InputError

LABEL = "label"  # the column where none is named
MISSING = frozenset(("", "?", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"))
_LISTS = (list, tuple, np.ndarray)
_NAMELESS = re.compile(r"(Unnamed: \d+|__index_level_\d+__)?")  # the index of a pandas table
MAX_WORDS = 1000  # different words of a column


@dataclasses.dataclass(frozen=True, eq=False)
class Vectors:
    """Labelled vectors of each split.

    Attributes:
      splits: split -> {"x": float32 [N, D], "label": int32 [N]}.
      class_names: of the K classes.
      sizes: what the D numbers are, in words.
      left_out: reason -> count.
    """

    splits: Mapping[str, Mapping[str, np.ndarray]]
    class_names: tuple[str, ...]
    sizes: str
    left_out: Mapping[str, int]


def load_vectors(
    name: str,
    path: Any,
    *,
    data_dir: str | Path | None = None,
    label_column: str | None = None,
    feature_columns: Sequence[str] | None = None,
    group_column: str | None = None,
    shares: Sequence[float] = (0.1, 0.1),
    split_seed: int = 0,
    config_name: str | None = None,
) -> Vectors:
    r"""Reads labelled vectors, and scales them by the training rows.

    A column is of numbers where all training rows have numbers in it, else of words. Numbers get
    mean 0 and deviation 1 on the training rows (`standardize`, which clips outliers); of words each
    gets a column that is 1 where it stands and else 0, after all numbers, and a word that no
    training row has is 0 in all of them. Lists of numbers are as many columns.

    Args:
      name: of `sources.TABLES`, or "npz".
      path: as for `load_rows`. Of "npz" a file, or a folder of split files, with keys as for
        images: `x` (or `x_train`, ...) float or int [N, D], and `y`, numbers or words [N].
      data_dir: the data folder.
      label_column: of a table; default "label".
      feature_columns: of a table, those that are used; default all but label and group.
      group_column: of a table, see `load_rows`.
      shares: see `load_rows`; every class has its share.
      split_seed: see `load_rows`.
      config_name: of "hf".

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a value is missing or no number, a column is missing, a label is unknown; the
        message names file, column and row.

    Example:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.csv"
      >>> rows = [f"{i},{'red' if i % 4 else 'blue'},{'b' if i % 2 else 'a'}" for i in range(20)]
      >>> _ = path.write_text("\n".join(["size,colour,label", *rows]))
      >>> found = load_vectors("csv", path)
      >>> found.splits["train"]["x"].shape, found.class_names, found.sizes
      ((16, 3), ('a', 'b'), '3 features: 1 number, 2 words of colour')
    """
    if name == "npz":
        for key, value in (
            ("label_column", label_column),
            ("feature_columns", feature_columns),
            ("group_column", group_column),
        ):
            if value is not None:
                raise InputError(f"data.{key} is {value!r}, npz has no columns: leave it out")
        return _from_npz(sources.find_path(path, data_dir), shares, split_seed)
    column = label_column or LABEL
    splits = sources.load_rows(
        name,
        path,
        data_dir=data_dir,
        shares=shares,
        group_column=group_column,
        split_seed=split_seed,
        config_name=config_name,
        label_column=column,
    )
    names, labels = number_labels(splits, column)
    train = splits["train"]
    features, nameless = feature_columns, []
    if features is None:
        features = [key for key in train.columns if key not in (column, group_column)]
        nameless = [key for key in features if _NAMELESS.fullmatch(key)]
        features = [key for key in features if key not in nameless]
    for feature in features:
        train.column(feature, key="data.feature_columns")
        if feature == column:
            raise InputError(f"data.feature_columns has {feature!r}, which is the label")
    if not features:
        raise InputError(f"{train.source} has no column but {column!r}: there is nothing to see")
    numbers: dict[str, list[np.ndarray]] = {split: [] for split in splits}
    words: dict[str, list[np.ndarray]] = {split: [] for split in splits}
    widths, unseen = {}, 0
    for feature in features:
        found = _as_lists(splits, feature)
        if found is not None:
            for split, values in found.items():
                numbers[split].append(values)
            continue
        vocabulary, found, lost = _as_words(splits, feature)
        widths[feature], unseen = len(vocabulary), unseen + lost
        for split, values in found.items():
            words[split].append(values)
    scaled = _scaled({s: _joined(parts, len(splits[s])) for s, parts in numbers.items()})
    x = {s: np.concatenate([scaled[s], _joined(words[s], len(splits[s]))], 1) for s in splits}
    count = scaled["train"].shape[1]
    what = [f"{count} number{'s' * (count != 1)}"] if count else []
    what += [f"{width} words of {feature}" for feature, width in widths.items()]
    sizes = f"{x['train'].shape[1]} features: {', '.join(what)}"
    left_out = {"words that no training row has (0 in all columns)": unseen}
    left_out["columns without a name (an index)"] = len(nameless)
    found = {s: {"x": np.float32(x[s]), "label": labels[s]} for s in splits}
    return Vectors(found, names, sizes, left_out)


def _joined(parts: Sequence[np.ndarray], count: int) -> np.ndarray:
    return np.concatenate(parts, axis=1) if parts else np.zeros((count, 0))


def _scaled(x: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    rest = [split for split in x if split != "train"]
    if not x["train"].shape[1]:
        return dict(x)
    return dict(zip(("train", *rest), standardize(x["train"], *(x[s] for s in rest)), strict=True))


def _is_missing(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and value.strip() in MISSING)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
    except OverflowError:  # of a whole number
        return np.inf


def _as_lists(splits: Mapping[str, Rows], column: str) -> dict[str, np.ndarray] | None:
    """A column of numbers, or of lists of as many numbers, as [N, d]; None where it is of words."""
    given = {s: rows.column(column, key="data.feature_columns") for s, rows in splits.items()}
    first = given["train"][0]
    if isinstance(first, bytes | Mapping):
        raise InputError(
            f"{splits['train'].source}: column {column!r} holds {type(first).__name__}: pictures "
            "are named by data.image_column, and what is not used is left out of "
            "data.feature_columns"
        )
    cells = {
        s: [v if isinstance(v, _LISTS) else [v] for v in values] for s, values in given.items()
    }
    every = [cell for row in cells["train"] for cell in row]
    if not all(_is_missing(cell) or _number(cell) is not None for cell in every):
        return None
    if all(map(_is_missing, every)):
        raise InputError(f"{splits['train'].source}: column {column!r} has no value at all")
    width, found = len(cells["train"][0]), {}
    for split, rows in splits.items():
        found[split] = np.empty((len(rows), width))
        for i, row in enumerate(cells[split]):
            if len(row) != width:
                raise InputError(
                    f"{rows.place(i)}: column {column!r} has {len(row)} numbers, the first row "
                    f"{width}"
                )
            found[split][i] = [_finite(cell, rows, i, column) for cell in row]
    return found


def _as_words(
    splits: Mapping[str, Rows], column: str
) -> tuple[list[str], dict[str, np.ndarray], int]:
    """The training rows' words, a column for each, and how many others there are."""
    texts = {s: [label_text(v) for v in rows.columns[column]] for s, rows in splits.items()}
    for split, rows in splits.items():
        for i, text in enumerate(texts[split]):
            if not text:
                _finite(None, rows, i, column)
    words = sorted({*texts["train"]})
    numeric = [_number(word) is not None for word in words]
    most = min(MAX_WORDS, max(20, len(texts["train"]) // 2))  # more are names, dates or numbers
    if len(words) > most or (len(words) > 2 and sum(numeric) > len(words) / 2):
        train, odd = splits["train"], words[numeric.index(False)]
        place = train.place(texts["train"].index(odd))
        raise InputError(
            f"{place}: column {column!r} is {odd[:40]!r} and has {len(words)} different values: "
            f"needs numbers, or at most {most} words; data.feature_columns can leave it out"
        )
    number = {word: i for i, word in enumerate(words)}
    found, unseen = {}, 0
    for split, rows in splits.items():
        found[split] = np.zeros((len(rows), len(words)))
        for i, text in enumerate(texts[split]):
            if text in number:
                found[split][i, number[text]] = 1.0
            else:
                unseen += 1
    return words, found, unseen


def _finite(cell: Any, rows: Rows, index: int, column: str) -> float:
    if _is_missing(cell):
        raise InputError(
            f"{rows.place(index)}: column {column!r} has no value ({cell!r}): fill it in, or leave "
            "the row or the column (data.feature_columns) out"
        )
    number = _number(cell)
    if number is None or not abs(number) <= _MOST:
        raise InputError(
            f"{rows.place(index)}: column {column!r} is {str(cell)[:40]!r}, must be a finite "
            f"number, at most {_MOST:.1e}, as those of the training rows are"
        )
    return number


def _from_npz(path: Any, shares: Sequence[float], seed: int) -> Vectors:
    place = Path(os.fspath(path))
    if place.is_dir():
        files = {split: find_split(place, split, ARRAYS) for split in sources.SPLITS}
        files = {split: file for split, file in files.items() if file is not None}
    else:
        files = {split: place for split in sources.SPLITS if formats.npz_has_split(place, split)}
        files.setdefault("train", place)
    if "train" not in files:
        raise FileNotFoundError(f"{place / 'train.npz'} is missing: no training rows in {place}")
    x: dict[str, np.ndarray] = {}
    rows: dict[str, Rows] = {}
    for split in (split for split in sources.SPLITS if split in files):
        x[split], labels = formats.read_vectors(files[split], split)
        rows[split] = Rows({"y": labels.tolist()}, f"{files[split]}, {split}")
    missing = {s: v for s, v in sources.check_shares(shares).items() if s not in x and v}
    if missing:
        labels = rows["train"].columns["y"]
        parts = sources.split_rows(
            len(labels), missing, labels=labels, seed=seed, source=str(files["train"])
        )
        whole, table = x["train"], rows["train"]
        x |= {split: whole[part] for split, part in parts.items()}
        rows |= {split: table.take(part) for split, part in parts.items()}
    names, numbers = number_labels(rows, "y")
    widths = {split: values.shape[1] for split, values in x.items()}
    if len({*widths.values()}) > 1:
        raise InputError(f"{place}: vectors have {widths} numbers, need as many in every split")
    scaled = _scaled(x)
    found = {s: {"x": np.float32(scaled[s]), "label": numbers[s]} for s in x}
    return Vectors(found, names, f"{widths['train']} features: numbers", {})
