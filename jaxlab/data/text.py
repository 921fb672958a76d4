"""Text sets: known ones, tasks and tables of one's own, their splits, and their tokens.

- `headlines`: news headlines, 1 = sarcastic; `headlines-sarcasm.tsv.gz`, label TAB text.
- `rotten_tomatoes`: snippets of film reviews, 1 = fresh; `rotten-tomatoes-snippets.csv.gz`.
- `iflytek`: descriptions of Chinese apps, 119 classes, few a class; `iflytek-*.jsonl.gz`.

Texts that are equal up to case, spaces and composed accents are kept once, and left out altogether
when their labels differ, before anything is split; how many is logged. Splits depend on nothing but
the file and `split_seed`. Tasks (`glue/sst2`, see `text_tasks`) and tables of one's own that come
in splits are taken as they are.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from jaxlab.checks import check_count
from jaxlab.data.folder import data_folder
from jaxlab.data.formats.plain_text import whole_characters
from jaxlab.data.sources import TABLES, Found, count_classes
from jaxlab.data.text_sets import READERS, SPLITS, Row, distinct, splits_of
from jaxlab.data.text_tables import Examples, Splits, read_known_task, read_table, sizes_of
from jaxlab.data.text_tasks import TASKS
from jaxlab.errors import InputError

_REPEATED = "texts, which are empty, repeated or have two labels"


@dataclasses.dataclass(frozen=True, eq=False)
class TextSet:
    """Texts in memory.

    Attributes:
      texts: N texts.
      labels: int32 [N], or float32 [N] for regression.
      label_names: a name for each class; none for regression.
      pairs: the second text of each; None for single texts.

    Raises:
      ValueError: there are not as many labels as texts, or a label has no name.

    Example:
      >>> len(TextSet(["good", "bad"], np.array([1, 0], np.int32), ("no", "yes")))
      2
    """

    texts: Sequence[str]
    labels: np.ndarray
    label_names: tuple[str, ...]
    pairs: Sequence[str] | None = None

    def __post_init__(self):
        if self.pairs is not None and len(self.pairs) != len(self.texts):
            raise InputError(f"pairs are {len(self.pairs)}, {len(self.texts)} texts need as many")
        if self.labels.shape != (len(self.texts),):
            raise InputError(
                f"labels have shape {self.labels.shape}, {len(self.texts)} texts need "
                f"({len(self.texts)},)"
            )
        low, high = (self.labels.min(), self.labels.max()) if len(self.texts) else (0, 0)
        if self.label_names and not 0 <= low <= high < self.num_classes:
            raise InputError(f"labels are {low} to {high}, must be in [0, {self.num_classes})")

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def num_classes(self) -> int:
        return len(self.label_names)

    def first(self, limit: int | None) -> "TextSet":
        """The first texts, or all."""
        pairs = None if self.pairs is None else self.pairs[:limit]
        return TextSet(self.texts[:limit], self.labels[:limit], self.label_names, pairs)


@dataclasses.dataclass(frozen=True, eq=False)
class TokenSet:
    """Tokenised texts in memory.

    Attributes:
      ids: N int32 vectors, special tokens included.
      labels: int32 [N], or float32 [N] for regression.
      type_ids: N int32 vectors, 0 for the first text of a pair and 1 for the second; None for
        single texts.

    Example:
      >>> TokenSet([np.array([2, 8, 3]), np.array([2, 3])], np.array([0, 1])).lengths
      array([3, 2])
    """

    ids: Sequence[np.ndarray]
    labels: np.ndarray
    type_ids: Sequence[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(ids) for ids in self.ids])

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What the set holds, in three or four arrays: by which it is compared with another."""
        tokens = np.concatenate([np.asarray(ids) for ids in self.ids])
        found = {"lengths": self.lengths, "labels": self.labels, "tokens": tokens}
        return found | ({} if self.type_ids is None else {"types": np.concatenate(self.type_ids)})


def load_text(
    name: str,
    data_dir: str | Path | None = None,
    split: str = "train",
    *,
    split_seed: int = 0,
    limit: int | None = None,
    path: str | Sequence[str] | None = None,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    shares: tuple[float, float] | None = None,
    config_name: str | None = None,
    regression: bool | None = None,
) -> TextSet:
    """Reads one split of a text set; see `load_texts`.

    Args:
      name: see `load_texts`, as for all that is not here.
      data_dir: the data folder; by default $JAXLAB_DATA, else the user's cache folder.
      split: "train", "validation" or "test".
      split_seed: of the random split and order, >= 0.
      limit: keep only the first N (a random subset, since the order is random).
      path: of a table or a task.
      text_column: of a table, as all that follow: "text" by default.
      pair_column: the second text of each pair; None for single texts.
      label_column: "label" by default.
      group_column: rows of a group stay in one split.
      shares: of validation and test rows, (0.1, 0.1) by default.
      config_name: of "hf".
      regression: whether labels are numbers to predict, rather than classes.

    Raises:
      FileNotFoundError: the set is not in the data folder.
      ValueError: an argument is unknown or out of range, or a file is not what it should be.
    """
    if split not in SPLITS:
        raise InputError(f"split is {split!r}, known are {SPLITS}")
    if limit is not None:
        check_count("limit", limit)
    sets, _ = _load(
        name, data_dir, split_seed=split_seed, path=path, text_column=text_column,
        pair_column=pair_column, label_column=label_column, group_column=group_column,
        shares=shares, config_name=config_name, regression=regression,
    )  # fmt: skip
    _check_filled(name, sets, (split,))
    return sets[split].first(limit)


def load_texts(
    name: str,
    data_dir: str | Path | None = None,
    *,
    split_seed: int = 0,
    path: str | Sequence[str] | None = None,
    **table: Any,
) -> tuple[dict[str, TextSet], Found]:
    """Reads all splits of a text set, each in a random order, and what was found.

    Headlines are split at random, 80 % / 10 % / 10 %; review snippets likewise, but by film, so
    that no film is on two sides; iflytek comes split. Of tasks whose test set has no labels, "test"
    is the validation set.

    Args:
      name: "headlines", "rotten_tomatoes", "iflytek"; a task of `text_tasks.TASKS`, such as
        "glue/sst2"; or a kind of table, of `sources.TABLES`.
      data_dir: the data folder; by default $JAXLAB_DATA, else the user's cache folder.
      split_seed: of the random split and order, >= 0.
      path: of a table (see `sources.load_rows`), or the folder of a task.
      **table: columns and splits of a table; see `load_text`. None stands for the default.

    Returns:
      split -> texts, and where they are from, their classes and what was left out.

    Raises:
      FileNotFoundError: the set is not in the data folder.
      ValueError: an argument is unknown or out of range, or a file is not what it should be.
    """
    sets, found = _load(name, data_dir, split_seed=split_seed, path=path, **table)
    _check_filled(name, sets, SPLITS)
    return sets, found


def _check_filled(name: str, sets: dict[str, TextSet], splits: Sequence[str]) -> None:
    for split in splits:
        if not len(sets[split]):
            total = sum(map(len, sets.values()))
            raise InputError(f"text set {name!r}: none of its {total} texts is in split {split!r}")


def _load(name, data_dir, *, split_seed, path, **table) -> tuple[dict[str, TextSet], Found]:
    check_count("split_seed", split_seed, at_least=0, below=None)
    table = {key: value for key, value in table.items() if value is not None}
    if name not in (known := (*READERS, *TASKS, *TABLES)):
        raise InputError(f"text set is {name!r}, known are {known}")
    if name in READERS and path is not None:
        raise InputError(f"data.path is {path!r}, {name!r} is a set of the data folder: drop it")
    if name not in TABLES and table:
        key, value = next(iter(table.items()))
        raise InputError(f"data.{key} is {value!r}, {name!r} has its own columns: drop it")
    if name in READERS:
        found, source = _known(name, data_dir, split_seed)
    elif name in TASKS:
        assert path is None or isinstance(path, str)
        found = read_known_task(name, path, data_dir)
        source = found.source
    else:
        found = read_table(name, path, data_dir=data_dir, split_seed=split_seed, **table)
        source = found.source
        if not found.splits_are_own:
            found = _without_repeats(found)
    sets = {split: _in_order(found, split, split_seed) for split in SPLITS}
    counts = {
        split: {
            "examples": len(part),
            "classes": count_classes(part.labels, part.label_names) if part.label_names else None,
        }
        for split, part in sets.items()
    }
    sizes = sizes_of(found.examples["train"].texts)
    left_out = {why: count for why, count in found.left_out.items() if count}
    return sets, Found(name, source, counts, sizes, left_out)


def _in_order(found: Splits, split: str, seed: int) -> TextSet:
    """The texts of a split in their random order."""
    part = found.examples[split]
    order = np.random.default_rng((seed, 1)).permutation(len(part.texts))
    labels = np.array(
        [part.labels[i] for i in order], np.int32 if found.label_names else np.float32
    )
    texts = [part.texts[i] for i in order]
    pairs = None
    if texts and not isinstance(texts[0], str):
        texts, pairs = ([t[k] for t in texts] for k in (0, 1))
    return TextSet(texts, labels, found.label_names, pairs)


def _known(name: str, data_dir: str | Path | None, seed: int) -> tuple[Splits, str]:
    """A set of the data folder, split by its own rule."""
    folder = data_folder(data_dir)
    found, names = READERS[name](folder)
    rows = distinct(found)
    if len(rows) < len(found):
        logging.info(
            "%s: %d of %d texts left out: empty, repeated, or with two labels",
            *(name, len(found) - len(rows), len(found)),
        )
    if not rows:
        raise InputError(f"text set {name!r}: no text is left of {len(found)}")
    parts = {split: Examples([], [], str(folder)) for split in SPLITS}
    for row, where in zip(rows, splits_of(rows, seed), strict=True):
        parts[where].texts.append(row.text)
        parts[where].labels.append(row.label)
    left_out = Counter({_REPEATED: len(found) - len(rows)})
    return Splits(parts, names, str(folder), left_out, False), str(folder)


def _without_repeats(found: Splits) -> Splits:
    """Of a table that is split here: texts that are equal once, none with two labels."""
    rows = [
        Row(text, label, None, split)
        for split, part in found.examples.items()
        for text, label in zip(part.texts, part.labels, strict=True)
    ]
    kept, parts = distinct(rows), {}
    for split, part in found.examples.items():
        mine = [row for row in kept if row.split == split]
        if not mine:
            raise InputError(f"{part.source}: no text is left for {split}, all are repeated")
        parts[split] = Examples([r.text for r in mine], [r.label for r in mine], part.source)
    left_out = found.left_out + Counter({_REPEATED: len(rows) - len(kept)})
    return dataclasses.replace(found, examples=parts, left_out=left_out)


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
    check_count("max_length", max_length, at_least=3 if text_set.pairs is None else 5)
    texts: Any = list(map(whole_characters, text_set.texts))
    if text_set.pairs is not None:
        texts = list(zip(texts, map(whole_characters, text_set.pairs), strict=True))
    ids, types = [], []
    encodings = tokenizer.encode_batch(texts)
    if truncate and text_set.pairs is not None and any(len(e) > max_length for e in encodings):
        tokenizer.enable_truncation(max_length)  # the longer text of a pair first
        encodings = tokenizer.encode_batch(texts)
        tokenizer.no_truncation()
    for row, encoding in enumerate(encodings):
        tokens, kinds = (np.asarray(x, np.int32) for x in (encoding.ids, encoding.type_ids))
        if len(tokens) > max_length:
            if not truncate:
                raise InputError(
                    f"text {row} has {len(tokens)} tokens, max_length is {max_length}: cut texts "
                    "with truncate=True"
                )
            tokens = np.append(tokens[: max_length - 1], tokens[-1])
        ids.append(tokens)
        types.append(kinds)
    return TokenSet(ids, text_set.labels, None if text_set.pairs is None else types)
