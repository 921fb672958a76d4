"""`jaxlab.train.runner`: two halves end as the whole does, and the folder is free."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import data, train
from jaxlab.checkpoints import Checkpointer
from jaxlab.errors import InputError, InputTypeError
from jaxlab.metrics import read_metrics


def loss(params, model_state, batch, *, key, step):
    noise = jax.random.normal(key, params.shape)
    return jnp.mean((batch["x"] - params + 0.1 * noise) ** 2), (model_state, {})


def blueprint(num_steps):
    tx = optax.adam(0.1)
    return train.Blueprint(
        lambda: train.create_state(lambda key: (jnp.zeros(2), {}), tx, key=jax.random.key(0)),
        train.make_train_step(loss, tx),
        {"x": jax.ShapeDtypeStruct((4, 2), "float32")},
        num_steps=num_steps,
        batch_size=4,
    )


def rows():
    xs = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    return data.array_pipeline({"x": xs}, 4, seed=0)


def test_two_halves_are_the_whole_and_the_folder_is_free(tmp_path):
    often = {"log_every": 3, "eval_every": 3, "checkpoint_every": 3, "best_metric": "eval/size"}
    seen = []

    def eval_fn(state):
        seen.append(int(state.step))
        return {"eval/size": float(jnp.abs(state.params).sum())}

    whole = train.run(blueprint(12), rows(), tmp_path / "whole", eval_fn=eval_fn, **often)
    train.run(blueprint(6), rows(), tmp_path / "halves", eval_fn=eval_fn, **often)
    halves = train.run(blueprint(12), rows(), tmp_path / "halves", eval_fn=eval_fn, **often)
    np.testing.assert_array_equal(whole.params, halves.params)
    assert read_metrics(tmp_path / "whole") == read_metrics(tmp_path / "halves")
    assert seen == [3, 6, 9, 12, 3, 6, 9, 12]
    steps = lambda name: {int(p.name) for p in (tmp_path / name / "checkpoints").glob("[0-9]*")}
    assert steps("whole") == steps("halves") >= {6, 9, 12}
    with Checkpointer(tmp_path / "whole" / "checkpoints") as free:  # no lock is left
        free.save(dataclasses.replace(whole, step=jnp.int32(13)))


def test_a_state_of_ones_own_and_few_checkpoints(tmp_path):
    mine = train.create_state(
        lambda key: (jnp.full(2, 7.0), {}), optax.adam(0.1), key=jax.random.key(0)
    )
    kept = {"keep_latest": 1, "checkpoint_every": 1}
    state = train.run(blueprint(3), rows(), tmp_path, state=mine, log_every=1, **kept)
    assert float(state.params.min()) > 6.0
    assert [p.name for p in (tmp_path / "checkpoints").glob("[0-9]*")] == ["3"]
    assert len(read_metrics(tmp_path)) == 3


def test_the_folder_is_free_after_a_failure(tmp_path):
    def fails(state):
        raise RuntimeError("no picture")

    with pytest.raises(RuntimeError, match="no picture"):
        train.run(blueprint(2), rows(), tmp_path, eval_fn=fails)
    assert int(train.run(blueprint(2), rows(), tmp_path).step) == 2


def test_a_best_metric_that_nothing_gives_is_an_error(tmp_path):
    with pytest.raises(InputError, match="best_metric is 'size', eval_fn must be a function"):
        train.run(blueprint(1), rows(), tmp_path, best_metric="size")
    with pytest.raises(InputError, match="best_metric is 'size', the figures of eval_fn are sise"):
        train.run(
            blueprint(1), rows(), tmp_path, best_metric="size", eval_fn=lambda state: {"sise": 1.0}
        )


def test_data_that_are_no_iterator_are_named(tmp_path):
    with pytest.raises(InputTypeError, match="data is of type list, must be an iterator"):
        train.run(blueprint(1), [{"x": np.ones((4, 2), np.float32)}], tmp_path)
