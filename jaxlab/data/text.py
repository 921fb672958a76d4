"""Named text sets: reading them from the data folder, splitting them, turning them into tokens.

- `headlines`: news headlines, 1 = sarcastic; `headlines-sarcasm.tsv.gz`, label TAB text.
- `rotten_tomatoes`: snippets of film reviews, 1 = fresh; `rotten-tomatoes-snippets.csv.gz`.
- `iflytek`: descriptions of Chinese apps, 119 classes, few a class; `iflytek-*.jsonl.gz`.

Texts that are equal up to case, spaces and composed accents are kept once, and left out altogether
when their labels differ, before anything is split; how many is logged. Splits depend on nothing but
the file and `split_seed`.
"""

import csv
import dataclasses
import io
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from jaxlab.checks import check_count
from jaxlab.data.folder import data_folder
from jaxlab.data.formats.plain_text import (
    normal_text,
    read_text,
    split_lines,
    whole_characters,
    whole_json,
)
from jaxlab.errors import InputError

SPLITS = ("train", "validation", "test")
HELD_OUT = 0.1  # share of each of validation and test
MAX_CLASSES = 10_000  # a larger label is a damaged one


class _Row(NamedTuple):
    text: str
    label: int
    group: Hashable  # rows of one group go to the same split
    split: str | None  # where the set itself says so


@dataclasses.dataclass(frozen=True, eq=False)
class TextSet:
    """Texts in memory.

    Attributes:
      texts: N texts.
      labels: int32 [N].
      label_names: a name for each class.

    Raises:
      ValueError: there are not as many labels as texts, or a label has no name.

    Example:
      >>> len(TextSet(["good", "bad"], np.array([1, 0], np.int32), ("no", "yes")))
      2
    """

    texts: Sequence[str]
    labels: np.ndarray
    label_names: tuple[str, ...]

    def __post_init__(self):
        if self.labels.shape != (len(self.texts),):
            raise InputError(
                f"labels have shape {self.labels.shape}, {len(self.texts)} texts need "
                f"({len(self.texts)},)"
            )
        if len(self.texts) and not 0 <= self.labels.min() <= self.labels.max() < self.num_classes:
            raise InputError(
                f"labels are {self.labels.min()} to {self.labels.max()}, must be in "
                f"[0, {self.num_classes})"
            )

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def num_classes(self) -> int:
        return len(self.label_names)


@dataclasses.dataclass(frozen=True, eq=False)
class TokenSet:
    """Tokenised texts in memory.

    Attributes:
      ids: N int32 vectors, special tokens included.
      labels: int32 [N].

    Example:
      >>> TokenSet([np.array([2, 8, 3]), np.array([2, 3])], np.array([0, 1])).lengths
      array([3, 2])
    """

    ids: Sequence[np.ndarray]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(ids) for ids in self.ids])

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What the set holds, in three arrays: by which it is compared with another."""
        tokens = np.concatenate([np.asarray(ids) for ids in self.ids])
        return {"lengths": self.lengths, "labels": self.labels, "tokens": tokens}


def load_text(
    name: str,
    data_dir: str | Path | None = None,
    split: str = "train",
    *,
    split_seed: int = 0,
    limit: int | None = None,
) -> TextSet:
    """Reads one split of a text set.

    Headlines are split at random, 80 % / 10 % / 10 %; review snippets likewise, but by film, so
    that no film is on two sides; iflytek comes split. Each split is in a random order.

    Args:
      name: "headlines", "rotten_tomatoes" or "iflytek".
      data_dir: the data folder; by default $JAXLAB_DATA, else the user's cache folder.
      split: "train", "validation" or "test".
      split_seed: of the random split and order, >= 0.
      limit: keep only the first N (a random subset, since the order is random).

    Raises:
      FileNotFoundError: the set is not in the data folder.
      ValueError: an argument is unknown or out of range, or a file is not what it should be.
    """
    if name not in _READERS:
        raise InputError(f"text set is {name!r}, known are {tuple(_READERS)}")
    if split not in SPLITS:
        raise InputError(f"split is {split!r}, known are {SPLITS}")
    check_count("split_seed", split_seed, at_least=0, below=None)
    if limit is not None:
        check_count("limit", limit)
    found, names = _READERS[name](data_folder(data_dir))
    rows = _distinct(found)
    if len(rows) < len(found):
        logging.info(
            "%s: %d of %d texts left out: empty, repeated, or with two labels",
            *(name, len(found) - len(rows), len(found)),
        )
    if not rows:
        raise InputError(f"text set {name!r}: no text is left of {len(found)}")
    splits = _splits(rows, split_seed)
    chosen = [row for row, where in zip(rows, splits, strict=True) if where == split]
    if not chosen:
        raise InputError(f"text set {name!r}: none of its {len(rows)} texts is in split {split!r}")
    order = np.random.default_rng((split_seed, 1)).permutation(len(chosen))[:limit]
    labels = np.array([chosen[i].label for i in order], np.int32)
    return TextSet([chosen[i].text for i in order], labels, names)


def encode(
    text_set: TextSet, tokenizer: Any, *, max_length: int, truncate: bool = False
) -> TokenSet:
    """Tokenises a set, with the special tokens that the tokenizer adds.

    Args:
      text_set: the texts.
      tokenizer: a `tokenizers.Tokenizer` that neither pads nor truncates, such as
        `wordpiece.load_tokenizer` and `wordpiece.train_wordpiece` return.
      max_length: most tokens of a text, special tokens included, >= 3.
      truncate: cut longer texts (the last special token stays) rather than raise.

    Raises:
      ValueError: a text is too long and shall not be cut.
    """
    check_count("max_length", max_length, at_least=3)
    ids = []
    texts = list(map(whole_characters, text_set.texts))
    for row, encoding in enumerate(tokenizer.encode_batch(texts)):
        tokens = np.asarray(encoding.ids, np.int32)
        if len(tokens) > max_length:
            if not truncate:
                raise InputError(
                    f"text {row} has {len(tokens)} tokens, max_length is {max_length}: cut texts "
                    "with truncate=True"
                )
            tokens = np.append(tokens[: max_length - 1], tokens[-1])
        ids.append(tokens)
    return TokenSet(ids, text_set.labels)


def _distinct(rows: list[_Row]) -> list[_Row]:
    """The first row of each text, none where labels differ, test before training."""
    # A text of the test split that is in the training split too stays in the test split.
    rows = sorted(rows, key=lambda row: -SPLITS.index(row.split) if row.split else 0)
    keys = [normal_text(row.text) for row in rows]
    labels: dict[str, set[int]] = {}
    for key, row in zip(keys, rows, strict=True):
        labels.setdefault(key, set()).add(row.label)
    kept: dict[str, _Row] = {}
    for key, row in zip(keys, rows, strict=True):
        if key and len(labels[key]) == 1:
            kept.setdefault(key, row)
    return list(kept.values())


def _splits(rows: list[_Row], seed: int) -> list[str]:
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


def _headlines(folder: Path) -> tuple[list[_Row], tuple[str, ...]]:
    file, rows = "headlines-sarcasm.tsv.gz", []
    for number, line in enumerate(split_lines(_open(folder, file, "headlines")), 1):
        label, tab, text = line.partition("\t")
        if label not in ("0", "1") or not tab:
            raise InputError(f"{folder / file}, line {number}: {line[:40]!r}, needs 0|1 TAB text")
        rows.append(_Row(text, int(label), number, None))
    return rows, ("serious", "sarcastic")


def _rotten_tomatoes(folder: Path) -> tuple[list[_Row], tuple[str, ...]]:
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
                rows.append(_Row(row["text"], label, row["movie_name"], None))
    except csv.Error as error:
        raise InputError(f"{place}, line {reader.line_num}: no CSV ({error})") from error
    return rows, names


def _iflytek(folder: Path) -> tuple[list[_Row], tuple[str, ...]]:
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
            rows.append(_Row(text, label, (split, number), split))
    return rows, tuple(names.get(i, f"class {i}") for i in range(max(names, default=-1) + 1))


_READERS: dict[str, Callable[[Path], tuple[list[_Row], tuple[str, ...]]]] = {
    "headlines": _headlines,
    "rotten_tomatoes": _rotten_tomatoes,
    "iflytek": _iflytek,
}
