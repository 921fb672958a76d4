"""Says what a training run would need and cost on TPUs, on a machine that has none.

    pip install -e '.[tpu]'
    python scripts/plan.py --script=train_nvae --config=configs/nvae/cifar10.py \\
        --topology=v5e:4x4 --out=plan.json --config.batch_size=512

The very step that the script would run is compiled ahead of time, without allocating a parameter:
memory of each chip, FLOPs, bytes, exchanges between chips, step time, hours of the schedule.
Topologies are v4:2x2x1, v5e:4x4, v5p:2x2x2, v6e:2x4 and so on, chips along each axis; cpu:8 takes
devices of this machine, which needs no libtpu and tells memory and FLOPs only.
The TPU compiler takes some twenty minutes of one core for a published recipe.

Step time is the sum of the compiler's own cycle estimates for all operations, loops multiplied;
exchanges are not in it. Beside it stands the least that peak FLOP/s and memory bandwidth allow.
Runs of several stages show the one that takes most: see `blueprint` in the script.
"""

import contextlib
import dataclasses
import importlib.util
import itertools
import os
import pathlib
import re
import sys
import threading
import time

# libtpu asks the machine what it is; on one that is no TPU it has to be told.
os.environ.update(
    JAX_PLATFORMS="cpu",
    TPU_SKIP_MDS_QUERY="1",
    TPU_ACCELERATOR_TYPE="v5litepod-4",
    TPU_WORKER_HOSTNAMES="localhost",
    TPU_WORKER_ID="0",
    ALLOW_MULTIPLE_LIBTPU_LOAD="1",  # no chip is taken, so plans may run side by side
)

import jax
from absl import flags, logging
from jax.experimental import topologies

from jaxlab import launch, planning
from jaxlab import mesh as mesh_lib
from jaxlab.files import check_output, to_json, write_atomically

SCRIPT = flags.DEFINE_string("script", "train_nvae", "Training script, without folder and ending.")
TOPOLOGY = flags.DEFINE_string("topology", "v5e:2x2", "Chip and shape: v5e:4x4, v4:2x2x2, cpu:8.")
OUT = flags.DEFINE_string("out", None, "JSON file to write.")


def find_devices(name):
    """The devices of a topology."""
    kind, _, shape = name.partition(":")
    if kind == "cpu":
        if not shape.isdigit() or not 1 <= int(shape) <= jax.device_count():
            raise launch.UsageError(
                f"topology is {name!r}, must be cpu:1 to cpu:{jax.device_count()}"
            )
        return jax.devices()[: int(shape)]
    if not re.match(r"v\d", kind):
        raise launch.UsageError(
            f"topology is {name!r}, must be cpu:N or a TPU such as v4:2x2x1, v5e:4x4, v5p:2x2x2, "
            "v6e:2x4; GPUs are not planned"
        )
    if importlib.util.find_spec("libtpu") is None:
        raise launch.UsageError(
            f"topology {name} needs libtpu, which is not installed: pip install -e '.[tpu]'"
        )
    # The two cores of a v4 chip work as one, as they do for jax on a real one.
    options = {"chip_config_name": "megacore"} if kind == "v4" else {}
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=name, **options)
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0]
        raise launch.UsageError(
            f"topology is {name!r}, must be like v4:2x2x1, v5e:4x4, v5p:2x2x2, v6e:2x4: {reason}"
        ) from error
    return found.devices


def make_blueprint(script, config, mesh, data_dir):
    """The script's run on a mesh, with what does not fit the script or the chips told."""
    try:
        module = planning.load_script(script, pathlib.Path(__file__).parent)
        found = module.blueprint(config, mesh, data_dir)
    except (AttributeError, KeyError) as error:
        text = str(error).strip("'\"")
        raise launch.UsageError(f"the config is not one of {script}: no {text}") from error
    if found.batch_size % found.mesh.size:
        raise launch.UsageError(
            f"batch_size is {found.batch_size}, must be a multiple of the {found.mesh.size} chips"
        )
    return found


@contextlib.contextmanager
def told(what, every=60.0):
    """Logs that something is still under way, as a compiler does not say how far it is."""
    done, start = threading.Event(), time.perf_counter()

    def tell():
        while not done.wait(every):
            logging.info("%s, %.0f s so far", what, time.perf_counter() - start)

    threading.Thread(target=tell, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def plan(found):
    """Compiles a blueprint's step; returns the record to show."""
    marks = [time.perf_counter()]
    traced = found.step.trace(*found.arguments())
    marks.append(time.perf_counter())
    lowered = traced.lower()
    marks.append(time.perf_counter())
    device = found.mesh.devices.flat[0]
    chip = planning.chip_of(device.device_kind)
    record = {
        "chip": chip.name if chip else device.device_kind,
        "chips": found.mesh.size,
        "batch_size": found.batch_size,
        "num_steps": found.num_steps,
        "flops": planning.matmul_flops(traced.jaxpr),
    }
    try:
        with told("compiling"):
            compiled = planning.compile_step(lowered)
    except planning.OutOfMemory as error:
        over = error.needed - error.available
        record["memory"] = {"total": error.needed, "available": error.available, "over": over}
    else:
        record |= measure(compiled, chip)
    marks.append(time.perf_counter())
    seconds = [b - a for a, b in itertools.pairwise(marks)]
    record["seconds"] = dict(zip(("trace", "lower", "compile"), seconds, strict=True))
    record["fits"] = record["memory"]["over"] == 0 if "over" in record["memory"] else None
    if chip and record["fits"]:
        record |= speed(record, chip)
    return record


def measure(compiled, chip):
    """What the compiled program tells, of one chip."""
    memory = planning.memory(compiled)
    total = planning.totals(compiled.as_text())
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


def speed(record, chip):
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


def size(count):
    """Bytes for people."""
    unit = max(0, min(3, (int(count).bit_length() - 1) // 10))
    return f"{count / 2 ** (10 * unit):.4g} {('B', 'KiB', 'MiB', 'GiB')[unit]}"


def table(record):
    """Lines to print."""
    memory, chips = record["memory"], record["chips"]
    rows = [("", f"{chips} x {record['chip']}, batch {record['batch_size']}")]
    names = {"argument": "arguments", "output": "results", "alias": "of them in place"}
    names |= {"temporary": "temporary", "code": "program"}
    rows += [(f"  {n}", size(memory[k])) for k, n in names.items() if k in memory]
    total = size(memory["total"])
    if "available" in memory:
        word = "fits" if record["fits"] else f"too much by {size(memory['over'])}"
        total += f" of {size(memory['available'])}: {word}"
    rows.append(("memory of a chip", total))
    rows.append(("FLOPs a step, all chips", f"{record['flops']:.4g}"))
    if "bytes" in record:
        rows.append(("bytes moved, a chip", size(record["bytes"])))
        for kind, of in record["collectives"].items():
            rows.append((kind, f"{of['count']} a step, {size(of['bytes'])}"))
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


def main(config, workdir):
    del workdir
    out = check_output(OUT.value) if OUT.value else None
    if SCRIPT.value != SCRIPT.default and not flags.FLAGS["config"].present:
        raise launch.UsageError(f"--config=FILE is required with --script={SCRIPT.value}")
    mesh = mesh_lib.make_mesh(find_devices(TOPOLOGY.value), fsdp=config.get("fsdp", 1))
    found = make_blueprint(SCRIPT.value, config, mesh, launch.options().data_dir)
    logging.info("compiling for %d x %s", found.mesh.size, TOPOLOGY.value.partition(":")[0])
    record = {"script": SCRIPT.value, "topology": TOPOLOGY.value, **plan(found)}
    if out is not None:
        write_atomically(out, to_json(record, indent=1) + "\n")
    print(f"{SCRIPT.value} on {TOPOLOGY.value}")
    print(table(record))


if __name__ == "__main__":
    wanted = [a.rpartition("=cpu:")[2] for a in sys.argv if a.startswith("--topology=cpu:")]
    if wanted and wanted[-1].isdigit() and int(wanted[-1]):
        jax.config.update("jax_num_cpu_devices", int(wanted[-1]))
    launch.run(
        main,
        default_config="configs/nvae/cifar10.py",
        sections=lambda: planning.script_sections(sys.argv, pathlib.Path(__file__).parent),
        needs_workdir=False,
        reads=("data_dir",),
    )
