"""Two sequences of passage, answer and question, and a small model whose outputs end."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.models import bert
from jaxlab.models.bert import prefix

SEP, CLS = 3, 2
IDS = np.array(
    [
        [CLS, 7, 8, 9, SEP, 10, SEP, 11, 12, SEP],
        [CLS, 7, SEP, 10, 13, 14, SEP, 11, 12, SEP],
    ],
    np.int32,
)
PASSAGES = np.array([[CLS, 7, 8, 9, SEP, 0], [CLS, 7, SEP, 0, 0, 0]], np.int32)


def make_toy():
    """(model, head, params)."""
    model = bert.Bert(
        vocab_size=16, hidden_size=8, num_layers=2, num_heads=2, intermediate_size=12,
        max_positions=24, init_scale=0.6, pooler=False,
    )  # fmt: skip
    head = bert.MaskedLMHead()
    body = jax.jit(model.init)(jax.random.key(0), jnp.asarray(IDS))["params"]
    top = bert.init_head(head, jax.random.key(1), 8, 16)
    top = {**top, "bias": jnp.where(jnp.arange(16) == SEP, 2.0, 0.0)}  # so that outputs end
    return model, head, {"bert": body, "head": top}


def recompute(model, head, params, ids):
    """Logits at all positions of ids [n, length], without a cache."""
    ids = jnp.asarray(ids)
    mask, types = prefix.inputs(ids, SEP)
    positions = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
    return bert.token_logits(model, head, params, ids, mask, types, positions)
