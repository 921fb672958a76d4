"""`jaxlab.decoding.tokenwise`: greedy decoding and sampling on toy chains: probabilities,
truncation, rows on their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chain import EOS, FIRST, INSIDE, LENGTH, PAD, PASSAGE, TABLE, log_prob, search, start, step_fn

from jaxlab import decoding


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


def counter(n, token):
    """After n tokens: 2, then 1 for good, then the end, 0."""
    table = jnp.array([[0.0, 1.0, 3.0], [0.0, 2.0, 1.0], [4.0, 1.0, 0.0]])
    return table[jnp.minimum(n, 2)], n + 1


def test_tokens_lengths_and_probabilities_by_hand():
    """Rows start 1 and 0 tokens in; the first token is chosen from the logits next to the state."""
    first = jnp.array([[0.0, 5.0, 0.0], [0.0, 0.0, 5.0]])
    state = jnp.array([1, 0])
    found = decoding.greedy(counter, state, first, max_length=5, eos_id=0)
    assert found.tokens.tolist() == [[1, 1, 0, 0, 0], [2, 2, 1, 0, 0]]
    assert found.lengths.tolist() == [3, 4]
    assert found.ended.tolist() == [True, True]
    logs = [jax.nn.log_softmax(x) for x in np.array(
        [[0, 5, 0], [0, 1, 3], [0, 2, 1], [4, 1, 0]], np.float32)]  # fmt: skip
    one = float(logs[0][1] + logs[2][1] + logs[3][0])
    two = float(logs[0][1] + logs[1][2] + logs[2][1] + logs[3][0])
    np.testing.assert_allclose(found.log_probs, [one, two], rtol=1e-6)
    assert found.tokens.dtype == found.lengths.dtype == jnp.int32
    cut = decoding.greedy(counter, state, first, max_length=3, eos_id=0, pad_id=9)
    assert cut.tokens.tolist() == [[1, 1, 0], [2, 2, 1]]
    assert cut.lengths.tolist() == [3, 3]
    assert cut.ended.tolist() == [True, False]
    np.testing.assert_allclose(cut.log_probs[1], two - float(logs[3][0]), rtol=1e-6)
    # An end at once is not allowed by default, and is with min_length 0.
    ends = jnp.array([[9.0, 0.0, 1.0]] * 2)
    assert decoding.greedy(counter, state, ends, max_length=5, eos_id=0).tokens[:, 0].tolist() == [
        2, 2,
    ]  # fmt: skip
    none = decoding.greedy(counter, state, ends, max_length=5, eos_id=0, pad_id=9, min_length=0)
    assert none.tokens.tolist() == [[0, 9, 9, 9, 9]] * 2
    assert none.lengths.tolist() == [1, 1]


def test_each_draw_is_that_of_its_key_and_step():
    logits = jnp.array(np.random.default_rng(0).normal(size=(2, 6)), jnp.float32)
    step = lambda s, token: (2 * logits, s)
    key = jax.random.key(4)
    log_probs = np.asarray(jax.nn.log_softmax(jnp.stack([logits, 2 * logits])))
    pick = jax.jit(lambda key, row, i, scores: jax.random.categorical(
        jax.random.fold_in(jax.random.fold_in(key, row), i), scores))  # fmt: skip
    for temperature, options in ((1.0, {}), (0.7, {"temperature": 0.7})):  # 1 by default
        options |= {"key": key, "max_length": 4, "eos_id": 5}
        found = jax.jit(lambda x, o=options: decoding.sample(step, {}, x, **o))(logits)
        for row in range(2):
            total = 0.0
            for i, token in enumerate(found.tokens[row][: int(found.lengths[row])].tolist()):
                scores = log_probs[min(i, 1), row]
                allowed = np.where((np.arange(6) == 5) & (i < 1), -np.inf, scores)
                assert token == int(pick(key, row, i, np.float32(allowed / temperature)))
                total += float(scores[token])
            np.testing.assert_allclose(found.log_probs[row], total, rtol=1e-5)
            assert not found.tokens[row, int(found.lengths[row]) :].any()
