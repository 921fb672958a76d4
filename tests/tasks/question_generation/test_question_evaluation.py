"""`jaxlab.tasks.question_generation.evaluation`: counts, shares and intervals by hand."""

import numpy as np
import pytest

from jaxlab.tasks.question_generation import evaluation
from jaxlab.tasks.question_generation.texts import QAPair


def pair(answer, *, is_span=True, ended=True, question="what?"):
    return QAPair(0, answer, question, -1.0, -2.0, is_span, ended)


def test_a_unigram_model_counts_its_own_part_and_one_more():
    train = {"answer": [[2, 0], [2, 0]], "question": [[1, 0]]}
    held_out = {"answer": [[2, 0], [1, 1, 0]], "question": [[2, 0], [0]]}
    found = evaluation.unigram(train, held_out, 4)
    # Answers: counts 3, 1, 3, 1 of 8. Questions: 2, 2, 1, 1 of 6.
    nats, tokens = found["answer"]
    np.testing.assert_allclose(nats, [-2 * np.log(3 / 8), -2 * np.log(1 / 8) - np.log(3 / 8)])
    assert tokens.tolist() == [2, 3]
    nats, tokens = found["question"]
    np.testing.assert_allclose(nats, [-np.log(1 / 6) - np.log(2 / 6), -np.log(2 / 6)])
    assert tokens.tolist() == [2, 1]


def test_nats_per_token_are_of_all_tokens_together():
    sums = {"answer": (np.array([3.0, 1.0, 4.0]), np.array([1.0, 1.0, 2.0]))}
    found = evaluation.intervals({"model": sums}, ["a", "a", "b"])["model"]["answer"]
    assert found["nats"] == 2.0
    # Whatever articles are drawn: (3 + 1) / 2 = 4 / 2.
    assert found["interval"] == [2.0, 2.0]


def test_the_interval_is_over_whole_articles():
    rng = np.random.default_rng(0)
    level = np.repeat(rng.normal(3.0, 1.0, 40), 25)  # of an article
    nats, tokens = level + 0.01 * rng.normal(size=1000), np.ones(1000)
    sums = {"model": {"answer": (nats, tokens)}}
    articles = [f"{i // 25}" for i in range(1000)]
    low, high = evaluation.intervals(sums, articles)["model"]["answer"]["interval"]
    spread = nats.reshape(40, 25).mean(1).std(ddof=1) / 40**0.5
    assert (high - low) / (2 * 1.96 * spread) == pytest.approx(1, abs=0.15)
    alone = evaluation.intervals(sums, [str(i) for i in range(1000)])["model"]["answer"]
    assert np.ptp(alone["interval"]) < 0.3 * (high - low)  # as if triples were independent
    again = evaluation.intervals(sums, articles)["model"]["answer"]["interval"]
    assert again == [low, high]
    other = evaluation.intervals(sums, articles, seed=1)["model"]["answer"]["interval"]
    assert other != [low, high]


def test_kinds_have_the_same_draws():
    one = (np.array([1.0, 2.0, 3.0]), np.ones(3))
    found = evaluation.intervals({"a": {"x": one}, "b": {"x": one, "y": one}}, ["a", "b", "c"])
    assert found["a"]["x"] == found["b"]["x"] == found["b"]["y"]


def test_shares_of_drawn_answers():
    drawn = [
        [pair("red"), pair("red"), pair("the sea", is_span=False), pair("blue", ended=False)],
        [pair("sun")],
    ]
    words = [[("red",), ("red",), ("the", "sea"), ("blue",)], [("sun",)]]
    found = evaluation.describe_answers(drawn, words, [{("red",), ("green",)}, {("moon",)}])
    assert found == {
        "spans": 4 / 5,
        "gold": 2 / 5,  # red twice
        "gold answers found": (1 / 2 + 0) / 2,
        "distinct": (3 + 1) / 2,
        "cut off": 1 / 5,
    }
    assert [p.answer for p in evaluation.distinct(drawn[0])] == ["red", "the sea", "blue"]


def test_agreement_takes_the_best_of_several_answers():
    found = [["a", "b"], ["c"], ["x"]]
    wanted = [[["a"], ["a", "b"]], [["c", "d"]], [["y"]]]
    got = evaluation.agreement(found, wanted, f1=0.6)
    assert got["pairs"] == 3
    assert got["exact"] == pytest.approx(1 / 3)
    assert got["f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert got["f1 >= 0.6"] == pytest.approx(2 / 3)
    assert evaluation.agreement([], [])["exact"] is None


def test_the_report_by_hand():
    row = {"nats": 1.25, "interval": [1.0, 1.5]}
    report = {
        "split": "test",
        "triples": 7,
        "likelihood": {
            "articles": 3,
            "model": {"answer": row, "question": row},
            "answer hidden": {"question": row},
        },
        "answers": {"free": {"draws": 3, "gold": None}, "spans only": {"draws": 3, "spans": 0.5}},
    }
    text = evaluation.markdown(report, [("It rains.", pair("rain"))])
    lines = text.splitlines()
    assert lines[0] == "7 triples of the test articles."
    assert "| nats per token | answer | question |" in lines
    assert "| answer hidden |  | 1.250 [1.000, 1.500] |" in lines
    assert "Intervals (95 %) over 3 articles." in lines
    assert "| answers | draws | gold | spans |" in lines
    assert "| free | 3 | none |  |" in lines
    assert "| spans only | 3 |  | 0.5 |" in lines
    assert lines[-2:] == ["- It rains.", "  Q: what?  A: rain"]
    assert "questions" not in text.split("Drawn")[0].replace("| question |", "")
