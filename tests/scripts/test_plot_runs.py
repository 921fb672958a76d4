"""The script on good, missing and corrupt metrics files."""

import functools
import json

import pytest
from PIL import Image
from processes import run_script

call = functools.partial(run_script, "plot_runs")


def write_run(folder, count=20):
    folder.mkdir(parents=True)
    lines = [json.dumps({"step": k, "loss": 1 / k, "kl": k}) + "\n" for k in range(1, count + 1)]
    (folder / "metrics.jsonl").write_text("".join(lines))
    return folder


def test_several_runs_in_one_figure(tmp_path):
    one, two = write_run(tmp_path / "a" / "run"), write_run(tmp_path / "b" / "run", 30)
    done = call(one, two / "metrics.jsonl", f"--out={tmp_path}/c.png", "--metrics=loss,k*")
    assert done.stdout == f"wrote {tmp_path}/c.png: a/run (20 rows), b/run (30 rows)\n"
    assert Image.open(tmp_path / "c.png").size[0] == 800


def test_minutes_and_examples_stand_side_by_side(tmp_path):
    run = write_run(tmp_path / "run")
    (run / "config.json").write_text('{"config": {"batch_size": 4}}')
    (run / "timing.jsonl").write_text('{"step": 20, "seconds": 60.0}\n')
    call(run, f"--out={tmp_path}/c.png", "--metrics=loss", "--x=minutes,examples")
    assert Image.open(tmp_path / "c.png").size[0] == 800
    for wrong, message in (("minutes,minutes", "each once"), ("hours", "must be one of step")):
        done = call(run, f"--out={tmp_path}/d.png", f"--x={wrong}", code=2)
        assert message in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("kind", ["missing", "corrupt", "binary", "empty", "metric", "none"])
def test_errors_are_one_line(tmp_path, kind):
    run = write_run(tmp_path / "run")
    path = run / "metrics.jsonl"
    args, message, code = [run], f"error: {path}", 2
    if kind == "missing":
        path.unlink()
        message = f"error: {path}: no such file (is {run} the workdir of a run?)"
    elif kind == "corrupt":
        path.write_text('{"step": 1, "loss": 2}\n{"step": 2, "lo\n{"step": 3, "loss": 1}\n')
        message = f"error: {path}, line 2"
    elif kind == "binary":
        path.write_bytes(bytes(range(256)))
    elif kind == "empty":
        path.write_text("")
        message = f"error: {path}: holds no metrics yet"
    elif kind == "metric":
        args, message = [run, "--metrics=lose"], "error: there is no metric 'lose'"
    else:
        args, message, code = [], "error: name at least one workdir", 2
    done = call(*args, f"--out={tmp_path}/c.png", code=code)
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "c.png").exists()
