"""What a study of compression begins with: tokenizer, model, head, and weights of a folder."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import logging
from etils import epath

from jaxlab import mesh as mesh_lib
from jaxlab.data.text import TextSet
from jaxlab.data.wordpiece import load_tokenizer, own_tokenizer
from jaxlab.errors import InputError
from jaxlab.models import bert
from jaxlab.models.bert.model import attributes
from jaxlab.tasks.compression.opened import stage_names


class Beginning(NamedTuple):
    """Before any training.

    Attributes:
      tokenizer: of the model.
      model: the deep model.
      head: with the names of the data's labels.
      body: pretrained parameters of the model; None to draw them.
      top: those of the head, where the folder has a classifier of these labels.
    """

    tokenizer: Any
    model: bert.Bert
    head: bert.SequenceClassifier
    body: dict[str, Any] | None
    top: dict[str, Any] | None

    def initial(self, seed: int) -> dict[str, Any]:
        """{"bert", "head"}, what is not pretrained drawn by the seed."""
        key, hidden = jax.random.key(seed), self.model.hidden_size
        ids = jnp.zeros((1, 2), jnp.int32)
        body, top = self.body, self.top
        if body is None:
            body = jax.jit(self.model.init)(key, ids)["params"]
        if top is None:
            output = bert.BertOutput(jnp.zeros((1, 2, hidden)), jnp.zeros((1, hidden)))
            top = self.head.init(jax.random.fold_in(key, 1), output)["params"]
        return {"bert": body, "head": top}


def begin(
    config: Mapping[str, Any],
    texts: TextSet,
    *,
    data_dir: str | None = None,
    workdir: epath.Path | None = None,
    started: bool = False,
) -> Beginning:
    """Reads the pretrained folder, or makes a model and a tokenizer of one's own.

    A classifier in the folder is taken where its labels are the data's, with its pooling.

    Args:
      config: the keys of `configs/theseus/study.py`.
      texts: the training texts.
      data_dir: the data folder.
      workdir: where a tokenizer of one's own is kept.
      started: the predecessor gets other weights, its classifier too.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: a file is damaged, or the predecessor shall be a classifier that is not there.
    """
    names = texts.label_names
    head = bert.SequenceClassifier(max(len(names), 1), label_names=names, **config["head"])
    if not config["pretrained"]:
        place = None if workdir is None else workdir / "tokenizer"
        words = [*texts.texts, *(texts.pairs or ())]
        make = lambda: own_tokenizer(words, config["vocab_size"], place)
        tokenizer = mesh_lib.first_in_process_0(make)
        size = tokenizer.get_vocab_size()
        model = bert.Bert(vocab_size=size, **attributes(config["model"]))
        return Beginning(tokenizer, model, head, None, None)
    folder = bert.find_folder(config["pretrained"], data_dir)
    tokenizer = load_tokenizer(str(folder))
    model, body = bert.load_pretrained(folder, **attributes(config["model"]))
    logging.info(
        "%s: %d tokens, an embedding of %d", folder, tokenizer.get_vocab_size(), model.vocab_size
    )
    as_it_is = not config["stages"]["predecessor"]["num_steps"]
    found = _classifier(folder, names, required=as_it_is and not started)
    if found is None:
        return Beginning(tokenizer, model, head, body, None)
    theirs, top = found
    if theirs.pooling != head.pooling:
        logging.info("%s: its classifier is over %r, and stays so", folder, theirs.pooling)
    head = head.clone(
        num_labels=theirs.num_labels, label_names=theirs.label_names, pooling=theirs.pooling
    )
    return Beginning(tokenizer, model, head, body, top)


def start_special(beginning: Beginning, fresh: Mapping[str, Any]) -> Any:
    """What reads model folders for `launch.start_params`."""

    def read(source: epath.Path) -> dict[str, Any] | None:
        folder = bert.model_folder(source)
        if folder is None and (names := stage_names(source)):
            raise InputError(
                f"{source} holds several models, name the folder of one: {', '.join(names)}"
            )
        if folder is None:
            return None
        return bert.folder_weights(folder, fresh, beginning.tokenizer, beginning.head)

    return read


def _classifier(folder: epath.Path, names: Sequence[str], *, required: bool) -> Any:
    """The folder's classifier of these labels, or None where it may begin anew."""
    try:
        found = bert.load_classifier(folder, names)
    except InputError as error:
        if required or "damaged" in str(error):
            raise
        logging.info("a new head: %s", error)
        return None
    if found is None and required:
        raise InputError(
            f"stages.predecessor.num_steps is 0, and {folder} has no classifier to take as it is: "
            "name a fine-tuned folder as pretrained or --init_from, or train it"
        )
    return found
