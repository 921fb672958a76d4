"""Tables of one's own: where they are, their splits, and what was found in them.

`load_rows` reads a table for any task; `Found` is what a run reports of its data, whatever it read.
"""

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from jaxlab.checks import check_count
from jaxlab.data import formats
from jaxlab.data import labels as labels_lib
from jaxlab.data.folder import data_folder
from jaxlab.data.formats.rows import (
    ENDINGS,
    TABLES,
    Rows,
    as_numbers,
    join_rows,
    number_labels,
    read_rows,
    read_saved,
)
from jaxlab.errors import InputError

__all__ = [
    "TABLES",
    "Found",
    "Rows",
    "as_numbers",
    "check_shares",
    "complete",
    "count_classes",
    "find_path",
    "load_rows",
    "number_labels",
    "paths_by_split",
    "read_rows",
    "split_rows",
]

SPLITS = ("train", "validation", "test")
Paths = str | os.PathLike | Mapping[str, str] | Sequence[str]
_FEW = 10  # classes that a line names


@dataclasses.dataclass(frozen=True)
class Found:
    r"""What a reader found, for the log and for `data.json`.

    Attributes:
      name: of the set, as in the config.
      source: files or folder.
      splits: split -> {"examples": N, "classes": {name: count} or None}.
      sizes: sizes of the examples in words, such as "28x28x1".
      left_out: reason -> count.

    Example:
      >>> classes = {"cat": 2, "dog": 1}
      >>> found = Found("csv", "a.csv", {"train": {"examples": 3, "classes": classes}}, "4 columns")
      >>> print("\n".join(found.lines()))
      data: csv, a.csv: 4 columns; nothing left out
      data: train 3 (cat 2, dog 1)
    """

    name: str
    source: str
    splits: Mapping[str, Mapping[str, Any]]
    sizes: str = ""
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def lines(self) -> list[str]:
        """Two lines: where it is from, sizes and what was left out; and the splits."""
        lost = ", ".join(f"{count:,} {why}" for why, count in self.left_out.items() if count)
        what = [self.sizes] if self.sizes else []
        what.append(f"left out: {lost}" if lost else "nothing left out")
        splits = [
            f"{split} {values['examples']:,}{_classes(values.get('classes'))}"
            for split, values in self.splits.items()
        ]
        return [
            f"data: {self.name}, {self.source}: {'; '.join(what)}",
            f"data: {', '.join(splits)}",
        ]


def _classes(counts: Mapping[str, int] | None) -> str:
    if not counts:
        return ""
    if len(counts) <= _FEW:
        return f" ({', '.join(f'{name} {count:,}' for name, count in counts.items())})"
    few, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    return f" ({len(counts)} classes of {counts[few]:,} ({few}) to {counts[most]:,} ({most}))"


def count_classes(labels: Any, names: Sequence[str]) -> dict[str, int]:
    """Examples of each class by name, for `Found`.

    Example:
      >>> count_classes([0, 1, 1], ("cat", "dog"))
      {'cat': 1, 'dog': 2}
    """
    counts = np.bincount(np.asarray(labels, int), minlength=len(names)).tolist()
    return dict(zip(names, counts, strict=True))


def find_path(path: str | os.PathLike, data_dir: str | Path | None = None) -> epath.Path:
    """A path of a config: as it is, from the working folder, else from the data folder.

    Raises:
      FileNotFoundError: nothing is there.
    """
    given = epath.Path(path)
    if "://" not in os.fspath(given):
        given = given.expanduser()
    places = [given, epath.Path(os.fspath(data_folder(data_dir))) / given]
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise FileNotFoundError(
            f"data.path is {os.fspath(path)!r}: no such file or folder, from {os.getcwd()} or "
            f"{data_folder(data_dir)}"
        )
    return found


def load_rows(
    name: str,
    path: Paths | None,
    *,
    data_dir: str | Path | None = None,
    columns: Sequence[str] | None = None,
    shares: Sequence[float] = (0.1, 0.1),
    group_column: str | None = None,
    split_seed: int = 0,
    config_name: str | None = None,
    label_column: str | None = None,
) -> dict[str, Rows]:
    r"""Reads a table and its splits.

    A file is split by shares: at random, by `group_column` (rows of a group stay together), or by
    `label_column` (each split gets its share of every class). A folder has a file for each split,
    `train.csv`, `dev.csv`, ... by the names that image folders may have, too, or several
    (`train-00000-of-00002.parquet`). Validation or test rows that have no file are taken from the
    training rows by their share. All depends on the files and `split_seed` alone.

    Args:
      name: of `TABLES`.
      path: a file, a folder of split files, or one path for each split: three (train, validation,
        test; "" for none) or a mapping. Relative ones start in the working folder, else in the data
        folder. Of "hf" what `read_saved` takes.
      data_dir: the data folder.
      columns: keep these alone; None keeps all.
      shares: of validation and test rows among all of the file, in [0, 1); 0 makes no such split.
      group_column: see above.
      split_seed: of the random split.
      config_name: of "hf", second argument of `load_dataset`.
      label_column: see above; None splits at random.

    Returns:
      split -> rows, "train" first; a split without rows is not in it.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: an argument is out of range, or a file is no such table.

    Example:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.csv"
      >>> _ = path.write_text("n,label\n" + "".join(f"{i},{i % 2}\n" for i in range(20)))
      >>> rows = load_rows("csv", path, label_column="label")
      >>> {split: len(part) for split, part in rows.items()}
      {'train': 16, 'validation': 2, 'test': 2}
    """
    if name not in TABLES:
        raise InputError(f"data.name is {name!r}, tables are {', '.join(TABLES)}")
    if path is None or not path:
        raise InputError(f"data.path is {path!r}, {name} needs a file or a folder")
    if config_name is not None and name != "hf":
        raise InputError(f"data.config_name is {config_name!r}, {name} has none: it is of hf")
    check_count("data.split_seed", split_seed, at_least=0, below=None)
    check_shares(shares)
    if isinstance(path, str | os.PathLike):
        found = _read_place(name, path, data_dir, config_name, columns)
    else:
        found = {}
        for split, place in _named_splits(path).items():
            parts = _read_place(name, place, data_dir, config_name, columns)
            found[split] = parts[split] if split in parts else next(iter(parts.values()))
    return complete(
        found,
        shares=shares,
        group_column=group_column,
        label_column=label_column,
        seed=split_seed,
    )


def paths_by_split(
    path: Paths,
    data_dir: str | Path | None = None,
    *,
    folder: Callable[[epath.Path], dict[str, epath.Path]],
) -> dict[str, epath.Path]:
    """The file of each split that a path names, for formats that are no tables.

    Args:
      path: a file, which is "train"; a folder; or one path for each split, see `load_rows`.
      data_dir: the data folder.
      folder: the files by split of a folder.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a split is unknown, or there is no "train".
    """
    if not isinstance(path, str | os.PathLike):
        return {s: find_path(place, data_dir) for s, place in _named_splits(path).items()}
    place = find_path(path, data_dir)
    return folder(place) if place.is_dir() else {"train": place}


def _named_splits(path: Mapping[str, str] | Sequence[str]) -> dict[str, str]:
    """The path of each split, of a mapping or of up to three paths."""
    pairs = path.items() if isinstance(path, Mapping) else zip(SPLITS, path, strict=False)
    given = {split: place for split, place in pairs if place}
    if "train" not in given or set(given) - {*SPLITS} or len(path) > len(SPLITS):
        raise InputError(f"data.path is {path}, must be one path, or those of {SPLITS}")
    return given


def check_shares(shares: Sequence[float]) -> dict[str, float]:
    """Shares of validation and test by split.

    Raises:
      ValueError: they are not two shares that leave something.
    """
    fits = isinstance(shares, tuple | list) and len(shares) == 2
    if not fits or not all(isinstance(s, int | float) and 0 <= s < 1 for s in shares):
        raise InputError(f"data.shares is {shares!r}, must be two shares in [0, 1)")
    if sum(shares) >= 1:
        raise InputError(f"data.shares is {tuple(shares)}, which leaves no training rows")
    return dict(zip(SPLITS[1:], map(float, shares), strict=True))


def _read_place(name, path, data_dir, config_name, columns) -> dict[str, Rows]:
    """The splits that a file, a folder or a set of the hub has itself."""
    if name == "hf":
        try:
            place = os.fspath(find_path(path, data_dir))
        except FileNotFoundError:
            place = os.fspath(path)
        saved = read_saved(place, config_name, columns)
        files = {key: [rows] for key, rows in _by_split(saved).items()}
        known = list(saved)
    else:
        place = find_path(path, data_dir)
        if not place.is_dir():
            return {"train": read_rows(place, name, columns)}
        known = sorted(p.name for p in place.iterdir() if not p.name.startswith("."))
        tables = [n for n in known if n.lower().endswith(ENDINGS[name])]
        files = {
            split: [read_rows(place / n, name, columns) for n in names]
            for split, names in _files_by_split(tables).items()
        }
    if "train" not in files:
        ending = "" if name == "hf" else ENDINGS[name][0]
        raise FileNotFoundError(
            f"{place}: no train{ending}, and validation{ending} or test{ending} where there are "
            f"any; it has {', '.join(known[:8]) or 'nothing'}"
        )
    return {split: _one(parts, f"{place}, {split}") for split, parts in files.items()}


def _one(parts: list[Rows], source: str) -> Rows:
    return parts[0] if len(parts) == 1 else join_rows(parts, source)


def _files_by_split(names: Sequence[str]) -> dict[str, list[str]]:
    """Names of files by split: train.csv, or parts like train-00000-of-00002.parquet."""
    found: dict[str, list[str]] = {}
    for split in SPLITS:
        called = "|".join(formats.split_names(split))
        pattern = re.compile(rf"(?:{called})(?:[-_]\d+(?:-of-\d+)?)?\..*", re.IGNORECASE)
        if files := [name for name in names if pattern.fullmatch(name)]:
            whole = [name for name in files if not re.search(r"[-_]\d", name)]
            if len(whole) > 1 or (whole and len(files) > 1):
                raise InputError(f"{' and '.join(files)} both hold the {split} split, keep one")
            found[split] = files
    return found


def _by_split(saved: Mapping[str, Rows]) -> dict[str, Rows]:
    """The splits of a saved set; of validation_matched and validation_mismatched the first."""
    found = {}
    for split in SPLITS:
        names = formats.split_names(split)
        own = [key for key in saved if key.lower() in names]
        own += [key for key in saved if key.lower().startswith(tuple(f"{n}_" for n in names))]
        if own:
            found[split] = saved[own[0]]
    if left := [key for key in saved if not any(saved[key] is rows for rows in found.values())]:
        formats.say(f"splits that are not read: {', '.join(left)}")
    return found


def complete(
    found: Mapping[str, Rows],
    *,
    shares: Sequence[float],
    group_column: str | None = None,
    label_column: str | None = None,
    seed: int = 0,
) -> dict[str, Rows]:
    """Takes validation and test rows that have no file from the training rows.

    Args:
      found: split -> rows, "train" among them.
      shares: as for `load_rows`, as are the others.
      group_column: rows of a group stay together.
      label_column: each split gets its share of every class.
      seed: of the random split.

    Raises:
      ValueError: an argument is out of range, or a split is left without rows.
    """
    train = found["train"]
    wanted = {s: share for s, share in check_shares(shares).items() if s not in found and share}
    if wanted:
        column = lambda name, key: None if name is None else train.column(name, key=f"data.{key}")
        parts = split_rows(
            len(train),
            wanted,
            groups=column(group_column, "group_column"),
            labels=column(label_column, "label_column"),
            seed=seed,
            source=train.source,
        )
        found = {**found, **{split: train.take(rows) for split, rows in parts.items()}}
    return {split: found[split] for split in SPLITS if split in found}


def split_rows(
    total: int,
    shares: Mapping[str, float],
    *,
    groups: Sequence[Any] | None = None,
    labels: Sequence[Any] | None = None,
    seed: int = 0,
    source: str = "the set",
) -> dict[str, list[int]]:
    """Indices of the rows of each split, "train" those that are left; see `load_rows`.

    Args:
      total: N.
      shares: split -> share of N.
      groups: [N], rows of equal ones stay together; None for none.
      labels: [N], each split gets its share of each, unless there are groups.
      seed: >= 0.
      source: what the rows are of, for the message.

    Raises:
      ValueError: a split is left without rows.

    Example:
      >>> parts = split_rows(6, {"test": 0.34}, labels="aaabbb")
      >>> {split: len(rows) for split, rows in parts.items()}
      {'train': 4, 'test': 2}
    """
    if groups is not None:
        numbers = _numbered(groups)
        sizes, where, taken = np.bincount(numbers), {}, 0
        ends = dict(zip(shares, np.cumsum([*shares.values()]) * total, strict=True))
        for group in np.random.default_rng((seed, 0)).permutation(len(sizes)):
            where[group] = next((split for split, end in ends.items() if taken < end), "train")
            taken += sizes[group]
        parts = {s: [i for i, g in enumerate(numbers) if where[g] == s] for s in shares}
    else:
        by: Any = total if labels is None else _numbered(labels)
        split = labels_lib.split_indices(by, sizes=tuple(shares.values()), seed=seed)
        parts = {s: part.tolist() for s, part in zip(shares, split, strict=True)}
    held = {i for part in parts.values() for i in part}
    parts = {"train": [i for i in range(total) if i not in held], **parts}
    for name, part in parts.items():
        if not part:
            raise InputError(
                f"data.shares is {tuple(shares.values())}: of the {total} rows of {source} none is "
                f"left for {name}"
            )
    return parts


def _numbered(values: Sequence[Any]) -> np.ndarray:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(str(v), len(numbers)) for v in values])
