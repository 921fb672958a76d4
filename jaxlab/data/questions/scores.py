"""Scores of questions and answers; of nothing there is no score, and None stands for it."""

import collections
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from absl import logging

from jaxlab.errors import missing


def mean(values: Iterable[Any]) -> float | None:
    """The mean of numbers or truth values; None where there are none.

    Example:
      >>> mean([True, False]), mean([])
      (0.5, None)
    """
    found = list(values)
    return float(np.mean(found)) if found else None


def word_f1(ours: Sequence[str], gold: Sequence[str]) -> float:
    """Harmonic mean of precision and recall of words.

    Example:
      >>> word_f1(["in", "London"], ["London"]).__round__(3), word_f1([], ["London"])
      (0.667, 0.0)
    """
    both = sum((collections.Counter(ours) & collections.Counter(gold)).values())
    return 2 * both / (len(ours) + len(gold)) if both else 0.0


class _Words:
    """What rouge-score asks of a tokenizer, whose own drops all but Latin letters."""

    def tokenize(self, text):
        return text.split()


def text_scores(
    ours: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]
) -> dict[str, float | None]:
    """BLEU-4 (over all texts), ROUGE-L (mean F1) and agreement of first words.

    Args:
      ours: N texts as lists of words.
      gold: N others.

    Returns:
      "first word", and with the extra `text` "BLEU-4" and "ROUGE-L" in percent; None for no texts.

    Example:
      >>> text_scores([["who", "?"]], [["who", "else", "?"]])["first word"]
      1.0
    """
    found = {"first word": mean(a[:1] == b[:1] for a, b in zip(ours, gold, strict=True))}
    try:
        import sacrebleu
        from rouge_score import rouge_scorer
    except ImportError as error:
        logging.warning("no BLEU and ROUGE: %s", missing(error.name or "", "text"))
        return found
    if not ours:
        return found | {"BLEU-4": None, "ROUGE-L": None}
    a, b = ([" ".join(row) for row in rows] for rows in (ours, gold))
    bleu = sacrebleu.corpus_bleu(a, [b], tokenize="none", force=True)
    rouge = rouge_scorer.RougeScorer(["rougeL"], tokenizer=_Words())
    share = mean(rouge.score(y, x)["rougeL"].fmeasure for x, y in zip(a, b, strict=True))
    return found | {"BLEU-4": bleu.score, "ROUGE-L": None if share is None else 100 * share}
