"""Pooling and heads over the encoder's output, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.models import bert
from jaxlab.models.bert.heads import MaskedLMHead, SequenceClassifier


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


def test_means_leave_out_padding():
    x = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    mask = np.array([[1, 2, 0, 0], [0, 1, 0, -1], [0, 0, 0, 0]])
    got = bert.pool(bert.BertOutput(jnp.asarray(x), None), mask, "mean")
    want = [x[0, :2].mean(0), x[1, [1, 3]].mean(0), [0, 0]]
    np.testing.assert_allclose(got, want, atol=1e-6)
    for wrong in (np.ones((3, 3)), np.ones((3, 4, 4))):
        with pytest.raises(ValueError, match=r"mean pooling needs \(3, 4\)"):
            bert.pool(bert.BertOutput(jnp.asarray(x), None), wrong, "mean")


def test_a_classifier_is_a_dense_layer_over_the_pooled():
    rng = np.random.default_rng(0)
    states, pooled = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 4))
    output = bert.BertOutput(jnp.asarray(states, jnp.bfloat16), jnp.asarray(pooled, jnp.float32))
    mask = np.array([[1, 1, 0], [1, 0, 0]])
    kernel, bias = rng.normal(size=(4, 3)), rng.normal(size=3)
    rough = np.asarray(output.last_hidden_state, np.float64)
    means = np.stack([rough[0, :2].mean(0), rough[1, 0]])
    for pooling, x in (("pooler", pooled), ("cls", rough[:, 0]), ("mean", means)):
        for labels in (3, 1):
            head = SequenceClassifier(labels, pooling=pooling)
            top = {"dense": {"kernel": kernel[:, :labels], "bias": bias[:labels]}}
            got = head.apply({"params": jax.tree.map(jnp.float32, top)}, output, mask)
            assert got.dtype == jnp.float32
            want = x @ kernel[:, :labels] + bias[:labels]
            atol = 2e-2 if pooling == "mean" else 1e-5  # the mean itself is in bfloat16
            np.testing.assert_allclose(got, want if labels == 3 else want[:, 0], atol=atol)


def test_a_classifier_by_default():
    head = SequenceClassifier(2)
    assert (head.pooling, head.dropout, head.init_scale) == ("pooler", 0.1, 0.02)
    assert (head.label_names, head.problem_type) == ((), None)
    output = bert.BertOutput(jnp.ones((1, 2, 400)), jnp.ones((1, 400)))
    wide = SequenceClassifier(50, init_scale=0.3)
    params = wide.init(jax.random.key(0), output)["params"]
    np.testing.assert_allclose(np.std(params["dense"]["kernel"]), 0.3, rtol=0.03)
    assert not params["dense"]["bias"].any()


def test_the_pooled_is_dropped_in_training_alone():
    output = bert.BertOutput(jnp.ones((1, 2, 2000)), None)
    head = SequenceClassifier(2000, pooling="cls", dropout=0.25)
    params = {"dense": {"kernel": jnp.eye(2000), "bias": jnp.zeros(2000)}}
    rngs = {"dropout": jax.random.key(0)}
    dropped = head.apply({"params": params}, output, train=True, rngs=rngs)
    np.testing.assert_allclose(np.unique(dropped), [0, 1 / 0.75], rtol=1e-6)
    np.testing.assert_allclose((dropped == 0).mean(), 0.25, atol=0.04)
    assert (head.apply({"params": params}, output) == 1).all()
    for change, message in (
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"dropout": -0.1}, "dropout is -0.1"),
        ({"num_labels": 0}, "num_labels is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            head.clone(**change).init(jax.random.key(0), output)
    head.clone(dropout=0.0).apply({"params": params}, output, train=True)


@pytest.mark.parametrize("tied", [True, False])
def test_tokens_are_predicted_by_the_formula(tied):
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    states, word = draw(2, 3, 4), draw(7, 4)
    params = {
        "dense": {"kernel": draw(4, 4), "bias": draw(4)},
        "norm": {"scale": draw(4), "bias": draw(4)},
        "bias": draw(7), **({} if tied else {"decoder": draw(7, 4)}),
    }  # fmt: skip
    head = MaskedLMHead(activation="relu", norm_eps=0.1, tied=tied)
    x = np.maximum(states @ params["dense"]["kernel"] + params["dense"]["bias"], 0).astype(float)
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 0.1)
    x = x * params["norm"]["scale"] + params["norm"]["bias"]
    want = x @ (word if tied else params["decoder"]).T + params["bias"]
    got = head.apply({"params": params}, states, word)
    np.testing.assert_allclose(got, want, atol=1e-4)
    half = head.clone(dtype=jnp.bfloat16).apply({"params": params}, states, word)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, want, atol=0.3)


def test_a_token_head_by_default():
    head = MaskedLMHead()
    assert (head.activation, head.norm_eps, head.init_scale, head.tied) == (
        "gelu",
        1e-12,
        0.02,
        True,
    )
    shapes = (jnp.ones((1, 64)), jnp.ones((100, 64)))
    params = MaskedLMHead(init_scale=0.3, tied=False).init(jax.random.key(0), *shapes)["params"]
    for kernel in (params["dense"]["kernel"], params["decoder"]):
        np.testing.assert_allclose(np.std(kernel), 0.3, rtol=0.05)
    assert params["decoder"].shape == (100, 64)
    assert params["bias"].shape == (100,)
    assert not params["bias"].any()
    assert set(head.init(jax.random.key(0), *shapes)["params"]) == {"dense", "norm", "bias"}
