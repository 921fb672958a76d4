"""`jaxlab.train.blueprint`: what a run is before anything is allocated."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxlab import mesh as mesh_lib
from jaxlab import train
from jaxlab.errors import InputError


def blueprint(**changes):
    create = lambda: train.create_state(
        lambda key: ({"w": jnp.ones((256, 64)), "b": jnp.ones(3)}, {}),
        optax.sgd(0.1),
        key=jax.random.key(0),
    )
    batch = {"x": jax.ShapeDtypeStruct((8, 3), jnp.float32)}
    fields = {"create_state": create, "step": None, "batch": batch, "num_steps": 5, "batch_size": 8}
    return train.Blueprint(**(fields | changes))


def test_without_a_mesh_shapes_are_all():
    state, batch = blueprint().arguments()
    assert state.params["w"] == jax.ShapeDtypeStruct((256, 64), jnp.float32)
    assert batch == {"x": jax.ShapeDtypeStruct((8, 3), jnp.float32)}


def test_with_a_mesh_every_leaf_has_its_place():
    mesh = mesh_lib.make_mesh(fsdp=2)
    state, batch = blueprint(mesh=mesh).arguments()
    part = lambda leaf: leaf.sharding.shard_shape(leaf.shape)
    assert part(state.params["w"]) == (128, 64)
    assert part(state.params["b"]) == (3,)
    assert part(batch["x"]) == (1, 3)
    assert (batch["x"].dtype, state.step.dtype) == (jnp.float32, jnp.int32)


@pytest.mark.parametrize("name", ["num_steps", "batch_size"])
def test_numbers_are_whole_ones_from_1(name):
    assert getattr(blueprint(**{name: 1}), name) == 1
    for value in (0, -1, 1.5, None):
        with pytest.raises(InputError, match=f"{name} is {value}"):
            blueprint(**{name: value})
    with pytest.raises(dataclasses.FrozenInstanceError):
        blueprint().num_steps = 3
