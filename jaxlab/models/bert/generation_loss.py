"""Losses of `jaxlab.train` for generating with BERT: tokens of a target, and masked tokens.

Parameters are `{"bert": tree, "head": tree}`, the head a `MaskedLMHead` tied to the word
embedding. Batches hold "input_ids" and "attention_mask", as `jaxlab.data.buckets` makes them.

A loss is the sum over all target tokens of the global batch, divided by their number. A training
step averages over devices and micro-batches, whose numbers of targets differ; `normalize_step`
therefore counts over the global batch first, and gives each row the factor "scale" that makes the
average of averages the quotient of sums.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxlab import mesh as mesh_lib
from jaxlab import theseus
from jaxlab.errors import InputError
from jaxlab.models.bert import prefix
from jaxlab.models.bert.heads import MaskedLMHead
from jaxlab.models.bert.model import Bert

Batch = Mapping[str, Any]
LossFn = Callable[..., tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]]


@dataclasses.dataclass(frozen=True)
class TargetLayout:
    """How sequences `[CLS] passage [SEP] second [SEP] third [SEP]` are read.

    Attributes:
      sep_id: the separator.
      max_targets: most target tokens of a row, separators included: the window of logits.
      names: of the second and the third part, for metrics.
      prefix_parts: 1 to generate both, 2 to generate the third part alone.

    Example:
      >>> TargetLayout(sep_id=3, max_targets=40).targets
      ('answer', 'question')
    """

    sep_id: int
    max_targets: int
    names: tuple[str, str] = ("answer", "question")
    prefix_parts: int = 1

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the parts that are generated."""
        return self.names[self.prefix_parts - 1 :]


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


def target_nll(
    model: Bert,
    head: MaskedLMHead,
    params: Mapping[str, Any],
    input_ids: ArrayLike,
    layout: TargetLayout,
    *,
    hide: str | None = None,
    key: jax.Array | None = None,
    replace: float = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Negative log-likelihood of each target token given what is before it.

    Args:
      model: the encoder; it has no pooler to run, or runs it in vain.
      head: the head.
      params: {"bert", "head"}.
      input_ids: int [batch, length].
      layout: how they are read.
      hide: see `prefix.inputs`.
      key: of dropout and replacement; None for neither.
      replace: probability with which each target token is seen as a random one by what follows
        (separators stay); what is to be predicted stays the same. Against exposure bias.

    Returns:
      (nats [batch, T], int32 part [batch, T]), T = layout.max_targets; where part is 0 there is no
      target and 0 nats.
    """
    input_ids = jnp.asarray(input_ids)
    mask, types = prefix.inputs(
        input_ids, layout.sep_id, prefix_parts=layout.prefix_parts, hide=hide
    )
    positions, targets, part = prefix.target_window(
        input_ids, layout.sep_id, layout.max_targets, prefix_parts=layout.prefix_parts
    )
    if key is not None and replace:
        key, which, what = jax.random.split(key, 3)
        hit = jax.random.bernoulli(which, replace, input_ids.shape)
        noise = jax.random.randint(what, input_ids.shape, 1, model.vocab_size, input_ids.dtype)
        hit &= (types > 0) & (input_ids != layout.sep_id)
        input_ids = jnp.where(hit, noise, input_ids)
    logits = token_logits(model, head, params, input_ids, mask, types, positions, key=key)
    nll = optax.losses.softmax_cross_entropy_with_integer_labels(logits, targets)
    return jnp.where(part > 0, nll, 0.0), part


def count_targets(layout: TargetLayout) -> Callable[[Batch], jax.Array]:
    """Makes the function that counts the targets of each row, float32 [batch, 3]: all, the second
    part's and the third's.

    Example:
      >>> count = count_targets(TargetLayout(sep_id=3, max_targets=5))
      >>> print(count({"input_ids": jnp.array([[2, 7, 3, 8, 3, 9, 9, 3]])}))
      [[5. 2. 3.]]
    """

    def count(batch):
        _, _, part = prefix.target_window(
            batch["input_ids"],
            layout.sep_id,
            layout.max_targets,
            prefix_parts=layout.prefix_parts,
        )
        return _by_part(jnp.ones(part.shape), part)

    return count


def _by_part(values: jax.Array, part: jax.Array) -> jax.Array:
    """Sums [batch, 3] of values [batch, T] over all targets, those of part 1, those of part 2."""
    chosen = jnp.stack([part > 0, part == 1, part == 2], axis=-1)
    return jnp.sum(jnp.where(chosen, values[..., None], 0.0), axis=1)


def make_target_loss(
    model: Bert,
    head: MaskedLMHead,
    layout: TargetLayout,
    *,
    mask: Any = None,
    replace: float = 0.0,
) -> LossFn:
    r"""Makes the loss of generation, with dropout.

    .. math:: L = \frac{\sum_{b, t} -\log p(x_{b, t + 1} \mid x_{b, \le t})}{\text{targets}}

    Args:
      model: the encoder.
      head: the head.
      layout: how sequences are read.
      mask: from `theseus.trainable_mask`; None trains everything.
      replace: see `target_nll`.

    Returns:
      `loss_fn(params, model_state, batch, *, key, step)` of `jaxlab.train`; its metrics are nats a
      token of each part, such as "answer_nll". With "scale" in the batch (see `normalize_step`) the
      quotient is that of the global batch, whatever this call sees of it.

    Raises:
      ValueError: replace is not in [0, 1).
    """
    if not 0 <= replace < 1:
        raise InputError(f"replace is {replace}, must be in [0, 1)")
    count = count_targets(layout)

    def loss_fn(params, model_state, batch, *, key, step):
        if mask is not None:
            params = theseus.freeze(params, mask)
        nll, part = target_nll(
            model, head, params, batch["input_ids"], layout, key=key, replace=replace
        )
        scale = batch["scale"] if "scale" in batch else _scale(count(batch))
        loss, second, third = jnp.mean(scale * _by_part(nll, part), axis=0)
        found = dict(zip(layout.names, (second, third), strict=True))
        return loss, (model_state, {f"{name}_nll": found[name] for name in layout.targets})

    return loss_fn


def make_target_metrics(
    model: Bert, head: MaskedLMHead, layout: TargetLayout, *, hide: str | None = None
) -> Callable[..., dict[str, jax.Array]]:
    """Makes the metrics of `train.make_eval_step`: sums an example, such as "answer_nll" and
    "answer_tokens", whose quotient of means is nats a token."""

    def metrics(params, model_state, batch, *, key):
        nll, part = target_nll(model, head, params, batch["input_ids"], layout, hide=hide)
        sums, counts = _by_part(nll, part), _by_part(jnp.ones(part.shape), part)
        found = {}
        for name in layout.targets:
            column = 1 + layout.names.index(name)
            found |= {f"{name}_nll": sums[:, column], f"{name}_tokens": counts[:, column]}
        return found

    return metrics


def per_token(means: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """Nats per token from means per example; NaN of no tokens.

    Example:
      >>> per_token({"answer_nll": 6.0, "answer_tokens": 3.0}, ["answer"])
      {'answer_nll': 2.0}
    """
    share = lambda nats, tokens: nats / tokens if tokens else float("nan")
    return {f"{n}_nll": share(means[f"{n}_nll"], means[f"{n}_tokens"]) for n in names}


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
      count: batch -> numbers of targets a row [batch, K], such as `count_targets(layout)`.
      mesh: the mesh.
    """
    if mesh is None:
        scale = jax.jit(lambda batch: _scale(count(batch)))
    else:
        rows = mesh_lib.split(mesh)
        scale = jax.jit(
            lambda batch: _scale(count(batch)), in_shardings=(rows,), out_shardings=rows
        )
    return lambda state, batch: step(state, {**batch, "scale": scale(batch)})


def _scale(counts: jax.Array) -> jax.Array:
    total = jnp.maximum(counts.sum(axis=0), 1.0)
    return jnp.broadcast_to(counts.shape[0] / total, counts.shape)


# --- Masked tokens --------------------------------------------------------------------------------


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
      mask: from `theseus.trainable_mask`; None trains everything.

    Returns:
      A loss function; see `make_target_loss`.

    Raises:
      ValueError: the rate is out of range.
    """
    if not 0 < rate < 1:
        raise InputError(f"rate is {rate}, must be above 0 and below 1")
    count = count_masked(rate)

    def loss_fn(params, model_state, batch, *, key, step):
        if mask is not None:
            params = theseus.freeze(params, mask)
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
        scale = batch["scale"] if "scale" in batch else _scale(wanted)
        return jnp.mean(scale[:, 0] * nll), (model_state, {})

    return loss_fn


# --- Parameters -----------------------------------------------------------------------------------


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
      keep: int [K], distinct ids of tokens, such as `qa_tokens.keep_tokens` gives them.

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
