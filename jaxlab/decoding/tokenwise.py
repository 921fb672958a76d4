"""One token after another: the most probable, or a random one."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlab.checks import check_scalar
from jaxlab.decoding.constraints import Constraint, check_lengths, mask_logits
from jaxlab.errors import InputError

StepFn = Callable[[Any, jax.Array], tuple[jax.Array, Any]]


class Decoded(NamedTuple):
    """One output a row.

    Attributes:
      tokens: int32 [batch, max_length], the end included, `pad_id` after it.
      lengths: int32 [batch], tokens, the end included.
      log_probs: float32 [batch], the model's own log-probability of the tokens, end included:
        without temperature, truncation or constraint.
      ended: bool [batch], whether the end came within max_length.
    """

    tokens: jax.Array
    lengths: jax.Array
    log_probs: jax.Array
    ended: jax.Array


def greedy(
    step_fn: StepFn,
    state: Any,
    logits: jax.Array,
    *,
    max_length: int,
    eos_id: int,
    pad_id: int = 0,
    min_length: int = 1,
    forbid: Sequence[int] = (),
    constraint: Constraint | None = None,
) -> Decoded:
    """Takes the most probable token each time.

    Args:
      step_fn: `(state, token [rows]) -> (logits [rows, vocab], state)`.
      state: tree of arrays [batch, ...].
      logits: [batch, vocab], of the first token.
      max_length: most tokens, the end included.
      eos_id: the token that ends a row.
      pad_id: what ended rows are fed, and filled up with.
      min_length: tokens that come before the end (bert4keras counts the end too). Where a
        constraint allows nothing else, the end comes earlier.
      forbid: tokens that may never come, such as [UNK].
      constraint: see `Constraint`.

    Returns:
      One output a row.

    Raises:
      ValueError: a shape or a length does not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> step_fn = lambda n, token: (jnp.stack([n, 3.0 - n], -1), n + 1)  # ends when n > 1.5
      >>> greedy(step_fn, jnp.array([0.0, 1.0]), jnp.array([[0.0, 1.0]] * 2), max_length=5,
      ...        eos_id=0, pad_id=9).tokens.tolist()
      [[1, 1, 1, 0, 9], [1, 1, 0, 9, 9]]
    """
    check_lengths(logits, max_length, min_length, eos_id)
    choose = lambda step, scores: jnp.argmax(scores, axis=-1)
    options = {"eos_id": eos_id, "min_length": min_length, "forbid": tuple(forbid)}
    return _decode(step_fn, state, logits, choose, max_length, pad_id, constraint, options)


def sample(
    step_fn: StepFn,
    state: Any,
    logits: jax.Array,
    *,
    key: jax.Array,
    max_length: int,
    eos_id: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    pad_id: int = 0,
    min_length: int = 1,
    forbid: Sequence[int] = (),
    constraint: Constraint | None = None,
) -> Decoded:
    """Draws each token, from the most probable ones if so wished.

    Temperature comes first, then the constraint, then `truncate_logits`. Several outputs of one
    input are several rows with the same state. The draw of a row depends on its key alone, so a
    batch gives what its rows give alone.

    Args:
      step_fn: as in `greedy`, as for arguments not named here.
      state: tree of arrays [batch, ...].
      logits: [batch, vocab].
      key: typed key [], of which row r gets `fold_in(key, r)`; or keys [batch], one per row.
      max_length: most tokens.
      eos_id: the end.
      temperature: > 0; above 1 more random.
      top_k: sample from the N most probable tokens; 0 from all.
      top_p: draw from the most probable tokens whose probabilities add up to this, in (0, 1].
      pad_id: see `greedy`.
      min_length: see `greedy`.
      forbid: see `greedy`.
      constraint: see `greedy`.

    Returns:
      One output a row.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> step_fn = lambda state, token: (jnp.zeros((3, 2)), state)
      >>> key = jax.random.key(0)
      >>> sample(step_fn, {}, jnp.zeros((3, 2)), key=key, max_length=8, eos_id=0).tokens.shape
      (3, 8)
    """
    check_lengths(logits, max_length, min_length, eos_id)
    check_scalar("temperature", temperature, above=0)
    _check_truncation(top_k, top_p)
    batch = jnp.shape(logits)[0]
    keys = key
    if key.ndim == 0:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(batch))
    if keys.shape != (batch,):
        raise InputError(f"key has shape {keys.shape}, must be () or ({batch},)")

    def choose(step, scores):
        scores = truncate_logits(scores / temperature, top_k=top_k, top_p=top_p)
        draw = lambda key, row: jax.random.categorical(jax.random.fold_in(key, step), row)
        return jax.vmap(draw)(keys, scores)

    options = {"eos_id": eos_id, "min_length": min_length, "forbid": tuple(forbid)}
    return _decode(step_fn, state, logits, choose, max_length, pad_id, constraint, options)


def truncate_logits(logits: jax.Array, *, top_k: int = 0, top_p: float = 1.0) -> jax.Array:
    """Logits with -inf for all but the most probable tokens.

    Top-k comes first; top-p then keeps the fewest tokens whose probabilities, among those left, add
    up to at least top_p: the one that crosses it stays, and so does the most probable in any case.
    Tokens as probable as the last one kept are kept too.

    Args:
      logits: [..., vocab].
      top_k: tokens to keep; 0 for all.
      top_p: in (0, 1].

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> p = jnp.log(jnp.array([0.5, 0.25, 0.125, 0.125]))
      >>> [int(jnp.isfinite(truncate_logits(p, top_p=x)).sum()) for x in (0.1, 0.5, 0.6, 0.8, 1.0)]
      [1, 1, 2, 4, 4]

    Holtzman et al., `The Curious Case of Neural Text Degeneration
    <https://arxiv.org/abs/1904.09751>`_, 2020.
    """
    _check_truncation(top_k, top_p)
    size = logits.shape[-1]
    if 0 < top_k < size:
        least = jax.lax.top_k(logits, top_k)[0][..., -1:]
        logits = jnp.where(logits >= least, logits, -jnp.inf)
    if top_p < 1:
        probs = jax.nn.softmax(logits, axis=-1)
        ordered = -jnp.sort(-probs, axis=-1)
        below = jnp.cumsum(ordered, axis=-1) < top_p
        last = jnp.minimum(jnp.sum(below, axis=-1, keepdims=True), size - 1)
        least = jnp.take_along_axis(ordered, last, axis=-1)
        logits = jnp.where(probs >= least, logits, -jnp.inf)
    return logits


def _check_truncation(top_k: int, top_p: float) -> None:
    if top_k < 0:
        raise InputError(f"top_k is {top_k}, must be at least 0 (0 keeps all tokens)")
    if not 0 < top_p <= 1:
        raise InputError(f"top_p is {top_p}, must be above 0 and at most 1")


def _decode(step_fn, state, logits, choose, max_length, pad_id, constraint, options) -> Decoded:
    batch = jnp.shape(logits)[0]
    rules = () if constraint is None else constraint.state

    def choose_next(carry, logits):
        """Takes the next token from logits, and writes it down."""
        step, done = carry["step"], carry["done"]
        log_probs = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
        allowed = None if constraint is None else constraint.allowed(carry["rules"])
        scores = mask_logits(log_probs, step, allowed, **options)
        token = jnp.where(done, pad_id, choose(step, scores).astype(jnp.int32))
        gain = jnp.take_along_axis(log_probs, jnp.where(done, 0, token)[:, None], axis=1)[:, 0]
        return {
            "step": step + 1,
            "state": carry["state"],
            "rules": () if constraint is None else constraint.advance(carry["rules"], token),
            "token": token,
            "tokens": jax.lax.dynamic_update_slice(carry["tokens"], token[:, None], (0, step)),
            "lengths": carry["lengths"] + ~done,
            "log_probs": carry["log_probs"] + jnp.where(done, 0.0, gain),
            "done": done | (token == options["eos_id"]),
        }

    def going_on(carry):
        return (carry["step"] < max_length) & ~jnp.all(carry["done"])

    def body(carry):
        logits, state = step_fn(carry["state"], carry["token"])
        return choose_next({**carry, "state": state}, logits)

    start = {
        "step": jnp.zeros((), jnp.int32),
        "state": state,
        "rules": rules,
        "tokens": jnp.full((batch, max_length), pad_id, jnp.int32),
        "lengths": jnp.zeros(batch, jnp.int32),
        "log_probs": jnp.zeros(batch, jnp.float32),
        "done": jnp.zeros(batch, bool),
    }
    # The first token is chosen before the loop: nothing is computed after the last.
    found = jax.lax.while_loop(going_on, body, choose_next(start, jnp.asarray(logits)))
    return Decoded(found["tokens"], found["lengths"], found["log_probs"], found["done"])
