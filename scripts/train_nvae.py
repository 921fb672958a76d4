"""Trains an NVAE on images, and draws what it has learned.

    python scripts/train_nvae.py --config=configs/nvae/mnist5k.py --workdir=runs/demo

The same command goes on where a run was stopped. WORKDIR then holds config.json, data.json
(what was found of the data), metrics.jsonl, checkpoints/, and samples.png, reconstructions.png,
curves.png and kl_per_group.png. Pictures of your own: docs/data.md.
`--init_from=RUN` starts from another run's weights, `--init_skip=REGEX` leaves some out.
"""

import sys

from absl import flags

from jaxlab import launch
from jaxlab import mesh as mesh_lib
from jaxlab.models import nvae
from jaxlab.tasks import images

SUMMARY = flags.DEFINE_bool("summary", False, "Print the model's parts and sizes, and stop.")


def main(config, workdir):
    options = launch.options()
    mesh = mesh_lib.make_mesh(fsdp=config.fsdp)
    if SUMMARY.value:
        spec = images.find_spec(config.data, options.data_dir)
        print(nvae.summary(images.build(config, spec, mesh)[0]))
        sys.exit()  # no run: nothing is recorded
    sets = images.load_sets(config, options.data_dir)
    held = {"held-out images": {"image": sets.held_out.images}}
    launch.check_data(workdir, held, allow_change=options.allow_change)
    launch.report_data(workdir, images.describe_data(config, sets))
    images.run(
        config,
        sets,
        workdir,
        mesh,
        tensorboard=options.tensorboard,
        allow_change=options.allow_change,
        profile_dir=options.profile_dir,
        start=lambda state: launch.start(state, workdir),
    )


if __name__ == "__main__":
    launch.run(
        main,
        default_config="configs/nvae/mnist5k.py",
        sections=images.KEYWORDS,
        task="images",
        reads=(*launch.READS, "init"),
    )
