"""Times greedy and beam decoding, and transformers' where it is installed.

    python scripts/benchmark_generation.py
    python scripts/benchmark_generation.py --workdir=runs/questions --squad=dev.json.gz

Random models of 6 layers, hidden 384, vocabulary 10,000 write exactly --new tokens after a context
of --length: BERT under a prefix mask here, GPT-2 of the same size there; the pass over the context
counts. Both run float32 on as many threads as there are processors, and are timed in turns.
`limit` is the share of our time that the machine needs at best: the longer of multiplying at the
rate of a large matrix product, and of reading all weights once per token as fast as a product with
one vector reads its matrix. Both rates are measured here.
With a trained model and a file of passages, pairs of answers and questions a second too.
"""

import importlib.util
import itertools
import os

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from jaxlab import decoding, launch, timing
from jaxlab.models import bert
from jaxlab.studies import tables
from jaxlab.tasks.question_generation.speed import time_pairs

LENGTH = flags.DEFINE_integer("length", 64, "Tokens of the context.", lower_bound=1)
NEW = flags.DEFINE_integer("new", 32, "Tokens to write.", lower_bound=2)
BATCHES = flags.DEFINE_list("batches", ["1", "32"], "Batch sizes.")
BEAMS = flags.DEFINE_list("beams", ["1", "4"], "Beam sizes; 1 is greedy.")
REPEATS = flags.DEFINE_integer("repeats", 5, "Timed calls of each; the median counts.")
LAYERS = flags.DEFINE_integer("layers", 6, "Layers.")
HIDDEN = flags.DEFINE_integer("hidden", 384, "Width of the states; 32 a head.")
VOCAB = flags.DEFINE_integer("vocab", 10000, "Tokens of the vocabulary.")
SQUAD = flags.DEFINE_string("squad", None, "File of passages for pairs a second.")
PAIRS = flags.DEFINE_integer("pairs", 1, "Pairs a passage, for pairs a second.")

END = 3


def ours():
    """(ids, beams) -> a function that decodes."""
    hidden = HIDDEN.value
    model = bert.Bert(
        vocab_size=VOCAB.value,
        hidden_size=hidden,
        num_layers=LAYERS.value,
        num_heads=hidden // 32,
        intermediate_size=4 * hidden,
        max_positions=LENGTH.value + NEW.value,
        pooler=False,
    )
    head = bert.MaskedLMHead()
    body = jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 2), jnp.int32))["params"]
    params = {"bert": body, "head": bert.init_head(head, jax.random.key(1), hidden, VOCAB.value)}
    # The end may not come before the last token.
    options = {"max_length": NEW.value, "eos_id": END, "min_length": NEW.value - 1, "forbid": (0,)}

    def make(ids, beams):
        def decode(params, ids):
            prefix, last = bert.encode_prefix(model, params, ids)
            logits = bert.next_logits(head, params, last)
            step_fn = bert.make_step(model, head, params, prefix)
            cache = bert.empty_cache(model, prefix, NEW.value)
            if beams == 1:
                return decoding.greedy(step_fn, cache, logits, **options)
            return decoding.beam_search(
                step_fn, cache, logits, beam_size=beams, num_results=1, **options
            )

        run, ids = jax.jit(decode), jnp.asarray(ids, jnp.int32)
        return lambda: jax.block_until_ready(run(params, ids))

    return make


def theirs():
    """The same of transformers, or None where it is not installed."""
    if not all(map(importlib.util.find_spec, ("torch", "transformers"))):
        return None
    import torch  # pyright: ignore[reportMissingImports]
    import transformers  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(os.cpu_count() or 1)
    config = transformers.GPT2Config(
        vocab_size=VOCAB.value,
        n_embd=HIDDEN.value,
        n_layer=LAYERS.value,
        n_head=HIDDEN.value // 32,
        n_positions=LENGTH.value + NEW.value,
        bos_token_id=2,
        eos_token_id=END,
        pad_token_id=0,
    )
    generate = transformers.GPT2LMHeadModel(config).eval().generate  # pyright: ignore
    count = {"max_new_tokens": NEW.value, "min_new_tokens": NEW.value, "do_sample": False}

    def make(ids, beams):
        ids = torch.tensor(ids).long()
        mask = torch.ones_like(ids)

        def run():
            with torch.no_grad():
                generate(ids, attention_mask=mask, num_beams=beams, **count)

        return run

    return make


def machine():
    """FLOP/s of a large matrix product, bytes/s of a product with a vector."""
    x, y, wide = (jnp.ones(shape) for shape in ((2048, 2048), (2048, 2048), (2048, 16384)))
    product = jax.jit(jnp.matmul)
    calls = {
        "matrix": lambda: jax.block_until_ready(product(x, y)),
        "vector": lambda: jax.block_until_ready(product(x[:1], wide)),
    }
    seconds = timing.medians(calls, 9)
    return 2 * 2048**3 / seconds["matrix"], wide.nbytes / seconds["vector"]


def least_seconds(batch, beams, flops_per_s, bytes_per_s):
    """What the products of one call take at these rates."""
    body = LAYERS.value * 12 * HIDDEN.value**2
    head = HIDDEN.value**2 + HIDDEN.value * VOCAB.value

    def time(rows, weights):
        return max(2 * rows * weights / flops_per_s, 4 * weights / bytes_per_s)

    context = time(batch * LENGTH.value, body) + time(batch, head)
    return context + (NEW.value - 1) * time(batch * beams, body + head)


def compare_tokens():
    makers = {"jaxlab": ours(), "transformers": theirs()}
    makers = {name: make for name, make in makers.items() if make is not None}
    print(
        f"{LAYERS.value} layers, hidden {HIDDEN.value}, vocabulary {VOCAB.value}, {LENGTH.value} "
        f"tokens of context, {NEW.value} new, {os.cpu_count()} processors"
    )
    rates = machine()
    print("a product {:.1f} GFLOP/s, with a vector {:.1f} GB/s".format(*(r / 1e9 for r in rates)))
    columns = ["batch", "beams", *(f"{name} tokens/s" for name in makers), "ratio", "limit"]
    print(tables.markdown(columns, []), end="")
    rng = np.random.default_rng(0)
    for batch, beams in itertools.product(map(int, BATCHES.value), map(int, BEAMS.value)):
        ids = rng.integers(5, VOCAB.value, (batch, LENGTH.value))
        found = timing.medians({n: make(ids, beams) for n, make in makers.items()}, REPEATS.value)
        speeds = [batch * NEW.value / seconds for seconds in found.values()]
        ratio = f"{speeds[0] / speeds[1]:.2f}" if len(speeds) > 1 else ""
        limit = f"{least_seconds(batch, beams, *rates) / found['jaxlab']:.0%}"
        print(tables.line([batch, beams, *(f"{speed:.0f}" for speed in speeds), ratio, limit]))


def main(config, workdir):
    del config
    if (workdir is None) != (SQUAD.value is None):
        raise launch.UsageError("--workdir and --squad go together")
    if workdir is not None and SQUAD.value is not None:
        sizes = {"batches": list(map(int, BATCHES.value)), "beams": list(map(int, BEAMS.value))}
        for line in time_pairs(workdir, SQUAD.value, PAIRS.value, REPEATS.value, **sizes):
            print(line)
    else:
        compare_tokens()


if __name__ == "__main__":
    launch.run(main, needs_workdir=False, reads=())
