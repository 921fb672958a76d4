"""Masked tokens: logits at positions, BERT's own loss, a head and a vocabulary cut to size.

Parameters are `{"bert": tree, "head": tree}`, the head a `MaskedLMHead` tied to the word
embedding. Batches hold "input_ids" and "attention_mask", as `jaxlab.data.pipelines.buckets` makes
them.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxlab import mesh as mesh_lib
from jaxlab import optim
from jaxlab.errors import InputError
from jaxlab.models.bert.heads import MaskedLMHead
from jaxlab.models.bert.model import Bert
from jaxlab.models.bert.objective import Batch, LossFn


def token_logits(
    model: Bert,
    head: MaskedLMHead,
    params: Mapping[str, Any],
    input_ids: jax.Array,
    mask: jax.Array,
    token_type_ids: jax.Array | None,
    positions: jax.Array,
    *,
    key: jax.Array | None = None,
) -> jax.Array:
    """Float32 logits [batch, T, vocab] at positions int [batch, T]; a key turns dropout on."""
    states = model.apply(
        {"params": params["bert"]},
        input_ids,
        mask,
        token_type_ids,
        train=key is not None,
        rngs=None if key is None else {"dropout": key},
    ).last_hidden_state  # type: ignore[union-attr]
    states = jnp.take_along_axis(states, positions[:, :, None], axis=1)
    table = params["bert"]["embeddings"]["word"]["embedding"]
    return head.apply({"params": params["head"]}, states, table)  # type: ignore[return-value]


def normalize_step(
    step: Callable[[Any, Any], Any],
    count: Callable[[Batch], jax.Array],
    *,
    mesh: jax.sharding.Mesh | None = None,
) -> Callable[[Any, Any], Any]:
    """A training step whose batches also hold "scale" [batch, K]: rows / targets of the batch.

    A mean over rows of scale times a row's sum is then the global sum over the global number of
    targets; so is the average of such means over micro-batches of equal size, and over devices.

    Args:
      step: from `train.make_train_step`, with the same mesh.
      count: batch -> numbers of targets per row [batch, K], such as `count_targets(layout)`.
      mesh: the mesh.
    """
    if mesh is None:
        scale = jax.jit(lambda batch: row_scale(count(batch)))
    else:
        rows = mesh_lib.split(mesh)
        scale = jax.jit(
            lambda batch: row_scale(count(batch)), in_shardings=(rows,), out_shardings=rows
        )
    return lambda state, batch: step(state, {**batch, "scale": scale(batch)})


def row_scale(counts: jax.Array) -> jax.Array:
    """The factor of each row [batch, K]: rows over targets of the batch; see `normalize_step`."""
    total = jnp.maximum(counts.sum(axis=0), 1.0)
    return jnp.broadcast_to(counts.shape[0] / total, counts.shape)


def count_masked(rate: float) -> Callable[[Batch], jax.Array]:
    """Makes the function that says how many tokens of each row get masked, float32 [batch, 1].

    It is the share of the tokens between the first and the last, rounded, and at least 1.
    """

    def count(batch):
        tokens = jnp.sum(jnp.asarray(batch["attention_mask"]) != 0, axis=1, keepdims=True) - 2
        wanted = jnp.maximum(jnp.round(rate * tokens), 1)
        return jnp.where(tokens > 0, wanted, 0).astype(jnp.float32)

    return count


def make_masked_loss(
    model: Bert, head: MaskedLMHead, *, mask_id: int, rate: float = 0.15, mask: Any = None
) -> LossFn:
    """Makes BERT's own loss of masked tokens, to warm up a head or to train a body.

    Of the chosen tokens 80 % are masked, 10 % replaced by any, 10 % left. Their number is fixed by
    the row's length, so that logits are computed for them alone.

    Args:
      model: the encoder.
      head: the head.
      mask_id: id of [MASK].
      rate: share of tokens to predict, in (0, 1).
      mask: from `optim.trainable_mask`; None trains everything.

    Returns:
      A loss function of `jaxlab.train`.

    Raises:
      ValueError: the rate is out of range.
    """
    if not 0 < rate < 1:
        raise InputError(f"rate is {rate}, must be above 0 and below 1")
    count = count_masked(rate)

    def loss_fn(params, model_state, batch, *, key, step):
        params = optim.freeze(params, mask)
        ids, visible = batch["input_ids"], batch["attention_mask"] != 0
        drop, order, kind, what = jax.random.split(key, 4)
        length = jnp.sum(visible, axis=1, keepdims=True)
        place = jnp.arange(ids.shape[1])
        inside = (place > 0) & (place < length - 1)
        wanted = count(batch)
        size = max(1, round(rate * ids.shape[1]))
        scores = jnp.where(inside, jax.random.uniform(order, ids.shape), -1.0)
        positions = jax.lax.top_k(scores, size)[1]
        real = jnp.arange(size) < wanted
        targets = jnp.take_along_axis(ids, positions, axis=1)
        draw = jax.random.uniform(kind, positions.shape)
        noise = jax.random.randint(what, positions.shape, 1, model.vocab_size, ids.dtype)
        seen = jnp.where(draw < 0.8, mask_id, jnp.where(draw < 0.9, noise, targets))
        rows = jnp.arange(ids.shape[0])[:, None]
        ids = ids.at[rows, positions].set(jnp.where(real, seen, targets))
        logits = token_logits(model, head, params, ids, visible, None, positions, key=drop)
        nll = optax.losses.softmax_cross_entropy_with_integer_labels(logits, targets)
        nll = jnp.sum(jnp.where(real, nll, 0.0), axis=1)
        scale = batch["scale"] if "scale" in batch else row_scale(wanted)
        return jnp.mean(scale[:, 0] * nll), (model_state, {})

    return loss_fn


def init_head(
    head: MaskedLMHead, key: jax.Array, hidden_size: int, vocab_size: int
) -> dict[str, Any]:
    """Parameters of a head for a body that comes without one: nearly the identity.

    The dense layer starts as the identity plus the usual noise, so that predictions start from
    the states themselves rather than from a random projection of them.
    """
    states, table = jnp.zeros((1, hidden_size)), jnp.zeros((vocab_size, hidden_size))
    params: Any = head.init(key, states, table)["params"]
    dense = {**params["dense"], "kernel": params["dense"]["kernel"] + jnp.eye(hidden_size)}
    return {**params, "dense": dense}


def reduce_vocabulary(
    model: Bert, params: Mapping[str, Any], keep: ArrayLike
) -> tuple[Bert, dict[str, Any]]:
    """The same model over fewer tokens: row i of its embedding is row keep[i] of the old.

    Args:
      model: the encoder.
      params: {"bert"} or {"bert", "head"}; the head's bias is gathered alike, as is the
        output matrix of a head that is not tied.
      keep: int [K], distinct ids of tokens, such as `segments.keep_tokens` gives them.

    Returns:
      (model, params).

    Raises:
      ValueError: an id is outside the vocabulary, or there twice.
    """
    keep = np.asarray(keep)
    if not keep.size or keep.min() < 0 or keep.max() >= model.vocab_size:
        raise InputError(
            f"keep holds {keep.min() if keep.size else 'nothing'} to "
            f"{keep.max() if keep.size else 'nothing'}, must be in [0, {model.vocab_size})"
        )
    if len(np.unique(keep)) != len(keep):
        raise InputError(
            f"keep holds {len(keep) - len(np.unique(keep))} ids twice, must be distinct"
        )
    bert = dict(params["bert"])
    table = bert["embeddings"]["word"]["embedding"][keep]
    bert["embeddings"] = {**bert["embeddings"], "word": {"embedding": table}}
    found = {**params, "bert": bert}
    if "head" in params:
        head = params["head"]
        found["head"] = {**head, **{k: head[k][keep] for k in ("bias", "decoder") if k in head}}
    return dataclasses.replace(model, vocab_size=len(keep)), found
