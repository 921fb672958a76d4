"""Times the training step of any script and config: compile, speed, FLOP/s, memory; variants.

    python scripts/benchmark.py --script=train_nvae --config=configs/nvae/cifar10.py:cpu \\
        --variants="model.dtype='float32';model.dtype='bfloat16'" --out=runs/benchmark.json
    python scripts/benchmark.py --config=configs/nvae/mnist5k.py --sweep="batch_size=16,32,64,128"

The very step that the script would run, on made-up batches. Variants, and the values of a sweep,
take turns within every round and the order rotates, so that what else the machine does falls on all
alike; ratios are taken within rounds. So is the rate of a large matrix product, which the step's
FLOP/s are set beside: float32 on CPU, bfloat16 elsewhere, over all devices. FLOPs are those of
matrix products and convolutions, loops multiplied and recomputation counted.

In a variant, changes are separated by commas, Python values as they are: "model.remat='full',
batch_size=8"; an empty one is the config as it is. `devices=2` takes so many devices; on CPU they
are made, share its cores, and a variant that names none takes one. With --compile_cache compile
seconds are not to be believed.
"""

import ast
import os
import re
import resource
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from jaxlab import launch, planning, plots
from jaxlab import mesh as mesh_lib
from jaxlab.errors import InputError
from jaxlab.files import check_output, to_json, write_atomically

SCRIPT = flags.DEFINE_string("script", "train_nvae", "Training script, without folder and ending.")
VARIANTS = flags.DEFINE_string("variants", "", "Changes of the config, separated by semicolons.")
SWEEP = flags.DEFINE_string("sweep", "", "KEY=VALUE,VALUE,...: a variant a value, and figures.")
ROUNDS = flags.DEFINE_integer("rounds", 7, "Timed rounds.", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 3, "Steps of each variant in a round.", lower_bound=1)
OUT = flags.DEFINE_string("out", None, "JSON file to write; figures of a sweep go beside it.")


def most_devices():
    """The most devices that the command names, 0 if none: needed before flags are read."""
    asked = re.findall(r"\bdevices=([\d,]+)", " ".join(sys.argv))
    return max((int(n) for text in asked for n in text.split(",") if n), default=0)


def read_changes(text):
    """{"model.remat": True, "batch_size": 8} from "model.remat=True,batch_size=8"."""
    # Python's own reader of keyword arguments, whose names hold no dots.
    undotted = re.sub(r"[.](?=[A-Za-z_][\w.]*\s*=)", "__dot__", text)
    try:
        call = ast.parse(f"dict({undotted})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise InputError("values have no names")
        pairs = [(k.arg or "", ast.literal_eval(k.value)) for k in call.keywords]
        return {name.replace("__dot__", "."): value for name, value in pairs}
    except (SyntaxError, ValueError) as error:
        raise launch.UsageError(
            f"variant is {text!r}, must be like \"model.dtype='bfloat16',batch_size=8\""
        ) from error


def read_variants():
    """[(label, changes, x of the sweep or None)]."""
    if not SWEEP.value:
        texts = [text.strip() for text in VARIANTS.value.split(";")]
        if len({*texts}) < len(texts):
            raise launch.UsageError(f"variants are {VARIANTS.value!r}, they must differ")
        return [(text, read_changes(text), None) for text in texts]
    key, _, values = SWEEP.value.partition("=")
    try:
        values = ast.literal_eval(f"[{values}]")
        x = [float(np.sum(value)) for value in values]
    except (SyntaxError, ValueError, TypeError) as error:
        raise launch.UsageError(
            f"sweep is {SWEEP.value!r}, must be like batch_size=16,32 or model.groups=(2,),(4,)"
        ) from error
    if len({*x}) < len(x) or min(x) <= 0:
        raise launch.UsageError(f"sweep is {SWEEP.value!r}, its values must differ and be above 0")
    return [(f"{key}={v}", {key: v}, n) for v, n in zip(values, x, strict=True)]


def made_up(shapes):
    """A batch on its devices: uint8 at random, all else 1, which is a label, a token, a mask."""
    rng = np.random.default_rng(0)

    def one(x):
        random = x.dtype == np.uint8
        values = rng.integers(0, 256, x.shape) if random else np.ones(x.shape)
        return jax.device_put(values.astype(x.dtype), x.sharding)

    return jax.tree.map(one, shapes)


class Variant:
    """One compiled step with its state, ready to run."""

    def __init__(self, config, label, changes, data_dir):
        self.label, changes = label, dict(changes)
        config = config.copy_and_resolve_references()
        # Devices that were made are there for the variants that name them.
        made = most_devices() > 0 and jax.default_backend() == "cpu"
        count = changes.pop("devices", 1 if made else len(jax.devices()))
        if not 1 <= count <= len(jax.devices()):
            raise launch.UsageError(f"devices is {count}, there are {len(jax.devices())}")
        try:
            config.update_from_flattened_dict(changes)
            mesh = mesh_lib.make_mesh(jax.devices()[:count], fsdp=config.get("fsdp", 1))
            run = planning.blueprint(SCRIPT.value, config.to_dict(), mesh, data_dir=data_dir)
        except (AttributeError, KeyError, TypeError) as error:
            text = str(error).strip("'\"")
            raise launch.UsageError(f"{label or 'the config'} does not fit: {text}") from error
        self.devices, self.batch_size = count, run.batch_size
        self.seconds = {}
        shapes, traced = self.timed("trace", lambda: trace(run))
        lowered = self.timed("lower", traced.lower)
        compiled = self.timed("compile", lowered.compile)
        self.memory = planning.memory(compiled)
        self.flops = planning.matmul_flops(traced.jaxpr)
        self.state = self.timed("initial state", lambda: placed(run.create_state(), shapes[0]))
        self.batch, self.step = made_up(shapes[1]), compiled
        self.run(1)

    def timed(self, name, function):
        begin = time.perf_counter()
        found = jax.block_until_ready(function())
        self.seconds[name] = time.perf_counter() - begin
        return found

    def run(self, steps):
        """Seconds and processor seconds, of all threads, a step."""
        begin, spent = time.perf_counter(), time.process_time()
        for _ in range(steps):
            self.state, figures = self.step(self.state, self.batch)
        jax.block_until_ready((self.state, figures))  # type: ignore[possibly-unbound]
        return (time.perf_counter() - begin) / steps, (time.process_time() - spent) / steps


def trace(run):
    shapes = run.arguments()
    return shapes, run.step.trace(*shapes)


def placed(state, shapes):
    return jax.tree.map(lambda x, shape: jax.device_put(x, shape.sharding), state, shapes)


def make_product():
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


def measure(variants):
    """Seconds and processor seconds a step of each variant [rounds, 2]; FLOP/s of the product."""
    product, flops = make_product()
    seconds, rates = {v.label: [] for v in variants}, []
    for k in range(ROUNDS.value):
        rates.append(flops / min(product(), product()))
        turn = k % len(variants)
        for variant in variants[turn:] + variants[:turn]:
            seconds[variant.label].append(variant.run(STEPS.value))
    return {label: np.array(times) for label, times in seconds.items()}, np.array(rates)


def make_record(variants, seconds, rates):
    """What is written: rates, and a row a variant."""
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
        "script": SCRIPT.value,
        "device": f"{len(jax.devices())} x {jax.devices()[0].device_kind}",
        "processors": os.cpu_count(),
        "jax": jax.__version__,
        "product_flops_per_s": float(np.median(rates)),
        "peak_rss_bytes": peak,
        "variants": rows,
    }


def table(record):
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


def draw(record, x, path):
    """Milliseconds a step and seconds of compiling against the swept value."""
    times = 1e3 * np.array([row["seconds"] for row in record["variants"]])
    key = SWEEP.value.partition("=")[0]
    in_proportion = np.median(times[0]) * np.array(x) / x[0]
    plots.bands(
        {"measured": (x, times), "in proportion to the first": (x, in_proportion[:, None])},
        path.with_suffix(".png"),
        xlabel=key,
        ylabel="ms a step",
    )
    spent = [row["compile_seconds"] for row in record["variants"]]
    before = np.array([s["trace"] + s["lower"] for s in spent])
    compiling = np.array([s["compile"] for s in spent])
    plots.bands(
        {"trace and lower": (x, before[:, None]), "compile": (x, compiling[:, None])},
        path.with_name(f"{path.stem}_compile.png"),
        xlabel=key,
        ylabel="seconds",
    )


def main(config, workdir):
    del workdir
    if SCRIPT.value != SCRIPT.default and not flags.FLAGS["config"].present:
        raise launch.UsageError(f"--config=FILE is required with --script={SCRIPT.value}")
    out = check_output(OUT.value) if OUT.value else None
    wanted = read_variants()
    data_dir = launch.options().data_dir
    variants = [Variant(config, label, changes, data_dir) for label, changes, _ in wanted]
    record = make_record(variants, *measure(variants))
    x = [value for _, _, value in wanted if value]
    if len(x) > 1:
        times = [np.median(row["seconds"]) for row in record["variants"]]
        record["sweep"] = {"x": x, "exponent": float(np.polyfit(np.log(x), np.log(times), 1)[0])}
    if out is not None:
        write_atomically(out, to_json(record, indent=1) + "\n")
        if len(x) > 1:
            draw(record, x, out)
    print(table(record))
    if len(x) > 1:
        key, exponent = SWEEP.value.partition("=")[0], record["sweep"]["exponent"]
        print(f"a step grows like {key}^{exponent:.2f}")


if __name__ == "__main__":
    if most_devices():  # only CPU devices can be made
        jax.config.update("jax_num_cpu_devices", most_devices())
    launch.run(
        main,
        default_config="configs/nvae/mnist5k.py",
        sections=lambda: planning.sections(sys.argv),
        needs_workdir=False,
        reads=("data_dir",),
    )
