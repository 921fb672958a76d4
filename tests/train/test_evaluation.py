"""`jaxlab.train.evaluation`: means over sets."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import mesh as mesh_lib
from jaxlab import train


def metric_fn(params, model_state, batch, *, key):
    noise = jax.random.normal(key, batch["x"].shape)
    return {"square": params["w"] * batch["x"] ** 2, "noise": noise}


@pytest.mark.parametrize("devices", [None, 4])
def test_means_are_exact_under_padding(devices):
    mesh = None if devices is None else mesh_lib.make_mesh(jax.devices()[:devices])
    x = np.random.default_rng(0).normal(size=20).astype(np.float32)
    padded = np.concatenate([x[16:], np.full(4, np.nan, np.float32)])
    mask = np.array([1, 1, 1, 1, 0, 0, 0, 0], np.float32)
    batches = [
        {"x": x[:8], "mask": np.ones(8, np.float32)},
        {"x": x[8:16], "mask": np.ones(8, np.float32)},
        {"x": padded, "mask": mask},
    ]
    params = {"w": jnp.float32(3.0)}
    step = train.make_eval_step(metric_fn, mesh=mesh)
    means = train.evaluate(step, params, {}, batches, key=jax.random.key(1), mesh=mesh)
    squares = 3.0 * x.astype(np.float64) ** 2
    np.testing.assert_allclose(means["square"], squares.mean(), rtol=1e-6)
    np.testing.assert_allclose(means["square_se"], squares.std(ddof=1) / np.sqrt(20), rtol=1e-5)


@pytest.mark.parametrize(("mean", "spread"), [(1e4, 1.0), (2e5, 5.0), (-1e6, 10.0), (0.0, 1e-3)])
@pytest.mark.parametrize("devices", [None, 4])
def test_standard_errors_where_the_spread_is_small(mean, spread, devices):
    mesh = None if devices is None else mesh_lib.make_mesh(jax.devices()[:devices])
    draws = np.random.default_rng(0).normal(size=1200)
    # Sorted, so that means of batches differ: the spread between them counts as that within.
    x = (mean + spread * np.sort(draws)).astype(np.float32).reshape(-1, 100)
    step = train.make_eval_step(
        lambda params, model_state, batch, *, key: {"x": batch["x"]}, mesh=mesh
    )
    batches = [{"x": rows, "mask": np.ones(100, bool)} for rows in x]
    batches.insert(1, {"x": np.full(100, np.nan, np.float32), "mask": np.zeros(100, bool)})
    found = train.evaluate(step, {}, {}, batches, key=jax.random.key(0), mesh=mesh)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(found["x"], wide.mean(), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found["x_se"], wide.std(ddof=1) / 1200**0.5, rtol=1e-4)


def test_what_is_not_finite_shows():
    step = train.make_eval_step(lambda params, model_state, batch, *, key: {"x": batch["x"]})
    for bad in (np.inf, np.nan):
        batches = [{"x": np.array([1.0, bad])}, {"x": np.array([2.0, 3.0])}]
        found = train.evaluate(step, {}, {}, batches, key=jax.random.key(0))
        np.testing.assert_equal(found, {"x": bad, "x_se": np.nan})


def test_values_of_low_precision_are_summed_in_float32():
    step = train.make_eval_step(lambda params, model_state, batch, *, key: {"x": batch["x"]})
    batch = {"x": jnp.ones(4096, jnp.bfloat16)}
    found = train.evaluate(step, {}, {}, [batch, batch], key=jax.random.key(0))
    assert found == {"x": 1.0, "x_se": 0.0}


def test_every_batch_has_a_key_of_its_own_and_numbers_repeat():
    step = train.make_eval_step(metric_fn)
    batches = [{"x": np.zeros(4, np.float32)}] * 2
    key = jax.random.key(0)
    run = lambda: train.evaluate(step, {"w": 1.0}, {}, batches, key=key)["noise"]
    draws = [jax.random.normal(jax.random.fold_in(key, i), (4,)) for i in range(2)]
    np.testing.assert_allclose(run(), np.mean(draws), rtol=1e-6)
    assert run() == run()


def test_wrong_use():
    step = train.make_eval_step(lambda params, model_state, batch, *, key: {"m": jnp.ones(())})
    with pytest.raises(ValueError, match=r"'m' has shape \(\), must be \(2,\)"):
        train.evaluate(step, {}, {}, [{"x": np.ones(2)}], key=jax.random.key(0))
    with pytest.raises(ValueError, match="nothing to evaluate"):
        train.evaluate(step, {}, {}, [], key=jax.random.key(0))


def test_averaged_parameters_are_evaluated_and_raw_ones_where_asked():
    step = train.make_eval_step(metric_fn)
    batches = [{"x": np.ones(4, np.float32)}]
    state = train.create_state(
        lambda key: ({"w": jnp.float32(3.0)}, {}), optax.sgd(1.0), key=jax.random.key(0)
    )
    state = state.replace(ema_params={"w": jnp.float32(5.0)})
    run = lambda state, **kwargs: train.evaluate_state(
        step, state, batches, key=jax.random.key(0), **kwargs
    )
    both = run(state, raw=["square"])
    assert (both["square"], both["square_raw"]) == (5.0, 3.0)
    assert "noise_raw" not in both
    assert run(state)["square"] == 5.0
    assert run(state.replace(ema_params=None))["square"] == 3.0


def test_few_examples_by_hand():
    step = train.make_eval_step(lambda params, model_state, batch, *, key: {"x": batch["x"]})
    run = lambda *batches: train.evaluate(step, {}, {}, batches, key=jax.random.key(0))
    rows = lambda *values: {"x": np.array(values, np.float32)}
    one = run(rows(4.0))
    assert one["x"] == 4.0
    assert np.isnan(one["x_se"])  # one has no spread
    for batches in ((rows(1.0, 4.0, 7.0),), (rows(1.0), rows(4.0, 7.0)), (rows(1.0, 4.0), rows(7))):
        assert run(*batches) == {"x": 4.0, "x_se": pytest.approx(3**0.5)}
    masked = {"x": np.array([9.0, 1.0, 3.0], np.float32), "mask": np.array([0.0, 0.25, 1.0])}
    assert run(masked) == {"x": 2.0, "x_se": 1.0}
    assert list(run(rows(1.0, 2.0))) == ["x", "x_se"]
    sums = step({}, {}, masked, jax.random.key(0))
    assert ([float(v) for v in sums["x"]], float(sums["count"])) == ([2.0, 0.0, 2.0], 2.0)
