"""What several processes must agree on, called in real ones: a process of `test_multi_process`.

Prints "ok NAME" for each check, and ends with the error of the last one, process 0's.
"""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import checkpoints, mesh, train
from jaxlab.data.pipelines.endless import process_rows
from jaxlab.errors import InputError

PARAMS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}
BATCH = {"x": np.arange(8, dtype=np.float32).reshape(4, 2)}
TX = optax.adam(0.1)


def loss_fn(params, model_state, batch, *, key, step):
    noise = jax.random.normal(key, batch["x"].shape)
    return jnp.mean(((batch["x"] + noise) @ params["w"]) ** 2), (model_state, {})


def metric_fn(params, model_state, batch, *, key):
    return {"size": jnp.sum((batch["x"] @ params["w"]) ** 2, axis=1)}


def numbers(tree):
    return [np.asarray(x) for x in jax.tree.leaves(tree)]


def train_twice(params, devices):
    """The state after two steps from given parameters, and this process's rows of the batch."""
    state = train.state_from_params(params, TX, key=jax.random.key(3), mesh=devices)
    step = train.make_train_step(loss_fn, TX, mesh=devices)
    batch = {"x": BATCH["x"][process_rows(4, **mesh.this_process())]}
    for _ in range(2):
        state, _ = step(state, mesh.shard_batch(devices, batch))
    return state, batch


def main(port, index, folder):
    mesh.initialize_distributed(f"127.0.0.1:{port}", 2, index)
    devices = mesh.make_mesh()
    assert jax.process_count() == 2

    # A state from parameters at hand, its typed key included, over both processes.
    state, batch = train_twice(PARAMS, devices)
    assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(state))
    assert not state.key.is_fully_addressable
    print("ok state", flush=True)

    # What a checkpoint gives starts the next stage, and is evaluated.
    with checkpoints.Checkpointer(folder / "checkpoints") as saved:
        saved.save(state)
    _, params, _ = checkpoints.load_params(folder / "checkpoints")
    np.testing.assert_array_equal(params["w"], state.params["w"])
    second, _ = train_twice(params, devices)
    eval_step = train.make_eval_step(metric_fn, mesh=devices)
    found = train.evaluate(eval_step, params, {}, [batch], key=jax.random.key(0), mesh=devices)
    committed = jax.device_put(params, jax.local_devices()[0])
    third, _ = train_twice(committed, devices)
    for a, b in zip(numbers(second.params), numbers(third.params), strict=True):
        np.testing.assert_array_equal(a, b)
    if index == 0:
        np.savez(
            folder / "found.npz",
            first=state.params["w"],
            second=second.params["w"],
            size=found["size"],
        )
    print("ok checkpoint", flush=True)

    # Process 0 decides, and its files are there for the others.
    assert mesh.in_process_0(lambda: {"index": index}) == {"index": 0}
    file = folder / "file"

    def make():
        made = not file.exists()
        file.write_text("made")
        return made

    assert mesh.first_in_process_0(make) == (index == 0)
    print("ok agreement", flush=True)

    # Its errors end all of them; a bug stays a bug.
    expected = {InputError: InputError, OSError: InputError, KeyError: RuntimeError}
    for error, seen in expected.items():

        def fail(error=error):
            raise error("the file is damaged")

        with pytest.raises(error if index == 0 else seen, match="the file is damaged"):
            mesh.in_process_0(fail)
    print("ok errors", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3]))
