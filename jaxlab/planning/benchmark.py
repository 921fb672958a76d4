"""Times the compiled steps of several runs in turns, with a large matrix product between them."""

import os
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab import mesh as mesh_lib
from jaxlab import train
from jaxlab.planning.costs import matmul_flops, memory


def _made_up(shapes):
    """A batch on its devices: uint8 at random, all else 1, which is a label, a token, a mask."""
    rng = np.random.default_rng(0)

    def one(x):
        random = x.dtype == np.uint8
        values = rng.integers(0, 256, x.shape) if random else np.ones(x.shape)
        return jax.device_put(values.astype(x.dtype), x.sharding)

    return jax.tree.map(one, shapes)


class Variant:
    """One compiled step with its state, ready to run.

    Args:
      label: what it is called.
      devices: on how many it runs.
      run: what it runs, on made-up batches.
    """

    def __init__(self, label: str, devices: int, run: train.Blueprint):
        self.label = label
        self.devices, self.batch_size = devices, run.batch_size
        self.seconds, self.figures = {}, {}
        shapes, traced = self._timed("trace", lambda: _trace(run))
        lowered = self._timed("lower", traced.lower)
        compiled = self._timed("compile", lowered.compile)
        self.memory = memory(compiled)
        self.flops = matmul_flops(traced.jaxpr)
        self.state = self._timed("initial state", lambda: _placed(run.create_state(), shapes[0]))
        self.batch, self.step = _made_up(shapes[1]), compiled
        self.run(1)

    def _timed(self, name, function):
        begin = time.perf_counter()
        found = jax.block_until_ready(function())
        self.seconds[name] = time.perf_counter() - begin
        return found

    def run(self, steps: int) -> tuple[float, float]:
        """Seconds and processor seconds, of all threads, per step."""
        begin, spent = time.perf_counter(), time.process_time()
        for _ in range(steps):
            self.state, self.figures = self.step(self.state, self.batch)
        jax.block_until_ready((self.state, self.figures))
        return (time.perf_counter() - begin) / steps, (time.process_time() - spent) / steps


def _trace(run):
    shapes = run.arguments()
    return shapes, run.step.trace(*shapes)


def _placed(state, shapes):
    return jax.tree.map(lambda x, shape: jax.device_put(x, shape.sharding), state, shapes)


def _make_product():
    """A function that runs a large matrix product on every device; seconds and FLOPs."""
    cpu = jax.default_backend() == "cpu"
    size, dtype = (1536, jnp.float32) if cpu else (8192, jnp.bfloat16)
    mesh = mesh_lib.make_mesh()
    x = jax.device_put(jnp.ones((mesh.size, size, size), dtype), mesh_lib.split(mesh))
    y = jax.device_put(jnp.ones((size, size), dtype), mesh_lib.replicated(mesh))
    product = jax.jit(lambda x, y: x @ y)

    def run():
        begin = time.perf_counter()
        product(x, y).block_until_ready()
        return time.perf_counter() - begin

    run()
    return run, 2 * mesh.size * size**3


def measure(
    variants: Sequence[Variant], *, rounds: int, steps: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Seconds and processor seconds per step of each variant [rounds, 2]; FLOP/s of the product."""
    product, flops = _make_product()
    seconds, rates = {v.label: [] for v in variants}, []
    for k in range(rounds):
        rates.append(flops / min(product(), product()))
        turn = k % len(variants)
        for variant in (*variants[turn:], *variants[:turn]):
            seconds[variant.label].append(variant.run(steps))
    return {label: np.array(times) for label, times in seconds.items()}, np.array(rates)


def timing_record(
    script: str, variants: Sequence[Variant], seconds: Mapping[str, np.ndarray], rates: np.ndarray
) -> dict[str, Any]:
    """What is written: rates, and a row per variant."""
    first = seconds[variants[0].label][:, 0]
    rows = []
    for v in variants:
        times, spent = seconds[v.label].T
        low, ratio, high = np.quantile(times / first, [0.25, 0.5, 0.75])
        rows.append(
            {
                "variant": v.label,
                "devices": v.devices,
                "batch_size": v.batch_size,
                "compile_seconds": v.seconds,
                "seconds": times.tolist(),
                "processor_seconds": spent.tolist(),
                "steps_per_s": 1 / np.median(times),
                "examples_per_s": v.batch_size / np.median(times),
                "flops": v.flops,
                "flops_per_s": v.flops / np.median(times),
                "share_of_product": float(np.median(v.flops / times / rates)),
                "ratio": {"median": ratio, "low": low, "high": high},
                "memory": {"temporary": v.memory.temporary, "total": v.memory.total},
            }
        )
    unit = 1 if sys.platform == "darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {
        "script": script,
        "device": f"{len(jax.devices())} x {jax.devices()[0].device_kind}",
        "processors": os.cpu_count(),
        "jax": jax.__version__,
        "product_flops_per_s": float(np.median(rates)),
        "peak_rss_bytes": peak,
        "variants": rows,
    }


def timing_table(record: Mapping[str, Any]) -> str:
    """Lines to print."""
    rate, peak = record["product_flops_per_s"] / 1e9, record["peak_rss_bytes"] / 2**20
    columns = ("ms/step", "CPU ms", "steps/s", "ex./s", "GFLOP/s", "product", "temp MiB")
    columns += ("trace", "lower")
    lines = [
        f"{record['script']}, {record['device']}, {record['processors']} processors, jax "
        f"{record['jax']}; product {rate:.4g} GFLOP/s; process {peak:.0f} MiB at most",
        " ".join(f"{name:>8}" for name in (*columns, "compile")) + "  ratio (quartiles)",
    ]
    for row in record["variants"]:
        spent, ratio = row["compile_seconds"], row["ratio"]
        cells = [
            f"{1e3 / row['steps_per_s']:.2f}",
            f"{1e3 * np.median(row['processor_seconds']):.1f}",
            f"{row['steps_per_s']:.3g}",
            f"{row['examples_per_s']:.4g}",
            f"{row['flops_per_s'] / 1e9:.3g}",
            f"{100 * row['share_of_product']:.1f} %",
            f"{row['memory']['temporary'] / 2**20:.1f}",
            *(f"{spent[name]:.1f} s" for name in ("trace", "lower", "compile")),
        ]
        spread = f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
        lines.append(" ".join(f"{cell:>8}" for cell in cells) + f"  {spread}  {row['variant']}")
    return "\n".join(lines)
