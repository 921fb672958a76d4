"""`jaxlab.data.questions.scores`: scores of texts against values counted by hand, and what there
is of nothing."""

import json
import math
import sys

import pytest

from jaxlab.data.questions import scores

mean, text_scores, word_f1 = scores.mean, scores.text_scores, scores.word_f1


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


def test_scores_are_of_all_texts_and_ours_against_theirs():
    pytest.importorskip("sacrebleu")
    pytest.importorskip("rouge_score")
    # 4-grams of 5 and 4 words: precisions 4/4, 3/3, 2/2, 1/1; brevity exp(1 - 5/4).
    found = text_scores([["a", "b", "c", "d"]], [["a", "b", "c", "d", "e"]])
    assert found["BLEU-4"] == pytest.approx(100 * math.exp(1 - 5 / 4))
    # The other way round there is no penalty, and 4/5, 3/4, 2/3, 1/2 of the n-grams.
    found = text_scores([["a", "b", "c", "d", "e"]], [["a", "b", "c", "d"]])
    assert found["BLEU-4"] == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    assert found["ROUGE-L"] == pytest.approx(100 * 8 / 9)
    assert word_f1(["a", "a", "a"], ["a", "b"]) == pytest.approx(2 * 1 / 5)
    assert mean([1, 2, 6]) == 3
    assert type(mean([True])) is float


def test_only_the_first_word_is_there_without_the_packages(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    assert text_scores([["who", "x"], []], [["who", "y"], ["what"]]) == {"first word": 0.5}
    assert "no BLEU and ROUGE" in caplog.text
