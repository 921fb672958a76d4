"""Whole sets of questions and answers, from files to tokens of every split."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxlab.checks import check_count
from jaxlab.data import sources
from jaxlab.data.questions import readers, squad
from jaxlab.data.questions.segments import Limits, encode_triples, token_ids
from jaxlab.data.text import TokenSet
from jaxlab.errors import InputError

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, eq=False)
class QASet:
    """The triples of one split.

    Attributes:
      triples: N triples.
      tokens: the same, laid out.
      skipped: how many records were left out, by reason.
    """

    triples: list[squad.Triple]
    tokens: TokenSet
    skipped: collections.Counter

    def __len__(self) -> int:
        return len(self.triples)


def load_records(
    files: Sequence[str] = (),
    data_dir: str | Path | None = None,
    *,
    name: str | None = None,
    path: str | Sequence[str] | None = None,
    config_name: str | None = None,
    passage_column: str | None = None,
    answer_column: str | None = None,
    question_column: str | None = None,
    answer_start_column: str | None = None,
    group_column: str | None = None,
    shares: tuple[float, float] = (0.1, 0.1),
    split_seed: int = 0,
    skipped: collections.Counter[str] | None = None,
) -> dict[str, list[squad.Record]]:
    """Reads questions, and splits by article what does not come split.

    Args:
      files: names in the data folder, or paths, whose questions are taken together and split.
      data_dir: as for `jaxlab.data.load`.
      name: of the format, one of `readers.FORMATS`; None for "squad".
      path: read instead of `files`: a file, a folder with a file for each split, or those of
        train, validation and test in this order ("" for none), each taken as it is. Validation or
        test questions that have no file are taken from the training questions.
      config_name: see `sources.load_rows`.
      passage_column: see `readers.records_of_rows`, as for the other columns.
      answer_column: see there.
      question_column: see there.
      answer_start_column: see there.
      group_column: see there.
      shares: of what is split; see `squad.split_records`.
      split_seed: see `squad.split_records`.
      skipped: to which the numbers of questions left out are added, by reason.

    Returns:
      split -> records.

    Raises:
      FileNotFoundError: a file is not there.
      ValueError: a file is not what it should be, or a split has no article.
    """
    name, path = name or "squad", path or ()
    if isinstance(files, str) or not (files or path):
        wanted = "one file in SQuAD's format or more, or data.path a file or a folder"
        raise InputError(f"files is {files!r}, must name {wanted}")
    if len(shares) != 2:
        raise InputError(f"shares are {tuple(shares)}, must be two, of validation and of test")
    check_count("split_seed", split_seed, at_least=0, below=None)
    skipped = collections.Counter() if skipped is None else skipped
    columns = {
        "passage_column": passage_column,
        "answer_column": answer_column,
        "question_column": question_column,
        "answer_start_column": answer_start_column,
        "group_column": group_column,
    }
    _check_columns(name, columns)
    if not path:
        found = {"train": readers.read_files(name, files, data_dir, skipped=skipped, **columns)}
    else:
        found = readers.read_splits(
            name, path, data_dir, config_name=config_name, skipped=skipped, **columns
        )
    where = source_of({"files": files, "path": path})
    for split, records in found.items():
        if not records:
            of = f"{split}: " if path else ""
            raise InputError(f"{where}: {of}no question has an answer ({dict(skipped)})")
    missing = [split for split in SPLITS if split not in found]
    if missing:
        records = found["train"]
        validation, test = (
            share if split in missing else 0.0
            for split, share in zip(SPLITS[1:], shares, strict=True)
        )
        sides = squad.split_records(records, shares=(validation, test), seed=split_seed)
        found = dict(zip(SPLITS, sides, strict=True)) | {
            s: r for s, r in found.items() if s != "train"
        }
        empty = [split for split in SPLITS if not found[split]]
        if empty:
            articles = len({record.article for record in records})
            raise InputError(
                f"no article is left for {' and '.join(empty)}: {len(records)} questions are on "
                f"{articles} articles, of which shares {tuple(shares)} go to validation and test; "
                "whole articles are split, so give larger shares, such as (0.3, 0.3), or files "
                "with more articles (at least 3)"
            )
    return found


def _check_columns(name: str, columns: Mapping[str, str | None]) -> None:
    """Raises where a format without columns is given one."""
    named = next((key for key, value in columns.items() if value is not None), None)
    if named and name in readers.READERS:
        raise InputError(
            f"data.{named} is {columns[named]!r}, {name} has no columns: set data.name to one of "
            f"{', '.join(sources.TABLES)}"
        )


def source_of(data: Mapping[str, Any]) -> str:
    """What a config names to be read, in words.

    Example:
      >>> source_of({"files": ("a.json", "b.json")}), source_of({"path": ("a.csv", "", "b.csv")})
      ('a.json, b.json', 'a.csv, b.csv')
    """
    path = data.get("path") or ()
    names = ((path,) if isinstance(path, str) else path) or data.get("files") or ()
    return ", ".join(filter(None, names))


def make_sets(
    records: dict[str, list[squad.Record]],
    tokenizer: Any,
    limits: Limits,
    *,
    order: str = "answer_first",
    join: bool = True,
) -> dict[str, QASet]:
    """Cuts passages, makes triples, leaves out what does not fit, and lays out the rest.

    Args:
      records: from `load_records`.
      tokenizer: see `segments.encode_triples`.
      limits: in tokens; also of the segments.
      order: see `segments.encode_triples`.
      join: see `cutting.segment`.

    Returns:
      split -> set. A training triple whose passage is held out too is left out, and counted.

    Raises:
      ValueError: nothing is left of a split; says why.
    """
    length = lambda text: len(token_ids(text, tokenizer))
    triples, skipped = {}, {}
    for split, found in records.items():
        triples[split], skipped[split] = squad.make_triples(
            found, max_length=limits.passage, length=length, join=join
        )
    held_out = [t for split, found in triples.items() if split != "train" for t in found]
    triples["train"], both = squad.without_passages_of(triples["train"], held_out)
    skipped["train"] += collections.Counter({"passage held out too": both} if both else {})
    sets = {}
    for split, found in triples.items():
        try:
            tokens, kept, more = encode_triples(found, tokenizer, limits, order=order)
        except InputError as error:
            why = f"{len(records[split])} records of {split} gave {len(found)} triples"
            raise InputError(f"{why}, left out {dict(skipped[split])}; {error}") from None
        sets[split] = QASet(kept, tokens, skipped[split] + more)
    return sets


def training_texts(records: Sequence[squad.Record]) -> tuple[list[str], list[str]]:
    """(distinct passages, questions) of records, to train or choose a vocabulary."""
    return list(dict.fromkeys(r.passage for r in records)), [r.question for r in records]
