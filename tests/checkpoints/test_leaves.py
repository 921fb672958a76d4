"""`jaxlab.checkpoints.leaves`: names of leaves, and the list of what differs between two states."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab import mesh as mesh_lib
from jaxlab.checkpoints import leaves


def test_a_leaf_is_named_by_its_path():
    tree = {"b": [jnp.ones(2), None], "a": {"x": jnp.zeros(()), "empty": {}}}
    flat = leaves.flatten(tree)
    assert {name: leaf.shape for name, leaf in flat.items()} == {"a/x": (), "b/0": (2,)}


def test_shapes_keep_the_place_that_a_leaf_has():
    whole = mesh_lib.replicated(mesh_lib.make_mesh())
    assert leaves.abstract(jax.device_put(jnp.ones(3), whole)).sharding == whole
    plain = leaves.abstract(np.ones((2, 3), np.float16))
    assert (plain.shape, plain.dtype) == ((2, 3), np.float16)
    assert plain.sharding == mesh_lib.local_device()


def test_differences_are_presence_shape_and_dtype_in_order():
    stored = {"same": np.ones(2), "shape": np.ones((2, 3)), "gone": np.ones(1), "key": np.ones(0)}
    stored["key"] = np.asarray(jax.random.key_data(jax.random.key(0)))  # as keys are stored
    wanted = {"same": np.zeros(2), "shape": np.ones((3, 2)), "dtype": np.ones(1, np.int8)}
    wanted["key"] = jax.random.key(1)
    assert leaves.differences(stored, stored) == []
    assert leaves.differences(stored, wanted) == [
        "dtype seen absent, wanted int8[1]",
        "gone seen float64[1], wanted absent",
        "shape seen float64[2, 3], wanted float64[3, 2]",
    ]


def test_a_message_names_twelve_leaves_and_counts_the_others():
    wanted = lambda count: {f"{i:02}": np.ones(1, bool) for i in range(count)}
    assert leaves.differences({}, wanted(12))[-1] == "11 seen absent, wanted bool[1]"
    found = leaves.differences({}, wanted(15))
    assert found[11:] == ["11 seen absent, wanted bool[1]", "and 3 more"]
