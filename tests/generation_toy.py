"""Four sequences of passage, answer and question, and a small model of them."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.models import bert
from jaxlab.tasks.question_generation import losses

SEP, CLS = 3, 2
IDS = np.array(
    [
        [CLS, 7, 8, 9, SEP, 10, SEP, 11, 12, SEP, 0, 0],
        [CLS, 7, SEP, 10, 13, 14, SEP, 11, 12, 5, 6, SEP],
        [CLS, 9, SEP, 9, SEP, 9, SEP, 0, 0, 0, 0, 0],
        [0] * 12,
    ],
    np.int32,
)


def make_toy():
    """(model, head, params, layout)."""
    model = bert.Bert(
        vocab_size=20, hidden_size=8, num_layers=1, num_heads=2, intermediate_size=12,
        max_positions=12, init_scale=0.5, pooler=False,
    )  # fmt: skip
    head = bert.MaskedLMHead()
    body = jax.jit(model.init)(jax.random.key(0), jnp.asarray(IDS))["params"]
    top = bert.init_head(head, jax.random.key(1), 8, 20)
    layout = losses.TargetLayout(sep_id=SEP, max_targets=10)
    return model, head, {"bert": body, "head": top}, layout


def make_nll(toy):
    """ids [4, 12] -> (nll, part)."""
    model, head, params, layout = toy
    return jax.jit(lambda ids: losses.target_nll(model, head, params, ids, layout))
