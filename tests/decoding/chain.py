"""Toy chains: each row draws from a table of its own, which can be searched exhaustively."""

import jax
import jax.numpy as jnp
import numpy as np

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


def search(rows=slice(None), **kwargs):
    kwargs = {"max_length": LENGTH, "eos_id": EOS, "pad_id": PAD, **kwargs}
    state, logits = start(rows)
    return jax.jit(lambda s, x: decoding.beam_search(step_fn, s, x, **kwargs))(state, logits)


PASSAGE = np.array([[2, 5, 6, 5, 6, 8, 3, 0], [2, 9, 4, 9, 3, 0, 0, 0]])


INSIDE = np.array([[0, 1, 1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 0, 0, 0, 0]], bool)
