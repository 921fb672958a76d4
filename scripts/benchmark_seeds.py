"""Times five seeds in one program against one seed, for an MLP and a ResNet.

    python scripts/benchmark_seeds.py [--num_seeds=5] [--tiny]

Prints milliseconds a step of one seed and of all, side by side ("vmap") and one after the other
("map"), and their ratios. Random data: only the time is of interest.
"""

import time

import jax
import numpy as np
from absl import flags

from jaxlab import launch
from jaxlab.studies import tables
from jaxlab.tasks import classification

NUM_SEEDS = flags.DEFINE_integer("num_seeds", 5, "Seeds in one program.", lower_bound=2)
TINY = flags.DEFINE_bool("tiny", False, "Small shapes and few steps: only shows that it runs.")


def contexts(num_seeds, shape):
    """Random sets of the shape that `classification.make_contexts` gives."""
    rng = np.random.default_rng(0)

    def draw(size):
        x = rng.integers(0, 256, (num_seeds, size, *shape), dtype=np.uint8)
        return {"x": x, "label": rng.integers(0, 10, (num_seeds, size)).astype(np.int32)}

    sets = {"train": draw(1000), "validation": draw(20), "test": draw(20)}
    return jax.device_put({**sets, "counts": np.full((num_seeds, 10), 100.0, np.float32)})


def milliseconds(setting, shape, num_seeds, mode, steps, batch_size, rounds):
    """Returns the least milliseconds a step over some rounds, compiling left out."""
    numbers, fixed = classification.split_numbers(setting)
    program = classification.make_program(fixed, 10, num_steps=steps, seeds=mode)
    data = contexts(num_seeds, shape)
    times = []
    for _ in range(rounds + 1):
        marks = []
        for _ in program.train(
            numbers,
            data,
            seeds=range(num_seeds),
            num_steps=steps,
            batch_size=batch_size,
            eval_every=steps // 2,
        ):
            marks.append(time.perf_counter())
        times.append(marks[2] - marks[1])  # the second half: compiled, with its evaluation
    return 1e3 * min(times[1:]) / (steps // 2)


def main(config, workdir):
    del config, workdir
    tiny = TINY.value
    optimizer = {"name": "momentum", "learning_rate": 0.1}
    objective = {"name": "cross_entropy"}
    cases = {
        "MLP 2-100-100-10, batch 32": (
            {"kind": "mlp", "features": (100, 100)}, (2,), 32, 2000,
        ),
        "MLP 784-128-128-10, batch 64": (
            {"kind": "mlp", "features": (128, 128)}, (28, 28, 1), 64, 1000,
        ),
        "ResNet 8-16-32, 32x32x3, batch 64": (
            {"kind": "resnet", "widths": (8, 16, 32), "stem_stride": 2}, (32, 32, 3), 64, 60,
        ),
    }  # fmt: skip
    seeds = NUM_SEEDS.value
    print(f"{jax.devices()[0].device_kind}, {seeds} seeds")
    head = ["model", "one seed, ms per step", f"{seeds} by vmap", f"{seeds} by map", "ratios"]
    print(tables.markdown(head, []), end="")
    for name, (model, shape, batch_size, steps) in list(cases.items())[: 1 if tiny else None]:
        setting = {"model": model, "objective": objective, "optimizer": optimizer}
        time_of = lambda count, mode, setting=setting, shape=shape, size=batch_size, steps=steps: (
            milliseconds(setting, shape, count, mode, 4 if tiny else steps, size, 1 if tiny else 3)
        )
        # "map" over one seed is the plain step: no batch axis is added.
        one, vmapped, mapped = time_of(1, "map"), time_of(seeds, "vmap"), time_of(seeds, "map")
        ratios = f"{vmapped / one:.2f}, {mapped / one:.2f}"
        times = [f"{ms:.3g}" for ms in (one, vmapped, mapped)]
        print(tables.line([name, *times, ratios]), flush=True)


if __name__ == "__main__":
    launch.run(main, needs_workdir=False, reads=())
