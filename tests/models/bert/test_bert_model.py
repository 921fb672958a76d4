"""BERT against stored activations of transformers, and its masks, dropout, dtypes and errors."""

import dataclasses
import json
import math
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxlab.models import bert
from jaxlab.models.bert import attention
from jaxlab.models.bert.model import ACTIVATIONS, _norm

GOLDEN = pathlib.Path(__file__).parent / "golden" / "tiny_bert.npz"


@pytest.fixture(scope="module")
def golden():
    """Arrays made by golden/make_golden.py."""
    return dict(np.load(GOLDEN))


@pytest.fixture(scope="module")
def folder(golden, tmp_path_factory):
    """The golden model as a Hugging Face folder with the task prefix and both heads."""
    path = tmp_path_factory.mktemp("golden")
    (path / "config.json").write_text(str(golden["config"]))
    names = [k for k in golden if k.startswith("weights/")]
    save_file({k.removeprefix("weights/"): golden[k] for k in names}, path / "model.safetensors")
    return path


@pytest.fixture(scope="module")
def loaded(folder):
    return bert.load_pretrained(folder)


@pytest.fixture(scope="module")
def inputs(golden):
    return {k.removeprefix("inputs/"): golden[k] for k in golden if k.startswith("inputs/")}


@pytest.fixture(scope="module")
def outputs(loaded, inputs):
    model, params = loaded
    return jax.jit(lambda p: model.apply({"params": p}, **inputs, all_layers=True))(params)


def test_hidden_states_and_pooler_are_those_of_transformers(outputs, golden):
    for ours, theirs in zip(outputs.hidden_states, golden["hidden_states"], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)
    np.testing.assert_allclose(outputs.last_hidden_state, golden["hidden_states"][-1], atol=1e-5)
    np.testing.assert_allclose(outputs.pooled, golden["pooled"], atol=1e-5, rtol=0)


def test_heads_are_those_of_transformers(folder, loaded, outputs, golden):
    heads = bert.load_heads(folder)
    head, params = heads["classifier"]
    logits = head.apply({"params": params}, outputs)
    np.testing.assert_allclose(logits, golden["class_logits"], atol=1e-5, rtol=0)
    head, params = heads["mlm"]
    table = loaded[1]["embeddings"]["word"]["embedding"]
    logits = head.apply({"params": params}, outputs.last_hidden_state, table)
    np.testing.assert_allclose(logits, golden["token_logits"], atol=2e-5, rtol=0)


def test_the_comparison_would_see_near_misses(loaded, inputs, golden):
    """Tanh-GELU and Flax's norm epsilon look almost right; the stored activations tell."""
    model, params = loaded
    for change in ({"activation": "gelu_new"}, {"norm_eps": 1e-2}):
        other = dataclasses.replace(model, **change)
        out = jax.jit(lambda p, other=other: other.apply({"params": p}, **inputs))(params)
        assert np.abs(out.last_hidden_state - golden["hidden_states"][-1]).max() > 1e-4


@pytest.fixture(scope="module")
def toy():
    """A model of one layer, its parameters, ids [2, 6]."""
    model = bert.Bert(
        vocab_size=30, hidden_size=8, num_layers=1, num_heads=2, intermediate_size=16,
        max_positions=8, dropout=0.2, attention_dropout=0.2, init_scale=0.5,
    )  # fmt: skip
    ids = jnp.array([[2, 9, 7, 8, 3, 4], [2, 5, 6, 3, 0, 0]])
    return model, jax.jit(model.init)(jax.random.key(0), ids)["params"], ids


def states(model, params, ids, mask=None, **kwargs):
    return jax.jit(
        lambda p, mask: model.apply({"params": p}, ids, mask, **kwargs).last_hidden_state
    )(params, mask)


def test_padding_is_not_seen(toy):
    model, params, ids = toy
    mask = (ids != 0).astype(jnp.int32)
    a = states(model, params, ids, mask)
    b = states(model, params, ids.at[1, 4:].set(17), mask)
    np.testing.assert_array_equal(a[1, :4], b[1, :4])
    alone = states(model, params, ids[1:, :4])
    np.testing.assert_allclose(a[1:, :4], alone, atol=2e-6)


def test_a_mask_of_queries_and_keys_decides_who_sees_whom(toy):
    model, params, ids = toy
    causal = jnp.tril(jnp.ones((6, 6), bool))
    mask = jnp.broadcast_to(causal, (2, 6, 6))
    a = states(model, params, ids, mask)
    b = states(model, params, ids.at[:, 3].set(20), mask)
    np.testing.assert_array_equal(a[:, :3], b[:, :3])
    assert np.abs(a[:, 3:] - b[:, 3:]).max(-1).min() > 1e-4
    keys = (ids != 0)[:, None, :] & jnp.ones((2, 6, 1), bool)
    np.testing.assert_allclose(
        states(model, params, ids, keys), states(model, params, ids, ids != 0), atol=1e-6
    )


def test_a_query_that_sees_nothing_is_finite(toy):
    model, params, ids = toy
    for how in attention.ATTENTIONS:
        other = dataclasses.replace(model, attention=how)
        assert np.isfinite(states(other, params, ids, jnp.zeros((2, 6)))).all()


def test_dropout_is_drawn_in_training_only(toy):
    model, params, ids = toy
    run = jax.jit(
        lambda key: (
            model.apply(
                {"params": params}, ids, train=True, rngs={"dropout": key}
            ).last_hidden_state
        )
    )
    a, b = run(jax.random.key(0)), run(jax.random.key(1))
    assert np.abs(a - b).max() > 0.1
    np.testing.assert_array_equal(a, run(jax.random.key(0)))
    np.testing.assert_array_equal(states(model, params, ids), states(model, params, ids))


def test_rematerialisation_changes_no_number(toy):
    model, params, ids = toy

    def grads(model):
        def loss(p):
            out = model.apply({"params": p}, ids, train=True, rngs={"dropout": jax.random.key(3)})
            return jnp.mean(out.last_hidden_state[:, 0] ** 3)

        return jax.jit(jax.grad(loss))(params), str(jax.make_jaxpr(jax.grad(loss))(params))

    plain, plain_code = grads(model)
    remat, remat_code = grads(dataclasses.replace(model, remat=True))
    assert "remat" in remat_code
    assert "remat" not in plain_code
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), plain, remat)


def test_bfloat16_computes_near_float32(toy):
    model, params, ids = toy
    half = dataclasses.replace(model, dtype=jnp.bfloat16)
    out = states(half, params, ids)
    assert out.dtype == jnp.bfloat16
    assert 0 < np.abs(out.astype(jnp.float32) - states(model, params, ids)).max() < 0.15
    fresh = jax.eval_shape(half.init, jax.random.key(0), ids)["params"]
    assert {leaf.dtype for leaf in jax.tree.leaves(fresh)} == {jnp.dtype(jnp.float32)}


def test_errors_state_value_and_rule(toy):
    model, params, ids = toy
    apply = lambda *args, **kw: model.apply({"params": params}, *args, **kw)
    for call, message in [
        (lambda: apply(jnp.zeros((1, 9), int)), "length 9, the position table ends at 8"),
        (lambda: apply(ids + 30), r"input_ids holds 30 to 39, must be in \[0, 30\)"),
        (lambda: apply(ids, None, ids), r"token_type_ids holds 0 to 9, must be in \[0, 2\)"),
        (lambda: apply(ids, jnp.ones((2, 5))), r"attention_mask has shape \(2, 5\)"),
        (lambda: apply(ids, None, ids[:, :3]), r"token_type_ids has shape \(2, 3\)"),
        (lambda: apply(ids[0]), r"int32 \(6,\), must be integers \[batch, length\]"),
        (lambda: apply(ids * 1.0), "float32"),
        (lambda: bert.pool(bert.BertOutput(jnp.ones((1, 2, 3)), None), None, "pooler"), "none"),
        (lambda: bert.pool(bert.BertOutput(jnp.ones((1, 2, 3)), None), None, "max"), "'max'"),
        (
            lambda: bert.dot_attention(*[jnp.ones((1, 2, 1, 4))] * 3, None, how="flash"),
            "'flash', known are",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    for change, message in [
        ({"num_heads": 3}, "num_heads is 3, must divide hidden_size 8"),
        ({"activation": "tanh"}, "activation is 'tanh'"),
        ({"attention": "flash"}, "attention is 'flash'"),
    ]:
        wrong = dataclasses.replace(model, **change)
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(wrong.init, jax.random.key(0), ids)


def test_the_stored_activations_are_small():
    assert GOLDEN.stat().st_size < 100_000
    config = json.loads(str(np.load(GOLDEN)["config"]))
    assert config["num_hidden_layers"] == 2


def test_activations_against_numpy():
    x = np.linspace(-4, 4, 33)
    erf = np.vectorize(math.erf)
    tanh = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    for name, want in {
        "gelu": 0.5 * x * (1 + erf(x / np.sqrt(2))),
        "gelu_new": tanh,
        "gelu_pytorch_tanh": tanh,
        "relu": np.maximum(x, 0),
        "silu": x / (1 + np.exp(-x)),
    }.items():
        got = ACTIVATIONS[name](jnp.asarray(x, jnp.float32))
        np.testing.assert_allclose(got, want, atol=2e-6, err_msg=name)
    assert len(ACTIVATIONS) == 5
    assert ACTIVATIONS["gelu"](jnp.ones(1, jnp.bfloat16)).dtype == jnp.bfloat16


def test_sizes_are_those_of_bert_base():
    model = bert.Bert(vocab_size=30522)
    sizes = (model.hidden_size, model.num_layers, model.num_heads, model.intermediate_size)
    assert sizes == (768, 12, 12, 3072)
    assert (model.max_positions, model.type_vocab_size, model.norm_eps) == (512, 2, 1e-12)
    assert (model.dropout, model.attention_dropout, model.init_scale) == (0.1, 0.1, 0.02)
    assert (model.pooler, model.remat) == (True, False)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2), int))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 109_482_240  # as published


def test_parameters_start_as_bert_says():
    model = bert.Bert(
        vocab_size=300, hidden_size=64, num_layers=1, num_heads=2, intermediate_size=96,
        max_positions=200, type_vocab_size=90, init_scale=0.3,
    )  # fmt: skip
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), int))["params"]
    for path, leaf in jax.tree.leaves_with_path(params):
        name = jax.tree_util.keystr(path[-1:], simple=True)
        if name in ("bias", "scale"):
            assert (leaf == (name == "scale")).all()
        else:
            np.testing.assert_allclose(np.std(leaf), 0.3, rtol=0.06)


def norm(x, tree, eps):
    x = np.asarray(x, np.float64)
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return scaled * tree["scale"] + tree["bias"]


@pytest.fixture(scope="module")
def moved(toy):
    """The toy without dropout, with a large epsilon, and every parameter away from 0 and 1."""
    model, params, ids = toy
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda p: p + jnp.float32(rng.normal(size=p.shape) * 0.2), params)
    return model.clone(dropout=0.0, attention_dropout=0.0, norm_eps=0.1), params, ids


def test_embeddings_are_summed_and_normalised(moved):
    model, params, ids = moved
    tables = {k: np.asarray(v["embedding"]) for k, v in params["embeddings"].items() if k != "norm"}
    types = np.array([[0, 0, 1, 1, 1, 1], [0, 1, 1, 1, 0, 0]])
    for kinds in (None, types):
        x = tables["word"][ids] + tables["position"][:6]
        x = x + tables["token_type"][np.zeros_like(types) if kinds is None else kinds]
        got = model.apply({"params": params}, ids, kinds, method="embed")
        np.testing.assert_allclose(got, norm(x, params["embeddings"]["norm"], 0.1), atol=1e-5)


def test_a_layer_and_the_pooler_are_the_formulas(moved):
    model, params, _ = moved
    x = np.random.default_rng(1).normal(size=(2, 6, 8)).astype(np.float32)
    tree = params["layers_0"]
    dense = lambda x, part: np.asarray(x) @ part["kernel"] + part["bias"]
    split = lambda name: dense(x, tree["attention"][name]).reshape(2, 6, 2, 4)
    attended = bert.einsum_attention(*map(split, ("query", "key", "value")), None).reshape(2, 6, 8)
    y = norm(x + dense(attended, tree["attention_output"]), tree["attention_norm"], 0.1)
    h = ACTIVATIONS["gelu"](jnp.asarray(dense(y, tree["intermediate"]), jnp.float32))
    want = norm(y + dense(h, tree["output"]), tree["output_norm"], 0.1)
    got = model.apply({"params": params}, x, method="run_layers")
    np.testing.assert_allclose(got, want, atol=1e-4)
    pooled = model.apply({"params": params}, x, method="pool")
    np.testing.assert_allclose(pooled, np.tanh(dense(x[:, 0], params["pooler"])), atol=1e-5)
    assert model.clone(pooler=False).apply({"params": params}, x, method="pool") is None


def test_layers_run_from_start_to_stop(toy):
    model, params, ids = toy
    deep = model.clone(num_layers=3, dropout=0.0, attention_dropout=0.0)
    tree = {**params, **{f"layers_{i}": params["layers_0"] for i in range(3)}}
    tree["layers_1"] = jax.tree.map(lambda p: p * 1.5, params["layers_0"])
    run = lambda x, **span: deep.apply({"params": tree}, x, method="run_layers", **span)
    out = deep.apply({"params": tree}, ids, all_layers=True)
    states = out.hidden_states
    assert len(states) == 4
    for start, stop in ((0, 2), (1, 2), (1, None), (2, 3)):
        got = run(states[start], start=start, stop=stop)
        np.testing.assert_allclose(got, states[3 if stop is None else stop], atol=1e-6)
    np.testing.assert_allclose(run(states[0]), out.last_hidden_state, atol=1e-6)
    assert deep.apply({"params": tree}, ids).hidden_states == ()
    np.testing.assert_array_equal(run(states[1], start=1, stop=1), states[1])


def test_attention_of_another_kind_gets_positions_types_and_its_layer(toy):
    model, params, ids = toy
    plain = model.clone(dropout=0.0, attention_dropout=0.0)
    shifted = jnp.array([[1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5]])
    types = jnp.array([[0, 1, 0, 1, 0, 1], [1, 1, 1, 0, 0, 0]])
    attend = lambda q, k, v: (bert.einsum_attention(q, k, v, None), (q, "memory"))
    run = lambda *args: plain.apply({"params": params}, *args, [attend], method="run_attending")
    out, memories = run(ids, types, None)
    want = plain.apply({"params": params}, ids, None, types).last_hidden_state
    np.testing.assert_allclose(out, want, atol=1e-6)
    ((query, word),) = memories
    assert (query.shape, word) == ((2, 6, 2, 4), "memory")
    other, _ = run(ids, types, shifted)
    np.testing.assert_allclose(other[1], want[1], atol=1e-6)
    longer = plain.apply(
        {"params": params}, jnp.pad(ids, ((0, 0), (1, 0))), jnp.pad(types, ((0, 0), (1, 0))),
        method="embed",
    )  # fmt: skip
    np.testing.assert_allclose(
        run(ids, types, shifted)[0][0],
        plain.apply({"params": params}, longer[:1, 1:], method="run_layers")[0],
        atol=1e-6,
    )
    with pytest.raises(ValueError, match="zip\\(\\)"):
        plain.apply({"params": params}, ids, None, None, [attend] * 2, method="run_attending")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 0}, "vocab_size is 0"), ({"num_layers": 0}, "num_layers is 0"),
        ({"max_positions": 0}, "max_positions is 0"), ({"type_vocab_size": 0}, "type_vocab_size"),
        ({"dropout": 1.0}, "dropout is 1.0"), ({"dropout": -0.1}, "dropout is -0.1"),
        ({"attention_dropout": 1.0}, "attention_dropout is 1.0"), ({"norm_eps": 0.0}, "norm_eps"),
        ({"init_scale": -1.0}, "init_scale is -1.0"), ({"intermediate_size": 0}, "intermediate"),
    ],
)  # fmt: skip
def test_attributes_out_of_range(toy, change, message):
    model, _, ids = toy
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.clone(**change).init, jax.random.key(0), ids)
    allowed = model.clone(dropout=0.0, init_scale=0.0)
    jax.eval_shape(allowed.init, jax.random.key(0), ids)


def test_dropout_stands_where_it_should_and_nowhere_else(toy):
    """After the embeddings and before each sum: a rate near 1 leaves the residual alone."""
    model, params, ids = toy
    nearly = model.clone(dropout=1 - 1e-6, attention_dropout=0.0)
    rngs = {"dropout": jax.random.key(0)}
    run = lambda *args, **kw: nearly.apply({"params": params}, *args, train=True, rngs=rngs, **kw)
    assert not run(ids, method="embed").any()
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 8)), jnp.float32)
    tree = params["layers_0"]
    want = norm(norm(x, tree["attention_norm"], 1e-12), tree["output_norm"], 1e-12)
    np.testing.assert_allclose(run(x, method="run_layers"), want, atol=1e-5)


def test_norms_of_large_numbers_are_exact():
    """A variance as a difference of squares of 1000 would be noise in float32."""
    x = 1000 + jnp.array([[0.0, 0.1, 0.2, 0.4]])
    layer = _norm(types.SimpleNamespace(norm_eps=1e-12, dtype=jnp.float32), "norm")
    wide = np.asarray(x, np.float64) - np.asarray(x, np.float64).mean()
    got = layer.apply({"params": {"scale": jnp.ones(4), "bias": jnp.zeros(4)}}, x)
    np.testing.assert_allclose(got, wide / wide.std(), atol=2e-3)
