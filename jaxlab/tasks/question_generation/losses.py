"""Losses of `jaxlab.train` for generating with BERT: tokens of a target, its metrics.

Parameters are `{"bert": tree, "head": tree}`, the head a `MaskedLMHead` tied to the word
embedding. Batches hold "input_ids" and "attention_mask", as
`jaxlab.data.pipelines.buckets` makes them.

A loss is the sum over all target tokens of the global batch, divided by their number. A training
step averages over devices and micro-batches, whose numbers of targets differ; `bert.normalize_step`
therefore counts over the global batch first, and gives each row the factor "scale" that makes the
average of averages the quotient of sums.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxlab import optim
from jaxlab.errors import InputError
from jaxlab.models.bert import prefix
from jaxlab.models.bert.heads import MaskedLMHead
from jaxlab.models.bert.masked_lm import row_scale, token_logits
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
      model: the encoder; its pooler, if any, is computed and not used.
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
    """Makes the function that counts the targets of each row.

    It returns float32 [batch, 3]: all, the second part's and the third's.

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
      mask: from `optim.trainable_mask`; None trains everything.
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
        params = optim.freeze(params, mask)
        nll, part = target_nll(
            model, head, params, batch["input_ids"], layout, key=key, replace=replace
        )
        scale = batch["scale"] if "scale" in batch else row_scale(count(batch))
        loss, second, third = jnp.mean(scale * _by_part(nll, part), axis=0)
        found = dict(zip(layout.names, (second, third), strict=True))
        return loss, (model_state, {f"{name}_nll": found[name] for name in layout.targets})

    return loss_fn


def make_target_metrics(
    model: Bert, head: MaskedLMHead, layout: TargetLayout, *, hide: str | None = None
) -> Callable[..., dict[str, jax.Array]]:
    """Makes the metrics of `train.make_eval_step`.

    They are sums per example, such as "answer_nll" and "answer_tokens", whose quotient of means is
    nats per token.
    """

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
