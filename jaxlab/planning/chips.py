"""The chips that programs are planned for."""

import importlib.util
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from jaxlab.errors import InputError, missing

GIB = 2**30


class Chip(NamedTuple):
    """One accelerator.

    Attributes:
      name: as in topology names, "v5e".
      hbm_bytes: memory that a program may use.
      flops: peak bfloat16 FLOP/s.
      bandwidth: peak bytes/s of the memory.
      clock: cycles/s of the matrix units.
    """

    name: str
    hbm_bytes: int
    flops: float
    bandwidth: float
    clock: float


# By `device_kind`. Peaks and bandwidths: https://docs.cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e}.
# Memory: what libtpu 0.0.52 says is available when a program exceeds it; the nominal 16, 32, 95 and
# 32 GB less what it keeps for itself. Clock: peak over the FLOPs that the matrix units do a cycle,
# of which v4 and v5p have eight of 128 x 128, v5e four, v6e (inferred) four of 256 x 256.
CHIPS = {
    "TPU v4": Chip("v4", int(30.75 * GIB), 275e12, 1228e9, 275e12 / (8 * 2 * 128**2)),
    "TPU v5 lite": Chip("v5e", int(15.75 * GIB), 197e12, 819e9, 197e12 / (4 * 2 * 128**2)),
    "TPU v5": Chip("v5p", int(95.73 * GIB), 459e12, 2765e9, 459e12 / (8 * 2 * 128**2)),
    "TPU v6 lite": Chip("v6e", int(31.24 * GIB), 918e12, 1640e9, 918e12 / (4 * 2 * 256**2)),
}


def chip_of(device_kind: str) -> Chip | None:
    """Returns the chip of a device kind, or None where nothing is known of it.

    Example:
      >>> chip = chip_of("TPU v5 lite")
      >>> chip.name, round(chip.clock / 1e9, 1)
      ('v5e', 1.5)
    """
    return CHIPS.get(device_kind)


def find_devices(name: str) -> Sequence[Any]:
    """The devices of a topology: "v5e:4x4", "v4:2x2x1", or "cpu:8" of this machine.

    Raises:
      ValueError: there is no such topology.
      ModuleNotFoundError: libtpu is not installed.
    """
    kind, _, shape = name.partition(":")
    if kind == "cpu":
        if not shape.isdigit() or not 1 <= int(shape) <= len(jax.devices()):
            raise InputError(f"topology is {name!r}, must be cpu:1 to cpu:{len(jax.devices())}")
        return jax.devices()[: int(shape)]
    if not re.match(r"v\d", kind):
        raise InputError(
            f"topology is {name!r}, must be cpu:N or a TPU such as v4:2x2x1, v5e:4x4, v5p:2x2x2, "
            "v6e:2x4; GPUs are not planned"
        )
    if importlib.util.find_spec("libtpu") is None:
        raise missing("libtpu", "tpu", whose=f"topology {name}")
    # The two cores of a v4 chip work as one, as they do for jax on a real one.
    options = {"chip_config_name": "megacore"} if kind == "v4" else {}
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=name, **options)
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"topology is {name!r}, must be like v4:2x2x1, v5e:4x4, v5p:2x2x2, v6e:2x4: {reason}"
        ) from error
    return found.devices
