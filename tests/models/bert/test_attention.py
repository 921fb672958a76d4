"""Attention against NumPy, which way it is computed where, and its masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import mesh as mesh_lib
from jaxlab.models import bert
from jaxlab.models.bert import attention
from jaxlab.models.bert.attention import SelfAttention, attention_mask


def plain(query, key, value, mask=None):
    """Weights [batch, heads, query, key] and result, in float64."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    logits = np.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(query.shape[-1])
    if mask is not None:
        logits = np.where(mask, logits, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return weights, np.einsum("bhqk,bkhd->bqhd", weights, value)


def draw(*shape, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return (jnp.asarray(rng.normal(size=shape) * scale, jnp.float32) for _ in range(3))


def test_masks_say_who_is_seen():
    assert attention_mask(None, 2, 3) is None
    keys = attention_mask(np.array([[1, 2, 0], [0, -1, 1]]), 2, 3)
    np.testing.assert_array_equal(keys, np.array([[[[1, 1, 0]]], [[[0, 1, 1]]]], bool))
    pairs = np.arange(9).reshape(1, 3, 3) % 2
    found = attention_mask(pairs, 1, 3)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, (pairs == 1)[:, None])
    for shape in ((3, 2), (2, 3, 2), (2,), (1, 3), (2, 1, 3)):
        with pytest.raises(ValueError, match=r"need \(2, 3\) or \(2, 3, 3\)"):
            attention_mask(np.ones(shape), 2, 3)


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_every_way_is_the_formula(scale):
    """At scale 20 logits lie hundreds apart, so that a row needs its own largest."""
    query, key, value = draw(3, 5, 2, 4, scale=scale)
    query = query.at[0, 0].multiply(30).at[0, 1].multiply(0.01)
    mask = (np.random.default_rng(1).random((3, 1, 5, 5)) < 0.6) | np.eye(5, dtype=bool)
    for seen in (None, mask, mask[:, :, :1] | True, mask[:, :, 3:4]):
        _, want = plain(query, key, value, seen)
        for how in attention.ATTENTIONS:
            got = jax.jit(lambda *x, how=how: bert.dot_attention(*x, how=how))(
                query, key, value, None if seen is None else jnp.asarray(seen)
            )
            np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4)


def test_weights_are_dropped_before_the_product():
    query, key, value = draw(1, 4, 1, 2)
    keep = np.arange(16).reshape(1, 1, 4, 4) % 3
    weights, _ = plain(query, key, value)
    for how in attention.ATTENTIONS:
        got = bert.dot_attention(query, key, value, None, how=how, drop=lambda w: w * keep)
        np.testing.assert_allclose(
            got, np.einsum("bhqk,bkhd->bqhd", weights * keep, value), atol=1e-5
        )


def test_which_way_is_taken(monkeypatch):
    """ "auto" is blocks on CPU and the fused function elsewhere; all compile for GPU and TPU."""
    x = jnp.ones((1, 2, 1, 4))
    for platform in ("cpu", "cuda", "tpu"):
        run = jax.jit(lambda x: bert.dot_attention(x, x, x, None))
        assert jax.export.export(run, platforms=[platform])(x).platforms == (platform,)
    fake = lambda number: lambda query, *rest, **kw: jnp.full_like(query, number)
    monkeypatch.setattr(attention, "einsum_attention", fake(1))
    monkeypatch.setattr(attention, "blocked_attention", fake(2))
    monkeypatch.setattr(jax.nn, "dot_product_attention", fake(3))
    run = lambda **kw: float(bert.dot_attention(x, x, x, None, **kw).mean())
    assert [run(how="einsum"), run(), run(how="auto"), run(how="fused")] == [1, 2, 2, 3]
    assert [run(how=how, drop=lambda w: w) for how in attention.ATTENTIONS] == [1, 1, 1]


def test_blocks_hold_two_mebibytes_of_weights():
    """4 bytes for each of heads x queries x keys; a row that is larger goes alone."""

    def blocks(batch, length, heads):
        x = jax.ShapeDtypeStruct((batch, length, heads, 1), jnp.float32)
        jaxpr = jax.make_jaxpr(bert.blocked_attention)(x, x, x, None)
        (scan,) = (e for e in jaxpr.eqns if e.primitive.name in ("scan", "while"))
        return scan.params["length"]

    assert blocks(12, 256, 2) == 3  # 4 rows of 2 x 256 x 256
    assert blocks(12, 128, 8) == 3
    assert blocks(4, 1024, 2) == 4
    assert blocks(4, 512, 1) == 2
    assert blocks(2, 725, 1) == 2  # one row holds 1.003 of the most
    assert blocks(2, 4, 1) == 1


def test_heads_are_parts_of_the_width():
    """Through the layer: three products, split into heads, joined in the same order."""
    layer = SelfAttention(2, 0.0, "auto", 0.5, None)
    (x, *_) = draw(2, 3, 4)
    mask = jnp.array([[1, 1, 0], [1, 1, 1]])[:, None, None] != 0
    params = layer.init(jax.random.key(0), x, None, train=False)["params"]
    params = jax.tree.map(lambda p: p + 0.1, params)  # biases too
    parts = [
        (np.asarray(x) @ params[n]["kernel"] + params[n]["bias"]).reshape(2, 3, 2, 2)
        for n in ("query", "key", "value")
    ]
    got = layer.apply({"params": params}, x, mask, train=False)
    np.testing.assert_allclose(got, plain(*parts, mask)[1].reshape(2, 3, 4), atol=1e-5)
    with_own = layer.apply(
        {"params": params}, x, None, train=False, attend=lambda q, k, v: (q + 2 * k, v)
    )
    np.testing.assert_allclose(with_own[0], (parts[0] + 2 * parts[1]).reshape(2, 3, 4), atol=1e-5)
    np.testing.assert_allclose(with_own[1], parts[2], atol=1e-5)


def test_kernels_start_with_the_scale_that_is_asked_for():
    layer = SelfAttention(4, 0.0, "auto", 0.3, None)
    params = layer.init(jax.random.key(0), jnp.ones((1, 1, 64)), None, train=False)["params"]
    for name in ("query", "key", "value"):
        np.testing.assert_allclose(np.std(params[name]["kernel"]), 0.3, rtol=0.06)
        assert not params[name]["bias"].any()


def test_weights_are_dropped_in_training_and_at_a_rate_alone(monkeypatch):
    seen = []

    def record(query, key, value, mask, *, how, drop):
        weights = jnp.ones((1, 4, 50, 50))
        seen.append((how, drop and drop(weights)))
        return query

    monkeypatch.setattr(attention, "dot_attention", record)
    x = jnp.ones((1, 50, 8))
    for rate, train in ((0.25, True), (0.25, False), (0.0, True)):
        layer = SelfAttention(4, rate, "fused", 0.1, None)
        layer.init_with_output(
            {"params": jax.random.key(0), "dropout": jax.random.key(1)}, x, None, train=train
        )
    (how, dropped), evaluated, without = seen
    assert how == "fused"
    assert evaluated[1] is None
    assert without[1] is None
    assert set(np.unique(dropped)) == {0, np.float32(1 / 0.75)}
    np.testing.assert_allclose((dropped == 0).mean(), 0.25, atol=0.02)


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
