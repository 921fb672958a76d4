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


@pytest.mark.parametrize("seeds", ["vmap", "map"])
def test_rows_in_the_order_that_is_given_and_metrics_as_means_by_hand(seeds):
    """The state is the rows seen; context and number of each seed reach every function."""
    run = lambda hyper, context: sweep.Run(
        init=lambda key: jnp.zeros(4).at[3].set(jax.random.key_data(key)[-1]),
        step=lambda s, batch: (
            jnp.roll(s, -1).at[3].set(s[3]).at[2].set(batch["x"] @ jnp.array([10.0, 1.0])),
            {"sum": hyper["scale"] * batch["x"].sum()},
        ),
        evaluate=lambda s: {"seen": s, "all": context["all"]},
        finish=lambda s: {"seen": 2 * s, "end": s[2]},
    )
    contexts = {"train": {"x": jnp.array([[1.0, 2, 3], [4, 5, 6]])}, "all": jnp.array([7.0, 8])}
    orders = np.array([[[0, 1], [2, 2], [1, 0], [2, 0]], [[2, 1], [0, 1], [1, 1], [0, 2]]])
    first, middle, last = sweep.Program(run, seeds=seeds).train(
        {"scale": 0.5}, contexts, seeds=[5, 9], num_steps=4, batch_size=3, eval_every=2,
        orders=orders,
    )  # fmt: skip
    assert (first.step, middle.step, last.step) == (0, 2, 4)
    assert first.figures["seen"].tolist() == [[0, 0, 0, 5], [0, 0, 0, 9]]
    assert middle.figures["seen"].tolist() == [[0, 12, 33, 5], [0, 65, 45, 9]]
    assert last.figures["seen"].tolist() == [[66, 42, 62, 10], [90, 110, 92, 18]]
    assert last.figures["end"].tolist() == [31, 46]
    assert all(row.figures["all"].tolist() == [7, 8] for row in (first, middle, last))
    assert "end" not in middle.figures
    assert middle.metrics["sum"].tolist() == [2.25, 5.0]  # of 3 and 6; of 11 and 9
    assert last.metrics["sum"].tolist() == [1.75, 5.0]  # of 3 and 4; of 10 and 10
    assert last.states.tolist() == [[33, 21, 31, 5], [45, 55, 46, 9]]


def test_a_batch_may_be_all_there_is():
    run = lambda hyper, context: sweep.Run(
        init=lambda key: jnp.zeros(()),
        step=lambda s, batch: (s + batch["x"].sum(), {}),
        evaluate=lambda s: {"sum": s},
        finish=lambda s: {},
    )
    contexts = {"train": {"x": jnp.array([[1.0, 2, 4]])}}
    *_, last = sweep.Program(run).train(
        {}, contexts, seeds=[0], num_steps=2, batch_size=3, eval_every=1
    )
    assert last.figures["sum"].tolist() == [14.0]  # each once in every epoch
