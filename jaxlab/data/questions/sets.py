"""Whole sets of questions and answers, from files to tokens of every split."""

import collections
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxlab.checks import check_count
from jaxlab.data.folder import data_folder
from jaxlab.data.questions import squad
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
    files: Sequence[str],
    data_dir: str | Path | None = None,
    *,
    shares: tuple[float, float] = (0.1, 0.1),
    split_seed: int = 0,
    skipped: collections.Counter[str] | None = None,
) -> dict[str, list[squad.Record]]:
    """Reads files in SQuAD's format and splits their records by article.

    Args:
      files: names in the data folder, or paths.
      data_dir: as for `jaxlab.data.load`.
      shares: see `squad.split_records`.
      split_seed: see `squad.split_records`.
      skipped: see `squad.read_squad`.

    Returns:
      split -> records.

    Raises:
      FileNotFoundError: a file is not there.
      ValueError: a file is not what it should be, or a split has no article.
    """
    if not files or isinstance(files, str):
        raise InputError(f"files is {files!r}, must name one file in SQuAD's format or more")
    records = []
    for name in files:
        records += squad.read_squad(data_folder(data_dir) / name, skipped=skipped)
    if not records:
        raise InputError(f"{', '.join(files)}: no question has an answer ({dict(skipped or {})})")
    if len(shares) != 2:
        raise InputError(f"shares are {tuple(shares)}, must be two, of validation and of test")
    check_count("split_seed", split_seed, at_least=0, below=None)
    sides = squad.split_records(records, shares=(shares[0], shares[1]), seed=split_seed)
    found: dict[str, list[squad.Record]] = dict(zip(SPLITS, sides, strict=True))
    empty = [name for name in SPLITS if not found[name]]
    if empty:
        articles = len({record.article for record in records})
        raise InputError(
            f"no article is left for {' and '.join(empty)}: {len(records)} questions are on "
            f"{articles} articles, of which shares {tuple(shares)} go to validation and test; "
            "whole articles are split, so give larger shares, such as (0.3, 0.3), or files with "
            "more articles (at least 3)"
        )
    return found


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
