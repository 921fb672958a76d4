"""Meshes, shardings, processes: the only file that makes them or starts `jax.distributed`.

Training is data parallel: the batch is split over all devices, and `jax.jit` inserts the sums
across them. The state is replicated, or, with a second mesh axis `"fsdp"` longer than 1, its large
arrays are split over that axis and gathered where they are used. Nothing else in the library knows
how many devices or hosts there are.
"""

import contextlib
import contextvars
import itertools
import json
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from jaxlab import signals
from jaxlab.errors import InputError, UserError

T = TypeVar("T")
_count = contextvars.ContextVar[int | None]("devices", default=None)

DATA_AXIS, STATE_AXIS = "data", "fsdp"
SMALLEST_SPLIT = 2**14  # arrays with fewer elements are not worth a gather
_calls = itertools.count(1)  # of `stop_agreed`, over all loops of this process


def make_mesh(devices: Sequence[Any] | None = None, *, fsdp: int = 1) -> Mesh:
    """Makes a mesh with the axes `"data"` and `"fsdp"` over all devices of all processes.

    Args:
      devices: the devices to use; all of them (`jax.devices()`) when None.
      fsdp: devices that share one copy of the training state; see `state_sharding`.

    Returns:
      A mesh whose axes are `AxisType.Auto`: under Explicit axes, the default of `jax.make_mesh`,
      Linen's `Embed` and `Dropout` raise.

    Raises:
      ValueError: `fsdp` does not divide the number of devices.

    Example:
      >>> dict(make_mesh(jax.devices()[:1]).shape)
      {'data': 1, 'fsdp': 1}
    """
    devices = jax.devices() if devices is None else devices
    if fsdp < 1 or len(devices) % fsdp:
        raise InputError(f"fsdp is {fsdp}, must divide the {len(devices)} devices")
    shape = (len(devices) // fsdp, fsdp)
    axes = (DATA_AXIS, STATE_AXIS)
    return jax.make_mesh(shape, axes, (AxisType.Auto,) * 2, devices=devices)


def one_device_each() -> Mesh:
    """Makes a mesh of the first device of every process, for what one device computes.

    Example:
      >>> one_device_each().size == jax.process_count()
      True
    """
    first = {device.process_index: device for device in reversed(jax.devices())}
    return make_mesh([first[index] for index in sorted(first)])


def state_sharding(mesh: Mesh, state: Any) -> Any:
    """Returns the sharding of every array of a training state.

    Without `fsdp` all are replicated. Otherwise an array of at least `SMALLEST_SPLIT` elements is
    split over the `"fsdp"` axis along its longest dimension that can be split evenly.

    Args:
      mesh: from `make_mesh`.
      state: tree of arrays or `jax.ShapeDtypeStruct`s.

    Returns:
      The same tree of shardings.

    Example:
      >>> mesh = make_mesh(jax.devices()[:1])
      >>> state_sharding(mesh, {"w": np.zeros((3, 3))})["w"].is_fully_replicated
      True
    """
    parts = mesh.shape[STATE_AXIS]

    def sharding(leaf: Any) -> NamedSharding:
        dims = [d for d, size in enumerate(leaf.shape) if size % parts == 0]
        if parts == 1 or not dims or math.prod(leaf.shape) < SMALLEST_SPLIT:
            return replicated(mesh)
        longest = max(dims, key=lambda d: leaf.shape[d])
        return NamedSharding(mesh, PartitionSpec(*[None] * longest, STATE_AXIS))

    return jax.tree.map(sharding, state)


def given_sharding(mesh: Mesh) -> NamedSharding | None:
    """For `jax.jit(in_shardings=...)` of a state: replicated, or as it comes where it is split."""
    return replicated(mesh) if mesh.shape[STATE_AXIS] == 1 else None


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding that puts a whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def local_device() -> SingleDeviceSharding:
    """Returns the sharding that puts an array on this process's first device."""
    return SingleDeviceSharding(jax.local_devices()[0])


def split(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Returns the sharding that splits an array's dimension `axis` over the devices."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, (DATA_AXIS, STATE_AXIS)))


@contextlib.contextmanager
def splitting_over(mesh: Mesh | None) -> Iterator[None]:
    """What is traced inside splits batches over a mesh (None: all devices); see `devices_of`."""
    token = _count.set(None if mesh is None else mesh.size)
    try:
        yield
    finally:
        _count.reset(token)


def devices_of(batch: int) -> int:
    """Devices over which a batch may be split while a step is traced; 1 where it cannot be.

    Those of the mesh of `splitting_over`, as the steps of `jaxlab.train` have it; all devices
    where there is none.

    Example:
      >>> mesh = make_mesh(jax.devices()[:1])
      >>> with splitting_over(mesh):
      ...     devices_of(24)
      1
    """
    count = _count.get() or jax.device_count()
    return count if batch % count == 0 else 1


def describe() -> str:
    """The devices and processes in words.

    Example:
      >>> describe().endswith("device(s), 1 process(es)")
      True
    """
    found = f"{jax.device_count()} {jax.default_backend()} device(s)"
    return f"{found}, {jax.process_count()} process(es)"


def shard_batch(mesh: Mesh | None, host_batch: Any) -> Any:
    """Turns this process's rows of a batch into global arrays, split over the devices.

    Args:
      mesh: the mesh, or None for a plain transfer to the default device.
      host_batch: tree of arrays [b, ...], its contiguous rows of the global batch.

    Returns:
      The same tree of arrays [b * number of processes, ...].

    Raises:
      ValueError: b is not a multiple of the number of this process's devices in the mesh.

    Example:
      >>> shard_batch(make_mesh(jax.devices()[:1]), {"x": np.zeros((4, 2))})["x"].shape
      (4, 2)
    """
    if mesh is None:
        return jax.device_put(host_batch)
    sharding, here = split(mesh), mesh.local_mesh.size

    def put(rows):
        rows = np.asarray(rows)
        if not rows.ndim or rows.shape[0] % here:
            raise InputError(
                f"batch has shape {rows.shape} in this process, whose {here} devices need a first "
                f"dimension that is a multiple of {here}"
            )
        return jax.make_array_from_process_local_data(sharding, rows)

    return jax.tree.map(put, host_batch)


def place(tree: Any, shardings: Any) -> Any:
    """Puts arrays that every process has whole where `shardings` says, typed keys included.

    Args:
      tree: of arrays, the same values in every process; also those that are spread already.
      shardings: the same tree of shardings, or one for all of it.

    Returns:
      The same tree of new arrays.

    Example:
      >>> place(np.ones(2), replicated(make_mesh(jax.devices()[:1]))).is_fully_replicated
      True
    """
    if jax.process_count() == 1:
        return jax.device_put(tree, shardings)

    def on_host(x):
        # A typed key cannot be put on devices of other processes, nor can what is committed to a
        # device of this one; numbers of the host can, as arguments of a jitted function.
        if not isinstance(x, jax.Array) or not x.is_fully_addressable:
            return x
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            data: Any = np.asarray(jax.random.key_data(x))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
        return np.asarray(x)

    return jax.jit(lambda tree: tree, out_shardings=shardings)(jax.tree.map(on_host, tree))


def this_process() -> dict[str, int]:
    """Which process this is, as the pipelines of `jaxlab.data` take it.

    Example:
      >>> this_process()
      {'process_index': 0, 'process_count': 1}
    """
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


def refuse_several(why: str) -> None:
    """Ends every process but a single one with one line, before any work.

    Raises:
      InputError: there are several processes.
    """
    if jax.process_count() > 1:
        raise InputError(
            f"{jax.process_count()} processes were started, this takes one: {why}. Start it alone, "
            "or another part of it in each process, with a --workdir of its own"
        )


def initialize_distributed(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout: int = 300,
) -> None:
    """Joins this process to the others; call it before anything touches a device.

    Args:
      coordinator_address: `host:port` of process 0. With all three None, jax detects the cluster
        itself (TPU slices, SLURM, Open MPI, Kubernetes).
      num_processes: how many processes there are.
      process_id: which one this is, 0 <= process_id < num_processes.
      timeout: seconds within which all of them must have started. jax would then abort the process
        with a stack of C++; it ends with one line and exit code 2 before that.

    Raises:
      ValueError: only some of the three are given, a value is out of range, or no cluster is found.
    """
    given = (coordinator_address, num_processes, process_id)
    if any(x is None for x in given) and any(x is not None for x in given):
        raise InputError(
            f"coordinator_address, num_processes, process_id are {given}: give all three or none"
        )
    if coordinator_address is not None and not coordinator_address.rpartition(":")[2].isdigit():
        raise InputError(f"coordinator_address is {coordinator_address!r}, must be host:port")
    if num_processes is not None and not 0 <= process_id < num_processes:  # type: ignore[operator]
        raise InputError(
            f"process_id is {process_id}, must be at least 0 and below num_processes "
            f"{num_processes}"
        )
    where = f"at {coordinator_address}" if coordinator_address else "of the cluster"
    late = threading.Timer(
        timeout,
        _end,
        [f"not all processes {where} have started within {timeout} s: start the same in each"],
    )
    late.daemon = True
    late.start()
    try:
        jax.distributed.initialize(
            coordinator_address, num_processes, process_id, initialization_timeout=timeout + 60
        )
    except ValueError as error:
        if coordinator_address is not None:
            raise
        raise InputError(
            "no cluster detected (TPU slice, SLURM, Open MPI, Kubernetes): "
            "give the coordinator address, the number of processes and the process id"
        ) from error
    finally:
        late.cancel()


def _end(message: str) -> None:
    """Ends the process from a thread: the others of the process are in C++ and hear nothing."""
    signals.say(f"error: {message}")
    os._exit(2)


def is_distributed() -> bool:
    """Whether this process has joined others; asks no device."""
    return jax.distributed.is_initialized()


def is_about_peers(error: BaseException) -> bool:
    """Whether a collective failed since another process has ended or cannot be reached."""
    text = str(error)
    signs = ("Gloo", "Connection closed", "Connection reset", "UNAVAILABLE", "DEADLINE_EXCEEDED")
    return isinstance(error, jax.errors.JaxRuntimeError) and any(sign in text for sign in signs)


def all_processes(ok: bool) -> bool:
    """Returns whether `ok` holds in every process; all of them must call this together."""
    if jax.process_count() == 1:
        return ok
    return bool(np.all(multihost_utils.process_allgather(np.asarray(ok))))


def gather_texts(text: str) -> list[str]:
    """Returns the texts of all processes in order; all of them must call this together."""
    if jax.process_count() == 1:
        return [text]
    data = np.frombuffer(text.encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.asarray(data.size))
    padded = np.zeros(int(np.max(lengths)), np.uint8)
    padded[: data.size] = data
    rows = np.asarray(multihost_utils.process_allgather(padded))
    return [bytes(row[:n]).decode() for row, n in zip(rows, lengths, strict=True)]


def wait_for_all(name: str) -> None:
    """Blocks until every process has reached the barrier called `name`."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def in_process_0(make: Callable[[], T]) -> T:
    """Calls `make` in process 0 alone; all processes get its result, or end with its error.

    For files that one process writes, and for what it reads of them, such as which stages are
    done: all must go on alike. All of them must call this together.

    Args:
      make: returns None or what JSON takes; of several processes all get what JSON makes of it.

    Raises:
      InputError: in the other processes, where `make` raised an error of the user's.
      RuntimeError: likewise, for any other error.

    Example:
      >>> in_process_0(lambda: {"steps": 3})
      {'steps': 3}
    """
    if jax.process_count() == 1:
        return make()
    text, error = "", None
    if jax.process_index() == 0:
        try:
            text = json.dumps({"value": make()})
        except Exception as caught:
            error = caught
            users = isinstance(error, UserError | OSError)
            text = json.dumps({"error": f"process 0: {error}", "users": users})
    told = json.loads(gather_texts(text)[0])
    if error is not None:
        raise error
    if "error" in told:
        raise (InputError if told["users"] else RuntimeError)(told["error"])
    return told["value"]


def first_in_process_0(make: Callable[[], T]) -> T:
    """Calls `make` in process 0, then in every other, which may find the files there.

    Returns what `make` returned in this process; raises as `in_process_0` does.
    """
    found: list[T] = []
    in_process_0(lambda: found.append(make()))
    return found[0] if found else make()


def stop_agreed(stop_here: bool) -> bool:
    """Returns whether training must stop after this step, the same answer in every process.

    One process: `stop_here`, the flag set by its own SIGTERM handler. Several, which must all call
    this after every step: jax's preemption service, which catches SIGTERM in any of them and picks
    a call that none has passed yet, without a collective in the loop. Calls are counted, not steps:
    steps begin anew in each stage of a run, and the one that was picked would never come.
    """
    if jax.process_count() == 1:
        return stop_here
    return multihost_utils.reached_preemption_sync_point(next(_calls))
