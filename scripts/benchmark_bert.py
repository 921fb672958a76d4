"""Times a forward pass and a fine-tuning step of BERT, and of transformers where it is installed.

    python scripts/fetch_data.py minilm
    python scripts/benchmark_bert.py --batch_size=32 --length=32

Both sides run float32 on as many threads as there are processors, AdamW on all parameters, no
dropout, and are timed in turns, so that other work on the machine meets both. Then a step of module
replacing is compared with the layers it runs: --depth layers replace those of the model.
"""

import functools
import importlib.util
import itertools
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from jaxlab import launch, theseus, timing
from jaxlab.data import data_folder
from jaxlab.models import bert
from jaxlab.tasks import compression

MODEL = flags.DEFINE_string("model", "minilm", "Model folder, or its name in the data folder.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Texts a batch.", lower_bound=1)
LENGTH = flags.DEFINE_integer("length", 32, "Tokens a text.", lower_bound=3)
REPEATS = flags.DEFINE_integer("repeats", 7, "Timed calls of each; the median counts.")
DEPTH = flags.DEFINE_integer("depth", 3, "Layers of the successor; 0 leaves replacing out.")


def ours(model, params, ids, mask):
    """{"forward", "step"}: functions that run one of each."""
    head = bert.SequenceClassifier(2, dropout=0.0)
    state = {
        "params": {
            "bert": jax.tree.map(jnp.copy, params),
            "head": {"dense": {"kernel": jnp.zeros((model.hidden_size, 2)), "bias": jnp.zeros(2)}},
        }
    }
    batch = {"input_ids": ids, "attention_mask": mask, "label": jnp.arange(len(ids)) % 2}
    tx = optax.adamw(1e-5, weight_decay=0.01)
    state["opt"] = jax.jit(tx.init)(state["params"])
    loss_fn = bert.make_loss(model, head)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(params, opt, batch):
        loss = lambda p: loss_fn(p, {}, batch, key=jax.random.key(0), step=0)[0]
        updates, opt = tx.update(jax.grad(loss)(params), opt, params)
        return optax.apply_updates(params, updates), opt

    def step():
        state["params"], state["opt"] = update(state["params"], state["opt"], batch)
        jax.block_until_ready(state)

    apply = jax.jit(lambda p, ids, mask: model.apply({"params": p}, ids, mask).last_hidden_state)
    return {"forward": lambda: apply(params, ids, mask).block_until_ready(), "step": step}


def theirs(folder, ids, mask):
    """The same of transformers, or None where it is not installed."""
    if not all(map(importlib.util.find_spec, ("torch", "transformers"))):
        return None
    import torch  # pyright: ignore[reportMissingImports]
    import transformers  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(os.cpu_count() or 1)
    make = transformers.BertForSequenceClassification.from_pretrained
    model = make(folder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.01)
    batch = {
        "input_ids": torch.tensor(np.asarray(ids)).long(),
        "attention_mask": torch.tensor(np.asarray(mask)).long(),
    }
    labels = torch.arange(len(ids)) % 2

    def forward():
        with torch.no_grad():
            model.bert(**batch)

    def step():
        optimizer.zero_grad()
        model(**batch, labels=labels).loss.backward()
        optimizer.step()

    return {"forward": forward, "step": step}


def replacing(model, params, ids, mask, depth):
    """Steps of module replacing with each choice of gates: on the device, and known beforehand."""
    successor, head = (
        compression.make_successor(model, depth),
        bert.SequenceClassifier(2, dropout=0.0),
    )
    layers = theseus.choose_layers(model.num_layers, depth)
    tree = {"predecessor": params, "successor": theseus.init_successor(params, layers)}
    batch = {"input_ids": ids, "attention_mask": mask, "label": jnp.arange(len(ids)) % 2}
    top = {"dense": {"kernel": jnp.ones((model.hidden_size, 2)), "bias": jnp.zeros(2)}}
    tx = optax.adamw(1e-5)
    opt = jax.jit(tx.init)(tree["successor"])

    def update(successor_params, opt, predecessor, gates):
        def loss(new):
            both = {"predecessor": predecessor, "successor": new}
            out = compression.apply_replaced(model, successor, both, gates, ids, mask)
            logits = head.apply({"params": top}, out)
            return jnp.mean(bert.task_loss(logits, batch["label"]))  # type: ignore[arg-type]

        value, grads = jax.value_and_grad(loss)(successor_params)
        updates, opt = tx.update(grads, opt, successor_params)
        return optax.apply_updates(successor_params, updates), opt, value

    drawn = jax.jit(update)
    runs = {}
    for gates in itertools.product((False, True), repeat=depth):
        known = jax.jit(functools.partial(update, gates=np.array(gates)))
        name = "".join("01"[g] for g in gates)
        args = (tree["successor"], opt, params)
        runs[f"drawn {name}"] = functools.partial(
            lambda args, gates: jax.block_until_ready(drawn(*args, gates)), args, jnp.array(gates)
        )
        runs[f"known {name}"] = functools.partial(
            lambda args, known: jax.block_until_ready(known(*args)), args, known
        )
    return runs


def main(config, workdir):
    del config, workdir
    folder = data_folder(launch.options().data_dir) / MODEL.value
    plain = {"dropout": 0.0, "attention_dropout": 0.0}
    model, params = bert.load_pretrained(folder, **plain)
    shape = (BATCH_SIZE.value, LENGTH.value)
    ids = jnp.asarray(np.random.default_rng(0).integers(5, model.vocab_size, shape), jnp.int32)
    mask = jnp.ones(shape, jnp.int32)
    runs = {f"jaxlab {k}": v for k, v in ours(model, params, ids, mask).items()}
    other = theirs(folder, ids, mask)
    runs |= {f"transformers {k}": v for k, v in (other or {}).items()}
    found = timing.medians(runs, REPEATS.value)
    print(f"batch {shape[0]} x {shape[1]} tokens, {os.cpu_count()} processors")
    for what in ("forward", "step"):
        mine = found[f"jaxlab {what}"]
        line = f"{what:8} jaxlab {mine:.3f} s"
        if other:
            yours = found[f"transformers {what}"]
            line += f", transformers {yours:.3f} s: {yours / mine:.2f} times as fast"
        print(line)
    if DEPTH.value:
        found = timing.medians(replacing(model, params, ids, mask, DEPTH.value), REPEATS.value)
        for name in (n for n in found if n.startswith("drawn")):
            alone = found[name.replace("drawn", "known")]
            print(f"replacing {name[6:]}: {found[name]:.3f} s, that path alone {alone:.3f} s")
        total = {k: sum(v for n, v in found.items() if n.startswith(k)) for k in ("drawn", "known")}
        print(f"mean over gates: {total['drawn'] / total['known']:.2f} times the path alone")


if __name__ == "__main__":
    launch.run(main, needs_workdir=False, reads=("data_dir",))
