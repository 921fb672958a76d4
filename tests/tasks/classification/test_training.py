"""`jaxlab.tasks.classification.training`: what a config describes, and its figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import data, train
from jaxlab.errors import InputError
from jaxlab.tasks import classification

CONFIG = {
    "seed": 3,
    "num_steps": 6,
    "batch_size": 4,
    "data": {"name": "sinusoid", "num_train": 12, "num_validation": 6, "num_test": 8},
    "model": {"kind": "mlp", "features": (5,)},
    "objective": {"name": "logit_adjusted", "tau": 2.0},
    "optimizer": {"name": "momentum", "learning_rate": 0.1, "schedule": "constant", "l2": 0.1},
    "adaptive": {"folds": 2, "num_steps": 3, "gamma": 0.5},
    "step": {},
}


def load():
    return data.load_classification(**CONFIG["data"], seed=3)


def test_the_run_is_that_of_its_sections(tmp_path):
    sets = load()
    model, run, arrays = classification.describe(CONFIG, sets)
    rows = data.array_pipeline(arrays, 4, seed=0)
    state = train.run(run, rows, tmp_path, log_every=3)
    loss, tx = classification.make_training(
        model,
        class_counts=jnp.asarray(sets.train_counts, jnp.float32),
        num_steps=6,
        objective=CONFIG["objective"],
        optimizer=CONFIG["optimizer"],
    )
    step, want = train.make_train_step(loss, tx), run.create_state()
    batches = iter(data.array_pipeline(arrays, 4, seed=0))
    for _ in range(6):
        want, _ = step(want, next(batches))
    jax.tree.map(np.testing.assert_array_equal, state.params, want.params)


def test_figures_are_of_their_splits_and_adjusted_by_the_counts_of_training():
    sets = load()
    model, run, _ = classification.describe(CONFIG, sets)
    state = run.create_state()
    figures = classification.make_eval_fn(model, sets, taus=(1.0,))(state)
    for split, held in (("validation", sets.validation), ("test", sets.test)):
        logits = model.apply({"params": state.params}, jnp.asarray(held["x"], jnp.float32))
        wrong = (np.asarray(logits).argmax(1) != held["label"]).mean()
        assert figures[f"{split}/error"] == pytest.approx(wrong, abs=1e-6)
    assert {"test/posthoc_1", "validation/posthoc_1"} <= set(figures)


def test_levels_are_fed_to_adaptive_flooding_only():
    adaptive = CONFIG | {"objective": {"flooding": "adaptive"}}
    sets = load()
    levels = classification.flood_levels(adaptive)
    assert levels.shape == (12,)
    assert (levels > 0).all()
    _, run, arrays = classification.describe(adaptive, sets, levels=levels)
    np.testing.assert_array_equal(arrays["level"], levels)
    assert run.batch["level"].shape == (4,)
    assert "level" not in classification.describe(CONFIG, sets)[2]
    assert "level" in classification.blueprint(adaptive).batch


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"objective": {"name": "hinge"}}, "objective is 'hinge', must be one of cross_entropy"),
        ({"optimizer": {**CONFIG["optimizer"], "b1": 0.5}}, "b1 is 0.5, optimizer 'momentum' tak"),
        ({"model": {"kind": "vit"}}, "model is 'vit'"),
        ({"step": {"accumulate": 0}}, "accumulate is 0"),
    ],
)
def test_a_wrong_section_is_named(section, message):
    with pytest.raises(InputError, match=message):
        classification.describe(CONFIG | section, load())
