"""Pairs against the loss, what each strategy is asked for, and learning by heart."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from decoding_toy import CLS, PASSAGES, SEP, make_toy, recompute

from jaxlab import decoding, train
from jaxlab.data import wordpiece
from jaxlab.data.questions.segments import Limits
from jaxlab.models import bert
from jaxlab.tasks import question_generation
from jaxlab.tasks.question_generation import pairs as generation
from jaxlab.tasks.question_generation import texts
from jaxlab.tasks.question_generation.folder import Generator
from jaxlab.tasks.question_generation.pairs import MODES, check_options


@pytest.fixture(scope="module")
def toy():
    return make_toy()


@pytest.fixture(scope="module")
def shallow(toy):
    """The first layer alone: strategies need no more, and compile in half the time."""
    model, head, params = toy
    body = {k: v for k, v in params["bert"].items() if k != "layers_1"}
    return model.clone(num_layers=1), head, {**params, "bert": body}


@pytest.fixture(scope="module")
def generate(shallow):
    model, head, params = shallow

    def run(ids, **kwargs):
        kwargs = {
            "key": jax.random.key(0), "max_answer": 4, "max_question": 6, "eos_id": SEP,
            "forbid": (0, CLS), **kwargs,
        }  # fmt: skip
        call = lambda ids: question_generation.generate_pairs(model, head, params, ids, **kwargs)
        return jax.device_get(jax.jit(call)(ids))

    return run


def sequence(passage, answer, question):
    """The whole sequence, padded to 24; parts end with a separator, also where it was cut off."""
    row = [int(t) for t in passage if t]
    for part in (answer, question):
        row += [int(t) for t in part if t not in (0, SEP)] + [SEP]
    return np.pad(np.array(row, np.int32), (0, 24 - len(row)))


@pytest.fixture(scope="module")
def sampled(generate):
    return generate(PASSAGES, mode="sampled", num_pairs=3)


@pytest.mark.parametrize("mode", ["sampled", pytest.param("beam", marks=pytest.mark.slow)])
def test_log_probabilities_are_those_of_the_loss(shallow, generate, sampled, mode):
    model, head, params = shallow
    pairs = sampled
    if mode == "beam":
        pairs = generate(PASSAGES, mode=mode, num_pairs=3, beam_size=3)
    layout = question_generation.TargetLayout(sep_id=SEP, max_targets=12)
    rows = [
        sequence(PASSAGES[b], pairs.answers.tokens[b, i], pairs.questions.tokens[b, i])
        for b in range(2)
        for i in range(3)
    ]
    nll, part = jax.jit(
        lambda ids: question_generation.target_nll(model, head, params, ids, layout)
    )(np.stack(rows))
    checked = 0
    for row, (b, i) in enumerate(np.ndindex(2, 3)):
        for found, which in ((pairs.answers, 1), (pairs.questions, 2)):
            if found.ended[b, i]:
                want = -np.asarray(nll)[row][np.asarray(part)[row] == which].sum()
                np.testing.assert_allclose(found.log_probs[b, i], want, rtol=1e-4)
                checked += 1
    assert checked >= 3
    distinct = {tuple(t) for t in pairs.answers.tokens[0]}
    assert len(distinct) == 3 or mode == "sampled"
    if mode == "beam":
        alone = generate(PASSAGES[1:], mode=mode, num_pairs=3, beam_size=3)
        np.testing.assert_array_equal(alone.questions.tokens[0], pairs.questions.tokens[1])
        np.testing.assert_allclose(
            alone.questions.log_probs[0], pairs.questions.log_probs[1], rtol=1e-5
        )


@pytest.mark.slow  # what it shows follows from the two tests above and those of decoding
def test_greedy_is_the_best_token_of_full_recomputation(shallow, generate):
    model, head, params = shallow
    pairs = generate(PASSAGES, mode="beam")
    run = jax.jit(lambda ids: recompute(model, head, params, ids))
    for b in range(2):
        row = [int(t) for t in PASSAGES[b] if t]
        for found, most in ((pairs.answers, 4), (pairs.questions, 6)):
            out = []
            while len(out) < most and SEP not in out:
                ids = np.zeros((1, 24), np.int32)
                ids[0, : len(row)] = row
                # The mask counts separators: what is padding here must not be looked at.
                logits = np.array(run(ids)[0, len(row) - 1])
                logits[[0, CLS]] = -np.inf
                if not out:
                    logits[SEP] = -np.inf
                out.append(int(logits.argmax()))
                row.append(out[-1])
            assert found.tokens[b, 0, : found.lengths[b, 0]].tolist() == out
            if SEP not in out:
                row.append(SEP)


@pytest.mark.slow  # one more program; the constraint itself is tested with decoding
def test_answers_can_be_bound_to_the_passage(generate, sampled):
    inside = (PASSAGES != 0) & (PASSAGES != SEP) & (PASSAGES != CLS)
    bound = generate(PASSAGES, num_pairs=8, spans=(inside, inside), top_p=0.95)
    is_span = lambda b, row: (
        "".join(map(chr, [t for t in row if t not in (0, SEP)]))
        in "".join(map(chr, PASSAGES[b][inside[b]]))
    )
    spans = [is_span(b, bound.answers.tokens[b, i]) for b, i in np.ndindex(2, 8)]
    assert all(spans)
    assert bound.answers.ended[bound.answers.lengths < 4].all()
    assert not all(is_span(b, sampled.answers.tokens[b, i]) for b, i in np.ndindex(2, 3))


def test_sequences_may_fill_the_position_table(generate):
    short, full = generate(PASSAGES), generate(PASSAGES, max_question=14)  # 6 + 4 + 14 = 24
    assert full.questions.tokens.shape[-1] == 14
    np.testing.assert_array_equal(full.answers.tokens, short.answers.tokens)
    np.testing.assert_array_equal(full.questions.tokens[..., :6], short.questions.tokens)


def test_bound_answers_that_were_cut_off_are_left_out(monkeypatch):
    pytest.importorskip("tokenizers")
    tokenizer = wordpiece.train_wordpiece(["she wrote programs"] * 3, 60)
    wrote, she = (tokenizer.token_to_id(word) for word in ("wrote", "she"))
    sep = tokenizer.token_to_id("[SEP]")
    tokens = jnp.array([[[wrote, wrote], [she, sep], [she, sep]]])
    answers = decoding.Decoded(
        tokens, jnp.full((1, 3), 2), jnp.zeros((1, 3)), jnp.array([[False, True, True]])
    )
    generator = Generator(None, None, {}, tokenizer, Limits(8, 1, 1), "answer_first", 1, True)
    monkeypatch.setattr(
        texts,
        "make_generate",
        lambda *_, **__: lambda *_: question_generation.Pairs(answers, answers),
    )
    run = lambda **kw: [
        p.answer for p in texts.generate_texts(generator, ["she wrote"], num_pairs=3, **kw)[0]
    ]
    assert run() == ["wrote wrote", "she"]
    assert run(spans_only=True) == ["she"]
    assert run(spans_only=True, keep_all=True) == ["wrote wrote", "she", "she"]


def test_wrong_arguments(toy, generate):
    for kwargs, message in [
        ({"mode": "greedy"}, "mode is 'greedy', known are"),
        ({"num_pairs": 0}, "num_pairs is 0"),
        ({"beam_size": 0}, "beam_size is 0"),
        ({"mode": "beam", "beam_size": -2}, "beam_size is -2"),
        ({"mode": "beam", "temperature": 0.0}, "temperature is 0.0, must be above 0"),
        ({"temperature": float("nan")}, "temperature is nan, must be finite"),
        ({"length_penalty": float("nan")}, "length_penalty is nan"),
        ({"length_penalty": -1.0}, "length_penalty is -1.0"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_k": 2.5}, "top_k is 2.5"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": float("nan")}, "top_p is nan"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"max_question": 30}, "the position table ends at 24"),
    ]:
        with pytest.raises(ValueError, match=message):
            generate(PASSAGES, **kwargs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_pairs": 0}, "num_pairs is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"draws": -3}, "draws is -3"),
        ({"draws": 0}, "draws is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_counts_of_texts_are_checked_first(change, message):
    with pytest.raises(ValueError, match=message):
        texts.generate_texts(None, ["a passage"], **change)


def test_nats_of_no_tokens_are_no_number():
    assert np.isnan(question_generation.per_token({"a_nll": 0.0, "a_tokens": 0.0}, ["a"])["a_nll"])


def test_sixteen_triples_are_learnt_by_heart():
    """Loss below 0.1, and greedy decoding with the gold answers gives the 16 questions back."""
    rng = np.random.default_rng(0)
    rows, answers, questions = [], [], []
    for _ in range(16):
        passage = rng.integers(5, 40, 12)
        place = rng.integers(0, 9)
        answers.append([*passage[place : place + 2], SEP])
        questions.append([*rng.integers(5, 40, rng.integers(4, 8)), SEP])
        rows.append([CLS, *passage, SEP, *answers[-1], *questions[-1]])
    ids = np.zeros((16, 32), np.int32)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = tokens
    model = bert.Bert(
        vocab_size=40, hidden_size=48, num_layers=2, num_heads=4, intermediate_size=96,
        max_positions=32, dropout=0.0, attention_dropout=0.0, init_scale=0.1, pooler=False,
    )  # fmt: skip
    head = bert.MaskedLMHead()
    layout = question_generation.TargetLayout(sep_id=SEP, max_targets=11)

    def init(key):
        body = model.init(key, jnp.asarray(ids))["params"]
        return {"bert": body, "head": bert.init_head(head, key, 48, 40)}, {}

    tx = optax.adam(3e-3)
    state = train.create_state(init, tx, key=jax.random.key(0), ema=False)
    step = train.make_train_step(
        question_generation.make_target_loss(model, head, layout), tx, clip_norm=1.0
    )
    for _ in range(400):
        state, metrics = step(state, {"input_ids": ids})
        if metrics["loss"] < 0.05:
            break
    assert metrics["loss"] < 0.1

    @jax.jit
    def best_questions(params, passages, gold):
        prefix, _ = bert.encode_prefix(model, params, passages)
        return question_generation.ask(model, head, params, prefix, gold, eos_id=SEP, max_length=10)

    found = best_questions(state.params, ids[:, :14], np.array(answers)[:, None])
    for i, question in enumerate(questions):
        assert found.tokens[i, 0, : found.lengths[i, 0]].tolist() == question


def fake_beams(batch, count, length):
    """Beams whose numbers say where they stand."""
    tokens = jnp.arange(batch * count * length).reshape(batch, count, length)
    number = jnp.arange(batch * count).reshape(batch, count)
    return decoding.Beams(tokens, number + 1, number * 0.1, number * -1.0, number % 2 == 0)


@pytest.fixture
def asked(monkeypatch):
    """What the strategies of `decoding` were asked for; each gives numbered outputs."""
    seen = []

    def beam_search(step_fn, cache, logits, **kw):
        seen.append(("beam", logits.shape, cache.visible.shape, kw))
        return fake_beams(logits.shape[0], kw["num_results"], kw["max_length"])

    def single(name):
        def run(step_fn, cache, logits, **kw):
            seen.append((name, logits.shape, cache.visible.shape, kw))
            beams = fake_beams(logits.shape[0], 1, kw["max_length"])
            return jax.tree.map(lambda x: x[:, 0], generation._unranked(beams))

        return run

    monkeypatch.setattr(decoding, "beam_search", beam_search)
    monkeypatch.setattr(decoding, "sample", single("sample"))
    monkeypatch.setattr(decoding, "greedy", single("greedy"))
    return seen


def test_each_mode_asks_for_its_strategies(shallow, asked):
    model, head, params = shallow
    usual = {"eos_id": SEP, "forbid": (0, CLS)}
    run = lambda **kw: question_generation.generate_pairs(
        model, head, params, PASSAGES, key=jax.random.key(0), max_answer=4, max_question=6,
        **{**usual, "num_pairs": 2, **kw},
    )  # fmt: skip
    pairs = run(mode="beam", beam_size=3, length_penalty=0.5)
    (first, shape, slots, kw), (second, shape2, slots2, kw2) = asked
    assert (first, second) == ("beam", "beam")
    assert (shape, slots) == ((2, 16), (2, 4))
    assert (shape2, slots2) == ((4, 16), (4, 10))  # the answer, its end, the question less one
    penalty = {"beam_size": 3, "length_penalty": 0.5}
    assert kw == {**usual, **penalty, "max_length": 4, "num_results": 2, "constraint": None}
    assert kw2 == {**usual, **penalty, "max_length": 6, "num_results": 1}
    assert pairs.answers.tokens.shape == (2, 2, 4)
    assert pairs.questions.tokens.shape == (2, 2, 6)
    np.testing.assert_array_equal(pairs.answers.lengths, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(pairs.questions.log_probs, [[0, -1], [-2, -3]])
    assert isinstance(pairs.questions, decoding.Decoded)
    asked.clear()
    run(mode="beam")
    assert [name for name, *_ in asked] == ["beam", "greedy"]
    assert asked[0][3]["beam_size"] == 2  # not fewer than the answers
    assert asked[0][3]["length_penalty"] == 0.0
    assert asked[1][3] == {**usual, "max_length": 6}
    for mode, names in (("sampled_answers", ["sample", "greedy"]), ("sampled", ["sample"] * 2)):
        asked.clear()
        run(mode=mode, temperature=0.5, top_k=3, top_p=0.75)
        assert [name for name, *_ in asked] == names
        keys = []
        for which, (name, shape, slots, kw) in enumerate(asked):
            assert (shape, slots) == ((4, 16), (4, 4 if which == 0 else 10))
            if name == "sample":
                keys.append(jax.random.key_data(kw["key"]))
                assert (kw["temperature"], kw["top_k"], kw["top_p"]) == (0.5, 3, 0.75)
                fold = jax.random.fold_in
                want = [
                    jax.random.key_data(fold(fold(fold(jax.random.key(0), b), which), i))
                    for b in range(2)
                    for i in range(2)
                ]
                np.testing.assert_array_equal(keys[-1], want)
    asked.clear()
    run()
    assert (asked[0][3]["temperature"], asked[0][3]["top_k"], asked[0][3]["top_p"]) == (1.0, 0, 1.0)
    assert asked[0][3]["constraint"] is None


def test_options_at_their_limits():
    assert MODES == ("sampled_answers", "sampled", "beam")
    check_options()
    check_options(
        mode="beam", num_pairs=1, beam_size=1, length_penalty=0.0, temperature=1e-3, top_k=0,
        top_p=1.0,
    )  # fmt: skip


def test_answers_are_bound_inside_the_passage(shallow, asked, monkeypatch):
    """[CLS], separators and padding are outside; each draw has a state of its own."""
    model, head, params = shallow
    inside = (PASSAGES != 0) & (PASSAGES != SEP) & (PASSAGES != CLS)
    seen = []
    real = decoding.span_constraint

    def record(ids, within, **kw):
        seen.append((np.asarray(ids), np.asarray(within), kw))
        return real(ids, within, **kw)

    monkeypatch.setattr(decoding, "span_constraint", record)
    question_generation.generate_pairs(
        model, head, params, PASSAGES, key=jax.random.key(0), max_answer=4, max_question=6,
        eos_id=SEP, num_pairs=3, spans=(inside, inside & False),
    )  # fmt: skip
    ((ids, within, kw),) = seen
    np.testing.assert_array_equal(ids, PASSAGES)
    np.testing.assert_array_equal(within, inside)
    assert (kw["vocab_size"], kw["eos_id"]) == (16, SEP)
    np.testing.assert_array_equal(kw["starts"], inside)
    assert not kw["ends"].any()
    state = asked[0][3]["constraint"].state
    assert {leaf.shape[0] for leaf in jax.tree.leaves(state)} == {6}  # three answers each
