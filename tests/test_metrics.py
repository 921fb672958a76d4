import json
import math

import jax
import pytest

from jaxlab.metrics import MetricsWriter, read_metrics


def test_rows_come_back_in_order(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write(5, {"loss": 1.25, "count": 3})
        writer.write(5, {"eval/loss": 2.5})
        writer.write_timing(5, {"steps_per_s": 9.0})
    assert read_metrics(tmp_path) == [
        {"step": 5, "loss": 1.25, "count": 3},
        {"step": 5, "eval/loss": 2.5},
    ]
    assert "steps_per_s" not in (tmp_path / "metrics.jsonl").read_text()


def test_values_that_are_not_finite_stay_valid_json(tmp_path):
    MetricsWriter(tmp_path).write(1, {"loss": math.inf})
    line = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(line, parse_constant=pytest.fail) == {"step": 1, "loss": None}
    assert math.isnan(read_metrics(tmp_path)[0]["loss"])


@pytest.mark.parametrize("torn", ['{"step": 3, "lo', '{"step"', "3", '{"step": 3}'])
def test_a_torn_last_line_is_dropped_and_repaired(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    whole = '{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n'
    path.write_text(whole + torn)
    assert [row["step"] for row in read_metrics(path)][:2] == [1, 2]
    writer = MetricsWriter(tmp_path)
    writer.truncate(2)
    assert path.read_text() == whole
    writer.write(3, {"loss": 0.5})
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3]


def test_a_line_broken_elsewhere_is_an_error(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(ValueError, match="line 2: 'nonsense'"):
        read_metrics(path)
    with pytest.raises(ValueError, match="line 2"):
        MetricsWriter(tmp_path).truncate(1)
    assert "nonsense" in path.read_text()


def test_truncate_keeps_the_bytes_before_the_step(tmp_path):
    writer = MetricsWriter(tmp_path)
    for step in (1, 2, 3, 4):
        writer.write(step, {"x": step / 3})
        writer.write_timing(step, {"seconds": step})
    before = (tmp_path / "metrics.jsonl").read_bytes()
    writer.truncate(2)
    kept = (tmp_path / "metrics.jsonl").read_bytes()
    assert before.startswith(kept)
    assert kept.count(b"\n") == 2
    assert (tmp_path / "timing.jsonl").read_text().count("\n") == 2


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    writer = MetricsWriter(tmp_path / "run")
    writer.write(1, {"loss": 1.0})
    writer.truncate(0)
    assert not (tmp_path / "run").exists()


def test_tensorboard_is_optional(tmp_path):
    pytest.importorskip("tensorboardX")
    with MetricsWriter(tmp_path, tensorboard=True) as writer:
        writer.write(1, {"loss": 1.0})
    assert list((tmp_path / "tensorboard").iterdir())
    with MetricsWriter(tmp_path / "without") as writer:
        writer.write(1, {"loss": 1.0})
    assert not (tmp_path / "without" / "tensorboard").exists()
