"""`jaxlab.mesh`: who holds which part of a state and which rows, and what processes agree on."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import mesh as mesh_lib
from jaxlab import train
from jaxlab.errors import InputError


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


def test_what_takes_one_process_refuses_several(monkeypatch):
    mesh_lib.refuse_several("one program")
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(InputError, match="2 processes were started, this takes one: one program"):
        mesh_lib.refuse_several("one program")


def test_half_given_addresses():
    with pytest.raises(ValueError, match="give all three or none"):
        mesh_lib.initialize_distributed("localhost:1")


def test_a_replicated_state_is_whole_everywhere_however_large():
    mesh = mesh_lib.make_mesh()
    large = jax.ShapeDtypeStruct((2**14, 8), jnp.float32)
    assert mesh_lib.state_sharding(mesh, large).is_fully_replicated
    assert mesh_lib.given_sharding(mesh).is_fully_replicated
    assert mesh_lib.given_sharding(mesh_lib.make_mesh(fsdp=2)) is None
    assert mesh_lib.local_device().device_set == {jax.local_devices()[0]}


def test_only_arrays_worth_a_gather_are_split():
    mesh = mesh_lib.make_mesh(fsdp=2)
    shapes = ((2**13, 2), (2**13 - 2, 2), (2, 2**13), (128, 128))
    parts = {s: mesh_lib.state_sharding(mesh, np.zeros(s)).shard_shape(s) for s in shapes}
    assert parts == {
        (2**13, 2): (2**12, 2),
        (2**13 - 2, 2): (2**13 - 2, 2),
        (2, 2**13): (2, 2**12),
        (128, 128): (64, 128),  # of equal ones the first
    }


def test_any_axis_can_be_split():
    sharding = mesh_lib.split(mesh_lib.make_mesh(), axis=1)
    assert sharding.shard_shape((3, 16, 5)) == (3, 2, 5)
    assert mesh_lib.split(mesh_lib.make_mesh()).shard_shape((16, 3)) == (2, 3)


def test_a_mesh_of_one_device_of_each_process(monkeypatch):
    """Its first one, in the order of the processes."""

    class Device:
        def __init__(self, index, process_index):
            self.index, self.process_index = index, process_index

    devices = [Device(i, process) for i, process in enumerate((1, 1, 0, 0, 2))]
    made = []
    monkeypatch.setattr(jax, "devices", lambda: devices)
    monkeypatch.setattr(mesh_lib, "make_mesh", lambda chosen: made.extend(chosen))
    mesh_lib.one_device_each()
    assert [d.index for d in made] == [2, 0, 4]


@pytest.fixture
def second_of_three(monkeypatch):
    """Process 1 of 3; the others say what the test puts into the list."""
    others = []
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(
        mesh_lib.multihost_utils,
        "process_allgather",
        lambda mine: np.stack([np.asarray(mine), *others.pop(0)]),
    )
    return others


def test_what_holds_in_every_process(second_of_three):
    second_of_three += [[True, True], [True, False]]
    assert mesh_lib.all_processes(True)
    assert not mesh_lib.all_processes(True)


def test_texts_of_different_lengths_are_gathered_whole(second_of_three):
    rows = [np.frombuffer(text.encode().ljust(5, b"\0"), np.uint8) for text in ("", "é12")]
    second_of_three += [[np.asarray(0), np.asarray(4)], [row[:4] for row in rows]]
    assert mesh_lib.gather_texts("abc") == ["abc", "", "é12"]


def test_the_result_of_process_0_is_everyones(second_of_three, monkeypatch):
    told = []
    monkeypatch.setattr(mesh_lib, "gather_texts", lambda mine: [told.pop(0), mine, ""])
    fail = lambda: pytest.fail("only process 0 makes it")
    told += ['{"value": [1, 2]}', '{"error": "process 0: x is 3", "users": true}']
    told += ['{"error": "process 0: a bug", "users": false}']
    assert mesh_lib.in_process_0(fail) == [1, 2]
    with pytest.raises(InputError, match="process 0: x is 3"):
        mesh_lib.in_process_0(fail)
    with pytest.raises(RuntimeError, match="process 0: a bug"):
        mesh_lib.in_process_0(fail)
    told += ['{"value": null}']
    assert mesh_lib.first_in_process_0(lambda: "made here too") == "made here too"


@pytest.mark.parametrize(
    ("error", "users"),
    [(InputError("x is 3"), True), (OSError(28, "full"), True), (ValueError("a bug"), False)],
)
def test_process_0_tells_what_went_wrong_and_raises_it_itself(monkeypatch, error, users):
    said = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(mesh_lib, "gather_texts", lambda mine: said.append(mine) or [mine, ""])

    def make():
        raise error

    with pytest.raises(type(error)) as caught:
        mesh_lib.in_process_0(make)
    assert caught.value is error
    assert json.loads(said[0]) == {"error": f"process 0: {error}", "users": users}
    assert mesh_lib.in_process_0(lambda: (1, 2)) == [1, 2]  # as JSON has it, in all alike


def test_alone_nothing_is_asked(monkeypatch):
    monkeypatch.setattr(mesh_lib, "multihost_utils", None)
    assert (mesh_lib.all_processes(True), mesh_lib.all_processes(False)) == (True, False)
    assert mesh_lib.gather_texts("é") == ["é"]
    assert mesh_lib.in_process_0(lambda: {1}) == {1}
    assert mesh_lib.first_in_process_0(lambda: {1}) == {1}
    assert (mesh_lib.stop_agreed(True), mesh_lib.stop_agreed(False)) == (True, False)
    mesh_lib.wait_for_all("x")


def test_processes_are_joined_with_a_time_limit_of_ours_below_jaxs(monkeypatch):
    asked, timers = [], []

    class Timer:
        def __init__(self, seconds, function, arguments):
            timers.append(self)
            self.seconds, self.function, self.arguments = seconds, function, arguments
            self.done = []

        start = lambda self: self.done.append(f"start, daemon={self.daemon}")
        cancel = lambda self: self.done.append("cancel")

    initialize = lambda *args, **kwargs: asked.append((args, kwargs))
    monkeypatch.setattr(mesh_lib.threading, "Timer", Timer)
    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    mesh_lib.initialize_distributed("host:12", 3, 0, timeout=7)
    mesh_lib.initialize_distributed()
    assert asked == [
        (("host:12", 3, 0), {"initialization_timeout": 67}),
        ((None, None, None), {"initialization_timeout": 360}),
    ]
    assert [timer.seconds for timer in timers] == [7, 300]
    assert [timer.done for timer in timers] == [["start, daemon=True", "cancel"]] * 2
    assert "not all processes at host:12 have started within 7 s" in timers[0].arguments[0]
    assert "not all processes of the cluster have started within 300 s" in timers[1].arguments[0]
    ended, said = [], []
    monkeypatch.setattr(mesh_lib.os, "_exit", ended.append)
    monkeypatch.setattr(mesh_lib.signals, "say", said.append)
    timers[0].function("late")
    assert (said, ended) == (["error: late"], [2])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("host", 2, 0), "coordinator_address is 'host', must be host:port"),
        (("host:1", 2, 2), "process_id is 2, must be at least 0 and below num_processes 2"),
        (("host:1", 2, -1), "process_id is -1"),
        (("host:1", None, 0), "give all three or none"),
        ((None, None, 0), "give all three or none"),
    ],
)
def test_addresses_that_make_no_sense(given, message):
    with pytest.raises(InputError, match=message):
        mesh_lib.initialize_distributed(*given)


def test_where_no_cluster_is_found(monkeypatch):
    def initialize(*args, **kwargs):
        raise ValueError("coordinator_address should be defined")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(InputError, match="no cluster detected"):
        mesh_lib.initialize_distributed(timeout=9)
    with pytest.raises(ValueError, match="should be defined") as caught:
        mesh_lib.initialize_distributed("host:1", 1, 0, timeout=9)
    assert not isinstance(caught.value, InputError)


def test_errors_that_are_about_another_process():
    error = lambda text: jax.errors.JaxRuntimeError(text)
    assert mesh_lib.is_about_peers(error("Gloo: something: Connection closed by peer"))
    assert mesh_lib.is_about_peers(error("UNAVAILABLE: socket"))
    assert not mesh_lib.is_about_peers(error("RESOURCE_EXHAUSTED: memory"))
    assert not mesh_lib.is_about_peers(ValueError("UNAVAILABLE"))


def test_devices_of_a_batch_are_those_of_the_mesh_that_is_traced_for():
    count = jax.device_count()
    assert count > 1
    batches = (count, 3 * count, count + 1, 1)
    assert [mesh_lib.devices_of(n) for n in batches] == [count, count, 1, 1]
    half = mesh_lib.make_mesh(jax.devices()[: count // 2])
    with mesh_lib.splitting_over(half):
        assert [mesh_lib.devices_of(n) for n in batches] == [count // 2, count // 2, 1, 1]
        with mesh_lib.splitting_over(None):
            assert mesh_lib.devices_of(count) == count
    assert mesh_lib.devices_of(count) == count


def test_steps_are_traced_for_the_devices_of_their_mesh():
    found = []

    def loss_fn(params, model_state, batch, *, key, step):
        found.append(mesh_lib.devices_of(len(batch["x"])))
        return jnp.mean(batch["x"]) * params, (model_state, {})

    def metric_fn(params, model_state, batch, *, key):
        found.append(mesh_lib.devices_of(len(batch["x"])))
        return {"x": batch["x"]}

    tx, key = optax.sgd(0.1), jax.random.key(0)
    for devices in (1, 2, 4):
        mesh = mesh_lib.make_mesh(jax.devices()[:devices])
        init = lambda key: (jnp.ones(()), {})
        state = train.create_state(init, tx, key=key, mesh=mesh)
        batch = mesh_lib.shard_batch(mesh, {"x": np.ones(8, np.float32)})
        state, _ = train.make_train_step(loss_fn, tx, mesh=mesh)(state, batch)
        train.make_eval_step(metric_fn, mesh=mesh)(state.params, {}, batch, key)
    assert found == [1, 1, 2, 2, 4, 4]
