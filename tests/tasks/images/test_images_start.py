"""A run that starts from the weights of another one: an NVAE's, from its folder and its record."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from jaxlab import checkpoints, files, mesh
from jaxlab.launch import config as configs
from jaxlab.launch import record
from jaxlab.tasks import images


@pytest.fixture(scope="module")
def fresh(trained):
    """A state as the trained run had it at its start, and the config that its record gives."""
    config = configs.load(str(trained / "config.json"))
    first = configs.load("configs/nvae/mnist5k.py:tiny")
    assert config.model.to_dict() == first.model.to_dict()  # tuples are tuples again
    _, run = images.begin(config, images.load_sets(config), mesh.make_mesh(jax.devices()[:1]))
    return run.create_state(), config


def prepared(workdir, config):
    """The function that writes the record of a run which is about to start in a new folder."""
    workdir.mkdir()
    return record.prepare(workdir, config, {}, None, task="images", allow_change=False)


def equal(a, b):
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


def test_averaged_weights_and_statistics_are_taken_and_the_record_says_so(trained, fresh, tmp_path):
    state, config = fresh
    workdir = epath.Path(tmp_path) / "new"
    done = prepared(workdir, config)
    started = record.start_from(state, workdir, trained)
    done()
    step, averaged, model_state = checkpoints.load_params(trained / "checkpoints")
    _, raw, _ = checkpoints.load_params(trained / "checkpoints", ema=False)
    assert step == 4
    assert equal(started.params, averaged)
    assert equal(started.ema_params, averaged)
    assert equal(started.model_state, model_state)
    assert not equal(started.params, state.params)
    assert int(started.step) == 0
    found = files.read_record(workdir)["init"]
    assert found == {"from": str(trained), "step": 4, "ema": True, "skip": None}
    assert equal(record.start_from(state, workdir, trained, ema=False).params, raw)
    assert files.read_record(workdir)["init"]["ema"] is False  # of a record that was written
    changed = configs.Config({**config, "log_every": 1})
    record.prepare(workdir, changed, {}, None, task="images", allow_change=True)()
    assert files.read_record(workdir)["init"]["step"] == 4


def test_a_run_that_goes_on_reads_no_other_weights(trained, fresh, tmp_path):
    state, _ = fresh
    assert record.start_from(state, trained, tmp_path / "deleted") is state


def test_weights_of_another_model_are_one_line(trained, fresh, tmp_path):
    state, config = fresh
    workdir = epath.Path(tmp_path) / "new"
    prepared(workdir, config)
    other = jax.tree.map(lambda x: x, state.params)
    other["stem"]["bias"] = jnp.zeros(9)
    other = {"step": jnp.int32(0), "params": other, "model_state": state.model_state}
    with checkpoints.Checkpointer(tmp_path / "other" / "checkpoints") as saved:
        saved.save(other)
    want = (
        r"^--init_from=.*other: weights do not fit \(params/stem/bias seen .*\(--init_skip=REGEX\)$"
    )
    with pytest.raises(ValueError, match=want):
        record.start_from(state, workdir, tmp_path / "other")
    record.start_from(state, workdir, tmp_path / "other", skip="stem/bias")
    with pytest.raises(FileNotFoundError, match=r"nothing does not exist: it must be a run"):
        record.start_from(state, workdir, tmp_path / "nothing")
