"""Reads a compiled program's text: bytes, collectives and cycles of one run, loops multiplied.

XLA's own `cost_analysis` counts the body of a loop once, whatever its trips, so that a model of
scanned blocks would seem a fraction of its cost.
"""

import dataclasses
import math
import re
from collections.abc import Iterator

from jaxlab.errors import InputError

COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
)
_BITS = {"pred": 8, "token": 0, "opaque": 0}
_SHAPE = re.compile(r"\b([a-z]\w*)\[([\d,]*)\](\{[^}]*\})?")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_CALLED = re.compile(r"\b(?:calls|to_apply|body|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
# What moves nothing itself: names for other values, or parts that are counted on their own.
_FREE = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "while",
         "conditional", "call", "partition-id", "replica-id", "iota", "opt-barrier")  # fmt: skip
_SLICES = ("dynamic-slice", "slice", "gather")
_UPDATES = ("dynamic-update-slice", "scatter")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One kind of exchange between chips: how often a step does it, and bytes of whole arrays."""

    count: int
    bytes: int


@dataclasses.dataclass(frozen=True)
class Totals:
    """What one run of a program does, on each chip.

    Attributes:
      bytes: read from and written to main memory.
      cycles: sum of the compiler's estimates; 0 where it gives none.
      collectives: kind -> count and bytes.
      unknown_loops: loops whose trips could not be read, counted as one trip.
    """

    bytes: int
    cycles: int
    collectives: dict[str, Collective]
    unknown_loops: int


@dataclasses.dataclass(frozen=True)
class _Instruction:
    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    rest: str
    root: bool


def totals(text: str) -> Totals:
    """Adds up a program.

    Args:
      text: `compiled.as_text()`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> run = lambda x: jax.lax.fori_loop(0, 5, lambda i, x: jnp.sin(x), x)
      >>> found = totals(jax.jit(run).lower(jnp.ones(1000)).compile().as_text())
      >>> 5 * 8000 <= found.bytes <= 7 * 8000, found.collectives
      (True, {})
    """
    computations, entry = _parse(text)
    moved = cycles = unknown = 0
    exchanged: dict[str, list[int]] = {}
    for name, times, known in _runs(computations, entry):
        unknown += not known
        body = computations[name]
        for one in body.values():
            moved += times * _bytes_of(one, body, computations)
            found = _CYCLES.search(one.rest)
            cycles += times * int(found.group(1)) if found else 0
        for one, inside in _with_inner(name, computations):
            kind = one.opcode.removesuffix("-start")
            if kind in COLLECTIVES:
                count = exchanged.setdefault(kind, [0, 0])
                count[0] += times
                count[1] += times * _exchanged(one, inside)
    collectives = {kind: Collective(*exchanged[kind]) for kind in sorted(exchanged)}
    return Totals(moved, cycles, collectives, unknown)


def _parse(text: str) -> tuple[dict[str, dict[str, _Instruction]], str]:
    """Computation -> name -> instruction, and the entry's name."""
    computations: dict[str, dict[str, _Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head:
            current = computations.setdefault(head.group(2), {})
            entry = head.group(2) if head.group(1) else entry
        elif line.startswith("}"):
            current = None
        elif current is not None and " = " in line:
            one = _instruction(line)
            current[one.name] = one
    return computations, entry


def _instruction(line: str) -> _Instruction:
    left, right = line.strip().split(" = ", 1)
    end = _closing(right) + 1 if right.startswith("(") else right.index(" ")
    shape, call = right[:end], right[end:].strip()
    opcode, inside = call.split("(", 1)
    close = _closing("(" + inside)
    operands = tuple(re.findall(r"%([\w.\-]+)", inside[:close]))
    root = left.startswith("ROOT ")
    name = left.removeprefix("ROOT ").lstrip("%")
    # Values of constants and numbers of parameters stand within the brackets.
    literal = opcode in ("constant", "parameter")
    rest = inside[: close - 1] if literal else inside[close:]
    return _Instruction(name, shape, opcode, operands, rest, root)


def _closing(text: str) -> int:
    """Place of the bracket that closes the first."""
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return i
    raise InputError(f"brackets do not close in {text[:80]!r}")


def _runs(computations, entry) -> Iterator[tuple[str, int, bool]]:
    """Computations that run on their own, how often, and whether that is known."""
    stack = [(entry, 1, True)]
    while stack:
        name, times, known = stack.pop()
        yield name, times, known
        for one in computations[name].values():
            if one.opcode == "while":
                trips = _trips(one, computations)
                (body,) = re.findall(r"body=%?([\w.\-]+)", one.rest)
                stack.append((body, times * (trips or 1), trips is not None))
            elif one.opcode in ("call", "conditional"):
                stack += [(called, times, True) for called in _called(one)]


def _called(one: _Instruction) -> list[str]:
    branches = _BRANCHES.search(one.rest)
    named = re.findall(r"%?([\w.\-]+)", branches.group(1)) if branches else []
    return named + _CALLED.findall(one.rest)


def _trips(loop: _Instruction, computations) -> int | None:
    """Trips of a loop: as noted by XLA, or the bound that its counter, from 0, stays below."""
    noted = _TRIPS.search(loop.rest)
    if noted:
        return int(noted.group(1))
    (condition,) = re.findall(r"condition=%?([\w.\-]+)", loop.rest)
    body = computations[condition]
    bounds = [one for one in body.values() if one.opcode == "constant"]
    compared = [x for x, _ in _with_inner(condition, computations) if x.opcode == "compare"]
    if len(bounds) == len(compared) == 1 and "direction=LT" in compared[0].rest:
        return int(bounds[0].rest) if bounds[0].rest.isdigit() else None
    return None


def _with_inner(name: str, computations) -> Iterator[tuple[_Instruction, dict]]:
    """Instructions of a computation and of what it fuses or starts, but not of loops.

    Each comes with the computation it stands in.
    """
    for one in computations[name].values():
        yield one, computations[name]
        if one.opcode == "fusion" or one.opcode.startswith("async-start"):
            for called in _called(one):
                yield from _with_inner(called, computations)


def _sizes(shape: str, *, everywhere: bool = False, filled: bool = True) -> list[int]:
    """Bytes of each array of a shape, tiles filled up.

    0 for those outside main memory, unless `everywhere`.
    """
    sizes = []
    for dtype, dims, layout in _SHAPE.findall(shape):
        bits = _BITS.get(dtype)
        if bits is None:
            digits = re.search(r"\d+", dtype)
            bits = int(digits.group()) if digits else 0
        elsewhere = re.search(r"S\([1-9]", layout) and not everywhere
        sizes.append(0 if elsewhere else _elements(dims, layout if filled else "") * bits // 8)
    return sizes


def _elements(dims: str, layout: str) -> int:
    """Elements of an array, those that fill up the tiles of its layout included.

    Example:
      >>> _elements("16,3,10", "{2,1,0:T(4,128)}") == 16 * 4 * 128
      True
    """
    sizes = [int(dim) for dim in dims.split(",") if dim]
    tile = re.match(r"\{([\d,]+):T\(([\d,]+)\)", layout)
    if tile:
        minor_first = [int(i) for i in tile.group(1).split(",")]
        extents = [int(n) for n in reversed(tile.group(2).split(","))]
        for i, extent in zip(minor_first, extents, strict=False):
            sizes[i] = -(-sizes[i] // extent) * extent
    return math.prod(sizes)


def _bytes_of(one: _Instruction, body, computations) -> int:
    """Bytes that an instruction reads and writes."""
    if one.opcode in _FREE or one.opcode.endswith("-done") or "AllocateBuffer" in one.rest:
        return 0
    written = sum(_sizes(one.shape))
    if one.opcode.endswith("-start"):  # the tuple holds source and destination
        return written
    read = [sum(_sizes(body[name].shape)) if name in body else 0 for name in one.operands]
    if one.opcode == "fusion":
        inner = computations[_called(one)[0]]
        read = [_read_of(i, size, inner, computations) for i, size in enumerate(read)]
        return _written(one, inner) + sum(read)
    if one.opcode in _SLICES:
        return 2 * written
    if one.opcode in _UPDATES:
        return 2 * _update(one, body)
    return written + sum(read)


def _written(fusion: _Instruction, inner) -> int:
    """Bytes that a fusion writes; of an array that it changes in place, only the changed part."""
    sizes = _sizes(fusion.shape)
    root = next(x for x in inner.values() if x.root)
    roots = [inner[name] for name in root.operands] if root.opcode == "tuple" else [root]
    if len(roots) != len(sizes):
        return sum(sizes)
    total = 0
    for one, size in zip(roots, sizes, strict=True):
        while one.opcode == "bitcast":
            one = inner[one.operands[0]]
        total += min(size, _update(one, inner)) if one.opcode in _UPDATES else size
    return total


def _update(one: _Instruction, body) -> int:
    """Bytes of what is written into an array in place."""
    place = 1 if one.opcode == "dynamic-update-slice" else -1
    return sum(_sizes(body[one.operands[place]].shape, everywhere=True))


def _read_of(place: int, size: int, inner, computations) -> int:
    """Bytes that a fusion reads of its parameter: only slices of it, where it takes only those."""
    numbered = (x for x in inner.values() if x.opcode == "parameter" and x.rest == str(place))
    parameter = next(numbered, None)
    if parameter is None:
        return size
    total = 0
    for user in (x for x in inner.values() if parameter.name in x.operands):
        if user.opcode == "fusion":
            called = computations[_called(user)[0]]
            places = [i for i, name in enumerate(user.operands) if name == parameter.name]
            total += sum(_read_of(i, size, called, computations) for i in places)
        elif user.operands[0] == parameter.name and user.opcode in _SLICES:
            total += sum(_sizes(user.shape, everywhere=True))
        elif user.operands[0] != parameter.name or user.opcode not in _UPDATES:
            return size
    return min(size, total)


def _exchanged(one: _Instruction, body) -> int:
    """Bytes of the larger side of a collective: the gathered array, or the one to be scattered."""
    size = lambda shape: sum(_sizes(shape, everywhere=True, filled=False))
    result, operands = size(one.shape), sum(size(body[name].shape) for name in one.operands)
    if one.opcode.endswith("-start") and one.shape.startswith("("):
        result -= operands
    return max(result, operands)
