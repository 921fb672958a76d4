"""What a step of WEISSI costs compared with a step of AdamW, on parameters with BERT-base's shapes.

    python scripts/benchmark_optimizers.py [--rounds=15] [--tiny]

Prints, for each optimizer, the median time of a jitted update with donated buffers, and the median
and quartiles of its ratio to optax.adamw in the same round. The optimizers take turns within a
round and the order rotates, so what else the machine does falls on all of them alike. The four:

- adamw: optax's, with decay of all leaves;
- adamw_weissi: decoupled log-norm term, by its exact flow;
- adamw_weissi, direction: the same and the L1 norm of the unit direction;
- weissi before adam: the log-norm term coupled, added to the gradients.

109.5 million float32 parameters in 199 leaves; memory for five such trees, 2.2 GB, is needed.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from jaxlab import launch, optim

_ROUNDS = flags.DEFINE_integer("rounds", 15, "Rounds to measure.", lower_bound=1)
_TINY = flags.DEFINE_bool("tiny", False, "Shapes that take a second; the ratios mean nothing.")

RATE = 1e-4
OPTIMIZERS = {
    "adamw": lambda: optax.adamw(RATE, weight_decay=0.01),
    "adamw_weissi": lambda: optim.adamw_weissi(RATE, log_norm=0.01),
    "adamw_weissi, direction": lambda: optim.adamw_weissi(RATE, log_norm=0.01, direction=1e-4),
    "weissi before adam": lambda: optax.chain(optim.add_weissi(0.01), optax.adam(RATE)),
}


def bert_parameters(layers: int = 12, hidden: int = 768, vocabulary: int = 30522) -> dict:
    """Parameters with the names and shapes of a BERT encoder with its pooler."""
    dense = lambda rows, columns: {"kernel": (rows, columns), "bias": (columns,)}
    norm = {"scale": (hidden,), "bias": (hidden,)}
    shapes = {
        "embeddings": {
            "word": (vocabulary, hidden),
            "position": (512, hidden),
            "type": (2, hidden),
            "norm": norm,
        },
        "pooler": dense(hidden, hidden),
    }
    for layer in range(layers):
        shapes[f"layer_{layer}"] = {
            **{name: dense(hidden, hidden) for name in ("query", "key", "value", "output")},
            "up": dense(hidden, 4 * hidden),
            "down": dense(4 * hidden, hidden),
            "attention_norm": norm,
            "output_norm": norm,
        }
    keys = iter(jax.random.split(jax.random.key(0), 16 * layers + 16))
    draw = jax.jit(lambda key, shape: 0.02 * jax.random.normal(key, shape), static_argnums=1)
    return jax.tree.map(
        lambda shape: draw(next(keys), shape), shapes, is_leaf=lambda x: isinstance(x, tuple)
    )


def measure(params: dict, rounds: int) -> dict[str, np.ndarray]:
    """Seconds of each optimizer's steps, [rounds]; the first round is not among them."""
    gradients = jax.tree.map(lambda p: 0.1 * p, params)
    programs = {}
    for name, make in OPTIMIZERS.items():
        tx = make()

        def step(params, state, gradients, tx=tx):
            updates, state = tx.update(gradients, state, params)
            return optax.apply_updates(params, updates), state

        arguments = jax.eval_shape(lambda p, tx=tx: (p, tx.init(p), p), params)
        programs[name] = (tx, jax.jit(step, donate_argnums=(0, 1)).lower(*arguments).compile())
    seconds = {name: [] for name in programs}
    names = list(programs)
    for k in range(rounds + 1):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            tx, program = programs[name]
            state = jax.block_until_ready(tx.init(params))
            start = time.perf_counter()
            params, state = jax.block_until_ready(program(params, state, gradients))
            seconds[name].append(time.perf_counter() - start)
            del state  # before the next is made
    return {name: np.array(times[1:]) for name, times in seconds.items()}


def table(seconds: dict[str, np.ndarray]) -> str:
    """Lines to print: milliseconds and ratios to the first optimizer."""
    base = next(iter(seconds.values()))
    lines = [f"{'optimizer':<24} {'median ms':>10} {'ratio':>6}  quartiles"]
    for name, times in seconds.items():
        low, ratio, high = np.quantile(times / base, [0.25, 0.5, 0.75])
        lines.append(
            f"{name:<24} {1e3 * np.median(times):>10.2f} {ratio:>6.2f}  {low:.2f} to {high:.2f}"
        )
    return "\n".join(lines)


def main(config, workdir):
    del config, workdir
    params = bert_parameters(1, 8, 32) if _TINY.value else bert_parameters()
    leaves = jax.tree.leaves(params)
    print(
        f"{sum(map(jnp.size, leaves)) / 1e6:.1f} million parameters in {len(leaves)} leaves, "
        f"{jax.devices()[0].device_kind}, jax {jax.__version__}, {_ROUNDS.value} rounds"
    )
    print(table(measure(params, _ROUNDS.value)))


if __name__ == "__main__":
    launch.run(main, needs_workdir=False, reads=())
