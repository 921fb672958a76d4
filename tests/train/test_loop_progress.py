"""What the training loop reports of its speed, on a clock that the test moves."""

import json

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
