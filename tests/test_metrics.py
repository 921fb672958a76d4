import contextlib
import json
import math
import struct
import sys

import jax
import numpy as np
import pytest
from etils import epath

from jaxlab import metrics as metrics_module
from jaxlab.errors import MissingPackageError, UserError
from jaxlab.metrics import MetricsWriter, on_axis, read_metrics
from jaxlab.studies import cells, comparison


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


def test_tensorboard_that_is_missing_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingPackageError, match=r"^--tensorboard needs tensorboardX, .*\[tensor"):
        MetricsWriter(tmp_path, tensorboard=True)


def events(folder):
    """(tag, step, value) of all event files, in order, read frame by frame."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted((folder / "tensorboard").iterdir()):
        raw, at = path.read_bytes(), 0
        while at < len(raw):
            (size,) = struct.unpack_from("<Q", raw, at)
            event = Event.FromString(raw[at + 12 : at + 12 + size])
            found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
            at += size + 16
    return found


def test_tensorboard_shows_what_the_metrics_file_says(tmp_path):
    pytest.importorskip("tensorboardX")
    killed = MetricsWriter(tmp_path, tensorboard=True)
    for step in (1, 2, 3, 4):
        killed.write(step, {"loss": float(step), "eval/error": 0.5})
    killed.close()
    times = {tag: metrics_module._wall_times(p.read_bytes()) for tag, p in files_of(tmp_path)}
    before = next(iter(times.values()))
    # Rows after the checkpoint are trained again, with other figures to tell them apart.
    writer = MetricsWriter(tmp_path, tensorboard=True)
    writer.truncate(2)
    for step in (3, 4, 5):
        writer.write(step, {"loss": 10.0 * step, "eval/error": 0.25})
    writer.close()
    want = [(1, 1.0, 0.5), (2, 2.0, 0.5), (3, 30.0, 0.25), (4, 40.0, 0.25), (5, 50.0, 0.25)]
    assert sorted(events(tmp_path)) == sorted(
        [("loss", step, loss) for step, loss, _ in want]
        + [("eval/error", step, error) for step, _, error in want]
    )
    ((_, path),) = files_of(tmp_path)
    after = metrics_module._wall_times(path.read_bytes())
    assert after["loss", 1] == before["loss", 1]


def files_of(folder):
    return [(p.name, p) for p in (folder / "tensorboard").iterdir()]


@pytest.mark.parametrize(
    ("kept", "where"),
    [(range(0), "0 and 60"), (range(1, 3), "20 and 60"), ((1, 2, 6), "20 and 60")],
)
def test_missing_rows_are_named(tmp_path, monkeypatch, kept, where):
    said = []
    warn = lambda text, *values: said.append(text % values)
    monkeypatch.setattr(metrics_module.logging, "warning", warn)
    writer = MetricsWriter(tmp_path)
    for i in range(1, 7):
        writer.write(10 * i, {"loss": 1.0})
    assert writer.rows == 6
    writer.truncate(60, rows=6)
    assert said == []
    (tmp_path / "metrics.jsonl").write_text(
        "".join(f'{{"step": {10 * i}, "loss": 1.0}}\n' for i in kept)
    )
    MetricsWriter(tmp_path).truncate(60, rows=6)
    (line,) = said
    assert f"has {len(kept)} of the 6 rows up to step 60" in line
    assert f"between step {where} are missing" in line


BROKEN = [
    b"\xff\xfe\n",
    b"[1, 2]\n",
    b"7\n",
    b"null\n",
    b"[" * 100_000 + b"\n",
    b'{"step": "1"}\n',
    b'{"step": null}\n',
    b'{"step": 1e400}\n',
    b'{"step": 1, "loss": "low"}\n',
    b'{"step": 1, "loss": [1.0]}\n',
    b'{"step": 1, "loss": 1' + b"0" * 400 + b"}\n",
    b'{"step": 1, "loss": 1' + b"0" * 5000 + b"}\n",
]


@pytest.mark.parametrize("line", BROKEN, ids=lambda line: line[:20].decode(errors="replace"))
def test_a_row_that_is_none_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(line + b'{"step": 2}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 1: .* remove the line"):
        read_metrics(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_mutated_files_give_data_or_our_own_line(tmp_path, seed):
    """Of all small files that a run writes and reads again."""
    check_mutants(tmp_path, seed, 500)


def test_some_mutated_files_give_data_or_our_own_line(tmp_path):
    check_mutants(tmp_path, 9, 40)


def check_mutants(folder, seed, count):
    rng = np.random.default_rng(seed)
    record = {"steps": [0, 1], "curves": {"x": [[0.5], [0.25]]}, "last": {"x": [0.25]}}
    for i in range(3):
        MetricsWriter(folder).write(i, {"loss": 0.5, "count": 3})
        cells.append_record(folder, f"key{i}", {**record, "seconds": 1.0})
    cell = cells.Cell(epath.Path(folder), 7, {"seed": 0})
    cells.finish(cell, {"loss": 0.5})
    readers = {
        "metrics.jsonl": read_metrics,
        "results.jsonl": comparison.read_records,
        "result.json": lambda _: cells.finished(cell),
    }
    texts = {name: (folder / name).read_bytes() for name in readers}
    for _ in range(count):
        for name, read in readers.items():
            raw = bytearray(texts[name])
            for _ in range(rng.integers(1, 4)):
                at = rng.integers(len(raw) + 1)
                new = [bytes([rng.integers(256)]), b"1" * 5000, b"{", b"[" * 5000, b"", b"\n"]
                raw[at : at + rng.integers(4)] = new[rng.integers(len(new))]
            (folder / name).write_bytes(raw)
            with contextlib.suppress(UserError):
                read(folder)


def test_rows_of_evaluations_are_found_or_it_is_said_what_to_do(tmp_path):
    writer = MetricsWriter(tmp_path)
    message = "no evaluation in .*the run is at step 7 already, raise num_steps above it"
    with pytest.raises(UserError, match=message):
        metrics_module.read_evaluations(tmp_path, "eval/x", step=7)
    writer.write(3, {"loss": 1.0})
    with pytest.raises(UserError, match=message):
        metrics_module.read_evaluations(tmp_path, "eval/x", step=7)
    writer.write(3, {"eval/x": 2.0})
    writer.write(4, {"loss": 0.5})
    rows, evaluated = metrics_module.read_evaluations(tmp_path, "eval/x", step=7)
    assert [row["step"] for row in rows] == [3, 3, 4]
    assert evaluated == [{"step": 3, "eval/x": 2.0}]


def test_rows_are_counted_as_they_are_written_and_dropped(tmp_path):
    writer = MetricsWriter(tmp_path)
    assert writer.rows == 0
    for step in (1, 2, 3):
        writer.write(step, {"loss": 1.0})
    assert writer.rows == 3
    again = MetricsWriter(tmp_path)
    again.write(4, {"count": np.int64(3), "share": np.float32(0.5), "on": True})
    assert again.rows == 4
    again.truncate(2)
    assert again.rows == 2
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert lines == ['{"step": 1, "loss": 1.0}', '{"step": 2, "loss": 1.0}']
    again.write(3, {"count": 3, "share": np.float32(0.5)})
    last = (tmp_path / "metrics.jsonl").read_text().splitlines()[-1]
    assert last == '{"step": 3, "count": 3, "share": 0.5}'


def test_it_is_said_how_many_rows_were_dropped(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        metrics_module.logging, "info", lambda text, *args: said.append(text % args)
    )
    writer = MetricsWriter(tmp_path)
    for step in (1, 2, 3):
        writer.write(step, {"loss": 1.0})
    writer.truncate(3)
    assert said == []
    writer.truncate(1)
    assert said == ["metrics.jsonl: dropped 2 rows after step 1"]


def test_rows_over_minutes_and_examples(tmp_path):
    rows = [{"step": k, "loss": 1 / k} for k in range(5, 21)]
    timed = [{"step": 10, "seconds": 60.0}, {"step": 20, "seconds": 240.0}]
    (tmp_path / "timing.jsonl").write_text("".join(json.dumps(row) + "\n" for row in timed))
    (tmp_path / "config.json").write_text(json.dumps({"config": {"batch_size": 8}}))
    minutes = [row["step"] for row in on_axis("minutes", tmp_path, rows)]
    assert minutes == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, *np.linspace(1, 4, 11)])
    examples = on_axis("examples", tmp_path, rows)
    assert [row["step"] for row in examples][:2] == [40, 48]
    assert examples[0]["loss"] == rows[0]["loss"]
    assert on_axis("step", tmp_path, rows) == rows
    one, two = (json.dumps(row) + "\n" for row in timed)
    for text, message in (
        ("", "has no rows, or one lacks seconds"),
        ('{"step": 20}\n', "has no rows, or one lacks seconds"),
        (one, "ends at step 10, minutes of step 20 are not known"),
        (two + one, "steps fall"),
    ):
        (tmp_path / "timing.jsonl").write_text(text)
        with pytest.raises(UserError, match=rf"timing\.jsonl: {message}"):
            on_axis("minutes", tmp_path, rows)
    (tmp_path / "timing.jsonl").write_text(one + two.replace("240", "30"))  # resumed after 10
    assert on_axis("minutes", tmp_path, rows)[-1]["step"] == pytest.approx(1.5)
    (tmp_path / "timing.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match="minutes"):
        on_axis("minutes", tmp_path, rows)
    (tmp_path / "config.json").write_text(json.dumps({"config": {}}))
    with pytest.raises(UserError, match="batch_size"):
        on_axis("examples", tmp_path, rows)
    with pytest.raises(UserError, match="axis"):
        on_axis("hours", tmp_path, rows)
