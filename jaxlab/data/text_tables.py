"""Texts of one's own and of known tasks: rows of a table as texts, pairs and labels.

Classes are those of the training rows, by number where all are numbers, else by name.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from etils import epath

from jaxlab.data.formats.rows import ENDINGS, Rows, as_numbers, number_labels, read_rows
from jaxlab.data.sources import find_path, load_rows
from jaxlab.data.text_sets import MAX_CLASSES
from jaxlab.data.text_tasks import TASKS, column, read_task
from jaxlab.errors import InputError


@dataclasses.dataclass
class Examples:
    """Rows of a split.

    Attributes:
      texts: N texts, or pairs of them.
      labels: class numbers, or numbers.
      source: where they are from.
    """

    texts: list[Any]
    labels: list[Any]
    source: str


@dataclasses.dataclass
class Splits:
    """What was read: examples by split, names of the classes, and what was left out.

    Attributes:
      examples: split -> examples.
      label_names: of the classes; empty for regression.
      source: where they are from.
      left_out: reason -> count.
      splits_are_own: whether the splits are files of their own, which are taken as they are.
    """

    examples: dict[str, Examples]
    label_names: tuple[str, ...]
    source: str
    left_out: Counter[str]
    splits_are_own: bool


def read_table(
    name: str,
    path: Any,
    *,
    data_dir: str | Path | None = None,
    text_column: str = "text",
    pair_column: str | None = None,
    label_column: str = "label",
    regression: bool = False,
    **options: Any,
) -> Splits:
    """A table of one's own, by `sources.load_rows`.

    Args:
      name: of `sources.TABLES`.
      path: see `load_rows`, as for `data_dir` and **options.
      text_column: the texts.
      pair_column: the second text of each pair; None for single texts.
      label_column: classes, as words or numbers, or numbers to predict.
      regression: whether labels are numbers to predict.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a column is missing, or labels are not what they should be.
    """
    by = None if regression or options.get("group_column") else label_column
    rows = load_rows(name, path, data_dir=data_dir, label_column=by, **options)
    own = name == "hf" or not isinstance(path, str) or find_path(path, data_dir).is_dir()
    keys = {"text_column": text_column, "label_column": label_column}
    keys |= {"pair_column": pair_column} if pair_column is not None else {}
    parts, left_out = {}, Counter()
    for split, part in rows.items():
        get = lambda key, part=part: part.column(keys[key], key=f"data.{key}")
        texts = get("text_column")
        pairs = get("pair_column") if pair_column is not None else None
        if split == "test" and own and label_column not in part.columns:
            labels: list[Any] = [None] * len(part)
        else:
            labels = get("label_column")
        parts[split] = _as_rows(part, texts, pairs, labels)
    where = f"{path}" if isinstance(path, str) else ", ".join(r.source for r in rows.values())
    return _splits(parts, where, left_out, own, regression=regression)


def read_texts(
    path: epath.PathLike, text_column: str = "text", pair_column: str | None = None
) -> Rows:
    """The texts of one file, whatever else it has, to be labelled.

    Args:
      path: a table, whose kind is that of its ending.
      text_column: the texts.
      pair_column: the second text of each pair; None for single texts.

    Returns:
      All columns, of which these hold texts; one that is missing in a row is "".

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the ending is unknown, or a column is missing.
    """
    name = epath.Path(path).name.lower()
    kind = next((kind for kind, ends in ENDINGS.items() if name.endswith(ends)), None)
    if kind is None:
        known = ", ".join(ending for ends in ENDINGS.values() for ending in ends)
        raise InputError(f"{path}: tables end in {known}")
    rows = read_rows(path, kind)
    texts = rows.column(text_column, key="text_column")
    pairs = None if pair_column is None else rows.column(pair_column, key="pair_column")
    _as_rows(rows, texts, pairs, texts)
    for key in (text_column, pair_column):
        if key is not None:
            rows.columns[key] = [text or "" for text in rows.columns[key]]
    return rows


def read_known_task(name: str, path: str | None, data_dir: str | Path | None = None) -> Splits:
    """A task of GLUE or CLUE, by `text_tasks.read_task`.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: it cannot be read, or a column is missing.
    """
    task = TASKS[name]
    rows, source = read_task(name, path, data_dir)
    parts = {}
    for split, part in rows.items():
        texts = column(part, task.text)
        pairs = column(part, task.pair) if task.pair else None
        labelled = set(task.label) & {*part.columns}
        if not labelled and split != "test":
            column(part, task.label)  # says which columns there are
        labels = column(part, task.label) if labelled else [None] * len(part)
        parts[split] = _as_rows(part, texts, pairs, labels)
    found = _splits(
        parts, source, Counter(), True, regression=task.regression, names=task.label_names
    )
    if task.described and task.described in (train := rows["train"]).columns:
        said = dict(zip(map(str, column(train, task.label)), train.columns[task.described]))  # noqa: B905
        found.label_names = tuple(str(said.get(n) or n) for n in found.label_names)
    return found


def _as_rows(part: Rows, texts, pairs, labels) -> Rows:
    """The columns that matter under names of their own, each row with its number in the file."""
    for values in (texts, pairs or ()):
        for i, value in enumerate(values):
            if value is not None and value == value and not isinstance(value, str):
                raise InputError(f"{part.place(i)}: a text is {str(value)[:40]!r}, no string")
    both = texts if pairs is None else list(zip(texts, pairs, strict=True))
    return dataclasses.replace(part, columns={"text": both, "label": labels})


def _splits(parts, source, left_out, own, *, regression=False, names=None) -> Splits:
    """Examples of rows; a test set without labels gives way to the validation set."""
    kept: dict[str, Rows] = {}
    for split, part in parts.items():
        texts, labels = part.columns["text"], part.columns["label"]
        full = [all(map(_said, text if isinstance(text, tuple) else [text])) for text in texts]
        said = [_said(label) and label != "-" for label in labels]
        if split == "test" and own and not any(said):
            left_out["test rows, which have no labels"] += len(texts)
            continue
        left_out["rows without a text"] += full.count(False)
        left_out["rows without a label"] += sum(f > s for f, s in zip(full, said, strict=True))
        kept[split] = part.take(i for i in range(len(texts)) if full[i] and said[i])
        if not len(kept[split]):
            raise InputError(f"{part.source}: none of its {len(texts)} rows has text and label")
    if not {"validation", "test"} & {*kept}:
        raise InputError(f"{source} has training rows alone: data.shares must leave some for tests")
    names, labels = ((), _numbers(kept)) if regression else _classes(kept, names)
    found = {
        split: Examples(part.columns["text"], labels[split].tolist(), part.source)
        for split, part in kept.items()
    }
    for split, other in (("test", "validation"), ("validation", "test")):
        if split not in found:
            logging.info("%s: figures of %s are those of the %s rows", source, split, other)
            found[split] = found[other]
    return Splits(found, names, source, left_out, own)


def _said(value: Any) -> bool:
    return value is not None and value == value and bool(str(value).strip())


def _numbers(kept: Mapping[str, Rows]) -> dict[str, np.ndarray]:
    found = {}
    for split, part in kept.items():
        labels = part.columns["label"]
        if (numbers := as_numbers(labels)) is None or not np.isfinite(numbers).all():
            i = next(
                i
                for i, x in enumerate(labels)
                if (n := as_numbers([x])) is None or not np.isfinite(n[0])
            )
            raise InputError(f"{part.place(i)}: label {labels[i]!r}, regression needs numbers")
        found[split] = numbers
    return found


def _classes(kept: Mapping[str, Rows], names) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Names of the classes, by default those of the training rows, and labels as their numbers."""
    source = kept["train"].source
    if names is None:
        numbers = as_numbers(kept["train"].columns["label"])
        if numbers is not None and len(decimals := numbers[numbers != np.round(numbers)]):
            raise InputError(
                f"{source}: labels are numbers such as {decimals[0]:g}: data.regression=True "
                "predicts them, classes are words or whole numbers"
            )
        names, found = number_labels(kept, "label")
        if not 2 <= len(names) <= MAX_CLASSES:
            raise InputError(
                f"{source}: labels are {', '.join(names[:3])}{' ...' * (len(names) > 3)}, "
                f"{len(names)} in all, must be classes, at least 2 and at most {MAX_CLASSES}"
            )
    else:
        number = {str(i): i for i in range(len(names))} | {n: i for i, n in enumerate(names)}
        found = {}
        for split, part in kept.items():
            words = [str(label).strip() for label in part.columns["label"]]
            for i, word in enumerate(words):
                if word not in number:
                    known = ", ".join(names)
                    raise InputError(f"{part.place(i)}: label {word!r}, must be one of {known}")
            found[split] = np.array([number[word] for word in words], np.int32)
    for split, labels in found.items():
        if absent := [n for i, n in enumerate(names) if i not in {*labels.tolist()}]:
            shown = ", ".join(absent[:6]) + (" ..." if len(absent) > 6 else "")
            logging.warning(
                "%s: the %s rows have none of class %s", kept[split].source, split, shown
            )
    return names, found


def sizes_of(texts: Sequence[Any]) -> str:
    """How long texts are, for the lines at the start.

    Example:
      >>> sizes_of(["one", "three"]), sizes_of([("a", "bc")])
      ('texts of 3 to 5 characters, median 4', 'pairs of 3 to 3 characters, median 3')
    """
    pairs = bool(texts) and not isinstance(texts[0], str)
    lengths = [len(t) if isinstance(t, str) else sum(map(len, t)) for t in texts] or [0]
    kind = "pairs" if pairs else "texts"
    middle = round(float(np.median(lengths)))
    return f"{kind} of {min(lengths):,} to {max(lengths):,} characters, median {middle:,}"
