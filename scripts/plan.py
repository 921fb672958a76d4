"""Says what a training run would need and cost on TPUs, on a machine that has none.

    pip install -e '.[tpu]'
    python scripts/plan.py --script=train_nvae --config=configs/nvae/cifar10.py \\
        --topology=v5e:4x4 --out=plan.json --config.batch_size=512

The very step that the script would run is compiled ahead of time, without allocating a parameter:
memory of each chip, FLOPs, bytes, exchanges between chips, step time, hours of the schedule.
Data and pretrained folders that the config names are read, and must be there.
Topologies are v4:2x2x1, v5e:4x4, v5p:2x2x2, v6e:2x4 and so on, chips along each axis; cpu:8 takes
devices of this machine, which needs no libtpu and tells memory and FLOPs only.
The TPU compiler takes some twenty minutes of one core for a published recipe.

Step time is the sum of the compiler's own cycle estimates for all operations, loops multiplied;
exchanges are not in it. Next to it stands the least that peak FLOP/s and memory bandwidth allow.
Runs of several stages show the one that takes most: see `blueprint` in the script.
"""

import os
import sys

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

from jaxlab import launch, planning
from jaxlab import mesh as mesh_lib
from jaxlab.files import check_output, to_json, write_atomically

SCRIPT = flags.DEFINE_string("script", "train_nvae", "Training script, without folder and ending.")
TOPOLOGY = flags.DEFINE_string("topology", "v5e:2x2", "Chip and shape: v5e:4x4, v4:2x2x2, cpu:8.")
OUT = flags.DEFINE_string("out", None, "JSON file to write.")


def main(config, workdir):
    del workdir
    out = check_output(OUT.value) if OUT.value else None
    mesh = mesh_lib.make_mesh(planning.find_devices(TOPOLOGY.value), fsdp=config.get("fsdp", 1))
    data_dir = launch.options().data_dir
    found = planning.blueprint(SCRIPT.value, config.to_dict(), mesh, data_dir=data_dir)
    logging.info("compiling for %d x %s", mesh.size, TOPOLOGY.value.partition(":")[0])
    record = {"script": SCRIPT.value, "topology": TOPOLOGY.value, **planning.plan(found)}
    if out is not None:
        write_atomically(out, to_json(record, indent=1) + "\n")
    print(f"{SCRIPT.value} on {TOPOLOGY.value}")
    print(planning.table(record))


if __name__ == "__main__":
    wanted = [a.rpartition("=cpu:")[2] for a in sys.argv if a.startswith("--topology=cpu:")]
    if wanted and wanted[-1].isdigit() and int(wanted[-1]):
        jax.config.update("jax_num_cpu_devices", int(wanted[-1]))
    launch.run(
        main,
        default_config="configs/nvae/cifar10.py",
        sections=lambda: planning.sections(sys.argv),
        needs_workdir=False,
        reads=("data_dir",),
    )
