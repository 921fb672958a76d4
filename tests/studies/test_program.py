"""`jaxlab.studies.program`: sweeps: seeds side by side equal seeds alone, numbers are arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import data, train
from jaxlab.errors import InputError
from jaxlab.studies import program as sweep

STEPS, BATCH = 6, 4


def make_run(hyper, context):
    """Least squares with jaxlab's own train step."""
    traces.append(1)

    def loss(params, model_state, batch, *, key, step):
        noise = 0.01 * jax.random.normal(key)
        value = jnp.mean((batch["x"] @ params - batch["y"]) ** 2) + noise * params.sum()
        return value, (model_state, {"noise": noise})

    tx = optax.adam(hyper["rate"])
    return sweep.Run(
        init=lambda key: train.create_state(
            lambda key: (jax.random.normal(key, (3,)), {}), tx, key=key, ema=False
        ),
        step=train.make_train_step(loss, tx),
        evaluate=lambda state: {"norm": jnp.linalg.norm(state.params)},
        finish=lambda state: {"params": state.params},
    )


traces: list[int] = []


@pytest.fixture(scope="module")
def contexts():
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    return {"train": {"x": draw(3, 10, 3), "y": draw(3, 10)}}


def run(program, contexts, seeds, rate=0.1):
    return list(
        program.train(
            {"rate": rate}, contexts, seeds=seeds, num_steps=STEPS, batch_size=BATCH, eval_every=3
        )
    )


@pytest.fixture(scope="module")
def side_by_side(contexts):
    program = sweep.Program(make_run)
    return program, run(program, contexts, [3, 1, 7])


def test_progress_has_every_evaluation(side_by_side):
    _, rows = side_by_side
    assert [row.step for row in rows] == [0, 3, 6]
    assert rows[0].metrics == {}
    assert set(rows[1].metrics) == {"loss", "grad_norm", "noise"}
    assert rows[-1].figures["params"].shape == (3, 3)
    assert "params" not in rows[1].figures


def test_one_after_the_other_is_the_same(side_by_side, contexts):
    _, rows = side_by_side
    again = run(sweep.Program(make_run, seeds="map"), contexts, [3, 1, 7])
    for ours, theirs in zip(rows, again, strict=True):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours.figures, theirs.figures
        )


def test_a_seed_does_not_depend_on_its_neighbours(side_by_side, contexts):
    """The run of seed 1 is the plain train step on its own batches in its own order."""
    _, rows = side_by_side
    own = jax.tree.map(lambda a: a[1], contexts)
    one = make_run({"rate": 0.1}, own)
    state, metrics = one.init(jax.random.key(1)), []
    for indices in data.epoch_order(10, 0, STEPS * BATCH, seed=1).reshape(STEPS, BATCH):
        state, values = one.step(state, {k: v[indices] for k, v in own["train"].items()})
        metrics.append(values)
    np.testing.assert_allclose(rows[-1].figures["params"][1], state.params, atol=1e-6)
    # Metrics are means over the steps since the evaluation before.
    for name in ("loss", "grad_norm", "noise"):
        values = np.array([step[name] for step in metrics], np.float64)
        for row, part in zip(rows[1:], (values[:3], values[3:]), strict=True):
            np.testing.assert_allclose(row.metrics[name][1], part.mean(), rtol=1e-4, atol=1e-6)
        assert np.ptp(values) > 1e-3


def test_another_number_compiles_nothing(side_by_side, contexts):
    program, rows = side_by_side
    count = len(traces)
    other = run(program, contexts, [3, 1, 7], rate=0.2)
    assert len(traces) == count
    assert np.abs(other[-1].figures["params"] - rows[-1].figures["params"]).max() > 0.05


def test_what_does_not_fit_is_refused(contexts):
    program = sweep.Program(make_run)
    with pytest.raises(ValueError, match=r"leading axes \{3\}, there are 2 seeds"):
        next(program.train({}, contexts, seeds=[0, 1], num_steps=2, batch_size=2, eval_every=1))
    good = {"seeds": [0, 1, 2], "num_steps": 6, "batch_size": 2, "eval_every": 2}
    for name, value in (
        *((n, v) for n in ("num_steps", "batch_size", "eval_every") for v in (0, -1, 1.5)),
        ("batch_size", 11),
        ("seeds", []),
        ("seeds", [0, 1, 1]),
        ("seeds", [0, 1, -2]),
        ("seeds", [0, 1, 2**32]),
    ):
        with pytest.raises(InputError, match=f"^{name}"):
            next(program.train({"rate": 0.1}, contexts, **(good | {name: value})))
    with pytest.raises(ValueError, match="multiple of eval_every 4"):
        next(program.train({}, contexts, seeds=[0, 1, 2], num_steps=6, batch_size=2, eval_every=4))
    with pytest.raises(ValueError, match="seeds is 'both'"):
        sweep.Program(make_run, seeds="both")
