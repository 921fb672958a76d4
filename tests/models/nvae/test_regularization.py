"""Spectral and batch-norm penalties against NumPy, iteration by iteration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.models.nvae.regularization import (
    batch_norm_penalty,
    init_spectral,
    spectral_penalty,
    stack_matrices,
)


def test_spectral_penalty_is_the_sum_of_largest_singular_values():
    kernels = {
        "a": jax.random.normal(jax.random.key(0), (3, 3, 4, 8)),
        "b": {"c": jax.random.normal(jax.random.key(1), (3, 3, 4, 8))},
        "depthwise": jax.random.normal(jax.random.key(2), (5, 5, 1, 6)),
    }
    assert {k: v.shape for k, v in stack_matrices(kernels).items()} == {
        "25x6": (1, 25, 6),
        "36x8": (2, 36, 8),
    }
    vectors = init_spectral(kernels, jax.random.key(3), iterations=300)
    value, gradient = jax.value_and_grad(lambda k: spectral_penalty(k, vectors)[0])(kernels)
    total = 0.0
    for kernel, slope in zip(jax.tree.leaves(kernels), jax.tree.leaves(gradient), strict=True):
        u, s, v = np.linalg.svd(np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1]))
        total += s[0]
        np.testing.assert_allclose(
            slope.reshape(-1, kernel.shape[-1]), np.outer(u[:, 0], v[0]), atol=2e-3
        )
    np.testing.assert_allclose(value, total, rtol=1e-4)


def test_spectral_vectors_go_on_from_where_they_were():
    kernels = {"a": jax.random.normal(jax.random.key(0), (3, 3, 4, 8))}
    vectors = init_spectral(kernels, jax.random.key(3), iterations=1)
    before = spectral_penalty(kernels, vectors, iterations=0)[0]
    for _ in range(30):
        value, vectors = spectral_penalty(kernels, vectors)
    top = np.linalg.svd(np.asarray(kernels["a"]).reshape(-1, 8))[1][0]
    assert float(before) < float(value)
    np.testing.assert_allclose(value, top, rtol=1e-4)
    with pytest.raises(ValueError, match="differ in the matrix shapes"):
        spectral_penalty({"b": jnp.ones((1, 1, 2, 2))}, vectors)


def test_batch_norm_penalty_counts_the_norms_at_the_start(small):
    _, variables, _ = small
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    scales = [leaf.size // leaf.shape[-1] for path, leaf in leaves if "scale" in str(path[-1])]
    assert float(batch_norm_penalty(variables["params"])) == sum(scales) > len(scales)
    bent = {"n": {"scale": jnp.array([1.0, -3.0])}, "m": {"scale": jnp.array([2.0])}}
    assert float(batch_norm_penalty(bent)) == 5


def normalized(x):
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-3)


def test_power_iterations_one_by_one():
    """From one draw for all shapes in order, u before v; a length is never divided by less than
    a thousandth."""
    rng = np.random.default_rng(0)
    kernels = {
        "a": rng.normal(size=(2, 1, 1, 3, 2)).astype(np.float32),  # two groups of a scale
        "b": rng.normal(size=(1, 1, 4, 3)).astype(np.float32),
        "c": 1e-4 * rng.normal(size=(1, 1, 3, 2)).astype(np.float32),
    }
    key = jax.random.key(5)
    draws = np.float64(jax.random.normal(key, (3 * (3 + 2) + (4 + 3),)))
    first, second = draws[:15].reshape(3, 5), draws[15:].reshape(1, 7)
    start = {"3x2": (first[:, :3], first[:, 3:]), "4x3": (second[:, :4], second[:, 4:])}
    stacked = {
        "3x2": np.concatenate([kernels["a"].reshape(2, 3, 2), kernels["c"].reshape(1, 3, 2)]),
        "4x3": kernels["b"].reshape(1, 4, 3),
    }
    for iterations in (0, 1, 2):
        found = init_spectral(kernels, key, iterations=iterations)
        assert list(found) == ["3x2", "4x3"]
        for shape, matrices in stacked.items():
            u, v = map(normalized, start[shape])
            for _ in range(iterations):
                v = normalized(np.einsum("nrc,nr->nc", np.float64(matrices), u))
                u = normalized(np.einsum("nrc,nc->nr", np.float64(matrices), v))
            np.testing.assert_allclose(found[shape]["u"], u, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(found[shape]["v"], v, rtol=1e-4, atol=1e-6)
    total = sum(np.einsum("nr,nrc,nc->", found[s]["u"], stacked[s], found[s]["v"]) for s in stacked)
    value, same = spectral_penalty(kernels, found, iterations=0)
    assert float(value) == pytest.approx(float(total), rel=1e-5)
    jax.tree.map(np.testing.assert_array_equal, same, found)


def test_forty_iterations_at_the_start_and_four_a_step():
    near = {"a": jnp.diag(jnp.array([1.0, 0.99, 0.98])).reshape(1, 1, 3, 3)}
    equal = lambda a, b: all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))
    start = init_spectral(near, jax.random.key(0))
    assert equal(start, init_spectral(near, jax.random.key(0), iterations=40))
    assert not equal(start, init_spectral(near, jax.random.key(0), iterations=41))
    after = spectral_penalty(near, start)[1]
    assert equal(after, spectral_penalty(near, start, iterations=4)[1])
    assert not equal(after, spectral_penalty(near, start, iterations=5)[1])


def test_stacks_keep_the_order_of_the_tree_and_are_float32():
    kernels = {"b": jnp.full((1, 1, 2, 2), 2.0), "a": jnp.full((2, 1, 1, 2, 2), 1.0, jnp.bfloat16)}
    (stack,) = stack_matrices(kernels).values()
    assert stack[:, 0, 0].tolist() == [1, 1, 2]
    assert stack.dtype == jnp.float32
