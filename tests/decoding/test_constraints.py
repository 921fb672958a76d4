"""`jaxlab.decoding.constraints`: spans of a passage, and nothing else."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chain import (
    INSIDE,
    PASSAGE,
)

from jaxlab import decoding
from jaxlab.decoding import constraints


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


def mask(step, allowed=None, *, eos_id=1, min_length=2, forbid=()):
    """Which of four tokens may come."""
    log_probs = jnp.array([[-1.0, -2.0, -3.0, -4.0]])
    allowed = None if allowed is None else jnp.array([allowed], bool)
    found = constraints.mask_logits(
        log_probs, step, allowed, eos_id=eos_id, min_length=min_length, forbid=forbid
    )[0]
    kept = np.isfinite(found)
    np.testing.assert_array_equal(found[kept], log_probs[0][kept])
    return "".join("01"[int(x)] for x in kept)


def test_what_may_come_where():
    assert [mask(step) for step in (0, 1, 2, 3)] == ["1011", "1011", "1111", "1111"]
    assert mask(0, min_length=0) == "1111"
    assert mask(0, forbid=(0, 3)) == "0010"
    assert mask(5, forbid=(0, 3)) == "0110"
    assert mask(0, forbid=(0, 2, 3)) == "0100"  # nothing else is left
    assert mask(9, forbid=(1,)) == "1111"  # the end can always come
    everything = [1, 1, 1, 1]
    assert [mask(step, everything) for step in (1, 2)] == ["1011", "1111"]
    assert mask(2, [1, 0, 1, 0]) == "1010"  # no end where the constraint has none
    assert mask(2, [1, 1, 1, 0], forbid=(0,)) == "0110"
    assert mask(0, [0, 1, 0, 0]) == mask(0, [0, 0, 0, 0]) == "0100"
    assert mask(0, [1, 0, 0, 0], forbid=(0,)) == "0100"
    assert mask(1, [0, 0, 0, 1], eos_id=3, forbid=()) == "0001"


def test_a_span_step_by_step():
    ids = [[5, 6, 5, 7, 6], [5, 5, 6, 0, 0]]
    inside = [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    starts = [[1, 0, 1, 1, 1], [0, 1, 1, 1, 1]]
    ends = [[0, 1, 1, 0, 1], [1, 0, 1, 1, 1]]
    made = constraints.span_constraint(
        ids, inside, vocab_size=9, eos_id=8, starts=starts, ends=ends
    )
    tokens = lambda state: [np.flatnonzero(row).tolist() for row in made.allowed(state)]
    assert tokens(made.state) == [[5, 6, 7], [5, 6]]  # no end before the first token
    one = made.advance(made.state, jnp.array([5, 5]))
    assert tokens(one) == [[6, 7, 8], [6]]  # places 0 and 2, of which 2 may end; place 1
    two = made.advance(one, jnp.array([7, 6]))
    assert tokens(two) == [[6], [8]]
    assert tokens(made.advance(two, jnp.array([6, 0]))) == [[8], []]
    assert tokens(made.advance(one, jnp.array([4, 4]))) == [[], []]
    free = constraints.span_constraint(ids, inside, vocab_size=9, eos_id=8)
    one = free.advance(free.state, jnp.array([6, 6]))
    assert [np.flatnonzero(row).tolist() for row in free.allowed(one)] == [[5, 8], [8]]
    with pytest.raises(ValueError, match=r"ids has shape \(2,\), ids of shape \(2,\) must be"):
        constraints.span_constraint([1, 2], [1, 1], vocab_size=9, eos_id=8)


def test_lengths_at_their_bounds():
    logits = np.zeros((2, 4))
    for max_length, min_length, eos_id in ((1, 0, 0), (2, 1, 3)):
        constraints.check_lengths(logits, max_length, min_length, eos_id)
    for wrong in ((0, 0, 0), (2, 2, 0), (2, -1, 0), (2, 0, 4), (2, 0, -1)):
        with pytest.raises(ValueError, match="must be"):
            constraints.check_lengths(logits, *wrong)
