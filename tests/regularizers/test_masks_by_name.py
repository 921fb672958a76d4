"""`regularizers.MASKS` on the trees of this library's models, and on those of others."""

import functools

import jax
import jax.numpy as jnp
import pytest

from jaxlab import data, regularizers
from jaxlab.errors import InputError
from jaxlab.models import bert, classifiers, nvae


def marked(mask, params):
    flags = jax.tree_util.tree_leaves_with_path(mask(params))
    return {jax.tree_util.keystr(p, simple=True, separator="/") for p, flag in flags if flag}


def named(name, params, **kwargs):
    return marked(regularizers.mask_by_name("mask", name, **kwargs), params)


@functools.cache
def bert_params():
    model = bert.Bert(
        vocab_size=9, hidden_size=4, num_layers=2, num_heads=2, intermediate_size=8,
        max_positions=6,
    )  # fmt: skip
    init = lambda key: model.init(key, jnp.zeros((1, 4), jnp.int32))["params"]
    return jax.eval_shape(init, jax.random.key(0))


@functools.cache
def nvae_params():
    sizes = {"latents": 4, "enc_channels": 8, "dec_channels": 8, "pre_cells": 1, "post_cells": 1}
    sizes |= {"enc_cells": 1, "dec_cells": 1, "groups": (2, 1)}
    model = nvae.for_images(data.image_spec(name="mnist5k", pad=2), **sizes)
    init = lambda key: nvae.init_variables(model, key, jnp.zeros((2, 32, 32, 1), jnp.uint8))[0]
    return jax.eval_shape(init, jax.random.key(0))


@pytest.mark.parametrize(
    ("name", "leaves"),
    [
        ("query_key", ("attention/query", "attention/key")),
        ("value_output", ("attention/value", "attention_output")),
        ("feed_forward", ("intermediate", "output")),
    ],
)
def test_pairs_of_bert(name, leaves):
    want = {f"layers_{i}/{leaf}/kernel" for i in (0, 1) for leaf in leaves}
    assert named(name, bert_params()) == want


def test_several_masks_and_all_leaves():
    both = named("query_key+value_output", bert_params())
    assert both == named("query_key", bert_params()) | named("value_output", bert_params())
    leaves = len(jax.tree.leaves(bert_params()))
    assert len(named("all", bert_params())) == leaves
    assert len(named("matrices", bert_params())) == 2 * 6 + 4  # layers; embeddings and pooler


def test_names_of_other_libraries():
    w = jnp.ones((2, 2))
    linen = {"attention": {"query": {"kernel": w, "bias": w[0]}, "out": {"kernel": w}}}
    assert named("query_key", linen) == {"attention/query/kernel"}
    assert named("value_output", linen) == {"attention/out/kernel"}
    hugging_face = {
        "attention": {"self": {"key": {"kernel": w}}, "output": {"dense": {"kernel": w}}},
        "output": {"dense": {"kernel": w}, "LayerNorm": {"scale": w[0]}},
    }
    assert named("query_key", hugging_face) == {"attention/self/key/kernel"}
    assert named("value_output", hugging_face) == {"attention/output/dense/kernel"}
    assert named("feed_forward", hugging_face) == {"output/dense/kernel"}
    llama = {"self_attn": {"q_proj": w, "o_proj": w}, "mlp": {"gate_proj": w, "down_proj": w}}
    assert named("query_key", llama) == {"self_attn/q_proj"}
    assert named("value_output", llama) == {"self_attn/o_proj"}
    assert named("feed_forward", llama) == {"mlp/gate_proj", "mlp/down_proj"}


def test_convolutions_of_classifiers():
    model = classifiers.ResNet(3, widths=(4, 8))
    init = lambda key: classifiers.init_variables(model, key, jnp.zeros((1, 8, 8, 1)))[0]
    params = jax.eval_shape(init, jax.random.key(0))
    found = named("convolutions", params)
    assert {"stem/kernel", "block_1_0/shortcut/kernel"} <= found
    assert found == named("matrices", params) - {"head/kernel"}


def test_scanned_stacks_of_nvae():
    params = nvae_params()
    stacked = marked(nvae.stacked, params)
    assert stacked == {name for name in named("all", params) if name[:5] in ("enc_0", "enc_1")} | {
        name for name in named("all", params) if name.startswith(("group_0/", "group_1/"))
    }
    matrices = named("matrices", params, stacked=nvae.stacked)
    vectors = {n for n in named("all", params) if n.endswith(("/bias", "/scale", "/g"))}
    assert not matrices & vectors
    assert vectors & named("matrices", params)  # what taking them for matrices would do
    assert "group_0/merge/kernel" in named("convolutions", params, stacked=nvae.stacked)
    assert "enc_0/cell_0/gate/squeeze/kernel" in matrices
    # A norm per layer of the stack: that many squared norms as there are layers.
    norms = regularizers.squared_norm(jnp.ones((2, 3, 3, 4, 4)), stacked=True)
    assert norms.size == 2


def test_an_unknown_mask_is_named():
    for wrong in ("heads", "query_key+heads", None):
        with pytest.raises(InputError, match=r"decay_mask is .*, must be one of all, matrices, qu"):
            regularizers.mask_by_name("decay_mask", wrong)
