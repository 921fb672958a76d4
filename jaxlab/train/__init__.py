"""The training core: one state, one step function, one loop.

Everything is joined by one contract, a loss that also returns new model state and figures:

    loss_fn(params, model_state, batch, *, key, step) -> (loss, (model_state, metrics))

`fit` reports through absl's logging, which shows warnings alone in a script of one's own, until
`absl.logging.set_verbosity(absl.logging.INFO)`.

A whole run, resumable by running it again:

>>> import tempfile, grain, jax, jax.numpy as jnp, numpy as np, optax
>>> from jaxlab import train
>>> rng = np.random.default_rng(0)
>>> xs = rng.normal(size=(64, 3)).astype(np.float32)
>>> rows = [{"x": x, "y": x @ np.array([1.0, -2.0, 0.5], np.float32)} for x in xs]
>>> def loss_fn(params, model_state, batch, *, key, step):
...     error = batch["x"] @ params["w"] - batch["y"]
...     return jnp.mean(error**2), (model_state, {"max_error": jnp.abs(error).max()})
>>> def run(workdir, num_steps):
...     tx = optax.adam(0.1)
...     data = iter(grain.MapDataset.source(rows).seed(0).shuffle().repeat().batch(16)
...                 .to_iter_dataset())
...     init = lambda key: ({"w": jnp.zeros(3)}, {})  # params, model_state
...     state = train.create_state(init, tx, key=jax.random.key(0))
...     state, checkpointer, writer = train.resume(workdir, state, data)
...     step = train.make_train_step(loss_fn, tx)
...     return train.fit(state, step, data, num_steps=num_steps, checkpointer=checkpointer,
...                      writer=writer, log_every=50)
>>> workdir = tempfile.mkdtemp()
>>> state = run(workdir, 100)
>>> state = run(workdir, 200)  # goes on from step 100
>>> print(int(state.step), state.params["w"].round(2))
200 [ 1.  -2.   0.5]
>>> from jaxlab.metrics import read_metrics
>>> [row["step"] for row in read_metrics(workdir)]
[50, 100, 150, 200]
"""

from jaxlab.train.blueprint import Blueprint
from jaxlab.train.evaluation import evaluate, evaluate_state, make_eval_step
from jaxlab.train.labelled import FLOODING, make_labelled_loss
from jaxlab.train.loop import Interrupted, NonFiniteError, TooManySkipsError, fit, resume
from jaxlab.train.runner import run
from jaxlab.train.saved import LoadedRun, load_run
from jaxlab.train.state import TrainState, create_state, start_from, state_from_params
from jaxlab.train.step import make_train_step

__all__ = [
    "FLOODING",
    "Blueprint",
    "Interrupted",
    "LoadedRun",
    "NonFiniteError",
    "TooManySkipsError",
    "TrainState",
    "create_state",
    "evaluate",
    "evaluate_state",
    "fit",
    "load_run",
    "make_eval_step",
    "make_labelled_loss",
    "make_train_step",
    "resume",
    "run",
    "start_from",
    "state_from_params",
]
