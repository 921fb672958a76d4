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
from jaxlab.errors import InputError


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


def test_a_state_cannot_be_split_over_any_number():
    with pytest.raises(ValueError, match="fsdp is 3, must divide the 8 devices"):
        mesh_lib.make_mesh(fsdp=3)


def test_batches_are_split_and_rows_in_order():
    mesh = mesh_lib.make_mesh()
    batch = mesh_lib.shard_batch(mesh, {"x": np.arange(16)})["x"]
    np.testing.assert_array_equal(batch, np.arange(16))
    assert [list(shard.data) for shard in batch.addressable_shards][:2] == [[0, 1], [2, 3]]


def test_a_batch_is_split_over_both_axes():
    """Four devices that share one state have rows of their own nevertheless."""
    mesh = mesh_lib.make_mesh(fsdp=4)
    batch = mesh_lib.shard_batch(mesh, {"x": np.arange(16)})["x"]
    rows = [tuple(np.asarray(shard.data)) for shard in batch.addressable_shards]
    assert sorted(rows) == [(i, i + 1) for i in range(0, 16, 2)]


def test_the_longest_dimension_that_divides_is_split(monkeypatch):
    monkeypatch.setattr(mesh_lib, "SMALLEST_SPLIT", 16)
    mesh = mesh_lib.make_mesh(fsdp=4)
    leaves = {"rows": (12, 8), "columns": (8, 12), "odd": (13, 8), "none": (5, 7), "small": (4, 3)}
    sharding = mesh_lib.state_sharding(mesh, {k: np.zeros(s) for k, s in leaves.items()})
    shapes = {name: sharding[name].shard_shape(shape) for name, shape in leaves.items()}
    assert shapes == {
        "rows": (3, 8),
        "columns": (8, 3),
        "odd": (13, 2),
        "none": (5, 7),
        "small": (4, 3),
    }


@pytest.mark.parametrize("rows", [np.zeros((12, 2)), np.zeros(())])
def test_batches_that_cannot_be_split(rows):
    with pytest.raises(ValueError, match="8 devices need a first dimension"):
        mesh_lib.shard_batch(mesh_lib.make_mesh(), rows)


def test_the_mesh_is_auto():
    mesh = mesh_lib.make_mesh()
    assert mesh.axis_types == (jax.sharding.AxisType.Auto,) * 2
    assert dict(mesh.shape) == {"data": 8, "fsdp": 1}


def test_rows_of_a_process(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    monkeypatch.setattr(jax, "process_index", lambda: 2)
    assert mesh_lib.local_rows(16) == slice(8, 12)
    with pytest.raises(ValueError, match="a batch of 18 cannot be split over 4 processes"):
        mesh_lib.local_rows(18)


def test_what_takes_one_process_refuses_several(monkeypatch):
    mesh_lib.refuse_several("one program")
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(InputError, match="2 processes were started, this takes one: one program"):
        mesh_lib.refuse_several("one program")


def test_half_given_addresses():
    with pytest.raises(ValueError, match="give all three or none"):
        mesh_lib.initialize_distributed("localhost:1")
