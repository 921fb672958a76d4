"""Times a training step of `torch_restatement.py` and of jaxlab, scanned and unrolled, in turns.

    python tests/models/nvae/time_restatement.py --config=configs/nvae/mnist.py \\
        --config.batch_size=32 --config.model.groups="(2,1)" \\
        --config.model.enc_channels=16 --config.model.dec_channels=16 \\
        --config.model.pre_cells=2 --config.model.post_cells=2 \\
        --config.model.enc_cells=1 --config.model.dec_cells=1

Both sides: made-up binary images, all processors, float32, penalties with four power iterations,
Adamax. One process, so both have the same memory settings. Needs the extra `parity`.
"""

import os
import time

import numpy as np
import torch
from absl import flags
from torch_restatement import Model, objective, random_images

from jaxlab import launch, planning
from jaxlab.tasks import images

ROUNDS = flags.DEFINE_integer("rounds", 7, "Timed rounds.", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 3, "Steps of each in a round.", lower_bound=1)
IMAGE_SIZE = 32
POWER_ITERATIONS = 4  # a step of the reference does as many


class Peer:
    """The restatement's step, as `planning.measure` runs it."""

    label = "PyTorch"

    def __init__(self, config):
        torch.manual_seed(0)
        torch.set_num_threads(os.cpu_count() or 1)
        sizes, self.weight = config["model"], config["loss"]["penalty"]
        finest, coarsest = sizes["groups"]
        parts = {
            **{f"num_{part}process_blocks": sizes["blocks"] for part in ("pre", "post")},
            **{f"num_{part}process_cells": sizes[f"{part}_cells"] for part in ("pre", "post")},
            **{f"num_cell_per_cond_{part}": sizes[f"{part}_cells"] for part in ("enc", "dec")},
            **{f"num_channels_{part}": sizes[f"{part}_channels"] for part in ("enc", "dec")},
        }
        groups = {"num_groups_per_scale": finest, "min_groups_per_scale": coarsest}
        self.model = Model(
            {
                **{"dataset": "mnist", "use_se": True, "res_dist": True, "num_nf": 0},
                **{"num_mixture_dec": 10, "num_x_bits": 8},
                **{"num_latent_scales": 2, "ada_groups": True, **groups, **parts},
                **{"num_latent_per_group": sizes["latents"], "arch_instance": sizes["arch"]},
            },
            IMAGE_SIZE,
        ).train()
        self.optimizer = torch.optim.Adamax(self.model.parameters(), 1e-2, eps=1e-3)
        self.images = random_images(self.model, config["batch_size"], IMAGE_SIZE)
        self.run(1)

    def run(self, steps):
        """Seconds and processor seconds per step."""
        begin, spent = time.perf_counter(), time.process_time()
        for _ in range(steps):
            eps = [torch.randn(len(self.images), *shape) for shape in self.model.shapes]
            self.optimizer.zero_grad()
            arguments = {"beta": 0.5, "weight": self.weight, "iterations": POWER_ITERATIONS}
            objective(self.model, self.images, eps, **arguments)[0].backward()
            self.optimizer.step()
        return (time.perf_counter() - begin) / steps, (time.process_time() - spent) / steps


def main(config, workdir):
    del workdir
    make = lambda label, scan: planning.make_variant(
        "train_nvae", config, label, {"model.scan": scan}, data_dir=launch.options().data_dir
    )
    peer = Peer(config.to_dict())
    count = sum(p.numel() for p in peer.model.parameters())
    ours = [make("jaxlab, scanned", True), make("jaxlab, unrolled", False)]
    seconds, rates = planning.measure([peer, *ours], rounds=ROUNDS.value, steps=STEPS.value)
    print(f"{count:,} parameters, batch {config.batch_size}, {os.cpu_count()} processors")
    wall, spent = np.median(seconds[peer.label], axis=0)
    for variant in (peer, *ours):
        mine, mine_spent = np.median(seconds[variant.label], axis=0)
        line = f"{variant.label:17} {1e3 * mine:5.0f} ms, {mine_spent:.2f} processor seconds a step"
        if variant is not peer:
            share = np.median(variant.flops / seconds[variant.label][:, 0] / rates)
            line += f", {variant.memory.temporary / 2**20:.0f} MiB, {share:.0%} of a product's rate"
            line += (
                f"; PyTorch takes {wall / mine:.2f} times as long, {spent / mine_spent:.2f} times"
            )
            line += " the processor seconds"
        print(line)


if __name__ == "__main__":
    launch.run(
        main,
        default_config="configs/nvae/mnist.py",
        sections=images.KEYWORDS,
        needs_workdir=False,
        reads=("data_dir",),
    )
