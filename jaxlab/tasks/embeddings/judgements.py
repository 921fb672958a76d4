"""Word vectors compared with human similarity ratings."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from jaxlab.data import corpus as corpora
from jaxlab.data.corpus_files import FETCH
from jaxlab.tasks.embeddings import word_vectors

Pairs = Mapping[str, tuple[Sequence[tuple[str, str]], np.ndarray]]


def load_pairs(data_dir: Any = None) -> dict[str, tuple[list[tuple[str, str]], np.ndarray]]:
    """Name -> (word pairs, judgements); without those whose file is not there, with a warning.

    Args:
      data_dir: the data folder; see `jaxlab.data.data_folder`.

    Raises:
      ValueError: a file is damaged.
    """
    found = {}
    for name in corpora.WORD_PAIRS:
        try:
            found[name] = corpora.load_word_pairs(name, data_dir)
        except FileNotFoundError as error:
            logging.warning("no rank correlation with %s: %s", name, error)
    return found


def described(corpus: corpora.Corpus, pairs: Pairs) -> dict[str, dict[str, Any]]:
    """What a run has seen, as `launch.check_data` compares it; new judgements are welcome."""
    seen = {"corpus": {"words": corpus.words, "tokens": corpus.ids, "paragraphs": corpus.offsets}}
    for name, (known, judgements) in pairs.items():
        seen[name] = {"pairs": [" ".join(pair) for pair in known], "judgements": judgements}
    return seen


def judge(
    vectors: np.ndarray, words: Sequence[str], pairs: Pairs, *, min_pairs: int = 3
) -> dict[str, float]:
    """Rank correlations with the judgements, and over how many pairs.

    Args:
      vectors: [V, n].
      words: the V words.
      pairs: from `load_pairs`.
      min_pairs: known pairs below which a correlation is NaN.

    Returns:
      {NAME: correlation, NAME_pairs: number of pairs whose words are both known}.

    Example:
      >>> vectors, scores = np.array([[1.0, 0], [1, 1], [0, 1]]), np.array([2.0, 1.0, 1.5])
      >>> judge(vectors, "abc", {"mine": ([("a", "b"), ("a", "c"), ("b", "z")], scores)})
      {'mine': nan, 'mine_pairs': 2}
    """
    found = {}
    for name, (judged, scores) in pairs.items():
        rho, count = word_vectors.rank_correlation(vectors, words, judged, scores)
        found |= {name: rho if count >= min_pairs else math.nan, f"{name}_pairs": count}
    return found


def as_line(judged: Mapping[str, float]) -> str:
    """What `judge` found, for people.

    Example:
      >>> as_line({"mine": 0.25, "mine_pairs": 9})
      'rank correlation: mine 0.2500 (of 9 pairs)'
    """
    names = [name for name in judged if not name.endswith("_pairs")]
    if not names:
        return f"no judged word pairs, so no rank correlation: `{FETCH}` brings some"
    shown = lambda name: "none" if math.isnan(judged[name]) else f"{judged[name]:.4f}"
    cells = [f"{name} {shown(name)} (of {judged[f'{name}_pairs']} pairs)" for name in names]
    return f"rank correlation: {', '.join(cells)}"
