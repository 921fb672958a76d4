"""Questions with answers in a passage: SQuAD-format files, splits by article, short passages.

    records = read_squad("squad-dev-v1.1.json.gz")
    train, validation, test = split_records(records, shares=(0.1, 0.1))
    triples, skipped = make_triples(train, max_length=64)

A record has the whole passage as the file has it; a triple a segment of it, cut at sentence ends,
that holds the answer.
"""

import bisect
import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxlab.data.formats.plain_text import normal_text, read_text, whole_json
from jaxlab.data.questions.cutting import segment
from jaxlab.data.questions.offsets import WRONG, find_start
from jaxlab.errors import InputError

FORMAT = '{"data": [{"paragraphs": [{"context", "qas": [{"question", "answers": [{"text"}]}]}]}]}'


@dataclasses.dataclass(frozen=True)
class Record:
    """One question of a file.

    Attributes:
      article: what it belongs to; records of one article stay on one side of a split.
      passage: the whole context.
      question: the question.
      answers: the answers given to it, at least one, the most frequent first.
      starts: where each of them starts in the passage, in characters; `qa_offsets.SILENT` where
        the file does not say, `qa_offsets.WRONG` where it says what decides for no place.
      id: the question's, as the file has it, or where it stands in the file.
    """

    article: str
    passage: str
    question: str
    answers: tuple[str, ...]
    starts: tuple[int, ...]
    id: str = ""


@dataclasses.dataclass(frozen=True)
class Triple:
    """A short passage, a question, and its answer, which is a part of the passage.

    Attributes:
      passage: a segment of a record's passage.
      answer: the answer.
      question: the question.
      answers: all answers given to the question that are in the segment.
      article: as of the record, and `id` likewise.
    """

    passage: str
    answer: str
    question: str
    answers: tuple[str, ...] = ()
    article: str = ""
    id: str = ""


def read_squad(
    path: str | Path, *, skipped: collections.Counter[str] | None = None
) -> list[Record]:
    """Reads a file in SQuAD's format, `.json` or `.json.gz`, in any language.

    Questions without an answer (SQuAD 2.0's `is_impossible`, hidden test sets) are left out. Where
    an answer stands may be given in several ways: see `qa_offsets.find_start`.

    Args:
      path: the file.
      skipped: to which the numbers of questions left out are added, by reason: "impossible
        question", "no answer given".

    Returns:
      A record per question, in the file's order.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is not gzip, not text, not JSON, or a key is missing or of another type; the
        message says which and where.
    """
    skipped = collections.Counter() if skipped is None else skipped
    path = Path(path)
    get = functools.partial(_get, path)
    records = []
    for title, passage, paragraph, place in _contexts(path):
        for k, qa in enumerate(get(paragraph, "qas", list, place)):
            where = f"{place}.qas[{k}]"
            question = get(qa, "question", str, where)
            if str(qa.get("is_impossible")).strip().lower() in ("true", "1"):
                skipped["impossible question"] += 1
                continue
            answers = []
            for m, answer in enumerate(get(qa, "answers", list, where)):
                text = get(answer, "text", str, f"{where}.answers[{m}]").strip()
                answers.append((text, find_start(passage, text, answer.get("answer_start"))))
            if answers:
                texts, starts = by_frequency([a for a in answers if a[0]] or answers[:1])
                name = str(qa.get("id") or f"{path.name}:{where}")
                records.append(Record(title, passage, question, texts, starts, name))
            else:
                skipped["no answer given"] += 1
    return records


def read_contexts(path: str | Path) -> list[str]:
    """The passages of such a file, each once, whether anything is asked about them or not.

    Raises:
      FileNotFoundError, ValueError: as in `read_squad`.
    """
    return list(dict.fromkeys(passage for _, passage, _, _ in _contexts(Path(path))))


def _contexts(path: Path) -> Iterator[tuple[str, str, Any, str]]:
    """(title, passage, what surrounds it, where that is in the file)."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: put a file in SQuAD's format there "
            "(docs/methods/qa_generation.md says where some are)"
        )
    found = whole_json(read_text(path), str(path))
    get = functools.partial(_get, path)
    for i, article in enumerate(get(found, "data", list, "the file")):
        listed = get(article, "paragraphs", list, f"data[{i}]")
        title = article.get("title") or f"{path.name}:{i}"
        for j, paragraph in enumerate(listed):
            place = f"data[{i}].paragraphs[{j}]"
            yield str(title), get(paragraph, "context", str, place), paragraph, place


def split_records(
    records: Sequence[Record], *, shares: tuple[float, float] = (0.1, 0.1), seed: int = 0
) -> tuple[list[Record], list[Record], list[Record]]:
    """Splits by article: nothing of an article, and no passage, is on two sides.

    Articles that share a passage, up to case and spaces, count as one.

    Args:
      records: of any number of files.
      shares: of the records for validation and for test, each >= 0, together below 1; sides are as
        near to them as whole articles allow.
      seed: of the random order of articles, >= 0.

    Returns:
      (train, validation, test), each in the order of `records`.

    Raises:
      ValueError: shares are out of range, or the training side is empty.

    Example:
      >>> records = [Record(a, f"about {a}", "who?", (a,), (6,)) for a in "ABCDEF"]
      >>> [len(side) for side in split_records(records, shares=(0.2, 0.2))]
      [4, 1, 1]
    """
    if not (min(shares) >= 0 and sum(shares) < 1):
        raise InputError(f"shares are {shares}, must be at least 0 and below 1 together")
    parent: dict[Any, Any] = {}

    def root(key):
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    normal = functools.cache(normal_text)  # of long passages with many questions
    for record in records:
        parent[root(("passage", normal(record.passage)))] = root(("article", record.article))
    groups: dict[Any, list[int]] = {}
    for i, record in enumerate(records):
        groups.setdefault(root(("article", record.article)), []).append(i)
    members = list(groups.values())
    side = np.zeros(len(records), int)
    order = [members[i] for i in np.random.default_rng(seed).permutation(len(members))]
    for which, share in ((2, shares[1]), (1, shares[0])):
        missing, rest = share * len(records), []
        for group in order:
            # An article goes where it belongs by more than half.
            if missing > len(group) / 2:
                missing -= len(group)
                side[group] = which
            else:
                rest.append(group)
        order = rest
    sides = tuple([r for r, s in zip(records, side, strict=True) if s == w] for w in range(3))
    if not sides[0]:
        raise InputError(
            f"no record is left for training: {len(records)} records in {len(members)} articles, "
            f"shares {shares} for validation and test"
        )
    return sides  # type: ignore[return-value]


def make_triples(
    records: Iterable[Record],
    *,
    max_length: int,
    length: Callable[[str], int] = len,
    join: bool = True,
) -> tuple[list[Triple], collections.Counter]:
    """One triple a record: the segment of its passage that holds the answer.

    The segment is the one where the file says the answer is, so that the words around it are those
    the question is about; where the file does not say, the first that holds the answer. Of several
    answers it is the most frequent one that can be placed.

    Args:
      records: from `read_squad`.
      max_length: of a segment.
      length: as in `segment`.
      join: as in `segment`.

    Returns:
      (triples, skipped): how many records were left out, by reason: "answer not in passage",
      "answer_start is wrong", "answer cut by segmentation", "empty passage, question or answer",
      "duplicate".

    Example:
      >>> record = Record("A", "It rains. The sun is yellow.", "what colour?", ("yellow",), (21,))
      >>> triples, skipped = make_triples([record], max_length=20)
      >>> triples[0].passage, dict(skipped)
      ('The sun is yellow.', {})

    After the post's script, which keeps one triple for every segment that holds the answer's text.
    """
    triples, skipped, seen = [], collections.Counter(), set()
    cut: dict[str, tuple[list[int], list[str]]] = {}
    for record in records:
        usable = (
            i
            for i, (a, start) in enumerate(zip(record.answers, record.starts, strict=True))
            if a.strip() and start != WRONG and a in record.passage
        )
        which = next(usable, 0)  # the most frequent one that says where it is
        answer, start = record.answers[which].strip(), record.starts[which]
        if not (answer and record.question.strip() and record.passage.strip()):
            skipped["empty passage, question or answer"] += 1
            continue
        if answer not in record.passage:
            skipped["answer not in passage"] += 1
            continue
        if start == WRONG:
            skipped["answer_start is wrong"] += 1
            continue
        if record.passage not in cut:
            found = segment(record.passage, max_length, length=length, join=join)
            cut[record.passage] = ([a for a, _ in found], [p for _, p in found])
        places, parts = cut[record.passage]
        if start >= 0:
            start += len(record.answers[which]) - len(record.answers[which].lstrip())
            k = max(bisect.bisect_right(places, start) - 1, 0)
            inside = places and 0 <= start - places[k] <= len(parts[k]) - len(answer)
            parts = parts[k : k + 1] if inside else []
        part = next((p for p in parts if answer in p), None)
        if part is None:
            skipped["answer cut by segmentation"] += 1
            continue
        inside = dict.fromkeys(a.strip() for a in record.answers if a.strip() and a.strip() in part)
        triple = Triple(
            part, answer, record.question.strip(), tuple(inside), record.article, record.id
        )
        if (part, answer, triple.question) in seen:
            skipped["duplicate"] += 1
            continue
        seen.add((part, answer, triple.question))
        triples.append(triple)
    return triples, skipped


def without_passages_of(
    triples: Sequence[Triple], held_out: Iterable[Triple]
) -> tuple[list[Triple], int]:
    """The triples whose passage is none of those held out, and how many others there were.

    Whole passages are kept apart by `split_records`; a sentence of two articles is not.

    Example:
      >>> without_passages_of([Triple("a", "", ""), Triple("b", "", "")], [Triple("A", "", "")])[1]
      1
    """
    known = {normal_text(t.passage) for t in held_out}
    kept = [t for t in triples if normal_text(t.passage) not in known]
    return kept, len(triples) - len(kept)


def _get(path: Path, tree: Any, key: str, kind: type, place: str) -> Any:
    if not isinstance(tree, dict):
        raise InputError(f"{path}: {place} is {type(tree).__name__}, must be an object: {FORMAT}")
    if key not in tree:
        raise InputError(f"{path}: {place} has no {key!r}; the format is {FORMAT}")
    if not isinstance(tree[key], kind):
        raise InputError(
            f"{path}: {key!r} of {place} is {type(tree[key]).__name__}, must be {kind.__name__}"
        )
    return tree[key]


def by_frequency(answers: list[tuple[str, int]]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Distinct answers, the most frequent first, else in order; the first known start of each."""
    counts = collections.Counter(text for text, _ in answers)
    texts = sorted(counts, key=lambda text: -counts[text])
    starts = {}
    for text, start in answers:
        if start >= 0:
            starts.setdefault(text, start)
    unplaced = dict(answers)
    return tuple(texts), tuple(starts.get(text, unplaced[text]) for text in texts)
