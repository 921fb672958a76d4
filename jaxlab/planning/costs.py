"""Compiles a step ahead of time; memory it needs, and FLOPs of its matrix products."""

import dataclasses
import math
import re
from typing import Any

import jax
from jax.extend import core

_SCALE = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class OutOfMemory(Exception):
    """The compiler says that a program needs more memory than the chip has.

    Attributes:
      needed: bytes.
      available: bytes.
    """

    def __init__(self, needed: int, available: int):
        super().__init__(f"needs {needed} bytes, the chip has {available}")
        self.needed, self.available = needed, available


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of one device; `alias` is the part of the arguments that results overwrite."""

    argument: int
    output: int
    temporary: int
    alias: int
    code: int

    @property
    def total(self) -> int:
        """What is held at once."""
        return self.argument + self.output - self.alias + self.temporary + self.code


def compile_step(lowered: Any) -> Any:
    """Compiles for whatever devices the shardings of the arguments name.

    Args:
      lowered: from `jax.jit(...).lower(...)`.

    Raises:
      OutOfMemory: the program does not fit, according to the compiler.
    """
    try:
        return lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        size = r"\(([\d.]+)([KMGT]?)\)"
        found = re.search(rf"{size} exceeds available HBM {size}", str(error))
        if found is None:
            raise
        needed, unit, available, other = found.groups()
        raise OutOfMemory(
            int(float(needed) * _SCALE[unit]), int(float(available) * _SCALE[other])
        ) from error


def memory(compiled: Any) -> Memory:
    """Returns what a compiled program holds on each device.

    Example:
      >>> import jax.numpy as jnp
      >>> memory(jax.jit(lambda x: x + 1).lower(jnp.ones(1000)).compile()).argument
      4000
    """
    found = compiled.memory_analysis()
    return Memory(
        found.argument_size_in_bytes,
        found.output_size_in_bytes,
        found.temp_size_in_bytes,
        found.alias_size_in_bytes,
        found.generated_code_size_in_bytes,
    )


def matmul_flops(jaxpr: Any) -> int:
    """FLOPs of the matrix products and convolutions of a trace, over all devices.

    A multiply-add is two. Loops are multiplied by their trips (`while_loop`, whose trips are not
    known, by one), of branches the costliest counts, and what rematerialisation computes again
    counts again. Taps of a convolution that fall on padding count, as does what the compiler will
    drop because nobody looks at it.

    Args:
      jaxpr: `jax.jit(f).trace(...).jaxpr`.

    Example:
      >>> import jax.numpy as jnp
      >>> step = lambda x, w: jax.lax.scan(lambda x, w: (x @ w, None), x, w)[0]
      >>> matmul_flops(jax.jit(step).trace(jnp.ones((4, 8)), jnp.ones((10, 8, 8))).jaxpr)
      5120
    """
    if isinstance(jaxpr, core.ClosedJaxpr):
        jaxpr = jaxpr.jaxpr
    total = 0
    for eqn in jaxpr.eqns:
        name, params = eqn.primitive.name, eqn.params
        shapes: list[Any] = [getattr(x.aval, "shape", ()) for x in (*eqn.invars, *eqn.outvars)]
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            depth = math.prod(shapes[0][i] for i in contracted)
            total += 2 * math.prod(shapes[-1]) * depth
        elif name == "conv_general_dilated":
            numbers = params["dimension_numbers"]
            taps = math.prod(shapes[1]) // shapes[1][numbers.rhs_spec[0]]
            # Zeros between the inputs of a strided layer's gradient are no work.
            holes = math.prod(params["lhs_dilation"])
            total += 2 * math.prod(shapes[-1]) * taps // holes
        elif name == "cond":
            total += max(map(matmul_flops, params["branches"]))
        else:
            inner = jax.tree.leaves(list(params.values()), is_leaf=_is_jaxpr)
            found = sum(matmul_flops(x) for x in inner if _is_jaxpr(x))
            total += found * (params["length"] if name == "scan" else 1)
    return total


def _is_jaxpr(x: Any) -> bool:
    return isinstance(x, core.Jaxpr | core.ClosedJaxpr)
