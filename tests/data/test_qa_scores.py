"""Scores of texts against values counted by hand, and what there is of nothing."""

import json

import pytest

from jaxlab.data.qa_scores import mean, text_scores, word_f1


def test_there_is_no_score_of_nothing():
    assert mean(x for x in ()) is None
    assert set(text_scores([], []).values()) == {None}
    assert json.dumps(text_scores([], []), allow_nan=False)


def test_scores_of_two_questions():
    pytest.importorskip("sacrebleu")
    pytest.importorskip("rouge_score")
    ours = [["who", "wrote", "it", "all", "?"], ["伦", "敦", "?"]]
    same = text_scores(ours, ours)
    assert same["first word"] == 1
    assert same["BLEU-4"] == pytest.approx(100)
    assert same["ROUGE-L"] == pytest.approx(100)
    other = text_scores(ours, [["who", "read", "it", "?"], ["北", "京", "?"]])
    assert other["first word"] == 0.5
    # "who it ?" of 5 and 4 words, "?" of 3 and 3.
    assert other["ROUGE-L"] == pytest.approx(100 * (2 * 3 / 9 + 2 * 1 / 6) / 2)
    assert 0 < other["BLEU-4"] < 50
    assert text_scores([[]], [["who"]])["BLEU-4"] == 0


def test_f1_counts_words_as_often_as_both_have_them():
    assert word_f1(["a", "a", "b"], ["a", "c"]) == pytest.approx(2 * 1 / 5)
    assert word_f1(["a", "b"], ["b", "a"]) == 1
    assert word_f1(["a"], ["b"]) == word_f1([], []) == 0
