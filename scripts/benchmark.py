"""Times the training step of any script and config: compile, speed, FLOP/s, memory; variants.

    python scripts/benchmark.py --script=train_nvae --config=configs/nvae/cifar10.py:cpu \\
        --variants="model.dtype='float32';model.dtype='bfloat16'" --out=runs/benchmark.json
    python scripts/benchmark.py --config=configs/nvae/mnist5k.py --sweep="batch_size=16,32,64,128"

The very step that the script would run, on made-up batches. Variants, and the values of a sweep,
take turns within every round and the order rotates, so that what else the machine does falls on all
alike; ratios are taken within rounds. So is the rate of a large matrix product, which the step's
FLOP/s are compared with: float32 on CPU, bfloat16 elsewhere, over all devices. FLOPs are those of
matrix products and convolutions, loops multiplied and recomputation counted.

In a variant, changes are separated by commas, Python values as they are: "model.remat='full',
batch_size=8"; an empty one is the config as it is. `devices=2` takes two devices; on CPU they
are made, share its cores, and a variant that names none takes one. With --compile_cache compile
seconds are not to be believed.
"""

import ast
import re
import sys

import jax
import numpy as np
from absl import flags

from jaxlab import launch, planning, plots
from jaxlab.files import check_output, to_json, write_atomically

SCRIPT = flags.DEFINE_string("script", "train_nvae", "Training script, without folder and ending.")
VARIANTS = flags.DEFINE_string("variants", "", "Changes of the config, separated by semicolons.")
SWEEP = flags.DEFINE_string("sweep", "", "KEY=VALUE,VALUE,...: a variant a value, and figures.")
ROUNDS = flags.DEFINE_integer("rounds", 7, "Timed rounds.", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 3, "Steps of each variant in a round.", lower_bound=1)
OUT = flags.DEFINE_string("out", None, "JSON file to write; figures of a sweep go next to it.")


def most_devices():
    """The most devices that the command names, 0 if none: needed before flags are read."""
    asked = re.findall(r"\bdevices=([\d,]+)", " ".join(sys.argv))
    return max((int(n) for text in asked for n in text.split(",") if n), default=0)


def read_variants():
    """[(label, changes, x of the sweep or None)]."""
    if not SWEEP.value:
        texts = [text.strip() for text in VARIANTS.value.split(";")]
        if len({*texts}) < len(texts):
            raise launch.UsageError(f"variants are {VARIANTS.value!r}, they must differ")
        return [(text, planning.read_changes(text), None) for text in texts]
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
    out = check_output(OUT.value) if OUT.value else None
    wanted = read_variants()
    data_dir = launch.options().data_dir
    made = most_devices() > 0 and jax.default_backend() == "cpu"
    variants = [
        planning.make_variant(SCRIPT.value, config, label, changes, data_dir=data_dir, made=made)
        for label, changes, _ in wanted
    ]
    found = planning.measure(variants, rounds=ROUNDS.value, steps=STEPS.value)
    record = planning.timing_record(SCRIPT.value, variants, *found)
    x = [value for _, _, value in wanted if value]
    if len(x) > 1:
        times = [np.median(row["seconds"]) for row in record["variants"]]
        record["sweep"] = {"x": x, "exponent": float(np.polyfit(np.log(x), np.log(times), 1)[0])}
    if out is not None:
        write_atomically(out, to_json(record, indent=1) + "\n")
        if len(x) > 1:
            draw(record, x, out)
    print(planning.timing_table(record))
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
