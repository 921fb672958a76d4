"""`jaxlab.regularizers.norms`: L2, WEISSI and the norm of gradients against NumPy: values,
gradients, extremes, stacks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from network import RNG, TREE, X, Y, forward, network

from jaxlab import regularizers as reg


def test_values_against_numpy():
    params = {
        "a": RNG.normal(size=(3, 4)),
        "b": RNG.normal(size=7),
        "c": RNG.normal(size=(2, 2, 5)),
    }
    params = {k: v.astype(np.float32) for k, v in params.items()}
    every = sum((np.float64(v) ** 2).sum() for v in params.values())
    np.testing.assert_allclose(reg.l2(params), every / 2, rtol=1e-6)
    np.testing.assert_allclose(
        reg.l2(params, mask=reg.vectors_only), (params["b"] ** 2).sum() / 2, rtol=1e-6
    )
    matrices = [params["a"], params["c"]]
    norms = [np.linalg.norm(np.float64(v)) for v in matrices]
    np.testing.assert_allclose(reg.log_norm_sum(params), np.log(norms).sum(), rtol=1e-6)
    ratios = [np.abs(v).sum() / n for v, n in zip(matrices, norms, strict=True)]
    expected = 0.3 * np.log(norms).sum() + 0.2 * np.sum(ratios)
    np.testing.assert_allclose(reg.weissi(params, log_norm=0.3, direction=0.2), expected, rtol=1e-6)
    for ratio, w in zip(ratios, matrices, strict=True):
        assert 1 <= ratio <= np.sqrt(w.size)


@pytest.mark.parametrize("stacked", [False, True])
def test_the_closed_form_gradient_is_that_of_the_penalty(stacked):
    w = RNG.normal(size=(3, 4, 5)).astype(np.float32)
    strengths = {"log_norm": 0.7, "direction": 0.3, "stacked": stacked}
    expected = jax.jit(jax.grad(lambda w: reg.weissi(w, **strengths)))(w)
    np.testing.assert_allclose(reg.weissi_grad(w, **strengths), expected, atol=1e-6)


def test_the_gradient_is_radial_and_tangential():
    for scale in (1e-3, 1.0, 100.0):
        w = scale * RNG.normal(size=(6, 5)).astype(np.float32)
        radial = reg.weissi_grad(w, log_norm=0.7)
        tangential = reg.weissi_grad(w, log_norm=0.0, direction=0.7)
        np.testing.assert_allclose(np.sum(w * radial), 0.7, rtol=1e-5)
        np.testing.assert_allclose(np.sum(w * tangential), 0, atol=1e-5)


def test_gradients_of_higher_order():
    w = (np.sign(RNG.normal(size=(2, 3))) * RNG.uniform(0.5, 1, size=(2, 3))).astype(np.float32)
    penalty = jax.jit(lambda w: reg.weissi(w, log_norm=0.5, direction=0.5))
    check_grads(penalty, (w,), order=2, modes=["rev"], rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e-12, 1e15])
def test_extremes_are_finite(value):
    w = jnp.full((2, 2), value, jnp.float32)
    penalty = lambda w: reg.weissi(w, direction=1.0)
    out, grad = jax.jit(jax.value_and_grad(penalty))(w)
    assert np.isfinite(out)
    assert np.isfinite(grad).all()
    np.testing.assert_allclose(reg.weissi_grad(w, direction=1.0), grad, rtol=1e-3, atol=1e-15)
    if value == 0:
        assert not grad.any()


def test_half_precision_norms_do_not_overflow():
    w = jnp.full((300, 300), 10.0, jnp.float16)  # the sum of squares is above 65504
    np.testing.assert_allclose(reg.log_norm_sum(w), np.log(3000), rtol=1e-3)
    np.testing.assert_allclose(reg.l2(w), 4.5e6, rtol=1e-3)
    assert reg.weissi_grad(w).dtype == jnp.float16
    assert jax.grad(reg.l2)(w).dtype == jnp.float16


def test_a_stack_of_layers_is_a_norm_per_layer():
    w, b = RNG.normal(size=(3, 4, 5)).astype(np.float32), np.ones((3, 5), np.float32)
    apart = [{"w": w[i], "b": b[i]} for i in range(3)]
    kwargs = {"log_norm": 0.7, "direction": 0.1}
    expected = reg.weissi(apart, **kwargs)
    # The stacked bias has two axes and stays a bias.
    for stacked in (
        True,
        {"w": True, "b": True},
        lambda params: jax.tree.map(bool, {"w": 1, "b": 1}),
    ):
        np.testing.assert_allclose(
            reg.weissi({"w": w, "b": b}, stacked=stacked, **kwargs), expected, rtol=1e-6
        )
    assert abs(reg.weissi({"w": w, "b": b}, **kwargs) - expected) > 0.1


def test_under_vmap():
    w = RNG.normal(size=(3, 4, 5)).astype(np.float32)
    apart = jax.jit(jax.vmap(reg.weissi))(w)
    np.testing.assert_allclose(apart.sum(), reg.weissi(w, stacked=True), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reg.weissi(np.ones((2, 2)), log_norm=-1.0), "log_norm is -1.0"),
        (lambda: reg.weissi(np.ones((2, 2)), direction=np.nan), "direction is nan"),
        (lambda: reg.weissi(np.ones((2, 2)), log_norm=np.ones(2)), "must be a scalar"),
        (lambda: reg.weissi(np.ones((2, 2)), eps=0.0), "eps is 0.0"),
        (lambda: reg.weissi_grad(np.ones((2, 2)), log_norm=-1.0), "log_norm is -1.0"),
        (lambda: reg.weissi({"b": np.ones(2)}), "no leaf with two or more axes"),
        (lambda: reg.weissi({}), "no leaf with two or more axes"),
        (lambda: reg.weissi(TREE, mask=False), "mask selects no leaf"),
        (lambda: reg.weissi(TREE, mask=reg.named("kernle")), "mask selects no leaf"),
        (lambda: reg.l2(TREE, mask=False), "mask selects no leaf"),
        (lambda: reg.l2(TREE, mask={"dense": True}), "mask must be a tree of bools that fits"),
        (lambda: reg.weissi(TREE, stacked={"dense": True}), "stacked must be a tree of bools"),
        (
            lambda: reg.weissi({"s": np.float32(1)}, mask=True, stacked=True),
            r"a stacked leaf has shape \(\)",
        ),
        (lambda: reg.gradient_norm_penalty(jnp.sum, -1.0), "coefficient is -1.0"),
        (lambda: reg.residual_log_bound([]), "blocks is empty"),
        (lambda: reg.rescale_layers([np.ones((1, 1))], None, [1.0, 1.0]), "one each a layer"),
        (lambda: reg.rescale_layers([np.ones((1, 1))], [], [1.0]), "got 1 weights, 0 biases"),
        (
            lambda: reg.rescale_layers([np.ones((1, 1))], None, [-1.0]),
            "must be finite and positive",
        ),
        (lambda: reg.balanced_gains([]), "weights is empty"),
        (
            lambda: reg.balanced_gains([np.ones((1, 1)), np.zeros((1, 1))]),
            r"weights\[1\] is zero",
        ),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_squared_gradient_norm():
    weights, biases = network()
    loss = lambda w, x: (jnp.mean((forward(w, biases, x) - Y) ** 2), "aux")
    penalty = reg.squared_gradient_norm(loss, has_aux=True)
    grads = jax.grad(lambda w: loss(w, X)[0])(weights)
    expected = sum(np.sum(np.square(g)) for g in grads)
    np.testing.assert_allclose(penalty(weights, X), expected, rtol=1e-5)
    first = reg.squared_gradient_norm(loss, has_aux=True, mask=[True, False, False, False])
    np.testing.assert_allclose(first(weights, X), np.sum(np.square(grads[0])), rtol=1e-5)
    total, aux = reg.gradient_norm_penalty(loss, 0.3, has_aux=True)(weights, X)
    assert aux == "aux"
    np.testing.assert_allclose(total, loss(weights, X)[0] + 0.3 * expected, rtol=1e-5)


def test_its_gradient_is_twice_hessian_times_gradient():
    h = np.diag([1.0, 3.0]).astype(np.float32) + 0.5
    penalized = reg.gradient_norm_penalty(lambda w: 0.5 * w @ h @ w, 0.1)
    w = np.array([1.0, -2.0], np.float32)
    np.testing.assert_allclose(jax.grad(penalized)(w), h @ w + 0.2 * h @ h @ w, rtol=1e-5)
