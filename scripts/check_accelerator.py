"""What to run first on a new GPU or TPU: is all there, is it right, how fast is it?

    python scripts/check_accelerator.py --out=check.json

Devices, versions and memory; a small NVAE and a small BERT against stored values of a CPU, in
float32 and bfloat16; a training step of each script; the benchmark of the demo and of a recipe
(BERT-base, 12 layers to 6); a checkpoint, bit for bit. Data are made up: it needs no network and no
data folder. Meant for some two minutes of an accelerator, which has not been tried; on a CPU, where
the recipe's model is a tiny one, 90 CPU-seconds, nearly all of them compiling. Prints a table and
exits with 1 where something is off, else with 0.

`--parts=devices,parity` checks less, `--tiny` shrinks the benchmark everywhere. `--store`, on a
CPU, writes the values that parity is held against, after a change of what the models compute.
"""

import pathlib
import sys
import tempfile
import time

import jax
from absl import flags, logging

from jaxlab import launch, planning
from jaxlab import mesh as mesh_lib
from jaxlab.errors import InputError
from jaxlab.files import check_output, to_json, write_atomically
from jaxlab.launch.config import load

OUT = flags.DEFINE_string("out", None, "JSON file to write.")
TINY = flags.DEFINE_bool("tiny", False, "Tiny models in the benchmark too.")
STORE = flags.DEFINE_bool("store", False, "Write the CPU's values for later comparisons, and stop.")
PARTS = flags.DEFINE_list("parts", list(planning.PARTS), "What to check.")

STEPS = {
    "train_nvae": "configs/nvae/mnist5k.py:tiny",
    "train_classifier": "configs/classifier/fashion_long_tail.py:tiny",
    "compress_bert": "configs/theseus/study.py:tiny",
    "train_qa_generation": "configs/qa_generation/english.py:tiny",
    "train_embeddings": "configs/embeddings/negative_sampling.py:tiny",
}
DEMO = {"demo": ("train_nvae", "configs/nvae/mnist5k.py")}
RECIPE = {"BERT-base, 12 to 6": ("compress_bert", "configs/theseus/glue.py:sst2")}
TINY_DEMO = {"demo, tiny": ("train_nvae", STEPS["train_nvae"])}
TINY_RECIPE = {"BERT, tiny": ("compress_bert", STEPS["compress_bert"])}


def rows(parts, tiny):
    """Yields what was found, part by part."""
    mesh = mesh_lib.make_mesh()
    small = tiny or jax.default_backend() == "cpu"
    named = (TINY_DEMO if tiny else DEMO) | (TINY_RECIPE if small else RECIPE)
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        planning.make_data(folder)
        if "devices" in parts:
            yield from planning.check_devices(jax.devices())
        if "parity" in parts:
            yield from planning.check_parity()
        if "steps" in parts:
            configs = {script: read(name) for script, name in STEPS.items()}
            yield from planning.check_steps(configs, mesh, folder)
        if "benchmark" in parts:
            runs = {key: (script, read(name)) for key, (script, name) in named.items()}
            yield from planning.check_benchmark(runs, mesh, folder)
        if "resume" in parts:
            yield from planning.check_resume("train_nvae", read(STEPS["train_nvae"]), mesh, folder)


def read(name):
    return load(name).to_dict()


def main(config, workdir):
    del config, workdir
    out = check_output(OUT.value) if OUT.value else None
    if unknown := sorted({*PARTS.value} - {*planning.PARTS}):
        raise InputError(f"--parts has {unknown[0]!r}, known are {', '.join(planning.PARTS)}")
    if STORE.value:
        if jax.default_backend() != "cpu":
            raise InputError("--store writes the values of a CPU: set JAX_PLATFORMS=cpu")
        planning.store_parity()
        return
    begun, found = time.perf_counter(), []
    for row in rows(PARTS.value, TINY.value):
        logging.info("%s, %s: %s", row.part, row.what, row.wrong or "fine")
        found.append(row)
    seconds = time.perf_counter() - begun
    if out is not None:
        record = {"seconds": seconds, "checks": [row._asdict() for row in found]}
        write_atomically(out, to_json(record, indent=1) + "\n")
    print(planning.check_table(found))
    print(f"{seconds:.0f} s")
    if any(row.wrong for row in found):
        sys.exit(1)


if __name__ == "__main__":
    launch.run(main, needs_workdir=False, reads=())
