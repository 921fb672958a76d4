"""BERT against stored activations of transformers, and its masks, dropout, dtypes and errors."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxlab import mesh as mesh_lib
from jaxlab.models import bert
from jaxlab.models.bert import attention

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


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_ways_to_attend_agree_in_values_and_gradients(monkeypatch, rows):
    monkeypatch.setattr(attention, "BLOCK", rows * 75)
    rng = np.random.default_rng(0)
    q, k, v, w = (jnp.asarray(rng.normal(size=(4, 5, 3, 4)), jnp.float32) for _ in range(4))
    mask = jnp.asarray(rng.random((4, 1, 5, 5)) < 0.7).at[:, :, :, 0].set(True)
    for seen in (mask, mask[:, :, :1], None):
        plain = lambda *x, seen=seen: jnp.sum(w * bert.einsum_attention(*x, seen))
        a, da = jax.jit(jax.value_and_grad(plain, (0, 1, 2)))(q, k, v)
        for how in ("auto", "fused"):
            other = lambda *x, seen=seen, how=how: jnp.sum(
                w * bert.dot_attention(*x, seen, how=how)
            )
            b, db = jax.jit(jax.value_and_grad(other, (0, 1, 2)))(q, k, v)
            np.testing.assert_allclose(a, b, rtol=1e-5)
            for x, y in zip(da, db, strict=True):
                np.testing.assert_allclose(x, y, atol=1e-5)


def test_attention_on_many_devices_gathers_no_sequences(monkeypatch):
    mesh = mesh_lib.make_mesh()
    monkeypatch.setattr(attention, "BLOCK", 2 * 75)  # two rows at a time
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, 6 * mesh.size, 5, 3, 4)), jnp.float32)
    mask = jnp.asarray(rng.random((6 * mesh.size, 1, 5, 5)) < 0.7)
    loss = lambda x, mask: jnp.sum(bert.blocked_attention(*x, mask) ** 2)
    step = jax.jit(jax.value_and_grad(loss))
    placed = jax.device_put((list(x), mask), mesh_lib.split(mesh))
    compiled = step.lower(*placed).compile()
    assert mesh.size > 1
    assert "all-gather" not in compiled.as_text()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        compiled(*placed),
        step(list(x), mask),
    )


def test_dropped_weights_are_those_of_the_plain_way():
    x = jnp.ones((1, 2, 1, 4))
    none = lambda weights: 0 * weights
    for how in attention.ATTENTIONS:
        assert not bert.dot_attention(x, x, x, None, how=how, drop=none).any()


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


def test_pooling():
    x = jnp.arange(12.0).reshape(2, 3, 2)
    output = bert.BertOutput(x, x[:, 0] + 100)
    mask = jnp.array([[1, 1, 0], [1, 1, 1]])
    np.testing.assert_array_equal(bert.pool(output, mask, "cls"), x[:, 0])
    np.testing.assert_array_equal(bert.pool(output, mask, "pooler"), x[:, 0] + 100)
    np.testing.assert_allclose(bert.pool(output, mask, "mean"), [[1, 2], [8, 9]], rtol=1e-6)
    np.testing.assert_allclose(bert.pool(output, None, "mean"), x.mean(1), rtol=1e-6)


def test_a_head_of_one_label_gives_one_number(toy):
    head = bert.SequenceClassifier(1, pooling="cls")
    output = bert.BertOutput(jnp.ones((2, 3, 4)), None)
    assert head.init_with_output(jax.random.key(0), output)[0].shape == (2,)


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
