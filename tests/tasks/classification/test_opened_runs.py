"""`jaxlab.tasks.classification.training`: a finished run of a classifier, opened in one line."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from notebook import run_example

from jaxlab import data, train
from jaxlab.errors import InputError
from jaxlab.tasks import classification

CONFIG = {
    "seed": 0,
    "num_steps": 6,
    "batch_size": 4,
    "select": "error",
    "step": {},
    "objective": {},
    "data": {"name": "sinusoid", "num_train": 8, "num_validation": 4, "num_test": 5},
    "model": {"kind": "mlp", "features": [3]},
    "optimizer": {"name": "sgd", "learning_rate": 0.1},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of the run, its last state, and its figures by step."""
    workdir = tmp_path_factory.mktemp("classifier")
    sets = data.load_classification(**CONFIG["data"], seed=0)
    model, described, arrays = classification.describe(CONFIG, sets, None)
    eval_fn = classification.make_eval_fn(model, sets, taus=(), mesh=None)
    figures = {}

    def kept(state):
        found = eval_fn(state)
        figures[int(state.step)] = {**found, "validation/error": float(int(state.step) != 4)}
        return figures[int(state.step)]

    state = train.run(
        described,
        data.array_pipeline(arrays, 4, seed=0),
        workdir,
        eval_fn=kept,
        best_metric="validation/error",
        eval_every=2,
        checkpoint_every=2,
    )
    record = {"config": CONFIG, "task": "classification"}
    (workdir / "config.json").write_text(json.dumps(record))
    return workdir, state, figures


def test_it_gives_the_figures_of_training(trained):
    workdir, state, figures = trained
    run = train.load_run(workdir)
    assert (run.step, run.weights) == (6, "ema")
    held = run.load_data("test")
    assert len(held["label"]) == 5
    assert [len(rows) for rows in run.load_data("test", limit=2).values()] == [2, 2]
    with pytest.raises(InputError, match="split is 'num_classes', must be one of train, test"):
        run.load_data("num_classes")
    logits = classification.predict(run.model, run.params, run.model_state, jnp.asarray(held["x"]))
    wrong = np.mean(np.asarray(logits).argmax(-1) != held["label"])
    assert wrong == pytest.approx(figures[6]["test/error"])
    whole = classification.predict(
        run.model, state.params, state.model_state, jnp.asarray(held["x"])
    )
    np.testing.assert_array_equal(logits, whole)


def test_the_best_step_is_that_of_the_selected_figure(trained):
    assert train.load_run(trained[0], step="best", params="raw").step == 4


def test_the_example_of_the_page(trained):
    found = run_example("logit_adjustment", trained[0])
    assert found["run"].step == 4
    assert found["adjusted"].shape == (5, 2)
    assert all(0 <= float(error) <= 1 for error in found["errors"])


def test_the_examples_of_flooding_and_of_weissi(trained):
    found = run_example("flooding", trained[0])
    assert found["means"]["test"] == pytest.approx(trained[2][6]["test/cross_entropy"], rel=1e-5)
    assert set(found["means"]) == {"train", "test"}
    found = run_example("weissi", trained[0])
    kernels = [value for name, value in found["norms"].items() if "kernel" in name]
    assert len(found["norms"]) == 2 * len(kernels) == 4
    assert found["log_norms"] == pytest.approx(sum(map(np.log, kernels)), rel=1e-4)
    assert found["logits"].shape == (5, 2)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (3, "the config is none of 'classification'.* must be a mapping"),
        ({**CONFIG["data"], "colour": 1}, "the config is none of 'classification'.*'colour'"),
    ],
)
def test_a_config_that_does_not_fit_names_its_file(tmp_path, section, message):
    record = {"config": {**CONFIG, "data": section}, "task": "classification"}
    (tmp_path / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=rf"config\.json: {message}"):
        train.load_run(tmp_path)
