"""A run killed at any moment and started again ends as if nothing had happened: real processes."""

import json
import os
import pathlib
import shutil
import signal

import numpy as np
import pytest

from jaxlab import files
from jaxlab.metrics import read_metrics


@pytest.fixture(scope="module")
def uninterrupted(toy, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "uninterrupted"
    code, errors = toy.run(workdir, "--profile")
    assert code == 0, errors
    return workdir


def assert_same_run(workdir: pathlib.Path, other: pathlib.Path) -> None:
    """Parameters, optimizer state, everything in the state, and the metrics file, bit for bit."""
    assert (workdir / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    with np.load(workdir / "final.npz") as a, np.load(other / "final.npz") as b:
        assert sorted(a) == sorted(b)
        assert any("opt_state" in name for name in a)
        for name in a:
            assert a[name].dtype == b[name].dtype
            assert a[name].tobytes() == b[name].tobytes(), name


REWRITTEN = ("final.npz", files.LOCK_FILE)


def checkpoints(workdir: pathlib.Path) -> list[int]:
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())


def test_the_uninterrupted_run(uninterrupted):
    rows = read_metrics(uninterrupted)
    train = [row["step"] for row in rows if "loss" in row]
    evals = [row["step"] for row in rows if "eval/error" in row]
    assert train == list(range(5, 41, 5))
    assert evals == [10, 20, 30, 40]
    assert "steps_per_s" not in (uninterrupted / "metrics.jsonl").read_text()
    timing = [json.loads(line) for line in (uninterrupted / "timing.jsonl").open()]
    assert {"step", "seconds", "steps_per_s", "examples_per_s"} == set(timing[0])
    assert checkpoints(uninterrupted) == [30, 40]
    assert list((uninterrupted / "profile").rglob("*.xplane.pb"))
    record = json.loads((uninterrupted / "config.json").read_text())
    assert record["config"]["num_steps"] == 40
    assert {"jaxlab", "jax", "flax", "optax", "orbax-checkpoint", "grain", "python"} <= set(
        record["versions"]
    )


@pytest.mark.parametrize(
    "kills",
    [
        # Between checkpoints, before the first one too; in an evaluation; in the middle of a row.
        pytest.param(("step:7", "step:27", "eval:30", "torn:35"), marks=pytest.mark.slow),
        # While a checkpoint is being written: at once, half way, about to be renamed, and the last.
        ("save:10:0.0", "save:20:0.01", "save:20:0.03", "save:30:0.05", "save:40:0.02"),
    ],
    ids=["anywhere", "saving"],
)
def test_killed_and_started_again(toy, tmp_path, uninterrupted, kills):
    for kill in kills:
        code, errors = toy.run(tmp_path, kill=kill)
        assert code == -signal.SIGKILL, errors
    code, errors = toy.run(tmp_path)
    assert code == 0, errors
    assert "resumed from step" in errors
    assert_same_run(tmp_path, uninterrupted)
    assert checkpoints(tmp_path) == [30, 40]


def test_sigterm_finishes_the_step_saves_and_exits_0(toy, tmp_path, uninterrupted):
    process = toy.start(tmp_path, sleep=0.1)
    for line in process.stderr:
        if "step 5/40" in line:
            process.terminate()
            break
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 0, errors
    assert "SIGTERM: saved step" in errors
    (saved,) = checkpoints(tmp_path)
    assert saved not in (0, 10, 20)
    code, errors = toy.run(tmp_path, kill="term:23")
    assert code == 0, errors
    assert f"resumed from step {saved}" in errors
    assert checkpoints(tmp_path)[-1] == 23
    code, errors = toy.run(tmp_path)
    assert code == 0, errors
    assert_same_run(tmp_path, uninterrupted)


def test_sigterm_before_the_first_step(toy, tmp_path):
    process = toy.start(tmp_path)
    for line in process.stderr:
        if "device(s)" in line:
            process.terminate()
            break
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 0, errors
    assert "SIGTERM" in errors


def test_a_finished_run_does_nothing(toy, tmp_path, uninterrupted):
    shutil.copytree(uninterrupted, tmp_path, dirs_exist_ok=True)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.name not in REWRITTEN}
    code, errors = toy.run(tmp_path)
    assert code == 0
    assert "already at step 40 of 40: nothing to train" in errors
    after = {p: p.stat().st_mtime_ns for p in before}
    changed = {p for p in before if p.is_file() and before[p] != after[p]}
    assert not changed


def test_a_truncated_checkpoint_costs_only_its_steps(toy, tmp_path, uninterrupted):
    shutil.copytree(uninterrupted, tmp_path, dirs_exist_ok=True)
    manifest = tmp_path / "checkpoints" / "40" / "state" / "manifest.ocdbt"
    manifest.write_bytes(manifest.read_bytes()[:20])
    (tmp_path / "final.npz").unlink()
    code, errors = toy.run(tmp_path)
    assert code == 0
    assert "warning: checkpoint 40 not used, now 40.unusable: truncated" in errors
    assert "resumed from step 30" in errors
    for text in ("Traceback", "never retrieved", "zarr"):
        assert text not in errors, errors
    assert_same_run(tmp_path, uninterrupted)


def test_another_config(toy, tmp_path, uninterrupted):
    shutil.copytree(uninterrupted, tmp_path, dirs_exist_ok=True)
    changes = ("--config.learning_rate=0.02", "--config.num_steps=45")
    code, errors = toy.run(tmp_path, *changes)
    assert code == 2
    (line,) = errors.strip().splitlines()
    assert line.startswith("error: ")
    assert "learning_rate: 0.01 -> 0.02; num_steps: 40 -> 45" in line
    assert "--allow_config_change" in line
    code, errors = toy.run(tmp_path, *changes, "--allow_config_change")
    assert code == 0, errors
    assert "resumed from step 40" in errors
    record = json.loads((tmp_path / "config.json").read_text())
    assert record["config"]["num_steps"] == 45
    assert record["overrides"] == {"learning_rate": 0.02, "num_steps": 45}


def test_a_checkpoint_of_another_model(toy, tmp_path, uninterrupted):
    shutil.copytree(uninterrupted, tmp_path, dirs_exist_ok=True)
    code, errors = toy.run(tmp_path, "--config.width=9", "--allow_config_change")
    assert code == 2
    last = errors.strip().splitlines()[-1]
    assert last.startswith("error: no usable checkpoint")
    assert "params/Dense_0/kernel seen float32[4, 8], wanted float32[4, 9]" in last
    assert "Traceback" not in errors
    assert checkpoints(tmp_path) == [30, 40]
    for name in ("metrics.jsonl", "config.json"):  # so the old command goes on as before
        assert (tmp_path / name).read_bytes() == (uninterrupted / name).read_bytes()


def test_a_second_run_in_the_folder_is_refused_and_disturbs_nothing(toy, tmp_path, uninterrupted):
    shutil.copytree(uninterrupted, tmp_path, dirs_exist_ok=True)
    (tmp_path / "checkpoints" / "50.orbax-checkpoint-tmp").mkdir()  # half written by the first
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 45, "lo')
    held = files.lock(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p != tmp_path}
    code, errors = toy.run(tmp_path, "--config.num_steps=50", "--allow_config_change")
    held.close()
    assert code == 2
    (line,) = errors.strip().splitlines()
    assert line.startswith(f"error: {tmp_path} is in use by process {os.getpid()} on ")
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p != tmp_path} == before
