"""`jaxlab.train.loop`: the training loop, step by step."""

import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl import logging

from jaxlab import data, optim, train
from jaxlab import mesh as mesh_lib
from jaxlab.checkpoints import Checkpointer
from jaxlab.metrics import MetricsWriter, read_metrics


class Counter:
    """An endless iterator whose batch k is filled with k."""

    def __init__(self, end=None):
        self.drawn, self.end = 0, end

    def __next__(self):
        if self.drawn == self.end:
            raise StopIteration
        self.drawn += 1
        return {"x": np.full(8, self.drawn, np.float32)}

    def get_state(self):
        return {"drawn": self.drawn}

    def set_state(self, state):
        self.drawn = state["drawn"]


def make(loss=None, tx=None, **kwargs):
    """A state whose parameter counts steps, and its step."""

    def count(params, model_state, batch, *, key, step):
        return params["n"] + 0.0 * batch["x"].mean(), (model_state, {"x": batch["x"].mean()})

    tx = tx or optax.sgd(-1.0)
    state = train.create_state(lambda key: ({"n": jnp.zeros(())}, {}), tx, key=jax.random.key(0))
    return state, train.make_train_step(loss or count, tx, **kwargs)


def bad_at(steps, name="x", value=np.nan, in_loss=False):
    """A loss whose metric `name` (and whose gradient, if `in_loss`) is not finite at some steps."""

    def loss(params, model_state, batch, *, key, step):
        bad = jnp.where(jnp.isin(step + 1, jnp.array(steps)), value, 0.0)
        metrics = {"aaa": jnp.ones(()), name: bad}
        return params["n"] * (1.0 + (bad if in_loss else 0.0)), (model_state, metrics)

    return loss


def test_metrics_are_read_one_step_late(monkeypatch):
    state, step = make()
    events = []

    def noted_step(state, batch):
        events.append(f"dispatch {int(batch['x'][0])}")
        return step(state, batch)

    def noted_get(tree, get=jax.device_get):
        if isinstance(tree, dict) and "loss" in tree:
            events.append(f"read {int(tree['x'])}")
        return get(tree)

    monkeypatch.setattr(jax, "device_get", noted_get)
    train.fit(state, noted_step, Counter(), num_steps=4)
    assert events == [
        "dispatch 1",
        "dispatch 2",
        "read 1",
        "dispatch 3",
        "read 2",
        "dispatch 4",
        "read 3",
        "read 4",
    ]


def test_rows_evaluations_and_checkpoints_come_in_order(tmp_path):
    state, step = make()
    data, seen = Counter(), []

    def eval_fn(state):
        seen.append((int(state.step), data.drawn))
        return {"eval/n": float(state.params["n"])}

    saved = Checkpointer(tmp_path / "checkpoints", keep_latest=9, best_metric="eval/n")
    state = train.fit(
        state,
        step,
        data,
        num_steps=7,
        writer=MetricsWriter(tmp_path),
        checkpointer=saved,
        log_every=2,
        eval_every=3,
        eval_fn=eval_fn,
        checkpoint_every=2,
    )
    rows = [(row["step"], "eval/n" in row) for row in read_metrics(tmp_path)]
    assert rows == [(2, False), (3, True), (4, False), (6, False), (6, True), (7, False), (7, True)]
    # No batch is drawn ahead of what is evaluated and saved.
    assert seen == [(3, 3), (6, 6), (7, 7)]
    assert saved.steps == [2, 4, 6, 7]
    assert saved.best_step == 6  # 4 and 2 were not evaluated
    for at in saved.steps:
        fresh = Counter()
        assert int(saved.restore(state, fresh, step=at).step) == fresh.drawn == at


def test_rows_hold_the_values_of_their_own_step(tmp_path):
    state, step = make()
    train.fit(state, step, Counter(), num_steps=9, writer=MetricsWriter(tmp_path), log_every=4)
    assert [(row["step"], row["x"], row["loss"]) for row in read_metrics(tmp_path)] == [
        (4, 4.0, 3.0),
        (8, 8.0, 7.0),
        (9, 9.0, 8.0),
    ]


@pytest.mark.parametrize("when", [3, 4, 5])
def test_a_metric_that_is_not_finite_stops_the_run(tmp_path, when):
    state, step = make(bad_at([when], name="kl"))
    saved = Checkpointer(tmp_path / "checkpoints")
    with pytest.raises(train.NonFiniteError, match=f"^kl is nan at step {when}$"):
        train.fit(
            state,
            step,
            Counter(),
            num_steps=9,
            checkpointer=saved,
            writer=MetricsWriter(tmp_path),
            checkpoint_every=2,
            log_every=1,
        )
    # One due at the bad step itself is not written either; the last good one stays.
    assert saved.steps[-1] == (when - 1) // 2 * 2
    assert [row["step"] for row in read_metrics(tmp_path)] == list(range(1, when))


def test_the_loss_is_named_before_others():
    state, step = make(bad_at([2], name="kl", value=np.inf, in_loss=True))
    state = state.replace(params={"n": jnp.ones(())})
    with pytest.raises(FloatingPointError, match=r"^loss is inf at step 2 \(also grad_norm, kl\)$"):
        train.fit(state, step, Counter(), num_steps=9)


def test_a_state_that_is_not_finite_is_never_saved(tmp_path):
    # Loss and gradient of the step are finite; the update overflows.
    rate = lambda count: jnp.where(count == 3, 3e38, 1.0)
    state, step = make(lambda p, m, batch, *, key, step: (2 * p["n"], (m, {})), optax.sgd(rate))
    saved = Checkpointer(tmp_path)
    with pytest.raises(train.NonFiniteError, match=r"params/n is not finite after step 4"):
        train.fit(state, step, Counter(), num_steps=9, checkpointer=saved, checkpoint_every=2)
    assert saved.steps == [2]


def test_skipped_steps_may_be_not_finite(tmp_path):
    tx = optim.skip_large_updates(optax.sgd(-1.0))
    state, step = make(bad_at([2, 3], in_loss=True), tx)
    state = train.fit(
        state, step, Counter(), num_steps=5, writer=MetricsWriter(tmp_path), log_every=1
    )
    assert float(state.params["n"]) == 3.0
    rows = read_metrics(tmp_path)
    assert [row["skipped"] for row in rows] == [0, 1, 1, 0, 0]
    assert np.isnan(rows[1]["loss"])


def test_too_many_skips_in_a_row_stop_the_run(tmp_path):
    tx = optim.skip_large_updates(optax.sgd(-1.0))
    bad = [2, 4, 5, *range(7, 99)]
    state, step = make(bad_at(bad, in_loss=True), tx)
    saved = Checkpointer(tmp_path)
    with pytest.raises(
        train.TooManySkipsError,
        match=r"4 steps in a row .* up to step 10, at most 3 .* because loss is nan at step 7",
    ):
        train.fit(
            state,
            step,
            Counter(),
            num_steps=99,
            max_skipped_in_a_row=3,
            checkpointer=saved,
            checkpoint_every=3,
        )
    assert saved.steps == [3, 6]


def test_a_state_whose_loss_is_not_finite_is_not_saved(tmp_path):
    tx = optim.skip_large_updates(optax.sgd(-1.0))
    state, step = make(bad_at([4, 6], in_loss=True), tx)
    saved = Checkpointer(tmp_path)
    train.fit(state, step, Counter(), num_steps=7, checkpointer=saved, checkpoint_every=2)
    assert saved.steps == [2, 7]


def test_a_finished_state_comes_back_untouched():
    state, step = make()
    state = train.fit(state, step, Counter(), num_steps=3)
    assert train.fit(state, step, Counter(end=0), num_steps=3) is state


@pytest.mark.parametrize(("every", "saves"), [(2, [2, 3]), (0, [4])])
def test_a_signal_during_a_save_ends_the_run_with_a_saved_state(every, saves):
    """At the next step, and where there is none, at once."""
    found = []

    class Saver:
        best_metric = None

        def save(self, state, data, *, metrics):
            found.append(int(state.step))
            if len(found) == 1:
                signal.raise_signal(signal.SIGTERM)

    state, step = make()
    options = {"num_steps": 4, "checkpointer": Saver(), "checkpoint_every": every}
    with pytest.raises(train.Interrupted, match=f"SIGTERM: saved step {saves[-1]} of 4"):
        train.fit(state, step, Counter(), **options)
    assert found == saves


def test_data_that_ends_is_an_error():
    state, step = make()
    with pytest.raises(ValueError, match="data ended before step 3 of 5"):
        train.fit(state, step, Counter(end=2), num_steps=5)


def test_wrong_arguments():
    state, step = make()
    with pytest.raises(ValueError, match="log_every is 0"):
        train.fit(state, step, Counter(), num_steps=5, log_every=0)
    for name, value in (
        *((name, value) for name in ("num_steps", "log_every") for value in (0, -1, 2.5)),
        *((name, value) for name in ("eval_every", "checkpoint_every") for value in (-1, 2.5)),
    ):
        with pytest.raises(ValueError, match=f"{name} is {value}, must be a whole number"):
            train.fit(state, step, Counter(), **({"num_steps": 5} | {name: value}))


def test_resume_drops_later_rows_and_restores_the_position(tmp_path):
    def run(num_steps):
        state, step = make()
        data = Counter()
        state, saved, writer = train.resume(tmp_path, state, data)
        train.fit(
            state, step, data, num_steps=num_steps, checkpointer=saved, writer=writer, log_every=1
        )

    run(3)
    writer = MetricsWriter(tmp_path)
    writer.write(4, {"loss": 123.0})
    run(5)
    assert [(row["step"], row["x"]) for row in read_metrics(tmp_path)] == [
        (k, float(k)) for k in range(1, 6)
    ]


@pytest.mark.parametrize(
    ("eval_every", "checkpoint_every", "told", "best"),
    [
        (2, 3, True, 8),
        (2, 0, True, 8),
        (2, 4, True, 4),
        (2, 2, False, 4),
        (4, 2, False, 4),
        (0, 3, False, 8),
    ],
)
def test_it_is_said_when_the_best_evaluation_may_not_be_kept(
    eval_every, checkpoint_every, told, best, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(logging.get_absl_logger(), "propagate", True)
    curve = {2: np.nan, 4: 1.0, 6: 3.0, 8: 2.0}
    state, step = make()
    saved = Checkpointer(tmp_path, keep_latest=1, best_metric="eval/m")
    train.fit(
        state,
        step,
        Counter(),
        num_steps=8,
        checkpointer=saved,
        eval_every=eval_every,
        checkpoint_every=checkpoint_every,
        eval_fn=lambda state: {"eval/m": curve[int(state.step)]},
    )
    messages = [r.getMessage() for r in caplog.records]
    assert any("the best eval/m of a checkpoint is kept" in m for m in messages) == told
    assert saved.best_step == best  # of what was saved, and never what is not a number


def test_a_log_line_tells_speed_and_time_to_go(caplog, monkeypatch):
    monkeypatch.setattr(logging.get_absl_logger(), "propagate", True)
    logging.set_verbosity(logging.INFO)
    state, step = make()
    train.fit(state, step, Counter(), num_steps=4, log_every=2, batch_size=8)
    messages = dict.fromkeys(r.getMessage() for r in caplog.records)  # caplog may hear them twice
    (line, _) = [m for m in messages if m.startswith("step ")]
    assert line.startswith("step 2/4  loss 1  ")
    for part in ("steps/s", "examples/s", "to go"):
        assert part in line


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_only_on_a_terminal(monkeypatch, capsys, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    state, step = make()
    train.fit(state, step, Counter(), num_steps=3)
    assert ("it/s" in capsys.readouterr().err) == terminal


def test_a_profile_is_written(tmp_path):
    state, step = make()
    train.fit(state, step, Counter(), num_steps=3, profile_dir=tmp_path)
    assert list(tmp_path.rglob("*.xplane.pb"))


@pytest.mark.parametrize("devices", [2, 8])
def test_fit_over_devices(devices):
    mesh = mesh_lib.make_mesh(jax.devices()[:devices])
    tx = optax.sgd(-1.0)
    state = train.create_state(
        lambda key: ({"n": jnp.zeros(())}, {}), tx, key=jax.random.key(0), mesh=mesh
    )
    loss = lambda p, m, batch, *, key, step: (p["n"] * batch["x"].mean(), (m, {}))
    step = train.make_train_step(loss, tx, mesh=mesh)
    state = train.fit(state, step, Counter(), num_steps=4, mesh=mesh)
    assert float(state.params["n"]) == 10.0


def test_stages_of_a_run_share_one_count_for_stopping_together(monkeypatch):
    # The preemption service picks a number that must still come, in the next stage if need be.
    numbers = []
    reached = lambda number: bool(numbers.append(number))
    monkeypatch.setattr(mesh_lib.multihost_utils, "reached_preemption_sync_point", reached)
    for _ in range(2):
        state, step = make()
        with monkeypatch.context() as two:
            two.setattr(jax, "process_count", lambda: 2)
            train.fit(state, step, Counter(), num_steps=3)
    assert numbers == list(range(numbers[0], numbers[0] + 6))


def test_resume_notices_another_seed_and_other_data(tmp_path):
    rows = {"x": np.arange(24, dtype=np.float32)[:, None], "y": np.arange(24, dtype=np.float32)}

    def start(seed=0, rows=rows, **kwargs):
        state = train.create_state(
            lambda key: ({"w": jnp.zeros(1)}, {}), optax.sgd(1e-3), key=jax.random.key(seed)
        )
        batches = data.array_pipeline(rows, 4, seed=0)
        return batches, train.resume(tmp_path, state, batches, **kwargs)

    batches, (state, checkpointer, writer) = start()
    for _ in range(3):
        next(batches)
    writer.write(3, {"loss": 1.0})
    checkpointer.save(state.replace(step=jnp.int32(3)), batches)
    other = {"x": rows["x"], "y": rows["y"][::-1]}
    for change, message in (({"seed": 1}, "another seed"), ({"rows": other}, "y has other values")):
        with pytest.raises(ValueError, match=message):
            start(**change)
        again, (state, *_) = start(**change, allow_change=True)
        assert int(state.step) == 3
        assert again.get_state()["examples"] == 12
    again, (state, _, writer) = start()
    assert (int(state.step), again.get_state()["next_index"], writer.rows) == (3, 3, 1)
