"""Parameters to start from, out of Hugging Face folders whose tokens or labels stand otherwise."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import logging
from etils import epath

from jaxlab.data.folder import data_folder
from jaxlab.data.wordpiece import load_tokenizer
from jaxlab.errors import InputError
from jaxlab.models.bert.folder import INDEX_FILE, WEIGHTS_FILE
from jaxlab.models.bert.heads import SequenceClassifier
from jaxlab.models.bert.pretrained import load_heads, load_pretrained


def model_folder(source: epath.PathLike) -> epath.Path | None:
    """The model folder that a path is or, as `model`, holds; None where it is neither.

    Example:
      >>> import tempfile
      >>> folder = epath.Path(tempfile.mkdtemp())
      >>> (folder / "model").mkdir()
      >>> (folder / "model" / "model.safetensors").touch()
      >>> model_folder(folder).name, model_folder(folder / "model").name, model_folder("/none")
      ('model', 'model', None)
    """
    for folder in (epath.Path(source) / "model", epath.Path(source)):
        if any((folder / name).exists() for name in (WEIGHTS_FILE, INDEX_FILE)):
            return folder
    return None


def find_folder(name: str, data_dir: Any = None) -> epath.Path:
    """The model folder of a name: from the working folder, else from the data folder.

    Where there is none, the place in the data folder, of which `load_pretrained` says what lacks.

    Example:
      >>> find_folder("minilm", "/data")
      PosixGPath('/data/minilm')
    """
    inside = epath.Path(str(data_folder(data_dir))) / name
    for place in (epath.Path(name).expanduser(), inside):
        if (folder := model_folder(place)) is not None:
            return folder
    return inside


def match_labels(theirs: Sequence[str], ours: Sequence[str], count: int) -> list[int] | None:
    """Where each of our labels stands among those of a classifier.

    Names are compared without regard to case. Numbers are those of its classes where none of its
    names is a number, and so are our names where it has none.

    Args:
      theirs: names of its classes; empty where it has none.
      ours: names of ours.
      count: its classes.

    Returns:
      A class for each of `ours`, all different; None where one is not to be found.

    Example:
      >>> match_labels(("NEGATIVE", "POSITIVE"), ("positive", "negative"), 2)
      [1, 0]
      >>> match_labels(("no", "yes"), ("0", "1"), 2), match_labels((), ("ham", "spam"), 2)
      ([0, 1], [0, 1])
      >>> match_labels(("no", "yes"), ("no", "perhaps"), 2) is None
      True
    """
    plain = lambda name: str(name).strip().casefold()
    number = {plain(name): i for i, name in enumerate(theirs)}
    found = [number.get(plain(name), -1) for name in ours]
    if not theirs and len(ours) == count:
        found = list(range(count))
    elif max(found, default=-1) < 0 and all(str(name).isdecimal() for name in ours):
        found = [int(name) if int(name) < count else -1 for name in ours]
    return None if -1 in found or len(set(found)) < len(found) else found


def load_classifier(
    folder: epath.PathLike, label_names: Sequence[str]
) -> tuple[SequenceClassifier, dict[str, Any]] | None:
    """The classifier of a folder, its classes in the order of ours; None where it has none.

    Classes of the folder that ours lack come after them.

    Args:
      folder: with a model.
      label_names: ours; empty for regression.

    Raises:
      ValueError: one of ours is none of its classes, or only one of the two is a regression.
    """
    if "classifier" not in (heads := load_heads(folder)):
        return None
    found, params = heads["classifier"]
    assert isinstance(found, SequenceClassifier)
    count, theirs = found.num_labels, found.label_names
    if (count == 1) != (not label_names):
        kinds = ("classes", "one number")
        raise InputError(
            f"{folder} has a classifier of {count} labels, the data have "
            f"{kinds[not label_names]}: both must be classes, or regression"
        )
    if count == 1:
        return found, params
    order = match_labels(theirs, label_names, count)
    if order is None:
        raise InputError(
            f"{folder} has the labels {_listed(theirs) if theirs else f'0 to {count - 1}'}, the "
            f"data have {_listed(label_names)}: the data's must be among the folder's"
        )
    if list(map(str, theirs)) != list(label_names):
        shown = [f"{ours}: {theirs[i] if theirs else i}" for ours, i in zip(label_names, order)]  # noqa: B905
        logging.info("%s: labels and classes: %s", folder, _listed(shown))
    order += [i for i in range(count) if i not in order]
    names = (*label_names, *(theirs[i] for i in order[len(label_names) :]))
    dense = {
        "kernel": params["dense"]["kernel"][:, np.array(order)],
        "bias": params["dense"]["bias"][np.array(order)],
    }
    return found.clone(label_names=names), {"dense": dense}


def folder_weights(
    folder: epath.PathLike, fresh: Mapping[str, Any], tokenizer: Any, head: Any
) -> dict[str, Any]:
    """{"bert", "head"} of a folder for a model at hand; what it lacks stays fresh.

    Where the folder's tokenizer has other tokens, rows are taken by token. A pooler that the model
    does not have is left out.

    Args:
      folder: with a model.
      fresh: {"bert", "head"} of the model at hand.
      tokenizer: the one that the model reads.
      head: its head, a `SequenceClassifier` with label names or a `MaskedLMHead`.

    Raises:
      ValueError: a file is damaged, or labels differ.
    """
    _, body = load_pretrained(folder)
    if "pooler" not in fresh["bert"]:
        body.pop("pooler", None)
    if isinstance(head, SequenceClassifier):
        found = load_classifier(folder, head.label_names)
        if found is not None and found[0].pooling != head.pooling:
            raise InputError(
                f"{folder} has a classifier over {found[0].pooling!r}, head.pooling is "
                f"{head.pooling!r}: must be the same"
            )
    else:
        found = load_heads(folder).get("mlm")
    if found is None:
        logging.info("%s has no such head: it starts anew", folder)
    old, new = load_tokenizer(str(folder)).get_vocab(), tokenizer.get_vocab()
    params = {"bert": body} | ({} if found is None else {"head": found[1]})
    if old != new:
        params = _by_token(params, fresh, old, new)
    return {"head": fresh["head"], **params}


def _by_token(params, fresh, old, new) -> dict[str, Any]:
    """Parameters whose rows of tokens are those of our tokens."""
    word = params["bert"]["embeddings"]["word"]["embedding"]
    own = fresh["bert"]["embeddings"]["word"]["embedding"]
    if word.shape[1] != own.shape[1]:
        return params  # which fits nowhere, as whoever compares shapes will say
    shared = sorted((i, old[token]) for token, i in new.items() if token in old)
    logging.info("%d of %d tokens are in the weights' vocabulary", len(shared), len(new))
    at, of = np.array(shared, int).reshape(-1, 2).T
    rows = lambda x, y: jnp.asarray(y).at[at].set(jnp.asarray(x)[of])
    bert = dict(params["bert"])
    bert["embeddings"] = {**bert["embeddings"], "word": {"embedding": rows(word, own)}}
    found = {"bert": bert}
    if "head" in params:  # of tokens: its bias, and an output matrix of its own
        found["head"] = {
            name: rows(x, fresh["head"][name]) if name in ("bias", "decoder") else x
            for name, x in params["head"].items()
        }
    return found


def _listed(names: Sequence[Any], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more
