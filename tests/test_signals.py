"""`jaxlab.signals`: a signal in a training loop: the step ends, the state is saved, and who asked
hears about it."""

import signal

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxlab import signals, train
from jaxlab.checkpoints import Checkpointer

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT = {signal.SIGTERM: 0, signal.SIGHUP: 0, signal.SIGINT: 130}


@pytest.fixture(autouse=True)
def as_in_a_terminal():
    """A suite that was started in the background, or under nohup, ignores some of them."""
    handlers = (signal.default_int_handler, signal.SIG_DFL, signal.SIG_DFL)
    before = [signal.signal(s, h) for s, h in zip(SIGNALS, handlers, strict=True)]
    yield
    for signum, handler in zip(SIGNALS, before, strict=True):
        signal.signal(signum, handler)


class Batches:
    """Endless batches; calls `at[n]` when batch n is drawn."""

    def __init__(self, at=None):
        self.at, self.drawn = at or {}, 0

    def __next__(self):
        self.drawn += 1
        self.at.get(self.drawn, lambda: None)()
        return {"x": jnp.ones((2, 3))}

    def get_state(self):
        return {"drawn": self.drawn}

    def set_state(self, state):
        self.drawn = state["drawn"]


def fit(batches, checkpointer, **kwargs):
    loss = lambda params, state, batch, *, key, step: (
        jnp.mean((batch["x"] @ params) ** 2),
        ({}, {}),
    )
    tx = optax.sgd(0.1)
    state = train.create_state(lambda key: (jnp.ones(3), {}), tx, key=jax.random.key(0))
    step = train.make_train_step(loss, tx)
    return train.fit(state, step, batches, num_steps=6, checkpointer=checkpointer, **kwargs)


def send(*signums):
    return lambda: [signal.raise_signal(s) for s in signums]


@pytest.mark.parametrize("signum", EXIT)
def test_the_step_is_finished_and_saved(tmp_path, signum):
    before = {s: signal.getsignal(s) for s in EXIT}
    saved = Checkpointer(tmp_path)
    with pytest.raises(train.Interrupted) as stop:
        fit(Batches({3: send(signum)}), saved)
    assert str(stop.value) == f"{signals.NAMES[signum]}: saved step 3 of 6"
    assert (stop.value.saved, stop.value.exit_code) == (True, EXIT[signum])
    assert saved.steps == [3]
    assert {s: signal.getsignal(s) for s in EXIT} == before


def test_in_an_evaluation_no_further_step_is_waited_for(tmp_path):
    saved, batches = Checkpointer(tmp_path), Batches()
    evaluate = lambda state: (signal.raise_signal(signal.SIGINT), {"eval/x": 1.0})[1]
    with pytest.raises(train.Interrupted, match="Ctrl-C: saved step 2 of 6"):
        fit(batches, saved, eval_fn=evaluate, eval_every=2)
    assert (saved.steps, batches.drawn) == ([2], 2)


def test_in_the_last_save(tmp_path):
    saved = Checkpointer(tmp_path)
    save = saved.save
    saved.save = lambda *args, **kwargs: (save(*args, **kwargs), send(signal.SIGTERM)())
    with pytest.raises(train.Interrupted, match="SIGTERM: saved step 6 of 6"):
        fit(Batches(), saved)


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    saved = Checkpointer(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(Batches({3: send(signal.SIGINT, signal.SIGINT)}), saved)
    assert saved.steps == []


def test_without_checkpoints_nothing_is_said_to_be_saved():
    with pytest.raises(train.Interrupted, match="SIGTERM: stopped without saving step 3 of 6") as e:
        fit(Batches({3: send(signal.SIGTERM)}), None)
    assert not e.value.saved


def test_a_signal_that_was_ignored_stays_so(tmp_path):
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert int(fit(Batches({3: send(signal.SIGHUP)}), Checkpointer(tmp_path)).step) == 6
    finally:
        signal.signal(signal.SIGHUP, old)
