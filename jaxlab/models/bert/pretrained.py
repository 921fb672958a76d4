"""Hugging Face BERT folders: reading them into `Bert` and its heads, and writing them.

A folder holds `config.json` and `model.safetensors` (or several files and
`model.safetensors.index.json`). PyTorch's dense weights are (out, in): they are transposed on the
way in and out.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import traverse_util

from jaxlab.errors import InputError, MissingPackageError
from jaxlab.files import write_atomically
from jaxlab.models.bert.heads import MaskedLMHead, SequenceClassifier
from jaxlab.models.bert.model import ACTIVATIONS, LAYER_PREFIX, Bert

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
_INDEX_FILE = f"{WEIGHTS_FILE}.index.json"
_WORD = "embeddings.word_embeddings.weight"
_HEADS = ("classifier.", "cls.", "qa_outputs.")
_MOST_LISTED = 12  # keys named in a message

# Field of Bert -> key of config.json. Those without a default in `_DEFAULTS` must be there.
_CONFIG_KEYS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "max_positions": "max_position_embeddings",
    "type_vocab_size": "type_vocab_size",
    "norm_eps": "layer_norm_eps",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "activation": "hidden_act",
    "init_scale": "initializer_range",
}
_DEFAULTS = {
    "type_vocab_size": 2,
    "norm_eps": 1e-12,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "activation": "gelu",
    "init_scale": 0.02,
}
_SHAPES = ("vocab_size", "hidden_size", "num_layers", "intermediate_size", "max_positions",
           "type_vocab_size", "pooler")  # fmt: skip

Names = dict[str, tuple[str, ...]]  # name in the file -> path in the parameter tree


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
      >>> import tempfile
      >>> model = Bert(vocab_size=9, hidden_size=4, num_layers=1, num_heads=2,
      ...              intermediate_size=8, max_positions=5)
      >>> params = model.init(jax.random.key(0), jnp.zeros((1, 2), int))["params"]
      >>> folder = tempfile.mkdtemp()
      >>> save_pretrained(folder, model, params)
      >>> model_again, params_again = load_pretrained(folder)
      >>> model_again == model, bool((params["pooler"]["kernel"] ==
      ...                             params_again["pooler"]["kernel"]).all())
      (True, True)
    """
    changed = [name for name in attributes if name in _SHAPES]
    if changed:
        raise InputError(f"{changed[0]} is given, but the folder decides about it")
    config = _read_config(directory)
    weights, prefix = _read_weights(directory)
    fields = {field: config.get(key, _DEFAULTS.get(field)) for field, key in _CONFIG_KEYS.items()}
    fields["pooler"] = f"{prefix}pooler.dense.weight" in weights
    model = Bert(**{**fields, **attributes})
    outside = [k for k in weights if not k.startswith(prefix) and not k.startswith(_HEADS)]
    inside = {k.removeprefix(prefix): v for k, v in weights.items() if k not in outside}
    # Without a prefix, heads are beside the encoder's own keys.
    inside = {k: v for k, v in inside.items() if not k.startswith(_HEADS)}
    inside.pop("embeddings.position_ids", None)  # a buffer 0, 1, 2, ... of old files
    return model, _to_tree(directory, inside, encoder_names(model), _shapes(model), outside)


def load_heads(directory: epath.PathLike) -> dict[str, tuple[nn.Module, dict[str, Any]]]:
    """Reads the heads that a Hugging Face BERT folder holds.

    Args:
      directory: as for `load_pretrained`.

    Returns:
      A dict with none, one or both of "classifier" -> (`SequenceClassifier`, params) and "mlm" ->
      (`MaskedLMHead`, params). Others (next sentence, spans) are left out.

    Raises:
      FileNotFoundError: there is no such file in the folder.
      ValueError: as for `load_pretrained`.
    """
    config = _read_config(directory)
    weights, _ = _read_weights(directory)
    hidden, vocab = config["hidden_size"], config["vocab_size"]
    heads: dict[str, tuple[nn.Module, dict[str, Any]]] = {}
    inside = {k: v for k, v in weights.items() if k.startswith("classifier.")}
    if inside:
        count = len(inside.get("classifier.bias", ()))
        drop = config.get("classifier_dropout")
        head = SequenceClassifier(
            count,
            pooling=config.get("classifier_pooling", "pooler"),
            dropout=config.get("hidden_dropout_prob", 0.1) if drop is None else drop,
            init_scale=config.get("initializer_range", 0.02),
        )
        shapes = {("dense", "kernel"): (hidden, count), ("dense", "bias"): (count,)}
        heads["classifier"] = (head, _to_tree(directory, inside, _CLASSIFIER, shapes))
    inside = {k: v for k, v in weights.items() if k.startswith("cls.predictions.")}
    if inside:
        # The decoder is the word embedding again, its bias the bias again.
        inside = {k: v for k, v in inside.items() if ".decoder." not in k}
        head = MaskedLMHead(
            activation=config.get("hidden_act", "gelu"),
            norm_eps=config.get("layer_norm_eps", 1e-12),
            init_scale=config.get("initializer_range", 0.02),
        )
        shapes = {
            ("dense", "kernel"): (hidden, hidden),
            **dict.fromkeys((("dense", "bias"), ("norm", "scale")), (hidden,)),
            ("norm", "bias"): (hidden,),
            ("bias",): (vocab,),
        }
        heads["mlm"] = (head, _to_tree(directory, inside, _MLM, shapes))
    return heads


def save_pretrained(
    directory: epath.PathLike,
    model: Bert,
    params: Mapping[str, Any],
    *,
    heads: Mapping[str, tuple[nn.Module, Mapping[str, Any]]] | None = None,
    tokenizer: Any = None,
) -> None:
    """Writes a folder that `load_pretrained` and Hugging Face's transformers load.

    Args:
      directory: the folder; made if missing.
      model: the model; config.json tells its sizes and depth.
      params: its parameters.
      heads: as `load_heads` returns them. A "classifier" that does not pool with "pooler" has no
        counterpart there: transformers then loads the encoder alone, `load_heads` the head too.
      tokenizer: a `tokenizers.Tokenizer` to store as tokenizer.json.

    Raises:
      ValueError: params do not fit the model, or a head is unknown.
    """
    heads = dict(heads or {})
    if unknown := set(heads) - {"classifier", "mlm"}:
        raise InputError(f"heads holds {sorted(unknown)}, known are 'classifier' and 'mlm'")
    config = {key: getattr(model, field) for field, key in _CONFIG_KEYS.items()}
    config |= {"model_type": "bert", "position_embedding_type": "absolute", "pad_token_id": 0}
    architecture = "BertForMaskedLM" if "mlm" in heads else "BertModel"
    if "classifier" in heads:
        head = heads["classifier"][0]
        assert isinstance(head, SequenceClassifier)
        labels = range(head.num_labels)
        config["id2label"] = {str(i): f"LABEL_{i}" for i in labels}
        config["label2id"] = {f"LABEL_{i}": i for i in labels}
        config["classifier_dropout"] = head.dropout
        config["classifier_pooling"] = head.pooling
        if head.pooling == "pooler":
            architecture = "BertForSequenceClassification"
    config["architectures"] = [architecture]
    prefix = "" if architecture == "BertModel" else "bert."
    flat = _flat(params)
    want = _shapes(model)
    problems = _differences(
        {path: np.shape(leaf) for path, leaf in flat.items()}, want, show="/".join
    )
    if problems:
        raise InputError(f"params do not fit the model: {_listed(problems)}")
    weights = _from_flat(flat, encoder_names(model), prefix)
    for name, names in (("classifier", _CLASSIFIER), ("mlm", _MLM)):
        if name in heads:
            weights |= _from_flat(_flat(heads[name][1]), names, "")
    directory = epath.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    write_atomically(directory / CONFIG_FILE, text)
    # transformers refuses files that do not say which layout they follow.
    write_atomically(
        directory / WEIGHTS_FILE, _safetensors().numpy.save(weights, metadata={"format": "pt"})
    )
    if tokenizer is not None:
        write_atomically(directory / "tokenizer.json", tokenizer.to_str())


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


_CLASSIFIER: Names = {
    "classifier.weight": ("dense", "kernel"),
    "classifier.bias": ("dense", "bias"),
}
_MLM: Names = {
    "cls.predictions.transform.dense.weight": ("dense", "kernel"),
    "cls.predictions.transform.dense.bias": ("dense", "bias"),
    "cls.predictions.transform.LayerNorm.weight": ("norm", "scale"),
    "cls.predictions.transform.LayerNorm.bias": ("norm", "bias"),
    "cls.predictions.bias": ("bias",),
}


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ModuleNotFoundError as error:
        raise MissingPackageError("safetensors is missing: pip install -e '.[text]'") from error
    return safetensors


def _read_config(directory: epath.PathLike) -> dict[str, Any]:
    path = epath.Path(directory) / CONFIG_FILE
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: {directory} is not a model folder")
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"{path} holds a {type(config).__name__}, must hold an object")
    kind = config.get("model_type", "bert")
    if kind != "bert":
        raise InputError(f"{path} has model_type {kind!r}, must be 'bert'")
    rules = {
        "position_embedding_type": ("absolute",),
        "is_decoder": (False,),
        "add_cross_attention": (False,),
        "hidden_act": tuple(ACTIVATIONS),
    }
    for key, allowed in rules.items():
        if config.get(key, allowed[0]) not in allowed:
            raise InputError(f"{path} has {key} {config[key]!r}, known are {allowed}")
    for field, key in _CONFIG_KEYS.items():
        if key not in config and field not in _DEFAULTS:
            raise InputError(f"{path} has no {key}, a BERT needs one")
    return config


def _read_weights(directory: epath.PathLike) -> tuple[dict[str, np.ndarray], str]:
    """All arrays of a folder under today's names, and the prefix of the encoder's names."""
    folder = epath.Path(directory)
    files = [WEIGHTS_FILE]
    if not (folder / WEIGHTS_FILE).exists():
        if not (folder / _INDEX_FILE).exists():
            others = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".h5", ".pt"))
            hint = f" ({others[0]} must be saved as safetensors first)" if others else ""
            raise FileNotFoundError(f"{folder / WEIGHTS_FILE} is missing{hint}")
        try:
            index = json.loads((folder / _INDEX_FILE).read_text())
            files = sorted(set(index["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{folder / _INDEX_FILE} is no index of weights: {error}") from error
    weights: dict[str, np.ndarray] = {}
    safetensors = _safetensors()
    for file in files:
        content = (folder / file).read_bytes()
        try:
            weights |= safetensors.numpy.load(content)
        except KeyError as error:  # a dtype that NumPy does not have
            raise InputError(
                f"{folder / file} has weights of type {error.args[0]}: save them as float32 first"
            ) from error
        except safetensors.SafetensorError as error:
            raise InputError(f"{folder / file} is not a safetensors file: {error}") from error
    weights = {_today(name): value for name, value in weights.items()}
    found = [name.removesuffix(_WORD) for name in weights if name.endswith(_WORD)]
    if len(found) != 1:
        raise InputError(f"{folder} holds {len(found)} keys {_WORD!r}, one encoder has one")
    return weights, found[0]


def _today(name: str) -> str:
    for old, new in (("gamma", "weight"), ("beta", "bias")):
        name = name.removesuffix(old) + new if name.endswith(f"LayerNorm.{old}") else name
    return name


def _shapes(model: Bert) -> dict[tuple[str, ...], tuple[int, ...]]:
    # Rematerialisation and dtype change no parameter; without them tracing is shorter.
    plain = dataclasses.replace(model, remat=False, dtype=None, attention="einsum")
    init = lambda: plain.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
    return {path: leaf.shape for path, leaf in _flat(jax.eval_shape(init)).items()}


def _flat(params: Any) -> dict[tuple[str, ...], Any]:
    return traverse_util.flatten_dict(params)


def _to_tree(
    directory: epath.PathLike,
    weights: Mapping[str, np.ndarray],
    names: Names,
    shapes: Mapping[tuple[str, ...], tuple[int, ...]],
    unexpected: Iterable[str] = (),
) -> dict[str, Any]:
    """The parameter tree of arrays, all of them checked."""
    wanted = {name: _turn(path, shapes[path]) for name, path in names.items()}
    problems = _differences({name: value.shape for name, value in weights.items()}, wanted)
    problems += [f"unexpected {name}" for name in unexpected]
    if problems:
        raise InputError(f"weights in {directory} do not fit its config: {_listed(problems)}")
    flat = {}
    for name, path in names.items():
        value = np.asarray(weights[name]).astype(np.float32)
        flat[path] = jnp.asarray(value.T if path[-1] == "kernel" else value)
    return traverse_util.unflatten_dict(flat)


def _from_flat(flat: Mapping[tuple[str, ...], Any], names: Names, prefix: str) -> dict:
    weights = {}
    for name, path in names.items():
        value = np.asarray(flat[path], np.float32)
        weights[prefix + name] = np.ascontiguousarray(value.T if path[-1] == "kernel" else value)
    return weights


def _turn(path: tuple[str, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[::-1] if path[-1] == "kernel" else shape


def _differences(found: Mapping, wanted: Mapping, show: Callable[[Any], str] = str) -> list[str]:
    """What is missing, unexpected, or has another shape."""
    return (
        [f"missing {show(name)}" for name in wanted if name not in found]
        + [f"unexpected {show(name)}" for name in found if name not in wanted]
        + [
            f"{show(name)} has shape {found[name]}, must have {shape}"
            for name, shape in wanted.items()
            if name in found and found[name] != shape
        ]
    )


def _listed(problems: list[str]) -> str:
    more = len(problems) - _MOST_LISTED
    return "; ".join(problems[:_MOST_LISTED]) + (f"; and {more} more" if more > 0 else "")
