"""`jaxlab.optim.sharpness`: sharpness-aware minimisation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import optim


def quadratic(w):
    return 0.5 * jnp.sum(jnp.arange(1.0, 3.0) * w.astype(jnp.float32) ** 2)


def step(tx, w, **extra):
    gradient = jax.grad(quadratic)
    return tx.update(gradient(w), tx.init(w), w, grad_fn=lambda w, _: gradient(w), **extra)


def test_the_step_is_the_gradient_at_the_worst_point_nearby():
    w = np.array([3.0, -1.0])
    gradient = np.arange(1.0, 3.0) * w
    worst = w + 0.5 * gradient / np.linalg.norm(gradient)
    updates, _ = step(optim.sharpness_aware(optax.sgd(0.1), 0.5), jnp.asarray(w, jnp.float32))
    np.testing.assert_allclose(updates, -0.1 * np.arange(1.0, 3.0) * worst, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_gradient_of_zero_is_no_step(dtype):
    updates, _ = step(optim.sharpness_aware(optax.sgd(0.1), 0.5), jnp.zeros(2, dtype))
    np.testing.assert_array_equal(updates.astype(jnp.float32), [0.0, 0.0])
    assert updates.dtype == dtype


def test_a_mask_belongs_within():
    w, mask = {"a": jnp.array([3.0, -1.0]), "b": jnp.ones(1)}, {"a": True, "b": False}
    gradient = jax.grad(lambda w: quadratic(w["a"]) + w["b"].sum())
    update = lambda tx: tx.update(gradient(w), tx.init(w), w, grad_fn=lambda w, _: gradient(w))[0]
    with pytest.raises(
        ValueError, match=r"mask .* is around sharpness_aware, .*: give it the mask"
    ):
        update(optax.masked(optim.sharpness_aware(optax.sgd(0.1), 0.5), mask))
    found = update(optim.sharpness_aware(optax.masked(optax.sgd(0.1), mask), 0.5))
    slope = np.array([3.0, -2.0])
    nearby = np.array([3.0, -1.0]) + 0.5 * slope / np.sqrt(14)
    np.testing.assert_allclose(found["a"], -0.1 * np.array([1.0, 2.0]) * nearby, rtol=1e-6)
    np.testing.assert_allclose(found["b"], [1.0])  # as it came


def test_other_extra_arguments_reach_the_inner_transformation():
    inner = optax.chain(optim.flood_updates(1.0), optax.sgd(0.1))
    w = jnp.array([3.0, -1.0])
    down, _ = step(optim.sharpness_aware(inner, 0.5), w, value=2.0)
    up, _ = step(optim.sharpness_aware(inner, 0.5), w, value=0.5)
    np.testing.assert_array_equal(up, -down)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="radius is -1"):
        optim.sharpness_aware(optax.sgd(0.1), -1.0)
    tx = optim.sharpness_aware(optax.sgd(0.1), 1.0)
    with pytest.raises(ValueError, match=r"grad_fn is None, .* no optax.MultiSteps"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2))
