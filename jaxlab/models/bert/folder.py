"""Files of a Hugging Face BERT folder: config and weights, checked, and parameters of them.

PyTorch's dense weights are (out, in): they are transposed on the way in and out.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import traverse_util

from jaxlab.errors import InputError, missing
from jaxlab.files import read_json
from jaxlab.models.bert.heads import POOLINGS, PROBLEM_TYPES
from jaxlab.models.bert.model import ACTIVATIONS

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
INDEX_FILE = f"{WEIGHTS_FILE}.index.json"
WORD = "embeddings.word_embeddings.weight"
_MOST_LISTED = 12  # keys named in a message
_DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16,
    "I64": np.int64,  # the buffer of positions in old files
}  # fmt: skip

Names = dict[str, tuple[str, ...]]  # name in the file -> path in the parameter tree

# Field of Bert -> key of config.json. Those without a default in `DEFAULTS` must be there.
CONFIG_KEYS = {
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
DEFAULTS = {
    "type_vocab_size": 2,
    "norm_eps": 1e-12,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "activation": "gelu",
    "init_scale": 0.02,
}


class _Rule(NamedTuple):
    holds: Callable[[Any], bool]
    text: str


def _number(value: Any) -> bool:
    return type(value) in (int, float)


def _one_of(*allowed: Any) -> _Rule:
    return _Rule(lambda x: any(type(x) is type(a) and x == a for a in allowed), f"one of {allowed}")


_SIZE = _Rule(lambda x: type(x) is int and x >= 1, "an integer of at least 1")
_RATE = _Rule(lambda x: _number(x) and 0 <= x <= 1, "a number in [0, 1]")
_RULES = {
    **{key: _SIZE for field, key in CONFIG_KEYS.items() if field not in DEFAULTS},
    "type_vocab_size": _SIZE,
    "num_labels": _SIZE,
    "layer_norm_eps": _Rule(lambda x: _number(x) and 0 < x < 1, "a number in (0, 1)"),
    "initializer_range": _Rule(lambda x: _number(x) and 0 <= x < 1e3, "a number, at least 0"),
    "hidden_dropout_prob": _RATE,
    "attention_probs_dropout_prob": _RATE,
    "classifier_dropout": _Rule(
        lambda x: x is None or _RATE.holds(x), "null or a number in [0, 1]"
    ),
    "hidden_act": _one_of(*ACTIVATIONS),
    "position_embedding_type": _one_of("absolute"),
    "is_decoder": _one_of(False),
    "add_cross_attention": _one_of(False),
    "tie_word_embeddings": _one_of(True, False),
    "pruned_heads": _Rule(lambda x: not x, "empty: heads are not pruned here"),
    "classifier_pooling": _one_of(*POOLINGS),
    "problem_type": _one_of(None, *PROBLEM_TYPES),
    "id2label": _Rule(
        lambda x: isinstance(x, dict)
        and {str(k) for k in x} == {str(i) for i in range(len(x))}
        and all(isinstance(v, str) for v in x.values()),
        'names of classes by number: {"0": "...", "1": "..."}',
    ),
    "architectures": _Rule(
        lambda x: x is None or (isinstance(x, list) and all(isinstance(v, str) for v in x)),
        "a list of class names",
    ),
}  # fmt: skip


def read_config(directory: epath.PathLike) -> dict[str, Any]:
    """config.json of a BERT, every key that matters here checked.

    Raises:
      FileNotFoundError: it is missing.
      ValueError: it is no JSON object, of another architecture, or a key is not what it must be;
        the message names file and key.
    """
    path = epath.Path(directory) / CONFIG_FILE
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: {directory} is not a model folder")
    config = read_json(path)
    if not isinstance(config, dict):
        raise InputError(f"{path} holds a {type(config).__name__}, must hold an object")
    kind = config.get("model_type", "bert")
    if kind != "bert":
        raise InputError(f"{path} has model_type {kind!r}, must be 'bert'")
    for field, key in CONFIG_KEYS.items():
        if key not in config and field not in DEFAULTS:
            raise InputError(f"{path} has no {key}, a BERT needs one")
    for key, rule in _RULES.items():
        if key in config and not rule.holds(config[key]):
            raise InputError(f"{path} has {key} {_shown(config[key])}, must be {rule.text}")
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    if hidden % heads:
        raise InputError(
            f"{path} has num_attention_heads {heads}, must be a divisor of hidden_size {hidden}"
        )
    return config


def read_weights(directory: epath.PathLike) -> tuple[dict[str, np.ndarray], str]:
    """All arrays of a folder under today's names, and the prefix of the encoder's names.

    Raises:
      FileNotFoundError: there are no weights, or one of several files is missing.
      ValueError: a file is damaged or not finite, or there is not one encoder.
    """
    folder, weights = epath.Path(directory), {}
    for file in _files(folder):
        if not (folder / file).exists():
            raise FileNotFoundError(f"{folder / file} is missing, which {INDEX_FILE} names")
        for name, value in _arrays(folder / file).items():
            if (today := _today(name)) in weights:
                raise InputError(f"{folder / file} has {name}, which is there already: {today}")
            weights[today] = value
    found = [name.removesuffix(WORD) for name in weights if name.endswith(WORD)]
    if len(found) != 1:
        raise InputError(f"{folder} holds {len(found)} keys {WORD!r}, one encoder has one")
    return weights, found[0]


def safetensors() -> Any:
    """The package `safetensors`, which not every installation has."""
    try:
        import safetensors.numpy
    except ModuleNotFoundError as error:
        raise missing("safetensors", "train") from error
    return safetensors


def _files(folder: epath.Path) -> list[str]:
    """Names of the files with weights."""
    if (folder / WEIGHTS_FILE).exists():
        return [WEIGHTS_FILE]
    path = folder / INDEX_FILE
    if not path.exists():
        others = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".h5", ".pt"))
        hint = f" ({others[0]} must be saved as safetensors first)" if others else ""
        raise FileNotFoundError(f"{folder / WEIGHTS_FILE} is missing{hint}")
    index = read_json(path)
    places = index.get("weight_map") if isinstance(index, Mapping) else None
    if not isinstance(places, dict) or not places:
        raise InputError(f"{path} is no index of weights: it has no weight_map")
    for key, file in places.items():
        if not isinstance(file, str) or "/" in file or "\\" in file or file in ("", ".", ".."):
            raise InputError(
                f"{path} is no index of weights: {key} is in {_shown(file)}, must be the name of "
                "a file in the folder"
            )
    return sorted(set(places.values()))


def _arrays(path: epath.Path) -> dict[str, np.ndarray]:
    package = safetensors()
    try:
        found = package.deserialize(path.read_bytes())
    except package.SafetensorError as error:
        raise InputError(f"{path} is not a safetensors file: {error}") from error
    arrays = {}
    for name, value in sorted(found, key=lambda one: one[0]):  # the library gives no order
        kind = value["dtype"]
        if kind not in _DTYPES:
            raise InputError(
                f"{path} has weights of type {kind} ({name}): save them as float32 first"
            )
        array = np.frombuffer(value["data"], _DTYPES[kind]).reshape(value["shape"])
        if kind != "I64":
            array = array.astype(np.float32)
            if not np.isfinite(array).all():
                raise InputError(f"{path} has values in {name} that are not finite")
        arrays[name] = array
    return arrays


def flatten(params: Any) -> dict[tuple[str, ...], Any]:
    """Leaves by their path."""
    return traverse_util.flatten_dict(params)


def to_tree(
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
    problems += [
        f"{name} has integers"
        for name in wanted
        if weights.get(name, np.float32(0)).dtype.kind != "f"
    ]
    if problems:
        raise InputError(f"weights in {directory} do not fit its config: {_listed(problems)}")
    flat = {}
    for name, path in names.items():
        value = np.asarray(weights[name]).astype(np.float32)
        flat[path] = value.T if path[-1] == "kernel" else value
    # `jnp.asarray` would compile a program for every shape.
    return traverse_util.unflatten_dict(jax.device_put(flat))


def from_flat(
    flat: Mapping[tuple[str, ...], Any], names: Names, prefix: str = ""
) -> dict[str, np.ndarray]:
    """Weights of a file, named `prefix` + name."""
    weights = {}
    for name, path in names.items():
        value = np.asarray(flat[path], np.float32)
        weights[prefix + name] = np.ascontiguousarray(value.T if path[-1] == "kernel" else value)
    return weights


def check_shapes(what: str, params: Any, want: Mapping) -> None:
    """Raises unless params have the shapes that `what` needs."""
    found = {path: np.shape(leaf) for path, leaf in flatten(params).items()}
    if problems := _differences(found, want, show="/".join):
        raise InputError(f"params do not fit {what}: {_listed(problems)}")


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


def _today(name: str) -> str:
    for old, new in (("gamma", "weight"), ("beta", "bias")):
        name = name.removesuffix(old) + new if name.endswith(f"LayerNorm.{old}") else name
    return name


def _shown(value: Any) -> str:
    text = json.dumps(value) if isinstance(value, dict | list | bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
