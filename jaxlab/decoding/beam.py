"""Beam search."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlab.checks import check_scalar
from jaxlab.decoding.constraints import Constraint, check_lengths, mask_logits
from jaxlab.decoding.tokenwise import StepFn
from jaxlab.errors import InputError


class Beams(NamedTuple):
    """Several outputs a row, best first.

    Attributes:
      tokens: int32 [batch, n, max_length], the end included, `pad_id` after it.
      lengths: int32 [batch, n], tokens, the end included.
      scores: float32 [batch, n], what they are ordered by; -inf where there is no n-th output.
      log_probs: float32 [batch, n], the model's log-probability of the tokens, end included.
      ended: bool [batch, n], whether the end came within max_length.
    """

    tokens: jax.Array
    lengths: jax.Array
    scores: jax.Array
    log_probs: jax.Array
    ended: jax.Array


def beam_search(
    step_fn: StepFn,
    state: Any,
    logits: jax.Array,
    *,
    beam_size: int,
    max_length: int,
    eos_id: int,
    num_results: int | None = None,
    length_penalty: float = 0.0,
    pad_id: int = 0,
    min_length: int = 1,
    forbid: Sequence[int] = (),
    constraint: Constraint | None = None,
) -> Beams:
    r"""Keeps the `beam_size` most probable beginnings, and the best outputs that have ended.

    .. math:: \text{score}(y) = \log p(y) / |y|^\alpha

    In each step the beginnings are continued by every token. Those of the `beam_size` best
    continuations that end are set aside with their score; the `beam_size` best that do not end go
    on. A row is done when no beginning can reach the score of its `num_results`-th ended output any
    more. Ended outputs come before those that did not end within max_length.

    Args:
      step_fn: as in `greedy`; it is called with batch * beam_size rows, the beams of an input
        next to each other.
      state: tree of arrays [batch, ...], repeated and reordered with the beams. What does not
        change, such as an encoded passage, is better left out of it.
      logits: [batch, vocab], of the first token.
      beam_size: K >= 1; with 1 and no length penalty this is `greedy`.
      max_length: most tokens, the end included.
      eos_id: the end.
      num_results: outputs to return, at most K; None for K. Fewer stop earlier.
      length_penalty: alpha >= 0; 0 takes the plain log-probability, which favours short outputs, 1
        the mean over tokens.
      pad_id: see `greedy`.
      min_length: see `greedy`.
      forbid: see `greedy`.
      constraint: see `greedy`.

    Returns:
      `num_results` outputs a row.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> table = jnp.log(jnp.array([[0.4, 0.6, 1e-9], [0.3, 0.3, 0.4], [0.9, 0.05, 0.05]]))
      >>> found = beam_search(lambda s, token: (table[token], s), {}, table[:1], beam_size=3,
      ...                     max_length=4, eos_id=0, num_results=2, pad_id=-1, min_length=2)
      >>> found.tokens[0].tolist(), [round(float(p), 3) for p in jnp.exp(found.scores[0])]
      ([[1, 2, 0, -1], [1, 1, 2, 0]], [0.216, 0.065])

    Differs from bert4keras' `AutoRegressiveDecoder`, which stops as soon as the best hypothesis has
    ended and otherwise drops those that have, so that one that ended and is overtaken for a while
    is lost; here it stays in the running. There is no length penalty there.
    """
    check_lengths(logits, max_length, min_length, eos_id)
    check_scalar("length_penalty", length_penalty, at_least=0)
    count = beam_size if num_results is None else num_results
    if beam_size < 1 or not 1 <= count <= beam_size:
        raise InputError(
            f"beam_size is {beam_size} and num_results {count}, must be 1 <= num_results <= "
            "beam_size"
        )
    batch, vocab = jnp.shape(logits)
    wide = min(2 * beam_size, beam_size * vocab)
    expand = lambda x: jnp.repeat(jnp.asarray(x), beam_size, axis=0)
    score = lambda log_probs, length: log_probs / length**length_penalty
    options = {"eos_id": eos_id, "min_length": min_length, "forbid": tuple(forbid)}

    def pick(tree, index):
        """Leaves [batch, a, ...] at index [batch, b]."""
        at = lambda x: jnp.take_along_axis(x, index.reshape(*index.shape, *[1] * (x.ndim - 2)), 1)
        return jax.tree.map(at, tree)

    def going_on(carry):
        # Log-probabilities only fall, and a longer output divides them by more.
        hope = score(carry["live"]["log_probs"].max(axis=1), float(max_length))
        done = carry["ended"]["scores"][:, count - 1] >= hope
        return (carry["step"] < max_length) & ~jnp.all(done)

    def grow(carry, logits):
        """Continues all beginnings by one token, and keeps the best."""
        step, live, ended = carry["step"], carry["live"], carry["ended"]
        log_probs = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
        allowed = None if constraint is None else constraint.allowed(carry["rules"])
        scores = mask_logits(log_probs, step, allowed, **options)
        scores = scores.reshape(batch, beam_size, vocab) + live["log_probs"][..., None]
        best, index = jax.lax.top_k(scores.reshape(batch, -1), wide)
        parent, token = index // vocab, (index % vocab).astype(jnp.int32)
        tokens = pick(live["tokens"], parent)
        tokens = jax.lax.dynamic_update_slice(tokens, token[..., None], (0, 0, step))

        ends = token == eos_id
        # An end counts only where it would have its place in the beam.
        real = ends & (jnp.arange(wide) < beam_size) & jnp.isfinite(best)
        length = step + 1
        new = {
            "tokens": tokens,
            "log_probs": jnp.where(real, best, -jnp.inf),
            "scores": jnp.where(real, score(best, length.astype(jnp.float32)), -jnp.inf),
            "lengths": jnp.full((batch, wide), length),
        }
        both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), ended, new)
        ended = pick(both, jax.lax.top_k(both["scores"], beam_size)[1])

        log_probs, which = jax.lax.top_k(jnp.where(ends, -jnp.inf, best), beam_size)
        live = {"tokens": pick(tokens, which), "log_probs": log_probs}
        token, parent = pick((token, parent), which)
        rows = (parent + beam_size * jnp.arange(batch)[:, None]).reshape(-1)
        return {
            "step": length,
            "state": carry["state"],
            "rules": carry["rules"],
            "rows": rows,
            "token": token.reshape(-1),
            "live": live,
            "ended": ended,
        }

    def body(carry):
        order = lambda tree: jax.tree.map(lambda x: x[carry["rows"]], tree)
        logits, state = step_fn(order(carry["state"]), carry["token"])
        rules = ()
        if constraint is not None:
            rules = constraint.advance(order(carry["rules"]), carry["token"])
        return grow({**carry, "state": state, "rules": rules}, logits)

    shape = (batch, beam_size)
    empty = jnp.full((*shape, max_length), pad_id, jnp.int32)
    nothing = jnp.full(shape, -jnp.inf, jnp.float32)
    start = {
        "step": jnp.zeros((), jnp.int32),
        "state": jax.tree.map(expand, state),
        "rules": jax.tree.map(expand, () if constraint is None else constraint.state),
        # All beams start alike: only the first counts.
        "live": {"tokens": empty, "log_probs": nothing.at[:, 0].set(0.0)},
        "ended": {
            "tokens": empty,
            "log_probs": nothing,
            "scores": nothing,
            "lengths": jnp.zeros(shape, jnp.int32),
        },
    }
    # The first token is chosen before the loop: nothing is computed after the last.
    found = jax.lax.while_loop(going_on, body, grow(start, expand(logits)))
    return _ranked(found, count, score, pad_id)


def _ranked(found, count: int, score, pad_id: int) -> Beams:
    """Ended outputs, and then beginnings where there are too few of them."""
    ended, live, step = found["ended"], found["live"], found["step"]
    rest = {
        "tokens": live["tokens"],
        "log_probs": live["log_probs"],
        "scores": score(live["log_probs"], jnp.maximum(step, 1).astype(jnp.float32)),
        "lengths": jnp.full(ended["lengths"].shape, step),
    }
    has_ended = jnp.isfinite(ended["scores"])
    number = has_ended.sum(axis=1, keepdims=True)
    place = jnp.arange(count)
    size = ended["scores"].shape[1]
    index = jnp.where(place < number, place, size + place - number)
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), ended, rest)
    at = lambda x: jnp.take_along_axis(x, index.reshape(*index.shape, *[1] * (x.ndim - 2)), 1)
    out = jax.tree.map(at, both)
    there = jnp.isfinite(out["scores"])  # fewer outputs than asked for may exist
    tokens = jnp.where(there[..., None], out["tokens"], pad_id)
    lengths = jnp.where(there, out["lengths"], 0)
    return Beams(tokens, lengths, out["scores"], out["log_probs"], place < number)
