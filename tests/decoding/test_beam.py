"""Beam search on toy chains against exhaustive search."""

import itertools

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
