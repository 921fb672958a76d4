"""Losses of `jaxlab.train` for BERT: fine-tuning, module replacing, distillation.

Batches hold "input_ids" and "attention_mask" [batch, length] and "label" [batch], as
`jaxlab.data.buckets` makes them, and may hold "token_type_ids". Parameters are
`{"bert": tree, "head": tree}`; replacing has "predecessor" and "successor" instead of "bert".
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxlab import losses, theseus
from jaxlab.checks import check_scalar, concrete
from jaxlab.errors import InputError
from jaxlab.models.bert.heads import SequenceClassifier
from jaxlab.models.bert.model import Bert, BertOutput
from jaxlab.models.bert.replacing import apply_replaced, num_gates

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


def distillation_loss(
    logits: jax.Array,
    teacher_logits: jax.Array,
    labels: ArrayLike,
    *,
    temperature: float,
    soft: float,
) -> jax.Array:
    r"""Soft and hard targets of each example, with the teacher's distribution at a temperature.

    .. math:: \alpha T^2\, H(\text{softmax}(t / T), \text{softmax}(s / T)) + (1 - \alpha)\, H(y, s)

    Args:
      logits: s, [batch, classes].
      teacher_logits: t, the same shape; no gradient reaches them.
      labels: y, int [batch]; not looked at where alpha is 1.
      temperature: T > 0.
      soft: alpha, in [0, 1].

    Returns:
      [batch].

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> s, t = jnp.zeros((1, 2)), jnp.array([[3.0, -3.0]])
      >>> print(distillation_loss(s, t, jnp.array([0]), temperature=1.0, soft=0.5))
      [0.6931472]

    Hinton et al., `Distilling the Knowledge in a Neural Network
    <https://arxiv.org/abs/1503.02531>`_, 2015.
    """
    check_scalar("temperature", temperature, above=0)
    check_scalar("soft", soft, at_least=0)
    if soft > 1:
        raise InputError(f"soft is {soft}, must be at most 1")
    targets = jax.nn.softmax(jax.lax.stop_gradient(teacher_logits) / temperature)
    soft_loss = losses.soft_cross_entropy(logits / temperature, targets)
    if concrete(soft) == 1:
        return temperature**2 * soft_loss
    if concrete(soft) == 0:
        return task_loss(logits, labels)
    return soft * temperature**2 * soft_loss + (1 - soft) * task_loss(logits, labels)


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
    return _top(head, params, output, batch, top)  # type: ignore[arg-type]


def make_loss(model: Bert, head: SequenceClassifier, *, mask: Any = None) -> LossFn:
    """Makes the fine-tuning loss, with dropout, over {"bert", "head"}.

    Args:
      model: the encoder.
      head: its head.
      mask: from `theseus.trainable_mask`; None trains everything.

    Returns:
      `loss_fn(params, model_state, batch, *, key, step)` of `jaxlab.train`.
    """

    def loss_fn(params, model_state, batch, *, key, step):
        logits = apply_classifier(model, head, _freeze(params, mask), batch, key=key)
        return jnp.mean(task_loss(logits, batch["label"])), (model_state, {})

    return loss_fn


def make_replacing_loss(
    predecessor: Bert, successor: Bert, head: SequenceClassifier, *, mask: Any = None
) -> LossFn:
    """Makes the loss of module replacing over {"predecessor", "successor", "head"}.

    The rate is `theseus.replacement_schedule(base, slope)` of the scalars "rate_base" and
    "rate_slope" in the model state, so that one compiled step serves every such schedule.

    Args:
      predecessor: the deep model.
      successor: the shallow one.
      head: shared by both.
      mask: from `theseus.trainable_mask`; the predecessor is frozen in any case.

    Returns:
      A loss function; its metrics are the rate and the share of modules replaced.
    """

    def loss_fn(params, model_state, batch, *, key, step):
        params = _freeze(params, mask)
        gate_key, body, top = jax.random.split(key, 3)
        schedule = theseus.replacement_schedule(model_state["rate_base"], model_state["rate_slope"])
        gates = theseus.sample_gates(gate_key, schedule(step), num_gates(params, successor))
        output = apply_replaced(
            predecessor,
            successor,
            params,
            gates,
            batch["input_ids"],
            batch["attention_mask"],
            batch.get("token_type_ids"),
            key=body,
        )
        logits = _top(head, params, output, batch, top)
        metrics = {"rate": schedule(step), "replaced": jnp.mean(gates, dtype=jnp.float32)}
        return jnp.mean(task_loss(logits, batch["label"])), (model_state, metrics)

    return loss_fn


def make_distillation_loss(
    model: Bert,
    head: SequenceClassifier,
    teacher: Bert,
    *,
    temperature: float = 2.0,
    soft: float = 0.5,
    mask: Any = None,
) -> LossFn:
    """Makes the loss of distillation over {"bert", "head", "teacher": {"bert", "head"}}.

    Args:
      model: the student.
      head: of student and teacher.
      teacher: runs without dropout, and is frozen.
      temperature: see `distillation_loss`.
      soft: see `distillation_loss`.
      mask: from `theseus.trainable_mask`.
    """

    def loss_fn(params, model_state, batch, *, key, step):
        params = _freeze(params, mask)
        teacher_params = jax.lax.stop_gradient(params["teacher"])
        wanted = apply_classifier(teacher, head, teacher_params, batch)
        logits = apply_classifier(model, head, params, batch, key=key)
        each = distillation_loss(logits, wanted, batch["label"], temperature=temperature, soft=soft)
        return jnp.mean(each), (model_state, {})

    return loss_fn


def make_metrics(model: Bert, head: SequenceClassifier) -> Callable[..., dict[str, jax.Array]]:
    """Makes the metrics of `train.make_eval_step`: loss, and accuracy for classes, an example."""

    def metrics(params, model_state, batch, *, key):
        logits = apply_classifier(model, head, params, batch)
        found = {"loss": task_loss(logits, batch["label"])}
        if logits.ndim == 2:
            found["accuracy"] = (jnp.argmax(logits, -1) == batch["label"]).astype(jnp.float32)
        return found

    return metrics


def make_replaced_metrics(
    predecessor: Bert, successor: Bert, head: SequenceClassifier
) -> Callable[..., dict[str, jax.Array]]:
    """Makes the same metrics for the mixed model, `model_state["gates"]` saying which modules are
    replaced: the sensitivity to swapping one module."""

    def metrics(params, model_state, batch, *, key):
        output = apply_replaced(
            predecessor,
            successor,
            params,
            model_state["gates"],
            batch["input_ids"],
            batch["attention_mask"],
            batch.get("token_type_ids"),
        )
        logits = _top(head, params, output, batch, None)
        hit = jnp.argmax(logits, -1) == batch["label"]
        return {"loss": task_loss(logits, batch["label"]), "accuracy": hit.astype(jnp.float32)}

    return metrics


def _freeze(params, mask):
    return params if mask is None else theseus.freeze(params, mask)


def _top(
    head: SequenceClassifier,
    params: Mapping[str, Any],
    output: BertOutput,
    batch: Batch,
    key: jax.Array | None,
) -> jax.Array:
    rngs = None if key is None else {"dropout": key}
    variables = {"params": params["head"]}
    return head.apply(  # type: ignore[return-value]
        variables, output, batch["attention_mask"], train=key is not None, rngs=rngs
    )
