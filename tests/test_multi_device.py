"""Eight devices compute what one computes: noise, dropout and batch statistics included."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import mesh as mesh_lib
from jaxlab import optim, train
from jaxlab.checkpoints import Checkpointer


class Network(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Dense(16, use_bias=False)(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        x = nn.Dropout(0.3, deterministic=not train)(nn.gelu(x))
        return nn.Dense(1)(x)[..., 0]


@functools.cache
def losses(devices, steps=10, accumulate=1, fsdp=1):
    network = Network()
    mesh = mesh_lib.make_mesh(jax.devices()[:devices], fsdp=fsdp)

    def init(key):
        variables = network.init(key, jnp.zeros((1, 4)), train=False)
        return variables["params"], {"batch_stats": variables["batch_stats"]}

    def loss_fn(params, model_state, batch, *, key, step):
        noise_key, dropout_key = jax.random.split(key)
        x = batch["x"] + jax.random.normal(noise_key, batch["x"].shape)
        y, model_state = network.apply(
            {"params": params, **model_state},
            x,
            train=True,
            rngs={"dropout": dropout_key},
            mutable=["batch_stats"],
        )
        return jnp.mean((y - batch["y"]) ** 2), (model_state, {})

    tx = optim.skip_large_updates(optax.adam(0.01))
    state = train.create_state(init, tx, key=jax.random.key(0), mesh=mesh)
    step = train.make_train_step(loss_fn, tx, mesh=mesh, clip_norm=1.0, accumulate=accumulate)
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(steps):
        # Rows of very different size, so that statistics of one device's rows would show.
        x = rng.normal(size=(32, 4)).astype(np.float32) * np.linspace(0.1, 9, 32)[:, None]
        batch = {"x": x.astype(np.float32), "y": x.sum(1).astype(np.float32)}
        state, metrics = step(state, mesh_lib.shard_batch(mesh, batch))
        rows.append([float(metrics["loss"]), float(metrics["grad_norm"])])
        placed = jax.tree.map(lambda x, s: x.sharding.is_equivalent_to(s, x.ndim), state,
                              mesh_lib.state_sharding(mesh, state))  # fmt: skip
        assert all(jax.tree.leaves(placed))
    return np.array(rows), jax.device_get(state.model_state)


@pytest.mark.parametrize("accumulate", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_eight_devices_equal_one(accumulate):
    one, state_one = losses(1, accumulate=accumulate)
    eight, state_eight = losses(8, accumulate=accumulate)
    np.testing.assert_allclose(eight, one, rtol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), state_one, state_eight)
    assert np.ptp(one[:, 0]) > 1  # the ten steps are not all alike


@pytest.mark.parametrize("accumulate", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_split_state_trains_as_a_whole_one(accumulate, monkeypatch):
    one, state_one = losses(1, accumulate=accumulate)  # the same call as above: kept
    monkeypatch.setattr(mesh_lib, "SMALLEST_SPLIT", 16)
    eight, state_eight = losses(8, accumulate=accumulate, fsdp=4)
    np.testing.assert_allclose(eight, one, rtol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), state_one, state_eight)


def test_a_split_state_is_saved_and_restored_in_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(mesh_lib, "SMALLEST_SPLIT", 16)
    mesh = mesh_lib.make_mesh(fsdp=4)
    init = lambda key: ({"w": jax.random.normal(key, (3, 8)), "b": jnp.ones(5)}, {})
    create = lambda seed: train.create_state(
        init, optax.adam(1), key=jax.random.key(seed), mesh=mesh
    )
    state, other = create(0), create(1)
    assert {s.data.shape for s in state.params["w"].addressable_shards} == {(3, 2)}
    assert state.params["b"].is_fully_replicated
    with Checkpointer(tmp_path) as saved:
        saved.save(state)
    with Checkpointer(tmp_path) as saved:
        restored = saved.restore_latest(other)
    np.testing.assert_array_equal(restored.params["w"], state.params["w"])
    assert restored.opt_state[0].mu["w"].sharding == state.opt_state[0].mu["w"].sharding
