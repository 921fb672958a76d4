"""`jaxlab.losses.flooding`: flooding."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import losses

RNG = np.random.default_rng(0)


# --- Flooding -------------------------------------------------------------------------------------


def test_flood_values_and_gradients():
    d = np.array([0.0, 0.1, 0.3, 0.5], np.float32)
    up, down = losses.flood(0.5 + d, level=0.5), losses.flood(0.5 - d, level=0.5)
    np.testing.assert_allclose(up, 0.5 + d, rtol=1e-6)
    np.testing.assert_allclose(down, up, rtol=1e-6)
    slope = jax.vmap(jax.grad(lambda l: losses.flood(l, level=0.5)))
    np.testing.assert_array_equal(slope(jnp.array([0.6, 0.5, 0.4])), [1, 1, -1])
    plain = jnp.array([0.0, 0.2, 7.0])
    np.testing.assert_array_equal(losses.flood(plain, level=0.0), plain)
    assert losses.flood(jnp.ones((), jnp.bfloat16), level=0.5).dtype == jnp.bfloat16


def test_per_example_flooding_is_never_below_batch_flooding():
    sample = jnp.asarray(RNG.exponential(size=(8, 4)), jnp.float32)
    level = 0.8
    examples = losses.flood(sample, level=level).mean()
    batches = losses.flood(sample.mean(1), level=level).mean()
    everything = losses.flood(sample.mean(), level=level)
    assert everything <= batches <= examples
    assert everything < examples
    equal = jnp.full(4, 0.3)
    np.testing.assert_allclose(
        losses.flood(equal, level=level).mean(), losses.flood(0.3, level=level), rtol=1e-6
    )
    levels = jnp.array([0.1, 0.4])
    np.testing.assert_allclose(losses.flood(equal[:2], level=levels), [0.3, 0.5], rtol=1e-6)


def test_flooding_has_the_smaller_squared_error_below_the_true_risk():
    estimates, risk, level = RNG.normal(1.0, 0.4, size=2000).astype(np.float32), 1.0, 0.9
    flooded = np.asarray(losses.flood(estimates, level=level))
    assert ((flooded - risk) ** 2 <= (estimates - risk) ** 2 + 1e-6).all()
    low = estimates < level
    gain = (risk - estimates) ** 2 - (risk - flooded) ** 2
    np.testing.assert_allclose(gain[low], 4 * (risk - level) * (level - estimates[low]), atol=1e-5)


def test_a_traced_level_does_not_retrace():
    traces = []

    @jax.jit
    def step(loss, level):
        traces.append(1)
        return losses.flood(loss, level=level)

    for level in (0.1, 0.5, 2.0):
        np.testing.assert_allclose(step(1.0, level), abs(1.0 - level) + level, rtol=1e-6)
    assert len(traces) == 1


def test_adaflood_levels():
    m = np.array([0.0, 1e-6, 0.1, 1.0, 10.0, 1e4], np.float32)
    levels = losses.adaflood_levels(m, gamma=0.5)
    np.testing.assert_allclose(levels, -np.log(0.5 * np.exp(-np.float64(m)) + 0.5), atol=1e-6)
    assert (np.diff(levels) >= 0).all()
    assert levels[0] == 0
    np.testing.assert_allclose(levels[-1], np.log(2), rtol=1e-6)
    np.testing.assert_array_equal(losses.adaflood_levels(m, gamma=1.0), np.zeros(6))
    np.testing.assert_allclose(losses.adaflood_levels(m, gamma=0.0), m, rtol=1e-6)
    affine = losses.adaflood_levels(m, gamma=0.0, alpha=2.0, beta=0.5)
    np.testing.assert_allclose(affine, 2 * m + 0.5, rtol=1e-6)
    grad = jax.grad(lambda m: losses.adaflood_levels(m, gamma=0.3).sum())(jnp.asarray(m))
    np.testing.assert_array_equal(grad, np.zeros(6))
    losses.flood(jnp.ones(6), level=levels)  # levels it accepts


def test_flood_level_from_noise():
    rates = np.array([0.2, 0.4], np.float32)
    np.testing.assert_allclose(losses.flood_level_from_noise(0.1, 2), 0.325, atol=5e-4)
    np.testing.assert_allclose(losses.flood_level_from_noise(rates, 10), [0.940, 1.552], atol=5e-4)
    assert losses.flood_level_from_noise(0.0, 10) == 0
    np.testing.assert_allclose(losses.flood_level_from_noise(0.9, 10), np.log(10), rtol=1e-6)


@pytest.mark.parametrize("level", [0.1, 5.0])
def test_value_and_flood_grad_is_the_gradient_of_the_wrapped_loss(level):
    loss_fn = lambda w, scale: (scale * jnp.sum(w**2), "aux")
    w = jnp.array([1.0, -0.5])
    (loss, aux, flooded), grad = losses.value_and_flood_grad(loss_fn, level=level, has_aux=True)(
        w, 1.0
    )
    expected = jax.grad(lambda w: losses.flood(loss_fn(w, 1.0)[0], level=level))(w)
    np.testing.assert_array_equal(grad, expected)
    assert (float(loss), aux, bool(flooded)) == (1.25, "aux", level > 1.25)


@contextlib.contextmanager
def float64():
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", False)


def test_the_two_step_expansion_of_flooding():
    """Down then up at rate e, in either order, descends the squared gradient norm by e^2 / 2."""
    with float64():
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(12, 3)), rng.normal(size=12)
        start = {"a": rng.normal(size=(3, 4)), "b": rng.normal(size=4)}
        loss = lambda p: jnp.mean((jnp.tanh(x @ p["a"]) @ p["b"] - y) ** 2)
        start, unravel = jax.flatten_util.ravel_pytree(jax.tree.map(jnp.asarray, start))
        assert start.dtype == jnp.float64
        gradient = jax.jit(jax.grad(lambda v: loss(unravel(v))))
        curvature = jax.jit(
            jax.grad(lambda v: 0.5 * jnp.sum(jax.grad(lambda u: loss(unravel(u)))(v) ** 2))
        )(start)

        def pair(first, second):
            middle = start - first * gradient(start)
            return (middle - second * gradient(middle)) - start

        def relative(got, expected):
            return float(jnp.linalg.norm(got - expected) / jnp.linalg.norm(expected))

        last = None
        for e in (1e-2, 1e-3):
            down, up, expected = pair(e, -e), pair(-e, e), -(e**2) * curvature
            errors = [relative(down, expected), relative(up, expected)]
            mean = relative((down + up) / 2, expected)
            assert max(errors) < 30 * e  # first order in e for either order
            assert mean < 30 * e**2  # second order for their mean
            if last:
                assert last[0] / max(errors) == pytest.approx(10, rel=0.2)
                assert last[1] / mean == pytest.approx(100, rel=0.2)
            last = max(errors), mean
        assert max(errors) < 1e-2

        e1, e2 = 1e-3, 4e-4
        c = e1 * e2 / (2 * (e1 - e2))
        unequal = -(e1 - e2) * (gradient(start) + 2 * c * curvature)
        assert relative(pair(e1, -e2), unequal) < 1e-5
