"""A deep and a shallow BERT with a head, and their logits by the model and the head themselves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.models import bert
from jaxlab.tasks import compression


def make_small():
    """(deep, shallow, head, params of both, batch): states and logits of some size."""
    deep = bert.Bert(
        vocab_size=12, hidden_size=8, num_layers=2, num_heads=2, intermediate_size=8,
        max_positions=4, init_scale=0.5, dropout=0.3, attention_dropout=0.3,
    )  # fmt: skip
    ids = jnp.array([[2, 5, 7], [2, 8, 0], [2, 9, 4], [2, 6, 0]])
    batch = {
        "input_ids": ids, "attention_mask": ids != 0, "label": jnp.array([0, 1, 2, 1]),
        "token_type_ids": jnp.array([[0, 0, 1], [0, 1, 0], [0, 1, 1], [0, 0, 0]]),
    }  # fmt: skip
    tree = jax.jit(deep.init)(jax.random.key(0), ids)["params"]
    rng = np.random.default_rng(3)
    top = {"dense": {"kernel": jnp.float32(rng.normal(size=(8, 3))), "bias": jnp.zeros(3)}}
    shallow = compression.make_successor(deep, 1)
    cut = {k: v for k, v in tree.items() if k != "layers_1"}
    head = bert.SequenceClassifier(3, pooling="mean", dropout=0.3)
    return deep, shallow, head, {"bert": tree, "head": top}, {"bert": cut, "head": top}, batch


@functools.partial(jax.jit, static_argnums=(0, 1))
def reference(model, head, params, batch, key=None):
    """Logits by the model and the head themselves."""
    body, top = (None, None) if key is None else jax.random.split(key)
    rngs = lambda key: {} if key is None else {"rngs": {"dropout": key}, "train": True}
    out = model.apply(
        {"params": params["bert"]}, batch["input_ids"], batch["attention_mask"],
        batch.get("token_type_ids"), **rngs(body),
    )  # fmt: skip
    return head.apply({"params": params["head"]}, out, batch["attention_mask"], **rngs(top))


def crossed(logits, labels):
    x = np.asarray(logits, np.float64)
    return np.log(np.exp(x).sum(-1)) - x[np.arange(len(x)), labels]
