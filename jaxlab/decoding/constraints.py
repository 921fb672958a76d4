"""What may come next: masks of allowed tokens, and the one of verbatim spans."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxlab.errors import InputError


class Constraint(NamedTuple):
    """A mask of allowed tokens that depends on the tokens so far.

    Attributes:
      state: tree of arrays [batch, ...] before the first token.
      allowed: state -> bool [rows, vocab].
      advance: (state, token int32 [rows]) -> state.

    Example:
      >>> even = Constraint((), lambda s: (jnp.arange(4) % 2 == 0)[None], lambda s, token: s)
      >>> even.allowed(even.state).tolist()
      [[True, False, True, False]]
    """

    state: Any
    allowed: Callable[[Any], jax.Array]
    advance: Callable[[Any, jax.Array], Any]


class _Span(NamedTuple):
    ids: jax.Array  # int32 [rows, length]
    inside: jax.Array  # bool [rows, length]: tokens of the passage
    ends: jax.Array  # bool [rows, length]: where a span may end
    following: jax.Array  # bool [rows, length]: places whose token may come next
    may_end: jax.Array  # bool [rows]


def span_constraint(
    ids: ArrayLike,
    inside: ArrayLike,
    *,
    vocab_size: int,
    eos_id: int,
    starts: ArrayLike | None = None,
    ends: ArrayLike | None = None,
) -> Constraint:
    """Output is a run of tokens of a text, and then the end.

    All places of the text where the output so far may stand are kept, as a set: the next token must
    be the one after one of them.

    Args:
      ids: int [batch, length], the text.
      inside: bool [batch, length], True for tokens that a span may hold.
      vocab_size: tokens there are.
      eos_id: the end.
      starts: bool [batch, length], where a span may start, such as at whole words; None anywhere.
      ends: bool [batch, length], at which tokens a span may end; None at any.

    Returns:
      A constraint. A text without any place to start allows nothing but the end.

    Raises:
      ValueError: shapes differ.

    Example:
      >>> c = span_constraint([[5, 6, 5, 7]], [[True] * 4], vocab_size=8, eos_id=0)
      >>> state = c.advance(c.state, jnp.array([5]))  # "5" may stand at two places
      >>> jnp.where(c.allowed(state)[0])[0].tolist()
      [0, 6, 7]
      >>> jnp.where(c.allowed(c.advance(state, jnp.array([7])))[0])[0].tolist()
      [0]
    """
    arrays = {"ids": ids, "inside": inside, "starts": starts, "ends": ends}
    for name, value in arrays.items():
        if value is not None and (np.ndim(value) != 2 or np.shape(value) != np.shape(ids)):
            raise InputError(
                f"{name} has shape {np.shape(value)}, ids of shape {np.shape(ids)} must be "
                "[batch, length] and all others alike"
            )
    ids, inside = jnp.asarray(ids, jnp.int32), jnp.asarray(inside, bool)
    start = inside if starts is None else inside & jnp.asarray(starts, bool)
    end = inside if ends is None else inside & jnp.asarray(ends, bool)

    def allowed(state: _Span) -> jax.Array:
        rows = jnp.arange(state.ids.shape[0])[:, None]
        mask = jnp.zeros((state.ids.shape[0], vocab_size), bool)
        mask = mask.at[rows, state.ids].max(state.following)
        return mask.at[:, eos_id].set(state.may_end)

    def advance(state: _Span, token: jax.Array) -> _Span:
        live = state.following & (state.ids == token[:, None])
        following = jnp.pad(live[:, :-1], ((0, 0), (1, 0))) & state.inside
        return state._replace(following=following, may_end=jnp.any(live & state.ends, axis=1))

    state = _Span(ids, inside, end, start, jnp.zeros(ids.shape[0], bool))
    return Constraint(state, allowed, advance)


def mask_logits(
    log_probs: jax.Array,
    step: jax.Array,
    allowed: jax.Array | None,
    *,
    eos_id: int,
    min_length: int,
    forbid: Sequence[int],
) -> jax.Array:
    """Log-probabilities [rows, vocab] with -inf for what may not come now.

    The end is not allowed before min_length tokens, except where nothing else is.
    """
    size = log_probs.shape[-1]
    vocab = np.arange(size)
    fixed = ~np.isin(vocab, forbid)  # known before the loop runs, so it costs nothing in it
    is_eos = vocab == eos_id
    if allowed is None:
        only = not (fixed & ~is_eos).any()
        mask = fixed & ~is_eos | is_eos & ((step >= min_length) | only)
    else:
        mask = allowed & fixed
        others = jnp.any(mask & ~is_eos, axis=-1, keepdims=True)
        mask = jnp.where(is_eos, mask & (step >= min_length) | ~others, mask)
    return jnp.where(mask, log_probs, -jnp.inf)


def check_lengths(logits: ArrayLike, max_length: int, min_length: int, eos_id: int) -> None:
    """Raises ValueError for arguments of decoding that do not fit."""
    if np.ndim(logits) != 2:
        raise InputError(f"logits has shape {np.shape(logits)}, must be [batch, vocab]")
    if not max_length >= 1:
        raise InputError(f"max_length is {max_length}, must be at least 1")
    if not 0 <= min_length < max_length:
        raise InputError(f"min_length is {min_length}, must be in [0, max_length {max_length})")
    if not 0 <= eos_id < np.shape(logits)[1]:
        raise InputError(f"eos_id is {eos_id}, must be in [0, {np.shape(logits)[1]})")
