"""Classifiers: shapes, heads, norms, and gains that leave the function alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import losses
from jaxlab.models import classifiers

X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6, 6, 2)), jnp.float32)


def make(kind, **kwargs):
    model = classifiers.make_classifier(kind, 3, **kwargs)
    params, state = classifiers.init_variables(model, jax.random.key(0), X)
    return model, params, state


def test_mlp_is_the_matrix_products():
    model, params, state = make("mlp", features=(5, 4))
    assert state == {}
    h = X.reshape(4, -1)
    for name in ("layer_0", "layer_1"):
        h = np.maximum(h @ params[name]["kernel"] + params[name]["bias"], 0)
    want = h @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(model.apply({"params": params}, X), want, atol=1e-5)
    assert [k.shape for k in classifiers.kernels(params)] == [(72, 5), (5, 4), (4, 3)]


def test_many_layers_keep_their_order():
    _, params, _ = make("mlp", features=(2,) * 11 + (7,))
    assert [k.shape[1] for k in classifiers.kernels(params)] == [2] * 11 + [7, 3]


def test_gains_of_product_one_leave_the_function_alone():
    model, params, _ = make("mlp", features=(5, 4))
    params = jax.tree.map(lambda p: p + 0.1, params)  # biases that are not zero
    scaled = classifiers.scale_kernels(params, (4.0, 0.5, 0.5))
    apply = lambda p: model.apply({"params": p}, X)
    np.testing.assert_allclose(apply(scaled), apply(params), rtol=1e-5)
    np.testing.assert_allclose(scaled["head"]["kernel"], 0.5 * params["head"]["kernel"])
    with pytest.raises(ValueError, match="has 3 layers"):
        classifiers.scale_kernels(params, (1.0, 1.0))


def test_cosine_head_ignores_scale():
    model, params, _ = make("mlp", features=(5,), head="cosine")
    logits = model.apply({"params": params}, X)
    assert np.abs(logits).max() <= 1 + 1e-6
    features = np.maximum(
        X.reshape(4, -1) @ params["layer_0"]["kernel"] + params["layer_0"]["bias"], 0
    )
    want = losses.cosine_logits(jnp.asarray(features), 3 * params["head"]["kernel"])
    np.testing.assert_allclose(logits, want, atol=1e-5)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_resnet_trains_and_evaluates(norm):
    model, params, state = make("resnet", widths=(3, 4), norm=norm)
    assert ("batch_stats" in state) == (norm == "batch")
    apply = lambda x: model.apply({"params": params, **state}, x, train=True, mutable=True)
    logits, updated = apply(X)
    assert logits.shape == (4, 3)
    moved = jax.tree.map(
        lambda a, b: float(jnp.abs(a - b).max()), state, {k: updated[k] for k in state}
    )
    assert all(m > 0 for m in jax.tree.leaves(moved))
    evaluated = model.apply({"params": params, **state}, X)
    one = model.apply({"params": params, **state}, X[:1])
    np.testing.assert_allclose(one, evaluated[:1], atol=1e-5)  # no example looks at another


def test_unknown_parts_are_named():
    with pytest.raises(ValueError, match="model is 'cnn'"):
        classifiers.make_classifier("cnn", 3)
    with pytest.raises(ValueError, match="norm is 'group'"):
        make("mlp", norm="group")
    with pytest.raises(ValueError, match="head is 'x'"):
        make("mlp", head="x")
    model = classifiers.ResNet(3)
    with pytest.raises(ValueError, match=r"x has shape \(2, 8\)"):
        classifiers.init_variables(model, jax.random.key(0), jnp.ones((2, 8)))
