"""`jaxlab.regularizers.baselines`: path norm and spectral norm: closed forms, invariances,
gradients."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import regularizers as reg

RNG = np.random.default_rng(0)
KERNELS = [RNG.normal(size=shape).astype(np.float32) for shape in itertools.pairwise((3, 5, 4, 2))]
PARAMS = {
    "dense": {"kernel": RNG.normal(size=(6, 8)).astype(np.float32), "bias": np.ones(8, np.float32)},
    "conv": RNG.normal(size=(3, 3, 4, 5)).astype(np.float32),
}


def test_path_norm_sums_over_paths():
    total = 0.0
    for i, j, k, m in itertools.product(*map(range, (3, 5, 4, 2))):
        total += np.prod([np.float64(w) for w in (KERNELS[0][i, j], KERNELS[1][j, k])]) ** 2 * (
            np.float64(KERNELS[2][k, m]) ** 2
        )
    np.testing.assert_allclose(reg.path_norm(KERNELS), total, rtol=1e-5)
    single = np.sum(np.float64(KERNELS[0]) ** 2)
    np.testing.assert_allclose(reg.path_norm(KERNELS[:1]), single, rtol=1e-5)
    window = RNG.normal(size=(3, 3, 2, 4)).astype(np.float32)
    np.testing.assert_allclose(reg.path_norm([window]), np.sum(window**2), rtol=1e-5)


def test_path_norm_does_not_see_the_scale_of_units_weissi_does():
    gains = [np.exp(RNG.normal(size=n)).astype(np.float32) for n in (5, 4)]
    scaled = [
        KERNELS[0] * gains[0],
        KERNELS[1] / gains[0][:, None] * gains[1],
        KERNELS[2] / gains[1][:, None],
    ]
    np.testing.assert_allclose(reg.path_norm(scaled), reg.path_norm(KERNELS), rtol=1e-5)
    assert abs(reg.log_norm_sum(scaled) - reg.log_norm_sum(KERNELS)) > 0.1
    layers = [4 * KERNELS[0], KERNELS[1] / 4, KERNELS[2]]
    np.testing.assert_allclose(reg.path_norm(layers), reg.path_norm(KERNELS), rtol=1e-6)


def test_gradient_of_the_path_norm_is_homogeneous():
    """Of degree 2 in every layer, so <W_l, grad> is twice the value for each."""
    grads = jax.jit(jax.grad(reg.path_norm))(KERNELS)
    inner = [np.sum(w * g) for w, g in zip(KERNELS, grads, strict=True)]
    np.testing.assert_allclose(inner, np.full(3, 2 * reg.path_norm(KERNELS)), rtol=1e-4)


def converged(params, **kwargs):
    return reg.init_spectral_vectors(params, jax.random.key(0), iterations=200, **kwargs)


def test_spectral_norm_against_numpy():
    vectors = converged(PARAMS)
    assert sorted(vectors) == ["conv", "dense/kernel"]
    matrices = [PARAMS["dense"]["kernel"], PARAMS["conv"].reshape(36, 5)]
    expected = sum(np.linalg.norm(m, ord=2) ** 2 for m in matrices)
    compute = jax.jit(jax.value_and_grad(reg.spectral_norm_penalty, has_aux=True))
    (value, again), grads = compute(PARAMS, vectors)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(np.abs(np.sum(again["conv"] * vectors["conv"])), 1, rtol=1e-5)
    u, s, vt = np.linalg.svd(matrices[0])
    gradient = 2 * s[0] * np.outer(u[:, 0], vt[0])
    np.testing.assert_allclose(grads["dense"]["kernel"], gradient, atol=1e-3)
    np.testing.assert_array_equal(grads["dense"]["bias"], 0)


def test_it_never_exceeds_the_norm_and_follows_the_weights():
    params = {"w": PARAMS["dense"]["kernel"]}
    exact = lambda w: np.linalg.norm(w, ord=2) ** 2
    vectors = reg.init_spectral_vectors(params, jax.random.key(1), iterations=0)
    step = jax.jit(reg.spectral_norm_penalty)
    values = []
    for t in range(60):  # the weights drift while the vectors follow
        moving = {"w": params["w"] + 0.002 * t * RNG.normal(size=(6, 8)).astype(np.float32)}
        value, vectors = step(moving, vectors)
        values.append(float(value) / exact(moving["w"]))
    assert max(values) <= 1 + 1e-5
    assert values[0] < values[-1]
    assert values[-1] > 0.97


def test_stacks_masks_and_zero_matrices():
    stack = RNG.normal(size=(3, 4, 6)).astype(np.float32)
    vectors = converged({"w": stack}, stacked=True)
    together = reg.spectral_norm_penalty({"w": stack}, vectors, stacked=True)[0]
    expected = sum(np.linalg.norm(w, ord=2) ** 2 for w in stack)
    np.testing.assert_allclose(together, expected, rtol=1e-4)
    mask = reg.named("conv")
    only = reg.spectral_norm_penalty(PARAMS, converged(PARAMS, mask=mask), mask=mask)
    assert list(only[1]) == ["conv"]
    zero = {"w": jnp.zeros((3, 2))}
    value, vectors = reg.spectral_norm_penalty(zero, converged(zero))
    assert float(value) == 0
    np.testing.assert_allclose(np.linalg.norm(vectors["w"]), 1, rtol=1e-5)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="kernels is empty"):
        reg.path_norm([])
    with pytest.raises(
        ValueError, match=r"kernel 1 has shape \(4, 2\), must .* \(\.\.\., 5, out\)"
    ):
        reg.path_norm([KERNELS[0], KERNELS[2]])
    with pytest.raises(ValueError, match=r"kernel 0 has shape \(3,\)"):
        reg.path_norm([np.ones(3)])
    vectors = reg.init_spectral_vectors({"w": KERNELS[0]}, jax.random.key(0), iterations=0)
    with pytest.raises(ValueError, match=r"vectors do not fit the leaves \['w'\]"):
        reg.spectral_norm_penalty({"w": KERNELS[1]}, vectors)


@pytest.mark.parametrize("number", [3.0, np.float32(3.0)])
def test_a_scalar_is_a_matrix_of_one_by_one(number):
    params = {"scale": number, "bias": np.float32([3.0, 4.0])}
    vectors = reg.init_spectral_vectors(params, jax.random.key(0), mask=True)
    total, _ = reg.spectral_norm_penalty(params, vectors, mask=True)
    np.testing.assert_allclose(total, 9.0 + 25.0, rtol=1e-6)
