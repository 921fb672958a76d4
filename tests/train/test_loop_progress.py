"""What the training loop reports of its speed, on a clock that the test moves."""

import json

import jax
import jax.numpy as jnp
import pytest

from jaxlab.metrics import MetricsWriter
from jaxlab.train import loop


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    return now


def test_speed_is_that_of_training_since_the_last_report(clock, tmp_path, monkeypatch):
    """Without the first step, which compiles, and without evaluation and checkpoints."""
    said = []
    monkeypatch.setattr(loop.logging, "info", lambda text, *args: said.append(text % args))
    with MetricsWriter(tmp_path) as writer, loop._Progress(0, 20, writer) as progress:
        progress.batch_size = 3
        clock[0] += 50  # the first step
        progress.begin(1)
        clock[0] += 8
        progress.pause()
        clock[0] += 1000  # an evaluation
        progress.resume()
        clock[0] += 2
        progress.report(6, {"error": 0.25, "loss": 1.5})
        clock[0] += 4
        progress.report(16, {"loss": 1.0})
    rows = [json.loads(line) for line in (tmp_path / "timing.jsonl").read_text().splitlines()]
    assert rows == [
        {"step": 6, "seconds": 60.0, "steps_per_s": 0.5, "examples_per_s": 1.5},
        {"step": 16, "seconds": 64.0, "steps_per_s": 2.5, "examples_per_s": 7.5},
    ]
    assert said == [
        "step 6/20  loss 1.5  error 0.25  0.5 steps/s  1.5 examples/s  0m28s to go",
        "step 16/20  loss 1  2.5 steps/s  7.5 examples/s  0m02s to go",
    ]


def test_a_run_of_one_step_reports_that_step(clock, tmp_path):
    with MetricsWriter(tmp_path) as writer, loop._Progress(4, 5, writer) as progress:
        progress.batch_size = 2
        clock[0] += 10
        progress.begin(5)
        progress.report(5, {"loss": 1.0})
    row = json.loads((tmp_path / "timing.jsonl").read_text())
    assert row["steps_per_s"] == pytest.approx(0.1)


def test_durations():
    shown = [loop._duration(s) for s in (0.4, 59.6, 61, 3599, 3600, 7384.2)]
    assert shown == ["0m00s", "1m00s", "1m01s", "59m59s", "1h00m", "2h03m"]


def test_the_first_step_is_left_out_where_there_is_another(clock):
    progress = loop._Progress(4, 6, None)
    clock[0] += 10
    progress.begin(5)
    assert (progress._last_step, progress._last_seconds) == (5, 10.0)


def test_steps_without_time_have_a_finite_speed(clock, tmp_path):
    with MetricsWriter(tmp_path) as writer, loop._Progress(0, 9, writer) as progress:
        progress.report(0, {"loss": 1.0})
    row = json.loads((tmp_path / "timing.jsonl").read_text())
    assert (row["steps_per_s"], row["examples_per_s"]) == (pytest.approx(1e9), 0.0)


@pytest.mark.parametrize(("process", "terminal", "shown"), [(0, 1, 1), (0, 0, 0), (1, 1, 0)])
def test_the_bar_counts_all_steps_and_is_taken_away(monkeypatch, process, terminal, shown):
    """Only process 0 has one, only on a terminal."""
    events = []

    class Bar:
        def __init__(self, **arguments):
            events.append(arguments)
            self.n = arguments["initial"]

        def update(self, steps):
            self.n += steps
            events.append(self.n)

        clear = lambda self: events.append("clear")
        close = lambda self: events.append("close")

    monkeypatch.setattr(loop, "tqdm", Bar)
    monkeypatch.setattr(loop.sys.stderr, "isatty", lambda: bool(terminal), raising=False)
    monkeypatch.setattr(loop.jax, "process_index", lambda: process)
    with loop._Progress(4, 9, None) as progress:
        progress.advance(5)
        progress.advance(7)
        progress.report(7, {"loss": 1.0})
    drawn = [{"total": 9, "initial": 4, "leave": False}, 5, 7, "clear", "close"]
    assert events == (drawn if shown else [])


@pytest.mark.parametrize(
    ("total", "started", "stopped"), [(100, 10, 15), (15, 10, 15), (8, 3, 8), (2, 1, 2), (1, 0, 0)]
)
def test_five_steps_are_profiled_not_the_first_ones(monkeypatch, tmp_path, total, started, stopped):
    events = []
    start = lambda folder: events.append((folder, done))
    monkeypatch.setattr(loop.jax.profiler, "start_trace", start)
    monkeypatch.setattr(loop.jax.profiler, "stop_trace", lambda: events.append(done))
    said = []
    monkeypatch.setattr(loop.logging, "info", lambda text, *args: said.append(text % args))

    class State:
        step = 0

    for done in range(1, total + 1):
        loop._profile(tmp_path, done, total, State)
    assert events == ([(str(tmp_path), started), stopped] if started else [])
    if started:
        assert said == [f"profile of {stopped - started} steps in {tmp_path}"]


def test_figures_in_a_log_line_begin_with_the_loss():
    assert loop._format({"b": 1 / 3, "loss": 123456.7, "a": 2}) == "loss 1.2346e+05  b 0.33333  a 2"
    assert loop._format({"b": 0.5}) == "b 0.5"


def test_the_guard_counts_skips_and_remembers_the_first(monkeypatch):
    guard = loop._Guard(2)
    step = lambda **values: {"grad_norm": 3.0, "loss": 1.0} | values
    guard.check(4, step(skipped=1, skipped_in_a_row=1, grad_norm=float("inf")))
    assert guard.why_not_save == ""  # the loss is sound, and the gradient was thrown away
    guard.check(5, step(skipped=1, skipped_in_a_row=2, loss=float("nan")))
    assert guard.why_not_save == "loss is nan at step 5"
    with pytest.raises(loop.TooManySkipsError) as caught:
        guard.check(6, step(skipped=1, skipped_in_a_row=3))
    assert str(caught.value) == (
        "3 steps in a row were skipped up to step 6, at most 2 may be; the first because grad_norm "
        "is inf at step 4"
    )
    guard.check(7, step(skipped=1, skipped_in_a_row=1))
    with pytest.raises(loop.TooManySkipsError, match="the first because grad_norm is 3 at step 7"):
        guard.check(9, step(skipped=1, skipped_in_a_row=3))
    with pytest.raises(loop.NonFiniteError, match=r"^z is inf at step 9 \(also a\)$"):
        loop._Guard(2).check(9, {"z": float("inf"), "loss": 1.0, "a": float("nan")})


def test_the_leaf_that_is_not_finite_is_named_and_the_others_counted():
    leaf = lambda value: jnp.array([1.0, value])
    sound = {"a": leaf(2.0), "count": jnp.int32(3), "key": jax.random.key(0)}
    loop._check_state(4, sound)
    loop._check_state(4, {"count": jnp.int32(3)})
    with pytest.raises(loop.NonFiniteError) as caught:
        loop._check_state(4, {**sound, "b": [leaf(1.0), leaf(jnp.inf)], "c": leaf(jnp.nan)})
    assert str(caught.value) == "b/1 is not finite after step 4, nor are 1 others; not saved"
