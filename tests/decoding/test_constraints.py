"""Spans of a passage, and nothing else."""

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
