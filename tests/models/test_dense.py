"""Products over the last axis against numpy, and a dense layer against Flax's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.models.dense import Dense, row_product


@pytest.mark.parametrize("leading", [(), (4,), (2, 3), (2, 3, 5)])
def test_values_and_gradients_are_those_of_the_matrix_product(leading):
    rng = np.random.default_rng(0)
    x, kernel, weights = (rng.normal(size=s) for s in ((*leading, 6), (6, 7), (*leading, 7)))
    run = lambda x, kernel: jnp.sum(row_product(x, kernel) * weights)
    by_x, by_kernel = jax.jit(jax.grad(run, argnums=(0, 1)))(x, kernel)
    found = row_product(jnp.array(x), jnp.array(kernel))
    np.testing.assert_allclose(found, x @ kernel, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(by_x, weights @ kernel.T, rtol=1e-4, atol=1e-5)
    expected = x.reshape(-1, 6).T @ weights.reshape(-1, 7)
    np.testing.assert_allclose(by_kernel, expected, rtol=1e-4, atol=1e-5)


def test_the_kernel_s_gradient_contracts_one_axis():
    x, kernel = jnp.ones((2, 3, 5, 6)), jnp.ones((6, 7))
    trace = jax.make_jaxpr(jax.grad(lambda k: jnp.sum(row_product(x, k) ** 2)))(kernel)
    dots = [e for e in trace.eqns if e.primitive.name == "dot_general"]
    assert len(dots) == 2
    assert all(len(side) == 1 for e in dots for side in e.params["dimension_numbers"][0])


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_dense_is_that_of_flax(dtype):
    x, key = jax.random.normal(jax.random.key(1), (2, 3, 6)), jax.random.key(0)
    ours, flax = Dense(7, dtype=dtype), nn.Dense(7, dtype=dtype)
    params = flax.init(key, x)
    jax.tree.map(np.testing.assert_array_equal, params, ours.init(key, x))
    found, expected = ours.apply(params, x), flax.apply(params, x)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found.astype(jnp.float32), expected.astype(jnp.float32), rtol=1e-5)


def test_other_axes_are_refused():
    with pytest.raises(ValueError, match="last axis"):
        Dense(7).dot_general(jnp.ones((2, 3)), jnp.ones((2, 7)), (((0,), (0,)), ((), ())))
