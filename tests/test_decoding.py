"""Decoding on toy chains: exhaustive search, boundaries of truncation, spans, rows on their own."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import decoding

VOCAB, LENGTH, EOS, PAD = 4, 4, 0, 7
RNG = np.random.default_rng(0)
# p(token | the last two tokens), different in each row.
TABLE = RNG.normal(size=(3, VOCAB, VOCAB, VOCAB)).astype(np.float32) * 1.5
FIRST = RNG.normal(size=(3, VOCAB)).astype(np.float32)


def step_fn(state, token):
    token = jnp.clip(token, 0, VOCAB - 1)
    rows = jnp.arange(len(token))
    return state["table"][rows, state["last"], token], {"table": state["table"], "last": token}


def start(rows=slice(None)):
    table = jnp.asarray(TABLE[rows])
    return {"table": table, "last": jnp.zeros(len(table), jnp.int32)}, jnp.asarray(FIRST[rows])


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def log_prob(row, tokens):
    """By hand, in float64."""
    total, last, logits = 0.0, 0, FIRST[row].astype(np.float64)
    for i, token in enumerate(tokens):
        total += log_softmax(logits)[token]
        before = 0 if i == 0 else last
        logits, last = TABLE[row, before, token].astype(np.float64), token
    return total


def exhaustive(row, alpha, min_length=1):
    """All outputs that end, best first."""
    found = []
    for n in range(min_length, LENGTH):
        for words in itertools.product(range(1, VOCAB), repeat=n):
            tokens = (*words, EOS)
            found.append((log_prob(row, tokens) / len(tokens) ** alpha, tokens))
    return sorted(found, reverse=True)


def search(rows=slice(None), **kwargs):
    kwargs = {"max_length": LENGTH, "eos_id": EOS, "pad_id": PAD, **kwargs}
    state, logits = start(rows)
    return jax.jit(lambda s, x: decoding.beam_search(step_fn, s, x, **kwargs))(state, logits)


@pytest.mark.parametrize(("alpha", "min_length"), [(0.0, 1), (1.0, 1), (0.6, 2)])
def test_a_wide_beam_is_exhaustive_search(alpha, min_length):
    found = search(beam_size=27, num_results=6, length_penalty=alpha, min_length=min_length)
    for row in range(3):
        want = exhaustive(row, alpha, min_length)[:6]
        np.testing.assert_allclose(found.scores[row], [s for s, _ in want], rtol=1e-4)
        for got, length, (_, tokens) in zip(
            found.tokens[row], found.lengths[row], want, strict=True
        ):
            assert got[:length].tolist() == list(tokens)
            assert (got[length:] == PAD).all()
    assert found.ended.all()


@pytest.fixture(scope="module")
def greedy():
    state, logits = start()
    return jax.jit(
        lambda s, x: decoding.greedy(
            step_fn, s, x, max_length=LENGTH, eos_id=EOS, pad_id=PAD, min_length=2
        )
    )(state, logits)


def test_greedy_takes_the_best_token_and_is_a_beam_of_one(greedy):
    for row in range(3):
        tokens, last, logits = [], 0, FIRST[row]
        while len(tokens) < LENGTH and EOS not in tokens:
            order = np.argsort(-logits)
            token = next(t for t in order if t != EOS or len(tokens) >= 2)
            before, last = (last if tokens else 0), int(token)
            logits = TABLE[row, before, last]
            tokens.append(last)
        length = int(greedy.lengths[row])
        assert greedy.tokens[row, :length].tolist() == tokens
        np.testing.assert_allclose(greedy.log_probs[row], log_prob(row, tokens), rtol=1e-4)
        assert bool(greedy.ended[row]) == (EOS in tokens)
    one = search(beam_size=1, min_length=2)
    np.testing.assert_array_equal(one.tokens[:, 0], greedy.tokens)
    np.testing.assert_allclose(one.log_probs[:, 0], greedy.log_probs, rtol=1e-6)
    np.testing.assert_array_equal(one.ended[:, 0], greedy.ended)


def test_outputs_that_have_ended_come_first_and_missing_ones_are_marked():
    """Two tokens besides the end, of which one may not come: fewer outputs than asked for."""
    table = jnp.log(jnp.array([[0.001, 0.5, 0.499]]))
    step = lambda s, token: (jnp.repeat(table, len(token), 0), s)
    found = decoding.beam_search(
        step, {}, table, beam_size=3, max_length=2, eos_id=0, pad_id=PAD, forbid=(2,)
    )
    assert found.tokens[0].tolist() == [[1, 0], [1, 1], [PAD, PAD]]
    assert found.ended[0].tolist() == [True, False, False]
    np.testing.assert_allclose(np.exp(found.log_probs[0]), [0.0005, 0.25, 0.0], rtol=1e-4)
    assert found.lengths[0].tolist() == [2, 2, 0]


def draw(rows, keys, **kwargs):
    state, logits = start(rows)
    return decoding.sample(
        step_fn, state, logits, key=keys, max_length=LENGTH, eos_id=EOS, pad_id=PAD, **kwargs
    )


def test_a_batch_gives_what_its_rows_give_alone(greedy):
    keys = jax.random.split(jax.random.key(0), 3)
    run = jax.jit(lambda keys: draw(slice(None), keys, top_p=0.9, temperature=2.0))
    whole, again = run(keys), run(jax.random.split(jax.random.key(1), 3))
    assert not (whole.tokens == again.tokens).all()
    beams = search(beam_size=2)
    alone = jax.jit(lambda k: draw(slice(1, 2), k, top_p=0.9, temperature=2.0))(keys[1:2])
    np.testing.assert_array_equal(whole.tokens[1:2], alone.tokens)
    np.testing.assert_allclose(whole.log_probs[1:2], alone.log_probs, rtol=1e-6)
    alone = search(slice(1, 2), beam_size=2)
    np.testing.assert_array_equal(beams.tokens[1:2], alone.tokens)
    np.testing.assert_allclose(beams.scores[1:2], alone.scores, rtol=1e-6)


@pytest.mark.slow  # five programs; the truncation itself is tested below
def test_draws_have_the_probabilities_of_the_tempered_and_truncated_model():
    p = np.array([0.1, 0.4, 0.3, 0.2])
    n = 4000
    logits = jnp.log(jnp.broadcast_to(jnp.asarray(p), (n, 4)))
    step = lambda s, token: (logits, s)
    want = {
        (1.0, 0, 1.0): p,
        (0.5, 0, 1.0): p**2,
        (1.0, 2, 1.0): p * [0, 1, 1, 0],
        (1.0, 0, 0.75): p * [0, 1, 1, 1],
        (1.0, 2, 0.5): p * [0, 1, 0, 0],  # of the two left, the first has 4/7
    }
    for (temperature, top_k, top_p), shares in want.items():
        found = decoding.sample(
            step, {}, logits, key=jax.random.key(3), max_length=1, eos_id=0, min_length=0,
            temperature=temperature, top_k=top_k, top_p=top_p,
        )  # fmt: skip
        got = np.bincount(np.asarray(found.tokens)[:, 0], minlength=4) / n
        np.testing.assert_allclose(got, shares / np.sum(shares), atol=0.03)
        np.testing.assert_allclose(found.log_probs, np.log(p)[found.tokens[:, 0]], rtol=1e-5)


def test_truncation_at_its_boundaries():
    p = jnp.array([[0.125, 0.5, 0.25, 0.125], [0.25, 0.25, 0.25, 0.25]])
    kept = lambda **kwargs: jnp.isfinite(decoding.truncate_logits(jnp.log(p), **kwargs)).tolist()
    best, two, all_ = [False, True, False, False], [False, True, True, False], [True] * 4
    assert kept(top_p=1e-6) == [best, all_]  # the best stays; equals stay together
    assert kept(top_p=0.5)[0] == best  # reached by the first alone
    assert kept(top_p=0.50001)[0] == two  # the one that crosses stays
    assert kept(top_p=0.75)[0] == two
    assert kept(top_p=0.76)[0] == all_
    assert kept(top_p=1.0) == kept() == kept(top_k=9) == [all_, all_]
    assert kept(top_k=1)[0] == best
    assert kept(top_k=2, top_p=0.6)[0] == best  # 0.5 of 0.75
    assert kept(top_k=2, top_p=0.7)[0] == two


# --- Spans ----------------------------------------------------------------------------------------

PASSAGE = np.array([[2, 5, 6, 5, 6, 8, 3, 0], [2, 9, 4, 9, 3, 0, 0, 0]])
INSIDE = np.array([[0, 1, 1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 0, 0, 0, 0]], bool)


def runs(row, starts=None, ends=None):
    places = np.flatnonzero(INSIDE[row])
    return {
        tuple(PASSAGE[row, i : j + 1].tolist())
        for i, j in itertools.combinations_with_replacement(places, 2)
        if (starts is None or starts[row, i]) and (ends is None or ends[row, j])
    }


@pytest.mark.parametrize("bounded", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_span_constraint_allows_runs_of_the_passage_and_all_of_them(bounded):
    starts = np.array([[0, 1, 0, 1, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0]], bool)
    ends = np.array([[0, 0, 1, 0, 1, 1, 0, 0], [0, 0, 0, 1, 0, 0, 0, 0]], bool)
    bounds = {"starts": starts, "ends": ends} if bounded else {}
    constraint = decoding.span_constraint(PASSAGE, INSIDE, vocab_size=10, eos_id=3, **bounds)
    logits = jnp.asarray(np.random.default_rng(1).normal(size=(2, 10)), jnp.float32)
    step = lambda s, token: (s, s)
    found = decoding.beam_search(
        step, logits, logits, beam_size=20, max_length=7, eos_id=3, constraint=constraint
    )
    for row in range(2):
        real = np.asarray(found.lengths[row]) > 0
        got = [
            tuple(tokens[: length - 1].tolist())
            for tokens, length in zip(found.tokens[row], found.lengths[row], strict=True)
            if length
        ]
        assert found.ended[row][real].all()
        assert set(got) == runs(row, **bounds)
        assert len(got) == len(set(got))


@pytest.mark.slow  # the constraint is the same as in the search above
def test_sampled_spans_are_runs_of_the_passage():
    rows = np.repeat(PASSAGE, 40, 0)
    constraint = decoding.span_constraint(rows, np.repeat(INSIDE, 40, 0), vocab_size=10, eos_id=3)
    logits = jnp.zeros((80, 10))
    found = decoding.sample(
        lambda s, token: (logits, s), {}, logits, key=jax.random.key(0), max_length=9, eos_id=3,
        constraint=constraint,
    )  # fmt: skip
    assert found.ended.all()
    seen = [set(), set()]
    for i, (tokens, length) in enumerate(zip(found.tokens, found.lengths, strict=True)):
        seen[i // 40].add(tuple(tokens[: length - 1].tolist()))
    for row in range(2):
        assert seen[row] <= runs(row)
        assert len(seen[row]) > 3


def test_where_nothing_may_come_the_end_does():
    constraint = decoding.span_constraint(PASSAGE, np.zeros_like(INSIDE), vocab_size=10, eos_id=3)
    logits = jnp.zeros((2, 10))
    found = decoding.greedy(
        lambda s, token: (logits, s), {}, logits, max_length=4, eos_id=3, constraint=constraint
    )
    assert found.tokens.tolist() == [[3, 0, 0, 0]] * 2


def test_wrong_arguments_state_value_and_rule():
    state, logits = start()
    beam = {"beam_size": 2}
    wrong = [
        (decoding.greedy, {"max_length": 0}, "max_length is 0, must be at least 1"),
        (decoding.greedy, {"min_length": 4}, r"min_length is 4, must be in \[0, max_length 4\)"),
        (decoding.greedy, {"eos_id": 4}, r"eos_id is 4, must be in \[0, 4\)"),
        (decoding.beam_search, {"beam_size": 0}, "beam_size is 0"),
        (decoding.beam_search, {**beam, "num_results": 3}, "num_results 3"),
        (decoding.beam_search, {**beam, "length_penalty": -1.0}, "length_penalty is -1.0"),
        (decoding.sample, {"temperature": 0.0}, "temperature is 0.0, must be above 0"),
        (decoding.sample, {"top_k": -1}, "top_k is -1"),
        (decoding.sample, {"top_p": 0.0}, "top_p is 0.0, must be above 0 and at most 1"),
        (decoding.sample, {"top_p": 1.5}, "top_p is 1.5"),
    ]
    for function, kwargs, message in wrong:
        kwargs = {"max_length": LENGTH, "eos_id": EOS, **kwargs}
        if function is decoding.sample:
            kwargs["key"] = jax.random.key(0)
        with pytest.raises(ValueError, match=message):
            function(step_fn, state, logits, **kwargs)
    with pytest.raises(ValueError, match=r"key has shape \(2,\), must be \(\) or \(3,\)"):
        draw(slice(None), jax.random.split(jax.random.key(0), 2))
    with pytest.raises(ValueError, match=r"logits has shape \(4,\)"):
        decoding.greedy(step_fn, state, logits[0], max_length=2, eos_id=0)
    with pytest.raises(ValueError, match=r"inside has shape \(2, 3\)"):
        decoding.span_constraint(PASSAGE, INSIDE[:, :3], vocab_size=10, eos_id=3)


def test_a_longer_output_wins_by_the_length_penalty():
    """The search goes on after an output has ended: with alpha = 1, [1, 1, 1, 0] scores higher."""
    sure = np.full((2, 2), -np.inf, np.float32)
    sure[:, 1] = 0.0  # after the first token, 1 for certain

    def step(state, token):
        late = state >= 2  # and the end after the third
        logits = jnp.where(late[:, None], jnp.array([0.0, -jnp.inf]), jnp.asarray(sure)[token])
        return logits, state + 1

    first = jnp.log(jnp.array([[0.5, 0.5]]))
    options = {"beam_size": 2, "max_length": 6, "eos_id": 0, "num_results": 1, "pad_id": -1}
    options["min_length"] = 0
    found = {
        alpha: decoding.beam_search(
            step, jnp.zeros(1, jnp.int32), first, length_penalty=alpha, **options
        )
        for alpha in (0.0, 1.0)
    }
    assert found[1.0].tokens[0, 0].tolist() == [1, 1, 1, 0, -1, -1]
    assert float(found[1.0].scores[0, 0]) == pytest.approx(np.log(0.5) / 4)
    assert int(found[1.0].lengths[0, 0]) == 4
    assert found[0.0].tokens[0, 0].tolist() == [0, -1, -1, -1, -1, -1]
    assert float(found[0.0].scores[0, 0]) == pytest.approx(np.log(0.5))
