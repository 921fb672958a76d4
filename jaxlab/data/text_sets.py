"""Text sets of the data folder: their files, and the rules by which rows are kept and split."""

import csv
import io
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxlab.data.formats.plain_text import normal_text, read_text, split_lines, whole_json
from jaxlab.errors import InputError

SPLITS = ("train", "validation", "test")
HELD_OUT = 0.1  # share of each of validation and test
MAX_CLASSES = 10_000  # a larger label is a damaged one


class Row(NamedTuple):
    """A text, or a pair, as a file has it."""

    text: Any  # or a pair
    label: Any
    group: Hashable  # rows of one group go to the same split
    split: str | None  # where the set itself says so


def distinct(rows: list[Row]) -> list[Row]:
    """The first row of each text, none where labels differ, test before training."""
    # A text of the test split that is in the training split too stays in the test split.
    rows = sorted(rows, key=lambda row: -SPLITS.index(row.split) if row.split else 0)
    normal = lambda text: normal_text(text) if isinstance(text, str) else (*map(normal_text, text),)
    keys = [normal(row.text) for row in rows]
    labels: dict[Any, set[Any]] = {}
    for key, row in zip(keys, rows, strict=True):
        labels.setdefault(key, set()).add(row.label)
    kept: dict[Any, Row] = {}
    for key, row in zip(keys, rows, strict=True):
        if key and len(labels[key]) == 1:
            kept.setdefault(key, row)
    return list(kept.values())


def splits_of(rows: list[Row], seed: int) -> list[str]:
    """Where each row goes: where its set says, or by groups in random order."""
    groups = list(dict.fromkeys(row.group for row in rows))
    sizes = dict.fromkeys(groups, 0)
    for row in rows:
        sizes[row.group] += 1
    where, taken = {}, 0
    for i in np.random.default_rng((seed, 0)).permutation(len(groups)):
        share = taken / len(rows)
        where[groups[i]] = SPLITS[2 if share < HELD_OUT else 1 if share < 2 * HELD_OUT else 0]
        taken += sizes[groups[i]]
    return [row.split or where[row.group] for row in rows]


def _open(folder: Path, file: str, name: str | None = None) -> str:
    path = folder / file
    if not path.is_file():
        how = f"`python -m jaxlab fetch_data {name}` downloads it" if name else "put it there"
        raise FileNotFoundError(
            f"{path} is missing: {how}, or name the folder that has it with --data_dir or "
            "$JAXLAB_DATA"
        )
    return read_text(path)


def _headlines(folder: Path) -> tuple[list[Row], tuple[str, ...]]:
    file, rows = "headlines-sarcasm.tsv.gz", []
    for number, line in enumerate(split_lines(_open(folder, file, "headlines")), 1):
        label, tab, text = line.partition("\t")
        if label not in ("0", "1") or not tab:
            raise InputError(f"{folder / file}, line {number}: {line[:40]!r}, needs 0|1 TAB text")
        rows.append(Row(text, int(label), number, None))
    return rows, ("serious", "sarcastic")


def _rotten_tomatoes(folder: Path) -> tuple[list[Row], tuple[str, ...]]:
    file, names = "rotten-tomatoes-snippets.csv.gz", ("rotten", "fresh")
    rows, place = [], folder / file
    lines = io.StringIO(_open(folder, file, "rotten_tomatoes"), newline="")
    reader = csv.DictReader(lines, strict=True)
    try:
        columns = reader.fieldnames or ()
        if not {"category", "text", "movie_name"} <= set(columns):
            raise InputError(
                f"{place} has columns {list(columns)[:9]}, needs category, text and movie_name"
            )
        for row in reader:
            # Fields that are missing are None, and one too many has the key None.
            if None in row or None in row.values() or row["category"] not in (*names, "plot"):
                raise InputError(
                    f"{place}, line {reader.line_num}: {str(list(row.values()))[:60]}, needs "
                    f"{len(columns)} fields, of them category fresh, rotten or plot"
                )
            if row["category"] in names:  # "plot" is no opinion
                label = names.index(row["category"])
                rows.append(Row(row["text"], label, row["movie_name"], None))
    except csv.Error as error:
        raise InputError(f"{place}, line {reader.line_num}: no CSV ({error})") from error
    return rows, names


def _iflytek(folder: Path) -> tuple[list[Row], tuple[str, ...]]:
    files = {"train": "train-few-all", "validation": "dev-few-all", "test": "test-public"}
    rows, names = [], {}
    for split, part in files.items():
        file = f"iflytek-{part}.jsonl.gz"
        for number, line in enumerate(split_lines(_open(folder, file)), 1):
            place = f"{folder / file}, line {number}"
            row = whole_json(line, place)
            try:
                text, name, label = row["sentence"], row["label_des"], int(str(row["label"]))
                if not (isinstance(text, str) and isinstance(name, str)):
                    raise TypeError
                if not 0 <= label < MAX_CLASSES:
                    raise ValueError
            except (ValueError, KeyError, TypeError):
                raise InputError(
                    f"{place}: {line[:40]!r}, needs label (a whole number from 0 to "
                    f"{MAX_CLASSES - 1}), label_des and sentence"
                ) from None
            names[label] = name
            rows.append(Row(text, label, (split, number), split))
    return rows, tuple(names.get(i, f"class {i}") for i in range(max(names, default=-1) + 1))


READERS: dict[str, Callable[[Path], tuple[list[Row], tuple[str, ...]]]] = {
    "headlines": _headlines,
    "rotten_tomatoes": _rotten_tomatoes,
    "iflytek": _iflytek,
}
