"""Decoding: greedy, sampling and beam search over any step function.

A step function says what comes after a token:

    step_fn(state, token int32 [rows]) -> (logits [rows, vocab], state)

The state is any tree of arrays [rows, ...]; `logits` of the first token are given with it. Rows
do not look at each other. A row that has ended is fed `pad_id`, and what the step function makes of
it is ignored. Everything is one `lax.while_loop` that stops when all rows have ended; call it under
`jax.jit`.

>>> import jax, jax.numpy as jnp
>>> table = jnp.log(jnp.array([[0.1, 0.6, 0.3], [0.2, 0.2, 0.6], [1.0, 1e-9, 1e-9]]))
>>> step_fn = lambda state, token: (table[token], state)  # a Markov chain over 0, 1, 2
>>> found = greedy(step_fn, {}, table[:1], max_length=4, eos_id=0, pad_id=-1)
>>> found.tokens[0].tolist(), round(float(jnp.exp(found.log_probs[0])), 2)
([1, 2, 0, -1], 0.36)
"""

from jaxlab.decoding.beam import Beams, beam_search
from jaxlab.decoding.constraints import Constraint, span_constraint
from jaxlab.decoding.tokenwise import Decoded, StepFn, greedy, sample, truncate_logits

__all__ = [
    "Beams",
    "Constraint",
    "Decoded",
    "StepFn",
    "beam_search",
    "greedy",
    "sample",
    "span_constraint",
    "truncate_logits",
]
