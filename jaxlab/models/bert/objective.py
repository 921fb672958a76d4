"""Losses of `jaxlab.train` for BERT: fine-tuning, module replacing, distillation.

Batches hold "input_ids" and "attention_mask" [batch, length] and "label" [batch], as
`jaxlab.data.pipelines.buckets` makes them, and may hold "token_type_ids". Parameters are
`{"bert": tree, "head": tree}`; replacing has "predecessor" and "successor" instead of "bert".
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxlab import optim
from jaxlab.checks import concrete
from jaxlab.errors import InputError
from jaxlab.models.bert.heads import SequenceClassifier
from jaxlab.models.bert.model import Bert, BertOutput

Batch = Mapping[str, Any]
LossFn = Callable[..., tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]]


def task_loss(logits: jax.Array, labels: ArrayLike) -> jax.Array:
    """Cross-entropy of each example, or the squared error where the head gives one number.

    Args:
      logits: [batch, classes], or [batch] for regression.
      labels: int [batch], in [0, classes); or float [batch].

    Returns:
      [batch]; NaN for a label outside the head, which stops a run.

    Raises:
      ValueError: a concrete label is outside the head.

    Example:
      >>> print(task_loss(jnp.zeros((2, 4)), jnp.array([0, 3])))
      [1.3862944 1.3862944]
    """
    labels = jnp.asarray(labels)
    if logits.ndim == 1:
        return (logits - labels) ** 2
    values, classes = concrete(labels), logits.shape[-1]
    if values is not None and values.size and not 0 <= values.min() <= values.max() < classes:
        raise InputError(
            f"labels are {values.min()} to {values.max()}, the head has classes [0, {classes})"
        )
    valid = (labels >= 0) & (labels < classes)
    logits = jnp.where(valid[:, None], logits, 0.0)  # no NaN in the gradient of what is left out
    loss = optax.losses.softmax_cross_entropy_with_integer_labels(
        logits, jnp.where(valid, labels, 0)
    )
    return jnp.where(valid, loss, jnp.nan)


def apply_classifier(
    model: Bert,
    head: SequenceClassifier,
    params: Mapping[str, Any],
    batch: Batch,
    *,
    key: jax.Array | None = None,
) -> jax.Array:
    """Logits of a batch; `params` is {"bert", "head"}, a key turns dropout on."""
    body, top = (None, None) if key is None else jax.random.split(key)
    output = model.apply(
        {"params": params["bert"]},
        batch["input_ids"],
        batch["attention_mask"],
        batch.get("token_type_ids"),
        train=key is not None,
        rngs=None if body is None else {"dropout": body},
    )
    return apply_head(head, params, output, batch, top)  # type: ignore[arg-type]


def make_loss(
    model: Bert,
    head: SequenceClassifier,
    *,
    mask: Any = None,
    per_example: Callable[..., jax.Array] = task_loss,
) -> LossFn:
    """Makes the fine-tuning loss, with dropout, over {"bert", "head"}.

    Args:
      model: the encoder.
      head: its head.
      mask: from `optim.trainable_mask`; None trains everything.
      per_example: (logits, labels) -> losses [batch].

    Returns:
      `loss_fn(params, model_state, batch, *, key, step)` of `jaxlab.train`.
    """

    def loss_fn(params, model_state, batch, *, key, step):
        logits = apply_classifier(model, head, optim.freeze(params, mask), batch, key=key)
        return jnp.mean(per_example(logits, batch["label"])), (model_state, {})

    return loss_fn


def make_metrics(model: Bert, head: SequenceClassifier) -> Callable[..., dict[str, jax.Array]]:
    """Makes the metrics of `train.make_eval_step`: loss, and accuracy for classes, an example."""

    def metrics(params, model_state, batch, *, key):
        return figures_of(apply_classifier(model, head, params, batch), batch["label"])

    return metrics


def figures_of(logits: jax.Array, labels: ArrayLike) -> dict[str, jax.Array]:
    """The loss of each example, and of classes whether it is right.

    Example:
      >>> {name: x.round(3).tolist() for name, x in figures_of(jnp.zeros((1, 2)), [1]).items()}
      {'loss': [0.6930000185966492], 'accuracy': [0.0]}
    """
    found = {"loss": task_loss(logits, labels)}
    if logits.ndim == 2:
        found["accuracy"] = (jnp.argmax(logits, -1) == jnp.asarray(labels)).astype(jnp.float32)
    return found


def apply_head(
    head: SequenceClassifier,
    params: Mapping[str, Any],
    output: BertOutput,
    batch: Batch,
    key: jax.Array | None,
) -> jax.Array:
    """Logits of a head over the encoder's output; a key turns dropout on."""
    rngs = None if key is None else {"dropout": key}
    variables = {"params": params["head"]}
    return head.apply(  # type: ignore[return-value]
        variables, output, batch["attention_mask"], train=key is not None, rngs=rngs
    )
