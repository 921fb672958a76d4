"""Trains a tiny network on made-up rows: a script like the real ones, in seconds.

The environment variable TOY_KILL makes it kill itself at a chosen moment, which no flag may do: the
same command must take the run up again.

    step:17        SIGKILL when batch 17 is drawn
    term:17        SIGTERM at that moment
    save:20:0.01   SIGKILL 10 ms after the save of step 20 began
    torn:25        SIGKILL in the middle of writing the metrics row of step 25
    eval:30        SIGKILL in the evaluation of step 30
    between:5      SIGTERM after training, 5 s before a second stage of 20 steps
"""

import functools
import os
import signal
import threading
import time

import flax.linen as nn
import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlab import checkpoints, launch, mesh, metrics, optim, train
from jaxlab.data.pipelines.endless import process_rows

EVENT, _, WHEN = os.environ.get("TOY_KILL", "").partition(":")


def die(signum=signal.SIGKILL):
    os.kill(os.getpid(), signum)


class KillingIterator:
    """Draws from the pipeline, and kills the process at the chosen batch."""

    def __init__(self, iterator):
        self.iterator, self.step = iterator, 0

    def __next__(self):
        self.step += 1
        if EVENT in ("step", "term") and self.step == int(WHEN):
            die(signal.SIGKILL if EVENT == "step" else signal.SIGTERM)
        time.sleep(float(os.environ.get("TOY_SLEEP", 0)))
        return next(self.iterator)

    def get_state(self):
        return {"step": self.step, "rows": self.iterator.get_state()}

    def set_state(self, state):
        self.step = state["step"]
        self.iterator.set_state(state["rows"])


class Network(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Dense(self.width, use_bias=False)(x)  # BatchNorm would cancel a bias
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        x = nn.Dropout(0.2, deterministic=not train)(nn.gelu(x))
        return nn.Dense(1)(x)[..., 0]


def make_rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(96, 4)).astype(np.float32)
    y = np.sin(x).sum(1)
    return [{"x": a, "y": b} for a, b in zip(x, y, strict=True)]


def main(config, workdir):
    devices = mesh.make_mesh()
    rows = process_rows(config.batch_size, **mesh.this_process())
    network = Network(config.width)

    def init(key):
        variables = network.init(key, jnp.zeros((1, 4)), train=False)
        return variables["params"], {"batch_stats": variables["batch_stats"]}

    def loss_fn(params, model_state, batch, *, key, step):
        noise_key, dropout_key = jax.random.split(key)
        x = batch["x"] + 0.1 * jax.random.normal(noise_key, batch["x"].shape)
        y, model_state = network.apply(
            {"params": params, **model_state},
            x,
            train=True,
            rngs={"dropout": dropout_key},
            mutable=["batch_stats"],
        )
        error = jnp.abs(y - batch["y"])
        return jnp.mean(error**2), (model_state, {"mean_error": error.mean()})

    def metric_fn(params, model_state, batch, *, key):
        y = network.apply({"params": params, **model_state}, batch["x"], train=False)
        return {"eval/error": jnp.abs(y - batch["y"])}

    pipeline = grain.MapDataset.source(make_rows()).seed(config.seed).shuffle().repeat()
    pipeline = pipeline.batch(config.batch_size)
    pipeline = pipeline.map(lambda batch: {name: value[rows] for name, value in batch.items()})
    data = iter(pipeline.to_iter_dataset(grain.ReadOptions(num_threads=2)))

    tx = optim.skip_large_updates(optax.adam(config.learning_rate), warmup_steps=10)
    create_state = functools.partial(
        train.create_state, init, tx, key=jax.random.key(config.seed), mesh=devices
    )
    step = train.make_train_step(
        loss_fn, tx, mesh=devices, clip_norm=10.0, ema_decay=0.9, accumulate=config.accumulate
    )
    eval_step = train.make_eval_step(metric_fn, mesh=devices)
    held_out = make_rows()[:16]
    held_out = {k: np.stack([row[k] for row in held_out])[rows] for k in ("x", "y")}

    def eval_fn(state):
        if EVENT == "eval" and int(state.step) == int(WHEN):
            die()
        return train.evaluate(
            eval_step, state.ema_params, state.model_state, [held_out], key=state.key, mesh=devices
        )

    if EVENT == "save":
        at, delay = WHEN.split(":")
        save = checkpoints.Checkpointer.save

        def killed_save(self, state, *args, **kwargs):
            if int(state.step) == int(at):
                threading.Timer(float(delay), die).start()
            save(self, state, *args, **kwargs)

        checkpoints.Checkpointer.save = killed_save
    if EVENT == "torn":
        write = metrics.MetricsWriter.write

        def torn_write(self, step, values):
            if step == int(WHEN):
                with open(workdir / metrics.METRICS_FILE, "a") as file:
                    file.write('{"step": ' + str(step) + ', "lo')
                    file.flush()
                    die()
            write(self, step, values)

        metrics.MetricsWriter.write = torn_write

    batch = {"x": jax.ShapeDtypeStruct((config.batch_size, 4), np.float32)}
    run = train.Blueprint(
        create_state,
        step,
        {**batch, "y": jax.ShapeDtypeStruct((config.batch_size,), np.float32)},
        num_steps=config.num_steps,
        batch_size=config.batch_size,
        mesh=devices,
    )
    state = train.run(
        run,
        KillingIterator(data),
        workdir,
        eval_fn=eval_fn,
        best_metric="eval/error",
        keep_latest=2,
        log_every=config.log_every,
        eval_every=config.eval_every,
        checkpoint_every=config.checkpoint_every,
        profile_dir=launch.options().profile_dir,
    )
    if EVENT == "between":
        die(signal.SIGTERM)
        time.sleep(float(WHEN))
        train.fit(create_state(), step, KillingIterator(data), num_steps=20, mesh=devices)
    if jax.process_index() == 0:
        leaves = jax.tree.leaves_with_path(state.replace(key=jax.random.key_data(state.key)))
        np.savez(workdir / "final.npz", **{jax.tree_util.keystr(p): v for p, v in leaves})


if __name__ == "__main__":
    launch.run(main, default_config="tests/toy/config.py")
