"""BERT that goes on writing: passages are encoded once, targets are appended token by token.

Passage states never depend on the target (see `prefix`), so their keys and values are computed
once and shared by all outputs of a passage, also by the beams of a search; only keys and values of
the targets are kept per row. Rows of one passage lie next to each other.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxlab import decoding
from jaxlab.errors import InputError
from jaxlab.models.bert.attention import dot_attention
from jaxlab.models.bert.heads import MaskedLMHead
from jaxlab.models.bert.model import Bert


class Prefix(NamedTuple):
    """Encoded passages.

    Attributes:
      keys: a layer each, [batch, heads, length, d].
      values: alike.
      visible: bool [batch, length], False for padding.
      lengths: int32 [batch], tokens.
    """

    keys: tuple[jax.Array, ...]
    values: tuple[jax.Array, ...]
    visible: jax.Array
    lengths: jax.Array


class Cache(NamedTuple):
    """What has been appended to passages: the state of a decoding step.

    Attributes:
      keys: a layer each, [rows, heads, slots, d]; rows a multiple of the passages.
      values: alike.
      visible: bool [rows, slots], False where a slot is empty or holds padding.
      slot: int32 [rows], the next free slot, the same in all rows.
    """

    keys: tuple[jax.Array, ...]
    values: tuple[jax.Array, ...]
    visible: jax.Array
    slot: jax.Array


def encode_prefix(
    model: Bert, params: Mapping[str, Any], input_ids: ArrayLike
) -> tuple[Prefix, jax.Array]:
    """Encodes passages for `append_tokens`.

    Args:
      model: the encoder.
      params: {"bert", ...}.
      input_ids: int [batch, length], `[CLS] passage [SEP]`, padded with 0 at the end.

    Returns:
      (prefix, the state [batch, hidden] of the last token, where the target's first is predicted).
    """
    input_ids = jnp.asarray(input_ids)
    visible = (input_ids != 0).at[:, 0].set(True)
    mask = visible[:, None, None, :]

    def attend(query, key, value):
        turned = (key.swapaxes(1, 2), value.swapaxes(1, 2))
        return dot_attention(query, key, value, mask, how=model.attention), turned

    states, memories = _run(model, params, input_ids, None, None, [attend] * model.num_layers)
    keys, values = zip(*memories, strict=True)
    lengths = visible.sum(axis=1, dtype=jnp.int32)
    last = jnp.take_along_axis(states, lengths[:, None, None] - 1, axis=1)[:, 0]
    return Prefix(keys, values, visible, lengths), last


def empty_cache(model: Bert, prefix: Prefix, slots: int, *, copies: int = 1) -> Cache:
    """Room for targets of up to `slots` tokens, `copies` of them a passage.

    Raises:
      ValueError: passage and target may be longer than the position table.
    """
    batch, heads, length, size = prefix.keys[0].shape
    if length + slots > model.max_positions:
        raise InputError(
            f"passages of {length} tokens and targets of {slots} need {length + slots} positions, "
            f"the position table ends at {model.max_positions}"
        )
    rows = batch * copies
    empty = jnp.zeros((rows, heads, slots, size), prefix.keys[0].dtype)
    layers = (empty,) * model.num_layers
    return Cache(layers, layers, jnp.zeros((rows, slots), bool), jnp.zeros(rows, jnp.int32))


def append_tokens(
    model: Bert,
    params: Mapping[str, Any],
    prefix: Prefix,
    cache: Cache,
    tokens: jax.Array,
    valid: jax.Array,
) -> tuple[jax.Array, Cache]:
    """Runs tokens that follow a passage and what was appended before.

    Args:
      model: the encoder.
      params: {"bert", ...}.
      prefix: from `encode_prefix`.
      cache: from `empty_cache` or an earlier call, with n free slots.
      tokens: int [rows, n]; row r belongs to passage r // (rows / passages).
      valid: bool [rows, n]; tokens that are not valid take a slot but no position, and nothing
        sees them.

    Returns:
      (states [rows, n, hidden], cache).
    """
    rows, count = tokens.shape
    batch = prefix.lengths.shape[0]
    copies = rows // batch
    slots = cache.visible.shape[1]
    slot = cache.slot[0]
    seen = cache.visible.sum(axis=1, dtype=jnp.int32)
    visible = jax.lax.dynamic_update_slice(cache.visible, valid, (0, slot))
    place = jnp.cumsum(valid, axis=1, dtype=jnp.int32) - 1
    positions = jnp.repeat(prefix.lengths, copies)[:, None] + seen[:, None] + place
    positions = jnp.where(valid, positions, 0)
    # A query sees what is in a slot up to its own.
    before = jnp.arange(slots) <= slot + jnp.arange(count)[:, None]
    mask = visible[:, None, None, :] & before[None, None]

    def attend(query, key, value, layer):
        turn = lambda x: x.swapaxes(1, 2)
        put = lambda old, new: jax.lax.dynamic_update_slice(old, turn(new), (0, 0, slot, 0))
        keys, values = put(cache.keys[layer], key), put(cache.values[layer], value)
        query = turn(query) * query.shape[-1] ** -0.5
        heads, size = query.shape[1], query.shape[3]
        # All rows of a passage in one product with its keys.
        joined = query.reshape(batch, copies, heads, count, size).swapaxes(1, 2)
        joined = joined.reshape(batch, heads, copies * count, size)
        far = jnp.einsum("bhqd,bhkd->bhqk", joined, prefix.keys[layer])
        far = jnp.where(prefix.visible[:, None, None, :], far, jnp.finfo(far.dtype).min)
        far = far.reshape(batch, heads, copies, count, -1).swapaxes(1, 2)
        far = far.reshape(rows, heads, count, -1)
        near = jnp.einsum("rhqd,rhkd->rhqk", query, keys)
        near = jnp.where(mask, near, jnp.finfo(near.dtype).min)
        logits = jnp.concatenate([far, near], axis=-1)
        weights = jax.nn.softmax(logits.astype(jnp.float32), axis=-1).astype(value.dtype)
        far, near = weights[..., :-slots], weights[..., -slots:]
        far = far.reshape(batch, copies, heads, count, -1).swapaxes(1, 2)
        far = far.reshape(batch, heads, copies * count, -1)
        out = jnp.einsum("bhqk,bhkd->bhqd", far, prefix.values[layer])
        out = out.reshape(batch, heads, copies, count, size).swapaxes(1, 2)
        out = out.reshape(rows, heads, count, size)
        out += jnp.einsum("rhqk,rhkd->rhqd", near, values)
        return turn(out), (keys, values)

    attends = [
        lambda q, k, v, layer=layer: attend(q, k, v, layer) for layer in range(model.num_layers)
    ]
    types = jnp.ones_like(tokens)
    states, memories = _run(model, params, tokens, types, positions, attends)
    keys, values = zip(*memories, strict=True)
    return states, Cache(keys, values, visible, cache.slot + count)


def make_step(
    model: Bert, head: MaskedLMHead, params: Mapping[str, Any], prefix: Prefix
) -> decoding.StepFn:
    """Makes the step function of `jaxlab.decoding` over a `Cache`; token 0 is padding."""

    def step_fn(cache, token):
        states, cache = append_tokens(
            model, params, prefix, cache, token[:, None], token[:, None] != 0
        )
        return next_logits(head, params, states[:, 0]), cache

    return step_fn


def next_logits(head: MaskedLMHead, params: Mapping[str, Any], states: jax.Array) -> jax.Array:
    """Float32 logits [..., vocab] of the token after each state [..., hidden]."""
    table = params["bert"]["embeddings"]["word"]["embedding"]
    return head.apply({"params": params["head"]}, states, table)  # type: ignore[return-value]


def _run(model: Bert, params: Mapping[str, Any], *args) -> Any:
    # Without gradients there is nothing to compute anew.
    plain = model.clone(remat=False) if model.remat else model
    return plain.apply({"params": params["bert"]}, *args, method="run_attending")
