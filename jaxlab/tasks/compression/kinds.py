"""The kinds of stage that compression is made of: what each trains, from what, by which loss.

| kind | parameters | loss |
|---|---|---|
| predecessor, direct, truncated, successor | {"bert", "head"} | the task's |
| replacing | {"predecessor", "successor", "head"} | the task's, modules drawn |
| distill | {"bert", "head", "teacher"} | soft and hard targets |
"""

from collections.abc import Mapping
from typing import Any

import optax

from jaxlab import optim, theseus
from jaxlab.checks import check_scalar
from jaxlab.errors import InputError
from jaxlab.models.bert.heads import SequenceClassifier
from jaxlab.models.bert.model import LAYER_PREFIX, Bert
from jaxlab.models.bert.objective import LossFn, make_loss
from jaxlab.tasks.compression.losses import make_distillation_loss, make_replacing_loss

KINDS = ("predecessor", "direct", "truncated", "successor", "replacing", "distill")
TRAINABLE = ("all", "layers", "layers+head")


def stage_params(
    kind: str,
    start: Mapping[str, Any],
    predecessor: Mapping[str, Any],
    *,
    own_embeddings: bool = False,
) -> dict[str, Any]:
    """The parameter tree of a stage.

    Args:
      kind: one of `KINDS`.
      start: {"bert", "head"} of the model to train, with as many layers as it has.
      predecessor: {"bert", "head"} of the deep model; only "replacing" and "distill" look at it.
      own_embeddings: whether the embeddings are replaced too.

    Raises:
      ValueError: the kind is unknown.

    Example:
      >>> start = {"bert": {"embeddings": 1, "layers_0": 2}, "head": 3}
      >>> deep = {"bert": {"embeddings": 5, "layers_0": 6, "layers_1": 7}, "head": 8}
      >>> stage_params("replacing", start, deep)["successor"]
      {'layers_0': 2}
    """
    if kind not in KINDS:
        raise InputError(f"kind is {kind!r}, known are {KINDS}")
    if kind == "distill":
        return {**start, "teacher": predecessor}
    if kind != "replacing":
        return dict(start)
    own = [name for name in start["bert"] if name.startswith(LAYER_PREFIX)]
    own += ["embeddings"] if own_embeddings else []
    successor = {name: start["bert"][name] for name in own}
    return {"predecessor": predecessor["bert"], "successor": successor, "head": start["head"]}


def plain_params(kind: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """{"bert", "head"} of the model that a stage has trained.

    Example:
      >>> plain_params("distill", {"bert": 1, "head": 2, "teacher": 3})
      {'bert': 1, 'head': 2}
    """
    tree = theseus.extract_successor(params) if kind == "replacing" else params["bert"]
    return {"bert": tree, "head": params["head"]}


def stage_mask(
    kind: str,
    params: Mapping[str, Any],
    trainable: str = "all",
    *,
    own_embeddings: bool = False,
) -> Any:
    """Which leaves a stage trains, as `optim.trainable_mask` gives them.

    Args:
      kind: one of `KINDS`; "replacing" trains the successor's own parameters whatever `trainable`,
        and "truncated", its control, the same ones.
      params: from `stage_params`, or their shapes.
      trainable: "all", "layers" (embeddings, pooler and head frozen: what the authors' code does)
        or "layers+head".
      own_embeddings: as in `stage_params`.

    Raises:
      ValueError: `trainable` is unknown.

    Example:
      >>> params = {"bert": {"embeddings": 1, "layers_0": 2}, "head": 3}
      >>> stage_mask("successor", params, "layers+head")
      {'bert': {'embeddings': False, 'layers_0': True}, 'head': True}
    """
    if trainable not in TRAINABLE:
        raise InputError(f"trainable is {trainable!r}, known are {TRAINABLE}")
    if kind == "replacing":
        return optim.trainable_mask(params, ["successor"])
    layers = [f"bert/{name}" for name in params["bert"] if name.startswith(LAYER_PREFIX)]
    if kind == "truncated":
        own = ["bert/embeddings"] if own_embeddings else []
        return optim.trainable_mask(params, [*layers, *own])
    paths = {"all": ["bert", "head"], "layers": layers, "layers+head": [*layers, "head"]}
    return optim.trainable_mask(params, paths[trainable])


def make_optimizer(
    learning_rate: float,
    num_steps: int,
    *,
    warmup: float = 0.1,
    weight_decay: float = 0.01,
    mask: Any = None,
) -> optax.GradientTransformation:
    """BERT's own: AdamW, the rate up and down, without decay of biases and of layer norms' scales.

    Args:
      learning_rate: the highest rate.
      num_steps: of the stage.
      warmup: see `optim.warmup_linear_decay`.
      weight_decay: per step and unit of the rate, at least 0; of kernels and embeddings alone.
      mask: from `stage_mask` or `optim.trainable_mask`, what is trained; None for everything.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> params = {"dense": {"kernel": jnp.ones((1, 1)), "bias": jnp.ones(1)}}
      >>> tx = make_optimizer(1.0, 1, warmup=0.0, weight_decay=0.5)
      >>> none = jax.tree.map(jnp.zeros_like, params)
      >>> updates, _ = tx.update(none, tx.init(params), params)
      >>> print(updates["dense"]["kernel"], updates["dense"]["bias"])
      [[-0.5]] [-0.]

    Source: Devlin et al., 2018, arXiv:1810.04805, and its published code.
    """
    check_scalar("weight_decay", weight_decay, at_least=0.0)
    rate = optim.warmup_linear_decay(learning_rate, num_steps, warmup=warmup)
    tx = optax.adamw(rate, weight_decay=weight_decay, mask=optim.matrices_only)
    return tx if mask is None else optim.train_only(tx, mask)


def make_stage_loss(
    kind: str,
    model: Bert,
    head: SequenceClassifier,
    predecessor: Bert,
    *,
    mask: Any,
    **distillation: float,
) -> LossFn:
    """The loss of a stage; see the table above.

    Args:
      kind: one of `KINDS`.
      model: the model to train.
      head: its head.
      predecessor: the deep model.
      mask: from `stage_mask`.
      **distillation: arguments of `make_distillation_loss`.
    """
    if kind == "replacing":
        return make_replacing_loss(predecessor, model, head, mask=mask)
    if kind == "distill":
        return make_distillation_loss(model, head, predecessor, mask=mask, **distillation)
    return make_loss(model, head, mask=mask)
