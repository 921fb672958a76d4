"""Times the convolutions of NVAE, forward and with both gradients, and torch's if installed.

    python scripts/benchmark_convolutions.py --batch_size=32

Every formulation is timed in turns with the others: `backend` is XLA's own convolution, `chosen`
what models get outside loops, `in a loop` what they get as the body of `jax.lax.scan` (time of one
of eight rounds). float32, on as many threads as there are processors.
"""

import functools
import importlib.util
import os

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from jaxlab import launch, timing
from jaxlab.models.conv import conv2d, inside_loop

BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Images a batch.", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 9, "Timed calls of each; the median counts.")
ROUNDS = 8
CASES = {  # height and width, channels in, channels out, kernel, groups
    "depthwise 5x5, 192 channels, 16x16": (16, 192, 192, 5, 192),
    "depthwise 5x5, 384 channels, 8x8": (8, 384, 384, 5, 384),
    "dense 3x3, 32 channels, 16x16": (16, 32, 32, 3, 1),
    "dense 3x3, 64 channels, 8x8": (8, 64, 64, 3, 1),
    "dense 1x1, 32 to 192 channels, 16x16": (16, 32, 192, 1, 1),
}


def ours(convolve, x, kernel, rounds=1):
    """{"forward", "gradients"} of a convolution, as functions that run them."""

    def forward(x, kernel):
        if rounds == 1:
            return convolve(x, kernel)
        with inside_loop():
            return jax.lax.scan(lambda x, k: (convolve(x, k), None), x, kernel)[0]

    def gradients(x, kernel, weights):
        y, pull = jax.vjp(forward, x, kernel)
        return y, pull(weights)

    kernel = jnp.stack([kernel] * rounds) if rounds > 1 else kernel
    weights = jnp.ones(jax.eval_shape(forward, x, kernel).shape)
    once, both = jax.jit(forward), jax.jit(gradients)
    return {
        "forward": lambda: jax.block_until_ready(once(x, kernel)),
        "gradients": lambda: jax.block_until_ready(both(x, kernel, weights)),
    }


def theirs(x, kernel, groups):
    """The same of torch, or None where it is not installed."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(os.cpu_count() or 1)
    x = torch.tensor(np.asarray(x).transpose(0, 3, 1, 2).copy(), requires_grad=True)
    kernel = torch.tensor(np.asarray(kernel).transpose(3, 2, 0, 1).copy(), requires_grad=True)
    convolve = functools.partial(
        torch.nn.functional.conv2d, padding=kernel.shape[-1] // 2, groups=groups
    )

    def forward():
        with torch.no_grad():
            convolve(x, kernel)

    def gradients():
        x.grad = kernel.grad = None
        convolve(x, kernel).sum().backward()

    return {"forward": forward, "gradients": gradients}


def main(config, workdir):
    del config, workdir
    print(f"batch {BATCH_SIZE.value}, {os.cpu_count()} processors, milliseconds")
    for name, (size, inputs, outputs, k, groups) in CASES.items():
        rng = np.random.default_rng(0)
        draw = lambda *shape, rng=rng: jnp.asarray(rng.normal(size=shape), jnp.float32)
        x = draw(BATCH_SIZE.value, size, size, inputs)
        kernel = draw(k, k, inputs // groups, outputs) / k
        runs = {
            "backend": ours(functools.partial(conv2d, groups=groups, form="backend"), x, kernel),
            "chosen": ours(functools.partial(conv2d, groups=groups), x, kernel),
        }
        if inputs == outputs:
            loop = ours(functools.partial(conv2d, groups=groups), x, kernel, ROUNDS)
            runs["in a loop"] = loop
        torch = theirs(x, kernel, groups)
        runs |= {"torch": torch} if torch else {}
        for what in ("forward", "gradients"):
            steps = {label: functions[what] for label, functions in runs.items()}
            found = timing.medians(steps, REPEATS.value)
            if "in a loop" in found:
                found["in a loop"] /= ROUNDS
            cells = ", ".join(f"{label} {1e3 * s:.1f}" for label, s in found.items())
            ratio = f"; chosen / torch {found['chosen'] / found['torch']:.2f}" if torch else ""
            title = "forward" if what == "forward" else "forward and both gradients"
            print(f"{name}: {title}: {cells}{ratio}", flush=True)


if __name__ == "__main__":
    launch.run(main, needs_workdir=False, reads=())
