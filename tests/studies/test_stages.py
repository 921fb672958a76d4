"""`jaxlab.studies.stages`: a stage trains, is left alone once done, and goes on in the middle."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import data, train
from jaxlab.metrics import read_metrics
from jaxlab.studies import cells, stages


def loss(params, model_state, batch, *, key, step):
    return jnp.mean((batch["x"] - params) ** 2), (model_state, {})


def begin(num_steps):
    """A run towards 1 whose distance halves in each step."""
    tx = optax.sgd(0.25)
    make = lambda: train.create_state(lambda key: (jnp.zeros(()), {}), tx, key=jax.random.key(0))
    shape = {"x": jax.ShapeDtypeStruct((4,), "float32")}
    step = train.make_train_step(loss, tx)
    blueprint = train.Blueprint(make, step, shape, num_steps=num_steps, batch_size=4)
    rows = data.array_pipeline({"x": np.ones(8, np.float32)}, 4, seed=0)
    return blueprint, make(), rows


@pytest.fixture
def stage(tmp_path):
    """Runs a stage of 4 steps; returns what it left, and counts what was called."""
    cell = cells.Cell(tmp_path / "a" / "b", 4, {"rate": 0.25})
    calls = []

    def conclude(state):
        value = float(state.params)

        def write():
            calls.append("write")
            (cell.folder / "model.txt").write_text(str(value))
            return {"value": value}

        return value, write

    def call(cell=cell, **options):
        return stages.run(
            cell,
            lambda: (calls.append("begin"), begin(cell.num_steps))[1],
            conclude=conclude,
            load=lambda: float((cell.folder / "model.txt").read_text()),
            **{"log_every": 1, "checkpoint_every": 2, **options},
        )

    call.cell, call.calls = cell, calls
    return call


def test_a_stage_trains_once_and_leaves_a_record(stage):
    assert stage() == 1 - 0.5**4
    assert stage.calls == ["begin", "write"]
    assert cells.read_result(stage.cell.folder)["value"] == 1 - 0.5**4
    assert len(read_metrics(stage.cell.folder)) == 4
    assert (stage.cell.folder / "checkpoints").is_dir()
    assert stage() == 1 - 0.5**4  # read, not trained
    assert stage.calls == ["begin", "write"]


def test_a_stage_without_its_record_goes_on_from_its_checkpoint(stage):
    stage()
    before = (stage.cell.folder / "metrics.jsonl").read_bytes()
    (stage.cell.folder / "result.json").unlink()
    assert stage() == 1 - 0.5**4
    assert stage.calls == ["begin", "write"] * 2
    assert (stage.cell.folder / "metrics.jsonl").read_bytes() == before


def test_checkpoints_go_when_they_are_not_to_stay(stage):
    stage(keep_checkpoints=False)
    assert not (stage.cell.folder / "checkpoints").exists()
    assert stage(keep_checkpoints=False) == 1 - 0.5**4


def test_what_cannot_be_read_names_the_folder_to_delete(stage):
    stage()
    (stage.cell.folder / "model.txt").unlink()
    with pytest.raises(ValueError, match=r"cannot be read; delete .*b, and the same command"):
        stage()
