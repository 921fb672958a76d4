"""Texts of one's own and of known tasks: rows of a table as texts, pairs and labels.

Classes are those of the training rows, by number where all are numbers, else by name.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from jaxlab.data.formats.rows import as_numbers
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
        parts[split] = (texts, pairs, labels, part.source)
    where = f"{path}" if isinstance(path, str) else ", ".join(r.source for r in rows.values())
    return _splits(parts, where, left_out, own, regression=regression)


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
        parts[split] = (texts, pairs, labels, part.source)
    found = _splits(
        parts, source, Counter(), True, regression=task.regression, names=task.label_names
    )
    if task.described and task.described in (train := rows["train"]).columns:
        said = dict(zip(map(_word, parts["train"][2]), train.columns[task.described], strict=True))
        found.label_names = tuple(str(said.get(n) or n) for n in found.label_names)
    return found


def _splits(parts, source, left_out, own, *, regression=False, names=None) -> Splits:
    """Examples of columns; a test set without labels gives way to the validation set."""
    kept = {}
    for split, (texts, pairs, labels, place) in parts.items():
        _check_texts(texts, pairs, place)
        both = texts if pairs is None else list(zip(texts, pairs, strict=True))
        full = [bool(t and str(t).strip()) for t in texts]
        said = [_word(label) not in ("", "-") for label in labels]
        if split == "test" and own and not any(said):
            left_out["test rows, which have no labels"] += len(texts)
            continue
        left_out["rows without a text"] += full.count(False)
        left_out["rows without a label"] += sum(
            f and not s for f, s in zip(full, said, strict=True)
        )
        rows = [i for i in range(len(texts)) if full[i] and said[i]]
        if not rows:
            raise InputError(f"{place}: none of its {len(texts)} rows has a text and a label")
        kept[split] = Examples([both[i] for i in rows], [labels[i] for i in rows], place)
    for split, other in (("test", "validation"), ("validation", "test")):
        if split not in kept and other in kept:
            logging.info("%s: figures of %s are those of the %s rows", source, split, other)
            kept[split] = kept[other]
    if "validation" not in kept:
        raise InputError(f"{source} has training rows alone: data.shares must leave some for tests")
    if regression:
        return Splits(_with_numbers(kept), (), source, left_out, own)
    kept, names = _with_classes(kept, names)
    return Splits(kept, names, source, left_out, own)


def _check_texts(texts, pairs, place) -> None:
    for values in (texts, pairs or ()):
        wrong = next((v for v in values if v is not None and not isinstance(v, str)), None)
        if wrong is not None:
            raise InputError(f"{place}: a text is {str(wrong)[:40]!r}, must be a string")


def _with_numbers(kept: Mapping[str, Examples]) -> dict[str, Examples]:
    found = {}
    for split, part in kept.items():
        numbers = as_numbers(part.labels)
        if numbers is None or not np.isfinite(numbers).all():
            bad = next(x for x in part.labels if as_numbers([x]) is None or x != x)
            raise InputError(f"{part.source}: label {bad!r}, regression needs numbers")
        found[split] = dataclasses.replace(part, labels=numbers.tolist())
    return found


def _with_classes(kept, names) -> tuple[dict[str, Examples], tuple[str, ...]]:
    """Labels as numbers of classes, which are those of the training rows."""
    train = kept["train"]
    given = names is not None
    if names is None:
        seen = {_word(label) for label in train.labels}
        decimals = sorted(n for n in seen if "." in n and as_numbers([n]) is not None)
        if decimals and as_numbers([*seen]) is not None:
            raise InputError(
                f"{train.source}: labels are numbers such as {decimals[0]}: data.regression=True "
                "predicts them, classes are words or whole numbers"
            )
        if len(seen) > MAX_CLASSES:
            raise InputError(
                f"{train.source}: {len(seen)} different labels, at most {MAX_CLASSES} classes"
            )
        whole = all(n.isdecimal() for n in seen)
        names = tuple(sorted(seen, key=lambda n: (int(n), n)) if whole else sorted(seen))
    if len(names) < 2:
        raise InputError(
            f"{train.source}: all labels are {names[0]!r}, must be two classes or more"
        )
    number = {name: i for i, name in enumerate(names)}
    if given:
        number |= {str(i): i for i in range(len(names)) if str(i) not in number}
    found = {}
    for split, part in kept.items():
        words = [_word(label) for label in part.labels]
        if unknown := sorted({*words} - {*number}):
            known = ", ".join(names[:12]) + (" ..." if len(names) > 12 else "")
            raise InputError(
                f"{part.source}: label {unknown[0]!r} of the {split} rows is not among those of "
                f"training, {known}"
            )
        found[split] = dataclasses.replace(part, labels=[number[word] for word in words])
        if absent := [n for i, n in enumerate(names) if i not in {*found[split].labels}]:
            shown = ", ".join(absent[:6]) + (" ..." if len(absent) > 6 else "")
            logging.warning("%s: the %s rows have none of class %s", part.source, split, shown)
    return found, names


def _word(label: Any) -> str:
    """A label as a word; whole numbers look the same from every format."""
    if label is None or label != label:
        return ""
    if isinstance(label, float) and label == int(label):
        label = int(label)
    return re.sub(r"^(-?\d+)\.0+$", r"\1", str(label).strip())  # as tables write whole numbers


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
