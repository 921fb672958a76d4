"""`jaxlab.tasks.embeddings.judgements`: rank correlations, and the files that may be missing."""

import numpy as np

from jaxlab.data.corpus import read_texts
from jaxlab.tasks.embeddings import judgements


def test_judgements_are_a_line_also_where_there_are_none():
    assert "no judged word pairs, so no rank correlation" in judgements.as_line({})
    pairs = [("a", "b"), ("a", "c"), ("a", "d")]
    judged = {"mine": (pairs, np.array([3.0, 2.0, 1.0])), "few": (pairs[:1], np.array([1.0]))}
    vectors = np.array([[1, 0], [1, 0.1], [1, 1], [0, 1]])
    line = judgements.as_line(judgements.judge(vectors, "abcd", judged))
    assert line == "rank correlation: mine 1.0000 (of 3 pairs), few none (of 1 pairs)"
    found = judgements.judge(vectors, "abcd", judged, min_pairs=4)
    assert np.isnan(found["mine"])
    assert found["mine_pairs"] == 3


def test_files_that_are_missing_are_passed_over(tmp_path):
    assert judgements.load_pairs(tmp_path) == {}


def test_what_a_run_has_seen():
    corpus = read_texts(["a b a"])
    seen = judgements.described(corpus, {"mine": ([("a", "b")], np.array([2.0]))})
    assert set(seen) == {"corpus", "mine"}
    assert seen["mine"]["pairs"] == ["a b"]
    assert seen["corpus"]["words"] == corpus.words
