"""`jaxlab.decoding.beam`: beam search on toy chains against exhaustive search."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chain import (
    EOS,
    LENGTH,
    PAD,
    VOCAB,
    log_prob,
    search,
    start,
    step_fn,
)

from jaxlab import decoding


def exhaustive(row, alpha, min_length=1):
    """All outputs that end, best first."""
    found = []
    for n in range(min_length, LENGTH):
        for words in itertools.product(range(1, VOCAB), repeat=n):
            tokens = (*words, EOS)
            found.append((log_prob(row, tokens) / len(tokens) ** alpha, tokens))
    return sorted(found, reverse=True)


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


def beam_by_hand(row, size, count, alpha, min_length=1):
    """The rule written down in Python: (score, tokens) of ended outputs, then of beginnings."""
    live, ended = [(0.0, ())], []
    for step in range(LENGTH):
        grown = [
            (log_prob(row, (*tokens, token)), (*tokens, token))
            for _, tokens in live
            for token in range(VOCAB)
            if token != EOS or step >= min_length
        ]
        grown.sort(reverse=True)
        best = grown[:size]
        ended += [(p / len(t) ** alpha, t) for p, t in best if t[-1] == EOS]
        ended = sorted(ended, reverse=True)[:size]
        live = [(p, t) for p, t in grown[: 2 * size] if t[-1] != EOS][:size]
        hope = live[0][0] / LENGTH**alpha if live else -np.inf
        if len(ended) >= count and ended[count - 1][0] >= hope:
            break
    return (ended + [(p / len(t) ** alpha, t) for p, t in live])[:count], len(ended)


@pytest.mark.parametrize(("size", "count", "alpha"), [(3, 2, 1.0), (4, None, 0.5)])
def test_narrow_beams_keep_what_the_rule_keeps(size, count, alpha):
    found = search(beam_size=size, num_results=count, length_penalty=alpha)
    for row in range(3):
        want, ended = beam_by_hand(row, size, count or size, alpha)
        assert found.tokens.shape == (3, count or size, LENGTH)
        got = [t[:n].tolist() for t, n in zip(found.tokens[row], found.lengths[row], strict=True)]
        assert got == [list(tokens) for _, tokens in want]
        np.testing.assert_allclose(found.scores[row], [score for score, _ in want], rtol=1e-4)
        logs = [log_prob(row, tokens) for _, tokens in want]
        np.testing.assert_allclose(found.log_probs[row], logs, rtol=1e-4)
        assert found.ended[row].tolist() == [i < ended for i in range(len(want))]


def test_a_beam_as_it_is_by_default():
    options = {"beam_size": 2, "max_length": LENGTH, "eos_id": EOS}
    found = jax.jit(lambda s, x: decoding.beam_search(step_fn, s, x, **options))(*start())
    for row in range(3):
        want, _ = beam_by_hand(row, 2, 2, 0.0)
        rows = [list(tokens) + [0] * (LENGTH - len(tokens)) for _, tokens in want]
        assert found.tokens[row].tolist() == rows
