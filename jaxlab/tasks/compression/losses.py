"""Losses of compression: module replacing and distillation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxlab import losses, optim, theseus
from jaxlab.checks import check_scalar, concrete
from jaxlab.errors import InputError
from jaxlab.models.bert import Bert, SequenceClassifier
from jaxlab.models.bert.objective import (
    LossFn,
    apply_classifier,
    apply_head,
    figures_of,
    task_loss,
)
from jaxlab.tasks.compression.replacing import apply_replaced, num_gates

PerExample = Callable[..., jax.Array]


def distillation_loss(
    logits: jax.Array,
    teacher_logits: jax.Array,
    labels: ArrayLike,
    *,
    temperature: float,
    soft: float,
    hard: PerExample = task_loss,
) -> jax.Array:
    r"""Soft and hard targets of each example, with the teacher's distribution at a temperature.

    .. math:: \alpha T^2\, H(\text{softmax}(t / T), \text{softmax}(s / T)) + (1 - \alpha)\, H(y, s)

    Of regression the soft part is :math:`\alpha (s - t)^2`.

    Args:
      logits: s, [batch, classes], or [batch] of regression.
      teacher_logits: t, the same shape; no gradient reaches them.
      labels: y, int [batch]; not looked at where alpha is 1.
      temperature: T > 0.
      soft: alpha, in [0, 1].
      hard: H of the labels, by default the cross-entropy.

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
    if logits.ndim == 1:
        apart = (logits - jax.lax.stop_gradient(teacher_logits)) ** 2
        return soft * apart + (1 - soft) * hard(logits, labels)
    targets = jax.nn.softmax(jax.lax.stop_gradient(teacher_logits) / temperature)
    soft_loss = losses.soft_cross_entropy(logits / temperature, targets)
    if concrete(soft) == 1:
        return temperature**2 * soft_loss
    if concrete(soft) == 0:
        return hard(logits, labels)
    return soft * temperature**2 * soft_loss + (1 - soft) * hard(logits, labels)


def make_replacing_loss(
    predecessor: Bert,
    successor: Bert,
    head: SequenceClassifier,
    *,
    mask: Any = None,
    per_example: PerExample = task_loss,
) -> LossFn:
    """Makes the loss of module replacing over {"predecessor", "successor", "head"}.

    The rate is `theseus.replacement_schedule(base, slope)` of the scalars "rate_base" and
    "rate_slope" in the model state, so that one compiled step serves every such schedule.

    Args:
      predecessor: the deep model.
      successor: the shallow one.
      head: shared by both.
      mask: from `optim.trainable_mask`; the predecessor is frozen in any case.
      per_example: (logits, labels) -> losses [batch].

    Returns:
      A loss function; its metrics are the rate and the share of modules replaced.
    """

    def loss_fn(params, model_state, batch, *, key, step):
        params = optim.freeze(params, mask)
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
        logits = apply_head(head, params, output, batch, top)
        metrics = {"rate": schedule(step), "replaced": jnp.mean(gates, dtype=jnp.float32)}
        return jnp.mean(per_example(logits, batch["label"])), (model_state, metrics)

    return loss_fn


def make_distillation_loss(
    model: Bert,
    head: SequenceClassifier,
    teacher: Bert,
    *,
    temperature: float = 2.0,
    soft: float = 0.5,
    mask: Any = None,
    per_example: PerExample = task_loss,
) -> LossFn:
    """Makes the loss of distillation over {"bert", "head", "teacher": {"bert", "head"}}.

    Args:
      model: the student.
      head: of student and teacher.
      teacher: runs without dropout, and is frozen.
      temperature: see `distillation_loss`.
      soft: see `distillation_loss`.
      mask: from `optim.trainable_mask`.
      per_example: (logits, labels) -> losses [batch] of the hard targets.
    """

    def loss_fn(params, model_state, batch, *, key, step):
        params = optim.freeze(params, mask)
        teacher_params = jax.lax.stop_gradient(params["teacher"])
        wanted = apply_classifier(teacher, head, teacher_params, batch)
        logits = apply_classifier(model, head, params, batch, key=key)
        each = distillation_loss(
            logits, wanted, batch["label"], temperature=temperature, soft=soft, hard=per_example
        )
        return jnp.mean(each), (model_state, {})

    return loss_fn


def make_replaced_logits(
    predecessor: Bert, successor: Bert, head: SequenceClassifier
) -> Callable[..., jax.Array]:
    """Makes `(params, model_state, batch)` -> logits of the mixed model.

    `model_state["gates"]` says which modules are replaced.
    """

    def logits(params, model_state, batch):
        output = apply_replaced(
            predecessor,
            successor,
            params,
            model_state["gates"],
            batch["input_ids"],
            batch["attention_mask"],
            batch.get("token_type_ids"),
        )
        return apply_head(head, params, output, batch, None)

    return logits


def make_replaced_metrics(
    predecessor: Bert, successor: Bert, head: SequenceClassifier
) -> Callable[..., dict[str, jax.Array]]:
    """Makes the same metrics for the mixed model: the sensitivity to swapping one module."""
    run = make_replaced_logits(predecessor, successor, head)

    def metrics(params, model_state, batch, *, key):
        del key
        return figures_of(run(params, model_state, batch), batch["label"])

    return metrics
