"""Module replacing (`jaxlab.theseus`) for BERT: two depths trained as one model."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
from jax.typing import ArrayLike

from jaxlab import theseus
from jaxlab.models.bert.model import Bert, BertOutput


def make_successor(predecessor: Bert, num_layers: int) -> Bert:
    """The same model with fewer layers.

    Raises:
      ValueError: num_layers does not divide the predecessor's.

    Example:
      >>> make_successor(Bert(vocab_size=9, num_layers=12), 3).num_layers
      3
    """
    theseus.module_size(predecessor.num_layers, num_layers)
    return dataclasses.replace(predecessor, num_layers=num_layers)


def num_gates(params: Mapping[str, Any], successor: Bert) -> int:
    """Replaceable modules: the successor's layers, and its embeddings if it has its own.

    Example:
      >>> num_gates({"predecessor": {}, "successor": {}}, Bert(vocab_size=9, num_layers=3))
      3
    """
    return successor.num_layers + ("embeddings" in params["successor"])


def apply_replaced(
    predecessor: Bert,
    successor: Bert,
    params: Mapping[str, Any],
    gates: ArrayLike,
    input_ids: ArrayLike,
    attention_mask: ArrayLike | None = None,
    token_type_ids: ArrayLike | None = None,
    *,
    key: jax.Array | None = None,
) -> BertOutput:
    """Runs each module of the predecessor, or the successor's layer in its place.

    Module i of the predecessor is its layers i c ... (i + 1) c - 1, c the ratio of the depths.
    Where the successor has embeddings of its own, they are module 0 and come first in `gates`
    (Su's version); otherwise both share the predecessor's, as they share its pooler.

    Args:
      predecessor: the deep model.
      successor: the shallow one, as `make_successor` makes it.
      params: `{"predecessor": tree, "successor": tree from theseus.init_successor}`.
      gates: bool [n], n = `num_gates`; see `theseus.forward`.
      input_ids: as of `Bert`.
      attention_mask: as of `Bert`.
      token_type_ids: as of `Bert`.
      key: dropout of both models is active with it, as in the paper's code; None for none. With all
        gates true the successor draws what it would draw alone with this key.

    Returns:
      The output of the last module, pooled by the successor's pooler or the shared one.

    Raises:
      ValueError: depths do not divide, or there are not as many gates as modules.
    """
    size = theseus.module_size(predecessor.num_layers, successor.num_layers)
    train = key is not None
    old, new = jax.lax.stop_gradient(params["predecessor"]), params["successor"]
    # Layers of one name in both models must not drop the same places.
    keys = (jax.random.fold_in(key, 1), key) if train else (None, None)

    def run(model, tree, key, method, *args, **kwargs):
        rngs = {"dropout": key} if train else None
        return model.apply({"params": tree}, *args, **kwargs, train=train, rngs=rngs, method=method)

    def layers(model, tree, key, start, stop):
        span = {"start": start, "stop": stop}
        return lambda x: run(model, tree, key, "run_layers", x, attention_mask, **span)

    def embed(model, tree, key):
        return lambda x: run(model, tree, key, "embed", x, token_type_ids)

    olds = [
        layers(predecessor, old, keys[0], i * size, (i + 1) * size)
        for i in range(successor.num_layers)
    ]
    news = [layers(successor, new, keys[1], i, i + 1) for i in range(successor.num_layers)]
    x = input_ids
    if "embeddings" in new:
        olds.insert(0, embed(predecessor, old, keys[0]))
        news.insert(0, embed(successor, new, keys[1]))
    else:
        x = embed(successor, old, keys[1])(x)
    x = theseus.forward(olds, news, gates, x, frozen_below=True)
    pooler = {**old, **new}
    return BertOutput(x, successor.apply({"params": pooler}, x, method="pool"))  # type: ignore[arg-type]
