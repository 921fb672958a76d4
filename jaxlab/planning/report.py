"""What a run would need and cost, as a record and as lines to print."""

import contextlib
import dataclasses
import itertools
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from absl import logging

from jaxlab import train
from jaxlab.planning.chips import Chip, chip_of
from jaxlab.planning.costs import OutOfMemory, compile_step, matmul_flops
from jaxlab.planning.costs import memory as memory_of
from jaxlab.planning.hlo import totals


@contextlib.contextmanager
def reporting(what: str, every: float = 60.0) -> Iterator[None]:
    """Logs that something is still under way, as a compiler does not say how far it is."""
    done, start = threading.Event(), time.perf_counter()

    def report():
        while not done.wait(every):
            logging.info("%s, %.0f s so far", what, time.perf_counter() - start)

    threading.Thread(target=report, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def plan(found: train.Blueprint) -> dict[str, Any]:
    """Compiles a blueprint's step; returns the record that `table` shows."""
    marks = [time.perf_counter()]
    traced = found.step.trace(*found.arguments())
    marks.append(time.perf_counter())
    lowered = traced.lower()
    marks.append(time.perf_counter())
    mesh: Any = found.mesh  # planners give one
    device = mesh.devices.flat[0]
    chip = chip_of(device.device_kind)
    record = {
        "chip": chip.name if chip else device.device_kind,
        "chips": mesh.size,
        "batch_size": found.batch_size,
        "num_steps": found.num_steps,
        "flops": matmul_flops(traced.jaxpr),
    }
    try:
        with reporting("compiling"):
            compiled = compile_step(lowered)
    except OutOfMemory as error:
        over = error.needed - error.available
        record["memory"] = {"total": error.needed, "available": error.available, "over": over}
    else:
        record |= _measure(compiled, chip)
    marks.append(time.perf_counter())
    seconds = [b - a for a, b in itertools.pairwise(marks)]
    record["seconds"] = dict(zip(("trace", "lower", "compile"), seconds, strict=True))
    record["fits"] = record["memory"]["over"] == 0 if "over" in record["memory"] else None
    if chip and record["fits"]:
        record |= speed(record, chip)
    return record


def _measure(compiled, chip):
    """What the compiled program tells, of one chip."""
    memory = memory_of(compiled)
    total = totals(compiled.as_text())
    kept = {**dataclasses.asdict(memory), "total": memory.total}
    if chip:
        kept |= {"available": chip.hbm_bytes, "over": max(0, memory.total - chip.hbm_bytes)}
    once = compiled.cost_analysis() or {}
    return {
        "memory": kept,
        "bytes": total.bytes,
        "cycles": total.cycles,
        "unknown_loops": total.unknown_loops,
        "collectives": {k: dataclasses.asdict(v) for k, v in total.collectives.items()},
        # XLA's own sums, which count the body of a loop once.
        "xla": {k: once.get(k) for k in ("flops", "bytes accessed", "optimal_seconds")},
    }


def speed(record: Mapping[str, Any], chip: Chip) -> dict[str, Any]:
    """Times and rates that follow."""
    share = record["flops"] / record["chips"]
    least = max(share / chip.flops, record["bytes"] / chip.bandwidth)
    estimate = record["cycles"] / chip.clock
    step = estimate or least
    return {
        "step_seconds": {"compiler": estimate or None, "roofline": least},
        "utilisation": share / chip.flops / step,
        "examples_per_second": record["batch_size"] / step,
        "hours": record["num_steps"] * step / 3600,
    }


def _size(count):
    """Bytes for people."""
    unit = max(0, min(3, (int(count).bit_length() - 1) // 10))
    return f"{count / 2 ** (10 * unit):.4g} {('B', 'KiB', 'MiB', 'GiB')[unit]}"


def table(record: Mapping[str, Any]) -> str:
    """Lines to print."""
    memory, chips = record["memory"], record["chips"]
    rows = [("", f"{chips} x {record['chip']}, batch {record['batch_size']}")]
    names = {"argument": "arguments", "output": "results", "alias": "of them in place"}
    names |= {"temporary": "temporary", "code": "program"}
    rows += [(f"  {n}", _size(memory[k])) for k, n in names.items() if k in memory]
    total = _size(memory["total"])
    if "available" in memory:
        word = "fits" if record["fits"] else f"too much by {_size(memory['over'])}"
        total += f" of {_size(memory['available'])}: {word}"
    rows.append(("memory of a chip", total))
    rows.append(("FLOPs a step, all chips", f"{record['flops']:.4g}"))
    if "bytes" in record:
        rows.append(("bytes moved, a chip", _size(record["bytes"])))
        for kind, of in record["collectives"].items():
            rows.append((kind, f"{of['count']} a step, {_size(of['bytes'])}"))
    if "step_seconds" in record:
        for kind, seconds in record["step_seconds"].items():
            if seconds is not None:
                rows.append((f"step, {kind}", f"{1e3 * seconds:.3f} ms"))
        rows.append(("share of peak FLOP/s", f"{100 * record['utilisation']:.1f} %"))
        rows.append(("examples/s", f"{record['examples_per_second']:.4g}"))
        hours = f"{record['hours']:.2f} hours, {record['hours'] * chips:.1f} chip hours"
        rows.append((f"{record['num_steps']:,} steps", hours))
    spent = ", ".join(f"{name} {s:.1f} s" for name, s in record["seconds"].items())
    rows.append(("this plan took", spent))
    return "\n".join(f"{name:24} {value}" for name, value in rows)
