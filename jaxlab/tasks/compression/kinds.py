"""The kinds of stage that compression is made of: what each trains, from what, by which loss.

| kind | parameters | loss |
|---|---|---|
| predecessor, direct, truncated, successor | {"bert", "head"} | the task's |
| replacing | {"predecessor", "successor", "head"} | the task's, modules drawn |
| distill | {"bert", "head", "teacher"} | soft and hard targets |
"""

from collections.abc import Callable, Mapping
from typing import Any

from jaxlab import optim, theseus
from jaxlab.errors import InputError
from jaxlab.models.bert.heads import SequenceClassifier
from jaxlab.models.bert.model import LAYER_PREFIX, Bert
from jaxlab.models.bert.objective import LossFn, make_loss, task_loss
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


def make_stage_loss(
    kind: str,
    model: Bert,
    head: SequenceClassifier,
    predecessor: Bert,
    *,
    mask: Any,
    per_example: Callable[..., Any] = task_loss,
    **distillation: Any,
) -> LossFn:
    """The loss of a stage; see the table above.

    Args:
      kind: one of `KINDS`.
      model: the model to train.
      head: its head.
      predecessor: the deep model.
      mask: from `stage_mask`.
      per_example: (logits, labels) -> losses [batch] of the task.
      **distillation: arguments of `make_distillation_loss`.
    """
    if kind == "replacing":
        return make_replacing_loss(predecessor, model, head, mask=mask, per_example=per_example)
    if kind == "distill":
        given = {"mask": mask, "per_example": per_example}
        return make_distillation_loss(model, head, predecessor, **given, **distillation)
    return make_loss(model, head, mask=mask, per_example=per_example)
