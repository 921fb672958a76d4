"""From texts to pairs of texts: what the model is given, in which order, and what is kept of it."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("tokenizers")

from jaxlab import decoding
from jaxlab.data import wordpiece
from jaxlab.data.questions import segments
from jaxlab.data.questions.segments import Limits
from jaxlab.tasks import question_generation
from jaxlab.tasks.question_generation import texts
from jaxlab.tasks.question_generation.folder import Generator
from jaxlab.tasks.question_generation.texts import (
    QAPair,
    answer_texts,
    ask_texts,
    cut_texts,
    generate_texts,
    make_generate,
    pad_rows,
)

TEXT = "she wrote programs and he read them"


@pytest.fixture(scope="module")
def generator():
    tokenizer = wordpiece.train_wordpiece([TEXT] * 5, 120)
    return Generator("model", "head", "params", tokenizer, Limits(6, 3, 4), "answer_first", 1, True)


@pytest.fixture(scope="module")
def ids(generator):
    return lambda text: segments.token_ids(text, generator.tokenizer)


def test_words_are_whole_tokens(ids):
    assert len(ids(TEXT)) == 7


def test_rows_are_padded_to_one_of_few_lengths():
    rows = [np.array([2, 5, 3]), np.array([2, 5, 6, 7, 3])]
    found = pad_rows(rows, 99)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found[:, :6], [[2, 5, 3, 0, 0, 0], [2, 5, 6, 7, 3, 0]])
    assert not found[:, 6:].any()
    length = lambda size, longest: pad_rows([np.ones(size)], longest).shape[1]
    assert [length(n, 99) for n in (1, 24, 25, 48, 49)] == [24, 24, 48, 48, 72]
    # Not longer than needed, and never too short.
    assert [length(5, 9), length(9, 9), length(10, 9), length(25, 30)] == [9, 9, 24, 30]


def test_texts_are_cut_into_passages_with_the_number_of_their_text(generator, ids):
    long = "She wrote. He read. And them programs she."
    found = cut_texts(generator, [long, "she"])
    assert found[-1] == (1, "she")
    assert len(found) > 2
    assert all(i == 0 for i, _ in found[:-1])
    assert all(0 < len(ids(part)) <= 6 for _, part in found)
    assert [i for _, part in found[:-1] for i in ids(part)] == ids(long)
    with pytest.raises(ValueError, match="no passage, at least one"):
        cut_texts(generator, [])
    with pytest.raises(ValueError, match=r"passage 1 is empty: '  ' has no tokens"):
        cut_texts(generator, ["she", "  "])


def test_one_program_is_made_of_the_options(generator, monkeypatch):
    calls = []

    def record(*args, **kwargs):
        calls.append((args, kwargs))
        return args[3] + 1

    monkeypatch.setattr(texts, "generate_pairs", record)
    key = jax.random.split(jax.random.key(0), 2)
    given = (jnp.ones((2, 8), int), key, jnp.ones((2, 8), bool), jnp.zeros((2, 8), bool))
    for options, spans in (({}, False), ({"spans_only": True, "top_p": 0.5}, True)):
        out = make_generate(generator, **options)({"a": 1.0}, *given)
        np.testing.assert_array_equal(out, 2)
        args, kwargs = calls.pop()
        assert args[:2] == ("model", "head")
        assert set(args[2]) == {"a"}
        assert (kwargs["mode"], kwargs["num_pairs"]) == ("sampled_answers", 1)
        assert (kwargs["max_answer"], kwargs["max_question"]) == (4, 5)  # with the ends
        assert kwargs["eos_id"] == generator.layout.sep_id
        assert kwargs["forbid"] == generator.forbid
        assert kwargs.get("top_p") == options.get("top_p")
        assert kwargs["key"].shape == (2,)
        assert (kwargs["spans"] is not None) == spans
        if spans:
            assert [x.shape for x in kwargs["spans"]] == [(2, 8), (2, 8)]
    for change in ({"prefix_parts": 2}, {"order": "question_first"}):
        with pytest.raises(ValueError, match="asking needs one that writes answer and question"):
            make_generate(generator._replace(**change))


@pytest.fixture
def fake(generator, ids, monkeypatch):
    """`make_generate` whose answers are tokens of the passage; what it was asked for."""
    seen = types.SimpleNamespace(made=[], batches=[])
    sep = generator.layout.sep_id

    def make(_, *, num_pairs, **options):
        seen.made.append((num_pairs, options))

        def run(params, given, keys, starts, ends):
            seen.batches.append((params, given, jax.random.key_data(keys), starts, ends))
            rows = len(given)
            # Answers: the first word, the first word again, the second word cut off, nothing.
            tokens = np.zeros((rows, 4, 3), np.int32)
            tokens[:, 0, 0] = tokens[:, 1, 0] = given[:, 1]
            tokens[:, :2, 1] = sep
            tokens[:, 2, 0] = given[:, 2]
            tokens[:, 3, 0] = sep
            ended = np.array([[True, True, False, True]] * rows)
            numbers = np.arange(rows * 4.0).reshape(rows, 4)
            lengths = np.full((rows, 4), 2)
            answers = decoding.Decoded(tokens, lengths, -numbers, ended)
            questions = decoding.Decoded(
                np.broadcast_to(np.array([*ids("he read"), sep]), (rows, 4, 3)),
                lengths + 1, -numbers - 0.5, np.array([[True, False, True, True]] * rows),
            )  # fmt: skip
            return question_generation.Pairs(answers, questions)

        return run

    monkeypatch.setattr(texts, "make_generate", make)
    return seen


def test_pairs_are_read_in_the_order_of_the_passages(generator, ids, fake):
    passages = ["Wrote programs and he", "She read", "he read them"]
    found = generate_texts(generator, passages, seed=3, num_pairs=2, batch_size=2)
    assert fake.made == [(4, {})]  # two draws for each pair
    first = QAPair(0, "Wrote", "he read", 0.0, -0.5, True, True, 0, 5)
    cut = QAPair(0, "programs", "he read", -2.0, -2.5, True, False, 6, 5)
    assert (first.score, cut.score) == (-0.1, -0.9)
    # The second batch holds the longest alone, twice; the first the two shorter ones.
    assert found[0] == [first, cut]
    assert [pair.answer for pair in found[1]] == ["She", "read"]
    assert [pair.passage for pairs in found for pair in pairs] == [0, 0, 1, 1, 2, 2]
    assert found[2][0].answer_log_prob == -4.0
    assert [len(given) for _, given, *_ in fake.batches] == [2, 2]
    start, sep = (generator.tokenizer.token_to_id(t) for t in ("[CLS]", "[SEP]"))
    for (params, given, keys, starts, ends), rows in zip(
        fake.batches, ([1, 2], [0, 0]), strict=True
    ):
        assert params == "params"
        assert given.shape == (2, 8)  # the limit and both ends
        for row, i in zip(given, rows, strict=True):
            want = [start, *ids(passages[i]), sep]
            assert row.tolist() == want + [0] * (8 - len(want))
        want = [jax.random.key_data(jax.random.fold_in(jax.random.key(3), i)) for i in rows]
        np.testing.assert_array_equal(keys, want)
        bounds = segments.span_bounds(given, generator.tokenizer)
        np.testing.assert_array_equal(starts, bounds[0])
        np.testing.assert_array_equal(ends, bounds[1])


def test_how_many_are_drawn_and_kept(generator, fake):
    answers = lambda **kw: [p.answer for p in generate_texts(generator, ["she wrote"], **kw)[0]]
    assert answers() == ["she"]
    assert answers(num_pairs=3) == ["she", "wrote"]
    assert answers(num_pairs=3, mode="beam") == ["she", "wrote"]
    assert answers(num_pairs=3, draws=5) == ["she", "wrote"]
    assert [count for count, _ in fake.made] == [2, 6, 3, 5]
    assert answers(num_pairs=3, keep_all=True) == ["she", "she", "wrote"]
    assert answers(num_pairs=3, spans_only=True) == ["she"]  # the other was cut off
    assert answers(num_pairs=3, spans_only=True, keep_all=True) == ["she", "she", "wrote"]
    assert fake.made[-1][1] == {"spans_only": True}
    default = jax.random.key_data(jax.random.fold_in(jax.random.key(0), 0))
    np.testing.assert_array_equal(fake.batches[0][2][0], default)
    assert len(fake.batches[0][1]) == 1  # no more rows than passages
    generate_texts(generator, ["she"] * 17)
    assert [len(given) for _, given, *_ in fake.batches[-2:]] == [16, 16]


def test_an_answer_that_is_no_span_is_written_from_its_tokens(generator, ids, fake, monkeypatch):
    monkeypatch.setattr(segments, "find_span", lambda *_: None)
    (pair,) = generate_texts(generator, ["SHE wrote"])[0]
    assert (pair.answer, pair.is_span, pair.start) == ("she", False, -1)


@pytest.fixture
def calls(monkeypatch):
    """`encode_prefix`, `ask` and `answer` that give back what they were given."""
    seen = []

    def encode_prefix(model, params, ids):
        assert (model, set(params)) == ("model", {"a"})
        return ids, ids[:, 0]

    monkeypatch.setattr(texts, "encode_prefix", encode_prefix)

    def ask(model, head, params, prefix, second, **kw):
        seen.append({"args": (model, head), "shape": (prefix.shape, second.shape), **kw})
        tokens = jnp.concatenate([second, prefix[:, None, 1:2]], axis=-1)
        return decoding.Decoded(tokens, None, None, None)

    def answer(model, head, params, prefix, last, **kw):
        seen.append({"args": (model, head), "shape": (prefix.shape, last.shape), **kw})
        return decoding.Decoded(prefix[:, None], None, None, None)

    monkeypatch.setattr(texts, "ask", ask)
    monkeypatch.setattr(texts, "answer", answer)
    return seen


def test_questions_for_given_answers(generator, ids, calls):
    passages = ["she wrote programs and he", "he read", "them and she"]
    answers = ["wrote programs and he", "read", "she"]  # the first is cut after three tokens
    tree = generator._replace(params={"a": 1.0})
    found = ask_texts(tree, passages, answers, batch_size=2, beam_size=3, length_penalty=0.5)
    assert found == [
        [*ids("wrote programs and"), *ids("she")],
        [*ids("read"), *ids("he")],
        [*ids("she"), *ids("them")],
    ]
    assert len(calls) == 1  # one shape, one program
    call = calls[0]
    assert call["shape"] == ((2, 8), (2, 1, 3))
    assert (call["args"], call["max_length"]) == (("model", "head"), 5)
    assert (call["beam_size"], call["length_penalty"]) == (3, 0.5)
    assert (call["eos_id"], call["forbid"]) == (generator.layout.sep_id, generator.forbid)
    ask_texts(tree, passages[:1] * 33, answers[:1] * 33)
    assert (calls[-1]["beam_size"], calls[-1]["length_penalty"]) == (1, 0.0)
    assert calls[-1]["shape"][0] == (32, 8)


def test_answers_to_given_questions(generator, ids, calls):
    reader = generator._replace(order="question_first", prefix_parts=2, params={"a": 1.0})
    passages = ["she wrote", "he read them and she wrote"]
    questions = ["he read them and she", "who"]  # the first is cut after four tokens
    found = answer_texts(reader, passages, questions, batch_size=2)
    start = generator.tokenizer.token_to_id("[CLS]")
    assert found[0] == [start, *ids("she wrote"), *ids("he read them and")]
    assert found[1] == [start, *ids(passages[1]), *ids("who")[:4]]
    (call,) = calls
    assert call["shape"] == ((2, 13), (2,))  # 6 and 4 tokens, [CLS] and both [SEP]
    assert (call["args"], call["count"], call["max_length"]) == (("model", "head"), 1, 4)
    assert (call["eos_id"], call["forbid"]) == (generator.layout.sep_id, generator.forbid)
    answer_texts(reader, passages[:1] * 33, questions[:1] * 33)
    assert calls[-1]["shape"][0] == (32, 13)
    with pytest.raises(ValueError, match="writes answer and question, the round trip needs one"):
        answer_texts(generator, passages, questions)
