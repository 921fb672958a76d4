"""Passages to ask about; pairs as other tools read them, and which of them to keep.

A pair is a flat dict, a line of JSONL:

id             "TEXT-PASSAGE-NUMBER", of one's text, passage and pair
text           number of the text that the passage was cut from
passage        the passage
answer         the answer
answer_start   where it starts in the passage, in characters; null where it is no span
question       the question
score          log-probability of answer and question per token
answer_log_prob, question_log_prob, is_span, ended, tokens: see `texts.QAPair`
reader_answer, reader_f1: where a reader was asked, what it answered, and how well that agrees
"""

import collections
import itertools
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging
from etils import epath

from jaxlab.checks import check_choice, check_scalar
from jaxlab.data.formats.plain_text import decode_text
from jaxlab.data.questions import segments
from jaxlab.data.questions.cutting import paragraphs
from jaxlab.data.questions.scores import word_f1
from jaxlab.data.questions.squad import read_contexts
from jaxlab.errors import InputError
from jaxlab.files import to_json, write_atomically
from jaxlab.tasks.question_generation import texts
from jaxlab.tasks.question_generation.folder import Generator

Pair = dict[str, Any]
FORMATS = ("table", "jsonl", "squad")


def read_passages(text: str | None, squad: str | None) -> list[str]:
    """The passages of a text file, of standard input, or of a file in SQuAD's format.

    Args:
      text: a text file, whose paragraphs are passages, or "-" for standard input.
      squad: a file in SQuAD's format, whose contexts are; of both one is None.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: both are named, or none; or the file holds no passage.
    """
    if (text is None) == (squad is None):
        raise InputError("name one of --text=FILE (- for standard input) and --squad=FILE")
    if text is None:
        found = read_contexts(squad or "")
        texts = [passage for passage in found if passage.strip()]
        if len(texts) < len(found):
            logging.warning("%s: %d empty contexts left out", squad, len(found) - len(texts))
        return texts
    where = "standard input" if text == "-" else text
    raw = sys.stdin.buffer.read() if text == "-" else pathlib.Path(text).read_bytes()
    texts = paragraphs(decode_text(raw, where))
    if not texts:
        raise InputError(f"{where} is empty: it holds no passage")
    return texts


def as_pairs(
    passages: Sequence[tuple[int, str]], found: Sequence[Sequence[texts.QAPair]]
) -> list[list[Pair]]:
    """What `texts.generate_texts` found as flat dicts.

    Args:
      passages: (number of the text, passage), from `texts.cut_texts`.
      found: the pairs of each.

    Example:
      >>> pair = texts.QAPair(0, "rain", "what falls?", -1.0, -2.0, True, True, 3, 6)
      >>> ((row,),) = as_pairs([(0, "It rain")], [[pair]])
      >>> row["id"], row["score"], row["answer_start"]
      ('0-0-0', -0.5, 3)
    """
    return [
        [
            {
                "id": f"{text}-{i}-{k}",
                "text": text,
                "passage": passage,
                "answer": pair.answer,
                "answer_start": pair.start if pair.is_span else None,
                "question": pair.question,
                "score": pair.score,
                "answer_log_prob": pair.answer_log_prob,
                "question_log_prob": pair.question_log_prob,
                "is_span": pair.is_span,
                "ended": pair.ended,
                "tokens": pair.tokens,
            }
            for k, pair in enumerate(pairs)
        ]
        for i, ((text, passage), pairs) in enumerate(zip(passages, found, strict=True))
    ]


def keep_pairs(
    pairs: Sequence[Sequence[Pair]],
    *,
    min_score: float | None = None,
    reader: Generator | None = None,
    f1: float = 0.8,
    batch_size: int = 32,
) -> tuple[list[list[Pair]], collections.Counter[str]]:
    """The pairs that are probable enough, and that a reader answers as they say.

    Args:
      pairs: from `as_pairs`.
      min_score: least score; None for any.
      reader: a model that answers questions, of a run with order "question_first"; None to ask
        none.
      f1: least F1 of words with which its answer agrees with the pair's, in [0, 1]; 1 for the same
        words. Words are those of the reader's tokenizer.
      batch_size: questions that the reader answers at once.

    Returns:
      (what is kept of each passage, how many were left out by reason: "score", "no question",
      "reader disagrees"). What the reader was asked has "reader_answer" and "reader_f1".

    Raises:
      ValueError: a number is out of range, or the reader answers no questions.

    Example:
      >>> kept, left_out = keep_pairs([[{"score": -2.0}, {"score": -0.5}]], min_score=-1.0)
      >>> kept, dict(left_out)
      ([[{'score': -0.5}]], {'score': 1})
    """
    check_scalar("f1", f1, at_least=0, at_most=1)
    left_out: collections.Counter[str] = collections.Counter()

    def keep(pair: Pair) -> bool:
        reason = None
        if min_score is not None and not pair["score"] >= min_score:
            reason = "score"
        elif reader is not None and not pair["question"].strip():
            reason = "no question"
        left_out.update([reason] if reason else [])
        return reason is None

    kept = [[pair for pair in row if keep(pair)] for row in pairs]
    flat = [pair for row in kept for pair in row]
    if reader is None or not flat:
        return kept, left_out
    checked = iter(_check(flat, reader, batch_size))
    kept = [list(itertools.islice(checked, len(row))) for row in kept]
    agreed = [[pair for pair in row if pair["reader_f1"] >= f1] for row in kept]
    left_out["reader disagrees"] += len(flat) - sum(map(len, agreed))
    return agreed, +left_out


def _check(pairs: Sequence[Pair], reader: Generator, batch_size: int) -> list[Pair]:
    """The pairs with what the reader answers."""
    tokenizer, most = reader.tokenizer, reader.limits.passage
    whole = {p["passage"] for p in pairs}
    long = sum(len(segments.token_ids(text, tokenizer)) > most for text in whole)
    if long:
        logging.warning(
            "the reader takes %d tokens: of %d longer passages it sees the start", most, long
        )
    passages, questions = ([p[key] for p in pairs] for key in ("passage", "question"))
    found = texts.answer_texts(reader, passages, questions, batch_size=batch_size)
    words = lambda ids: segments.words(ids, tokenizer)
    return [
        {
            **pair,
            "reader_answer": segments.detokenize(ids, tokenizer),
            "reader_f1": word_f1(words(ids), words(segments.token_ids(pair["answer"], tokenizer))),
        }
        for pair, ids in zip(pairs, found, strict=True)
    ]


def as_table(passages: Sequence[tuple[int, str]], pairs: Sequence[Sequence[Pair]]) -> str:
    """Lines for people: each passage with its pairs."""
    lines = []
    for (_, passage), row in zip(passages, pairs, strict=True):
        lines.append(passage)
        for pair in row:
            marks = [] if pair["is_span"] else ["not in the passage"]
            marks += [] if pair["ended"] else ["cut off"]
            note = f"  [{', '.join(marks)}]" if marks else ""
            lines.append(f"  Q: {pair['question']}{note}")
            first, second = pair["answer_log_prob"], pair["question_log_prob"]
            scores = f"answer {first:.1f}, question {second:.1f}; score {pair['score']:.2f}"
            lines.append(f"  A: {pair['answer']}  (log p: {scores})")
            if "reader_answer" in pair:
                lines.append(f"  R: {pair['reader_answer']}  (F1 {pair['reader_f1']:.2f})")
        lines.append("")
    return "".join(f"{line}\n" for line in lines)


def as_jsonl(pairs: Sequence[Sequence[Pair]]) -> str:
    """A line of JSON for each pair."""
    return "".join(to_json(p, ensure_ascii=False) + "\n" for row in pairs for p in row)


def as_squad(passages: Sequence[tuple[int, str]], pairs: Sequence[Sequence[Pair]]) -> str:
    """The pairs as a file in SQuAD's format, an article for each text.

    That format has no place for answers that are no spans; they are left out, with a warning.

    Example:
      >>> pair = {"id": "0-0-0", "answer": "rain", "answer_start": 3, "question": "what falls?"}
      >>> from jaxlab.files import parse_json
      >>> (article,) = parse_json(as_squad([(0, "It rain")], [[pair]]), "")["data"]
      >>> article["paragraphs"][0]["qas"][0]["answers"]
      [{'text': 'rain', 'answer_start': 3}]
    """
    articles: dict[int, list[Mapping[str, Any]]] = {}
    spans = [[pair for pair in row if pair["answer_start"] is not None] for row in pairs]
    lost = sum(map(len, pairs)) - sum(map(len, spans))
    if lost:
        logging.warning("%d answers that are no spans left out: use --spans_only", lost)
    for (text, passage), row in zip(passages, spans, strict=True):
        answer = lambda pair: {"text": pair["answer"], "answer_start": pair["answer_start"]}
        questions = [
            {"id": pair["id"], "question": pair["question"], "answers": [answer(pair)]}
            for pair in row
        ]
        articles.setdefault(text, []).append({"context": passage, "qas": questions})
    found = [{"title": str(text), "paragraphs": parts} for text, parts in articles.items()]
    return to_json({"version": "1.1", "data": found}, ensure_ascii=False) + "\n"


def write(
    passages: Sequence[tuple[int, str]], pairs: Sequence[Sequence[Pair]], format: str = FORMATS[0]
) -> str:
    """The text of a file of pairs.

    Args:
      passages: (number of the text, passage), from `texts.cut_texts`.
      pairs: of each passage, from `as_pairs` or `keep_pairs`.
      format: "table", "jsonl" or "squad".

    Raises:
      ValueError: the format is unknown.
    """
    check_choice("format", format, FORMATS)
    if format == "jsonl":
        return as_jsonl(pairs)
    return {"table": as_table, "squad": as_squad}[format](passages, pairs)


def write_predictions(folder: epath.Path, rows: Sequence[Mapping[str, Any]], *, of: str) -> None:
    """Writes predictions.jsonl, and of answers answers.json, {id: answer}.

    Args:
      folder: where.
      rows: `evaluation.Evaluation.predictions`.
      of: "questions" or "answers", what they are.
    """
    lines = "".join(to_json(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomically(folder / "predictions.jsonl", lines)
    if of == "answers":
        text = to_json({row["id"]: row["prediction"] for row in rows}, ensure_ascii=False)
        write_atomically(folder / "answers.json", text + "\n")
