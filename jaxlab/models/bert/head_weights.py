"""Heads in Hugging Face folders: what their weights are called there, and what they mean.

transformers' sequence classifier is a dense layer over BERT's pooler, tanh of a dense layer over
the first state. Of ours, one with pooling "pooler" is the same, and one with "cls" is put behind a
pooler that lets the state pass. One with "mean" has no counterpart: its weights get names of their
own, so that transformers finds no classifier rather than another one.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxlab.errors import InputError
from jaxlab.models.bert.folder import Names, check_shapes, flatten, from_flat, to_tree
from jaxlab.models.bert.heads import MaskedLMHead, SequenceClassifier
from jaxlab.models.bert.model import Bert

CLASSIFIES, PREDICTS = "BertForSequenceClassification", "BertForMaskedLM"
_OTHER_CLASSIFIERS = {"BertForTokenClassification", "BertForMultipleChoice"}
_CLASSIFIER, _MEAN, _MLM = "classifier.", "mean_classifier.", "cls.predictions."
_POOLER, _OWN_POOLER = "pooler.dense.", "own_pooler.dense."  # the second: not used by the head
_SCALE = 2.0**-13  # a power of two: scaling by it and back is exact
HEADS = (_CLASSIFIER, _MEAN, _OWN_POOLER, "cls.", "qa_outputs.")


def restore(weights: dict[str, np.ndarray], prefix: str, config: Mapping[str, Any]) -> str:
    """Undoes `through_pooler` in weights that were read, and returns the classifier's pooling.

    Weights say more than config.json, which transformers copies when it trains and saves a model.
    """
    names = [_POOLER + part for part in ("weight", "bias")]
    if f"{_MEAN}weight" in weights:
        return "mean"
    if f"{_CLASSIFIER}weight" in weights and all(prefix + name in weights for name in names):
        kernel, bias = (weights[prefix + name] for name in names)
        if not bias.any() and np.array_equal(kernel, _SCALE * np.eye(len(kernel))):
            kernel = weights[f"{_CLASSIFIER}weight"]
            weights[f"{_CLASSIFIER}weight"] = kernel * np.float32(_SCALE)
            for part in ("weight", "bias"):
                del weights[prefix + _POOLER + part]
                if _OWN_POOLER + part in weights:
                    weights[prefix + _POOLER + part] = weights.pop(_OWN_POOLER + part)
            return "cls"
    if CLASSIFIES in (config.get("architectures") or ()):
        return "pooler"
    return config.get("classifier_pooling", "pooler")  # as folders once said it


def through_pooler(
    weights: Mapping[str, np.ndarray], prefix: str, hidden: int
) -> dict[str, np.ndarray]:
    """Weights with a pooler that lets the first state pass: tanh(s x) / s is x - s^2 x^3 / 3.

    The classifier's kernel is divided by s. A pooler of the model's own is kept as well.
    """
    found = dict(weights)
    for part in ("weight", "bias"):
        if (name := prefix + _POOLER + part) in found:
            found[_OWN_POOLER + part] = found[name]
    found[f"{prefix}{_POOLER}weight"] = np.eye(hidden, dtype=np.float32) * np.float32(_SCALE)
    found[f"{prefix}{_POOLER}bias"] = np.zeros(hidden, np.float32)
    found[f"{_CLASSIFIER}weight"] = found[f"{_CLASSIFIER}weight"] / np.float32(_SCALE)
    return found


def load_classifier(
    directory: Any, config: Mapping[str, Any], weights: Mapping[str, np.ndarray], pooling: str
) -> tuple[SequenceClassifier, dict[str, Any]] | None:
    """The classifier of whole sequences, if there is one."""
    start = _MEAN if pooling == "mean" and f"{_MEAN}weight" in weights else _CLASSIFIER
    inside = {k: v for k, v in weights.items() if k.startswith(start)}
    if not inside or _OTHER_CLASSIFIERS & set(config.get("architectures") or ()):
        return None
    hidden = config["hidden_size"]
    count = (*inside[max(inside)].shape, 0)[0]  # rows of the weight; it may be anything
    names = _names(start)
    shapes = {("dense", "kernel"): (hidden, count), ("dense", "bias"): (count,)}
    params = to_tree(directory, inside, names, shapes)
    labels = config.get("id2label")
    said = config.get("num_labels", count) if labels is None else len(labels)
    if said != count:
        key = "num_labels" if labels is None else "id2label"
        raise InputError(
            f"config.json in {directory} has {said} classes ({key}), {start}bias has {count}"
        )
    chosen = tuple(v for _, v in sorted((int(i), v) for i, v in (labels or {}).items()))
    drop = config.get("classifier_dropout")
    head = SequenceClassifier(
        count,
        pooling=pooling,
        dropout=config.get("hidden_dropout_prob", 0.1) if drop is None else drop,
        init_scale=config.get("initializer_range", 0.02),
        label_names=() if chosen == _default_labels(count) else chosen,
        problem_type=None if (kind := config.get("problem_type")) == _problem(count) else kind,
    )
    return head, params


def save_classifier(
    model: Bert, head: SequenceClassifier, params: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Weights of a classifier, and what config.json says about it.

    Raises:
      ValueError: the parameters or the label names do not fit, or the model has no pooler.
    """
    count = head.num_labels
    shapes = {("dense", "kernel"): (model.hidden_size, count), ("dense", "bias"): (count,)}
    check_shapes("the classifier", params, shapes)
    if head.pooling == "pooler" and not model.pooler:
        raise InputError("the classifier's pooling is 'pooler', the model has none")
    labels = head.label_names or _default_labels(count)
    if len(labels) != count:
        raise InputError(f"label_names are {len(labels)}, the classifier has {count} labels")
    # Labels are keys too, so that each must be another.
    twice = {label for label in labels if labels.count(label) > 1}
    labels = [f"{label} ({i})" if label in twice else label for i, label in enumerate(labels)]
    start = _MEAN if head.pooling == "mean" else _CLASSIFIER
    return from_flat(flatten(params), _names(start)), {
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
        "classifier_dropout": head.dropout,
        "classifier_pooling": head.pooling,
        "problem_type": head.problem_type or _problem(count),
    }


def load_mlm(
    directory: Any, config: Mapping[str, Any], weights: Mapping[str, np.ndarray], word: np.ndarray
) -> tuple[MaskedLMHead, dict[str, Any]] | None:
    """The head of tokens, if there is one; its output matrix is `word` unless it has another."""
    inside = {k: v for k, v in weights.items() if k.startswith(_MLM)}
    if not inside:
        return None
    own = inside.pop(f"{_MLM}decoder.weight", None)
    tied = config.get("tie_word_embeddings", True) if own is None else np.array_equal(own, word)
    if own is not None and not tied:
        inside[f"{_MLM}decoder.weight"] = own
    # Where both are there, the decoder's is the one that is added.
    if (bias := inside.pop(f"{_MLM}decoder.bias", None)) is not None:
        inside[f"{_MLM}bias"] = bias
    head = MaskedLMHead(
        activation=config.get("hidden_act", "gelu"),
        norm_eps=config.get("layer_norm_eps", 1e-12),
        init_scale=config.get("initializer_range", 0.02),
        tied=bool(tied),
    )
    return head, to_tree(directory, inside, _mlm_names(head), _mlm_shapes(config, head))


def save_mlm(model: Bert, head: MaskedLMHead, params: Any) -> dict[str, np.ndarray]:
    """Weights of a head of tokens.

    Raises:
      ValueError: the parameters do not fit, or activation or epsilon are not the model's.
    """
    sizes = {"hidden_size": model.hidden_size, "vocab_size": model.vocab_size}
    check_shapes("the token head", params, _mlm_shapes(sizes, head))
    for name in ("activation", "norm_eps"):  # transformers has one for encoder and head
        ours, its = getattr(head, name), getattr(model, name)
        if ours != its:
            raise InputError(f"the token head has {name} {ours}, the model {its}: must be equal")
    weights = from_flat(flatten(params), _mlm_names(head))
    if not head.tied:
        weights[f"{_MLM}decoder.bias"] = weights[f"{_MLM}bias"]
    return weights


def _problem(count: int) -> str:
    return "regression" if count == 1 else "single_label_classification"


def _names(start: str) -> Names:
    return {f"{start}weight": ("dense", "kernel"), f"{start}bias": ("dense", "bias")}


def _mlm_names(head: MaskedLMHead) -> Names:
    names: Names = {
        f"{_MLM}transform.dense.weight": ("dense", "kernel"),
        f"{_MLM}transform.dense.bias": ("dense", "bias"),
        f"{_MLM}transform.LayerNorm.weight": ("norm", "scale"),
        f"{_MLM}transform.LayerNorm.bias": ("norm", "bias"),
        f"{_MLM}bias": ("bias",),
    }
    return names if head.tied else {**names, f"{_MLM}decoder.weight": ("decoder",)}


def _mlm_shapes(config: Mapping[str, Any], head: MaskedLMHead) -> dict:
    hidden, vocab = config["hidden_size"], config["vocab_size"]
    shapes = {
        ("dense", "kernel"): (hidden, hidden),
        **dict.fromkeys((("dense", "bias"), ("norm", "scale"), ("norm", "bias")), (hidden,)),
        ("bias",): (vocab,),
    }
    return shapes if head.tied else {**shapes, ("decoder",): (vocab, hidden)}


def _default_labels(count: int) -> tuple[str, ...]:
    return tuple(f"LABEL_{i}" for i in range(count))
