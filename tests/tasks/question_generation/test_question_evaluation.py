"""`jaxlab.tasks.question_generation.evaluation`: counts, shares and intervals by hand."""

import json

import jax
import numpy as np
import pytest

from jaxlab.data import wordpiece
from jaxlab.data.questions import segments
from jaxlab.data.questions.scores import text_scores
from jaxlab.data.questions.squad import Record
from jaxlab.models import bert
from jaxlab.tasks.question_generation import evaluation, written
from jaxlab.tasks.question_generation.folder import Generator
from jaxlab.tasks.question_generation.losses import target_nll
from jaxlab.tasks.question_generation.texts import QAPair

pytest.importorskip("tokenizers")


def pair(answer, *, is_span=True, ended=True, question="what?"):
    return QAPair(0, answer, question, -1.0, -2.0, is_span, ended, 0, 4)


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


ADA, BOB = "ada wrote it in 1801.", "bob read all of it."
RECORDS = {
    "train": [
        Record("t", "eve sang in 1803.", "who sang?", ("eve",), (0,)),
        Record("t", "eve sang in 1803.", "when was it?", ("1803",), (12,)),
        Record("t", "ann slept in 1804.", "when was it?", ("1804",), (13,)),
    ],
    "test": [
        Record("a", ADA, "who wrote?", ("ada",), (0,)),
        Record("a", ADA, "when was it?", ("1801",), (16,), "q2"),
        Record("b", BOB, "who read?", ("bob", "bob read"), (0, 0)),
    ],
    "validation": [],  # not looked at
}


@pytest.fixture(scope="module")
def generator():
    told = [text for side in RECORDS.values() for r in side for text in (r.passage, r.question)]
    tokenizer = wordpiece.train_wordpiece(told * 3, 120)
    size = tokenizer.get_vocab_size()
    model = bert.Bert(
        vocab_size=size, hidden_size=8, num_layers=1, num_heads=2, intermediate_size=8,
        max_positions=32, init_scale=0.6, pooler=False,
    )  # fmt: skip
    body = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 2), int))["params"]
    head = bert.MaskedLMHead()
    params = {"bert": body, "head": bert.init_head(head, jax.random.key(1), 8, size)}
    limits = segments.Limits(8, 4, 6)
    return Generator(model, head, params, tokenizer, limits, "answer_first", 1, True)


@pytest.fixture(scope="module")
def measured(generator):
    return evaluation.Evaluation(generator, RECORDS, buckets=(28,), batch_size=2, seed=3)


def test_triples_are_drawn_at_random(generator, measured):
    order = np.random.default_rng(3).permutation(3)
    answers = ["ada", "1801", "bob"]
    assert [t.answer for t in measured.triples] == [answers[i] for i in order]
    fewer = evaluation.Evaluation(generator, RECORDS, buckets=(32,), limit=2, seed=3)
    assert [t.answer for t in fewer.triples] == [answers[i] for i in order[:2]]


def test_likelihoods_are_those_of_each_triple(generator, measured):
    found = measured.likelihood()
    assert found["articles"] == 2
    model, head, params, tokenizer, *_ = generator
    ids = lambda text: segments.token_ids(text, tokenizer)
    sep, start = generator.layout.sep_id, tokenizer.token_to_id("[CLS]")
    rows = np.zeros((3, 28), np.int32)
    for row, t in zip(rows, measured.triples, strict=True):
        parts = [*ids(t.passage), sep, *ids(t.answer), sep, *ids(t.question), sep]
        row[: len(parts) + 1] = [start, *parts]
    shown = {"model": None, "passage hidden": "passage", "answer hidden": "second"}
    for kind, hide in shown.items():
        nll = lambda ids, hide=hide: target_nll(
            model, head, params, ids, generator.layout, hide=hide
        )
        nats, part = jax.jit(nll)(rows)
        names = ("question",) if kind == "answer hidden" else ("answer", "question")
        assert tuple(found[kind]) == names
        for name in names:
            want = nats[part == (1 if name == "answer" else 2)].mean()
            assert found[kind][name]["nats"] == pytest.approx(float(want), rel=1e-5)
    targets = lambda side, name: [[*ids(getattr(t, name)), sep] for t in side]
    sides = [
        {name: targets(side, name) for name in ("answer", "question")}
        for side in (measured._train, measured.triples)
    ]
    for name, (nats, tokens) in evaluation.unigram(*sides, model.vocab_size).items():
        assert found["unigram"][name]["nats"] == pytest.approx(nats.sum() / tokens.sum())


def test_questions_are_compared_with_those_of_people(generator, measured, monkeypatch):
    ids = lambda text: segments.token_ids(text, generator.tokenizer)

    def ask_texts(given, passages, answers, *, batch_size, beam_size):
        assert (given, batch_size, beam_size) == (generator, 2, 4)
        assert passages == [t.passage for t in measured.triples]
        right = {"ada": "who wrote?", "bob": "who read?", "1801": "who was it?"}
        return [ids(right[answer]) for answer in answers]

    monkeypatch.setattr(evaluation.texts, "ask_texts", ask_texts)
    common, found = measured.questions(beam_size=4)
    assert common == "when was it?"
    assert found["model"]["exact"] == pytest.approx(2 / 3)
    split = lambda text: segments.words(ids(text), generator.tokenizer)
    gold = [split(t.question) for t in measured.triples]
    want = text_scores([split("when was it?")] * 3, gold)
    assert found["most frequent question"] == want
    assert found["model"]["first word"] == pytest.approx(2 / 3)
    row = next(row for row in measured.predictions if row["answer"] == "1801")
    assert row == {
        "id": "q2", "passage": ADA, "answer": "1801", "prediction": "who was it?",
        "references": ["when was it?"],
    }  # fmt: skip


def test_answers_are_drawn_free_and_bound(generator, measured, monkeypatch):
    seen = []

    def generate_texts(given, passages, **options):
        seen.append((passages, options))
        many = options["num_pairs"]
        one = [pair("Ada"), pair("ada wrote", is_span=False, ended=False), pair("Ada")]
        return [(one if p == ADA else [pair("it")] * many)[:many] for p in passages]

    monkeypatch.setattr(evaluation.texts, "generate_texts", generate_texts)
    found, kept = measured.answers(num_samples=3, top_p=0.5)
    passages = list(dict.fromkeys(t.passage for t in measured.triples))
    common = {"seed": 3, "num_pairs": 3, "draws": 3, "batch_size": 1, "top_p": 0.5}
    want = [(passages, {**common, "spans_only": x, "keep_all": True}) for x in (False, True)]
    assert seen == want
    assert found["free"] == {
        "passages": 2,
        "draws": 3,
        "spans": 5 / 6,
        "gold": 2 / 6,  # Ada, in the tokenizer's case, twice
        "gold answers found": 0.25,  # of ada and 1801, and none of bob and bob read
        "distinct": 1.5,
        "cut off": 1 / 6,
    }
    assert found["spans only"] == found["free"]
    shown = {(text, p.answer) for text, p in kept["free"]}
    assert shown == {(ADA, "Ada"), (ADA, "ada wrote"), (BOB, "it")}
    assert len(kept["spans only"]) == 3
    measured.answers(num_passages=1, num_samples=1)
    assert seen[-1][0] == passages[:1]
    assert seen[-1][1]["batch_size"] == 2


def test_a_reader_answers_questions_of_people_and_of_the_model(generator, measured, monkeypatch):
    ids = lambda text: segments.token_ids(text, generator.tokenizer)
    seen = []

    def answer_texts(reader, passages, questions, *, batch_size):
        assert (reader, batch_size) == (generator, 2)
        seen.append(list(zip(passages, questions, strict=True)))
        return [ids({"who read?": "bob read", "who wrote?": "ada"}.get(q, "it")) for q in questions]

    monkeypatch.setattr(evaluation.texts, "answer_texts", answer_texts)
    pairs = {"free": [(ADA, pair("ada", question="who wrote?")), (BOB, pair("x", question=" "))]}
    found = measured.round_trip(generator, pairs, f1=0.6)
    assert seen[0] == [(t.passage, t.question) for t in measured.triples]
    assert seen[1] == [(ADA, "who wrote?")]  # an empty question is not asked
    sure = {"pairs": 1, "exact": 1.0, "f1": 1.0, "f1 >= 0.6": 1.0}
    # All answers that people gave count: bob read too.
    third = pytest.approx(2 / 3)
    assert found["gold questions"] == {"pairs": 3, "exact": third, "f1": third, "f1 >= 0.6": third}
    assert found["free"] == sure


def test_a_model_that_answers_is_measured_on_the_questions_of_people(
    generator, monkeypatch, tmp_path
):
    reader = generator._replace(order="question_first", prefix_parts=2)
    measured = evaluation.Evaluation(reader, RECORDS, buckets=(28,), batch_size=2, seed=3)
    ids = lambda text: segments.token_ids(text, reader.tokenizer)
    answers = {"who read?": "bob read", "who wrote?": "it", "when was it?": "in it"}
    give = lambda _, passages, questions, **options: [ids(answers[q]) for q in questions]
    monkeypatch.setattr(evaluation.texts, "answer_texts", give)
    (found,) = measured.reading(f1=0.5).values()
    third = pytest.approx(1 / 3)
    assert found == {"pairs": 3, "exact": third, "f1": third, "f1 >= 0.5": third}
    (row,) = (row for row in measured.predictions if row["question"] == "who read?")
    assert (row["prediction"], row["references"]) == ("bob read", ["bob", "bob read"])
    (row,) = (row for row in measured.predictions if row["id"] == "q2")
    assert (row["prediction"], row["references"]) == ("in it", ["1801"])
    written.write_predictions(tmp_path, measured.predictions, of="answers")
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert answers == {"q2": "in it", "": answers[""]}
    lines = (tmp_path / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == measured.predictions
