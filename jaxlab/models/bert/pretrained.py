"""Hugging Face BERT folders: reading them into `Bert` and its heads, and writing them.

A folder holds `config.json` and `model.safetensors` (or several files and
`model.safetensors.index.json`). PyTorch's dense weights are (out, in): they are transposed on the
way in and out.
"""

import json
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np
from etils import epath

from jaxlab.data.wordpiece import save_tokenizer
from jaxlab.errors import InputError
from jaxlab.files import write_atomically
from jaxlab.models.bert import folder, head_weights
from jaxlab.models.bert.folder import CONFIG_FILE, WEIGHTS_FILE, Names
from jaxlab.models.bert.heads import MaskedLMHead, SequenceClassifier
from jaxlab.models.bert.model import LAYER_PREFIX, Bert
from jaxlab.models.bert.model_card import write_card

_SHAPES = ("vocab_size", "hidden_size", "num_layers", "intermediate_size", "max_positions",
           "type_vocab_size", "pooler")  # fmt: skip


def load_pretrained(directory: epath.PathLike, **attributes: Any) -> tuple[Bert, dict[str, Any]]:
    """Reads the encoder of a Hugging Face BERT folder.

    Weights of task models (with the prefix `bert.`) and of bare encoders are read alike, with or
    without pooler, and with LayerNorm weights called gamma and beta, as very old files have them.
    Heads in the file are left to `load_heads`.

    Args:
      directory: a folder with config.json and model.safetensors, such as
        `huggingface_hub.snapshot_download("google-bert/bert-base-uncased")` makes.
      **attributes: attributes of `Bert` that change no shape, such as `dtype`, `remat`,
        `attention`, `dropout`.

    Returns:
      (model, params): `model.apply({"params": params}, input_ids, ...)`; params are float32.

    Raises:
      FileNotFoundError: there is no such file in the folder.
      ValueError: the folder holds another architecture, or keys are missing, unexpected or of
        another shape; they are listed.

    Example:
      >>> import jax, tempfile
      >>> model = Bert(vocab_size=9, hidden_size=4, num_layers=1, num_heads=2,
      ...              intermediate_size=8, max_positions=5)
      >>> params = model.init(jax.random.key(0), np.zeros((1, 2), int))["params"]
      >>> folder = tempfile.mkdtemp()
      >>> save_pretrained(folder, model, params)
      >>> model_again, params_again = load_pretrained(folder)
      >>> model_again == model, bool((params["pooler"]["kernel"] ==
      ...                             params_again["pooler"]["kernel"]).all())
      (True, True)
    """
    changed = [name for name in attributes if name in _SHAPES]
    if changed:
        raise InputError(f"{changed[0]} is given, but {directory} decides about it")
    config, weights, prefix, _ = _read(directory)
    fields: dict[str, Any] = {
        field: config.get(key, folder.DEFAULTS.get(field))
        for field, key in folder.CONFIG_KEYS.items()
    }
    fields["pooler"] = f"{prefix}pooler.dense.weight" in weights
    if fields["num_layers"] > len(weights):  # before names of every layer are made
        raise InputError(
            f"weights in {directory} do not fit its config: {len(weights)} in all cannot be "
            f"num_hidden_layers {fields['num_layers']}"
        )
    model = Bert(**{**fields, **attributes})
    heads = head_weights.HEADS
    outside = [k for k in weights if not k.startswith(prefix) and not k.startswith(heads)]
    inside = {k.removeprefix(prefix): v for k, v in weights.items() if k not in outside}
    # Without a prefix, heads stand next to the encoder's own keys.
    inside = {k: v for k, v in inside.items() if not k.startswith(heads)}
    for buffer in ("position_ids", "token_type_ids"):  # constants that old files have
        inside.pop(f"embeddings.{buffer}", None)
    names = encoder_names(model)
    return model, folder.to_tree(directory, inside, names, _shapes(model), outside)


def load_heads(directory: epath.PathLike) -> dict[str, tuple[nn.Module, dict[str, Any]]]:
    """Reads the heads that a Hugging Face BERT folder holds.

    Args:
      directory: as for `load_pretrained`.

    Returns:
      A dict with none, one or both of "classifier" -> (`SequenceClassifier`, params) and "mlm" ->
      (`MaskedLMHead`, params). Others (next sentence, spans, tags of tokens) are left out.

    Raises:
      FileNotFoundError: there is no such file in the folder.
      ValueError: as for `load_pretrained`.
    """
    config, weights, prefix, pooling = _read(directory)
    found = {
        "classifier": head_weights.load_classifier(directory, config, weights, pooling),
        "mlm": head_weights.load_mlm(directory, config, weights, weights[prefix + folder.WORD]),
    }
    classifier, pooler = found["classifier"], f"{prefix}pooler.dense.weight"
    if classifier and classifier[0].pooling == "pooler" and pooler not in weights:
        raise InputError(
            f"weights in {directory} have a classifier without the {pooler} that it stands on, "
            "which transformers would draw at random: take a folder that has both"
        )
    return {name: head for name, head in found.items() if head is not None}


def save_pretrained(
    directory: epath.PathLike,
    model: Bert,
    params: Mapping[str, Any],
    *,
    heads: Mapping[str, tuple[nn.Module, Mapping[str, Any]]] | None = None,
    tokenizer: Any = None,
    pairs: bool = False,
) -> None:
    """Writes a folder that `load_pretrained` and Hugging Face's transformers load.

    A classifier that pools with "pooler" or "cls" gives transformers the same logits. With "mean"
    it has no counterpart there: its weights are named so that transformers reports the classifier
    as missing. A model card (README.md) says how to use the folder in both libraries.

    Args:
      directory: the folder; made if missing.
      model: the model; config.json gives its sizes and depth.
      params: its parameters.
      heads: as `load_heads` returns them; label names come from the classifier.
      tokenizer: a `tokenizers.Tokenizer` to store, with its casing and the model's length.
      pairs: whether a classifier reads pairs of texts, for the model card.

    Raises:
      ValueError: params do not fit the model or a head, or a head is unknown or another model's.
    """
    heads = dict(heads or {})
    if unknown := set(heads) - {"classifier", "mlm"}:
        raise InputError(f"heads holds {sorted(unknown)}, known are 'classifier' and 'mlm'")
    folder.check_shapes("the model", params, _shapes(model))
    config = {key: getattr(model, field) for field, key in folder.CONFIG_KEYS.items()}
    config |= {"model_type": "bert", "position_embedding_type": "absolute", "pad_token_id": 0}
    weights: dict[str, np.ndarray] = {}
    architectures, pooling = [], None
    if "classifier" in heads:
        head, top = heads["classifier"]
        assert isinstance(head, SequenceClassifier)
        pooling = head.pooling
        found, said = head_weights.save_classifier(model, head, top)
        weights, config = {**weights, **found}, {**config, **said}
        architectures += [head_weights.CLASSIFIES] if pooling != "mean" else []
    if "mlm" in heads:
        head, top = heads["mlm"]
        assert isinstance(head, MaskedLMHead)
        weights |= head_weights.save_mlm(model, head, top)
        config["tie_word_embeddings"] = head.tied
        architectures.append(head_weights.PREDICTS)
    config["architectures"] = architectures or ["BertModel"]
    prefix = "bert." if architectures else ""
    weights |= folder.from_flat(folder.flatten(params), encoder_names(model), prefix)
    if pooling == "cls":
        weights = head_weights.through_pooler(weights, prefix, model.hidden_size)
    directory = epath.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    write_atomically(directory / CONFIG_FILE, text)
    # transformers refuses files that do not say which layout they follow.
    content = folder.safetensors().numpy.save(weights, metadata={"format": "pt"})
    write_atomically(directory / WEIGHTS_FILE, content)
    if tokenizer is not None:
        save_tokenizer(directory, tokenizer, max_length=model.max_positions)
    write_card(directory, model, {name: head for name, (head, _) in heads.items()}, pairs=pairs)


def _read(directory: epath.PathLike) -> tuple[dict[str, Any], dict[str, np.ndarray], str, str]:
    """Config, weights, the prefix of the encoder's names, and how the classifier pools."""
    config = folder.read_config(directory)
    weights, prefix = folder.read_weights(directory)
    return config, weights, prefix, head_weights.restore(weights, prefix, config)


def encoder_names(model: Bert) -> Names:
    """Name of each encoder weight in a file (without prefix), and its path in the params."""
    names: Names = {}

    def dense(theirs: str, *ours: str) -> None:
        names[f"{theirs}.weight"] = (*ours, "kernel")
        names[f"{theirs}.bias"] = (*ours, "bias")

    def norm(theirs: str, *ours: str) -> None:
        names[f"{theirs}.weight"] = (*ours, "scale")
        names[f"{theirs}.bias"] = (*ours, "bias")

    for table in ("word", "position", "token_type"):
        names[f"embeddings.{table}_embeddings.weight"] = ("embeddings", table, "embedding")
    norm("embeddings.LayerNorm", "embeddings", "norm")
    for i in range(model.num_layers):
        theirs, ours = f"encoder.layer.{i}", f"{LAYER_PREFIX}{i}"
        for part in ("query", "key", "value"):
            dense(f"{theirs}.attention.self.{part}", ours, "attention", part)
        dense(f"{theirs}.attention.output.dense", ours, "attention_output")
        norm(f"{theirs}.attention.output.LayerNorm", ours, "attention_norm")
        dense(f"{theirs}.intermediate.dense", ours, "intermediate")
        dense(f"{theirs}.output.dense", ours, "output")
        norm(f"{theirs}.output.LayerNorm", ours, "output_norm")
    if model.pooler:
        dense("pooler.dense", "pooler")
    return names


def _shapes(model: Bert) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Shape of each parameter, without building the model: the config may lie."""
    hidden, wide = model.hidden_size, model.intermediate_size
    rows = {
        "word": model.vocab_size,
        "position": model.max_positions,
        "token_type": model.type_vocab_size,
    }
    shapes = {}
    for path in encoder_names(model).values():
        module, leaf = path[-2:]
        inputs, outputs = {"intermediate": (hidden, wide), "output": (wide, hidden)}.get(
            module, (hidden, hidden)
        )
        if leaf == "embedding":
            shapes[path] = (rows[module], hidden)
        else:
            shapes[path] = (inputs, outputs) if leaf == "kernel" else (outputs,)
    return shapes
