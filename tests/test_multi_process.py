"""Two processes compute what one computes, save together, and stop together: real processes."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from processes import ROOT, free_port, wait
from toy import several

from jaxlab import mesh as mesh_lib
from jaxlab.metrics import read_metrics


@pytest.fixture(scope="module")
def alone(toy, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "alone"
    code, errors = toy.run(workdir)
    assert code == 0, errors
    return workdir


def assert_close(workdir, other):
    rows, others = read_metrics(workdir), read_metrics(other)
    assert [row["step"] for row in rows] == [row["step"] for row in others]
    for a, b in zip(rows, others, strict=True):
        assert sorted(a) == sorted(b)
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-4, err_msg=f"{name} {a['step']}")
    with np.load(workdir / "final.npz") as a, np.load(other / "final.npz") as b:
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=2e-3, atol=1e-5, err_msg=name)


def test_two_processes_equal_one_and_stop_together(toy, tmp_path, alone):
    # Each has two devices. SIGTERM goes to the second only.
    processes = toy.start_group(tmp_path, sleep=0.1, devices=2)
    for line in processes[0].stderr:
        if "step 10/40" in line:
            processes[1].terminate()
            break
    results = wait(processes)
    assert [code for code, _ in results] == [0, 0], results
    assert all("SIGTERM: saved step" in errors for _, errors in results)
    steps = [int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()]
    assert 10 in steps
    assert 10 < max(steps) < 40
    results = toy.run_group(tmp_path, devices=2)
    assert [code for code, _ in results] == [0, 0], results
    assert f"resumed from step {max(steps)}" in results[0][1]
    assert_close(tmp_path, alone)


@pytest.mark.slow
def test_sigterm_between_two_stages_stops_the_second(toy, tmp_path):
    results = toy.run_group(tmp_path, kill="between:5", sleep=0.1, devices=2)
    assert [code for code, _ in results] == [0, 0], results
    assert all("SIGTERM: stopped without saving step" in errors for _, errors in results), results


@pytest.mark.slow
def test_a_run_moves_between_numbers_of_processes(toy, tmp_path, alone):
    code, errors = toy.run(tmp_path, kill="term:13")
    assert code == 0, errors
    results = toy.run_group(tmp_path, kill="step:27")
    assert all(code != 0 for code, _ in results)
    code, errors = toy.run(tmp_path)
    assert code == 0, errors
    assert "resumed from step 20" in errors
    assert_close(tmp_path, alone)


def test_states_checkpoints_and_what_must_be_agreed(tmp_path):
    """Typed keys, parameters read from a checkpoint, process 0's word: tests/toy/several.py."""
    command = [sys.executable, "tests/toy/several.py", str(free_port())]
    env = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    results = wait(
        [
            subprocess.Popen([*command, str(i), str(tmp_path)], cwd=ROOT, env=env, **pipes)
            for i in range(2)
        ]
    )
    assert [code for code, _ in results] == [0, 0], results
    one = mesh_lib.make_mesh(jax.devices()[:1])
    first = several.train_twice(several.PARAMS, one)[0].params
    second = several.train_twice(first, one)[0].params
    with np.load(tmp_path / "found.npz") as found:
        np.testing.assert_allclose(found["first"], first["w"], rtol=1e-5)
        np.testing.assert_allclose(found["second"], second["w"], rtol=1e-5)
        size = several.metric_fn(first, {}, several.BATCH, key=None)["size"].mean()
        np.testing.assert_allclose(found["size"], size, rtol=1e-5)


def test_this_process_is_alone():
    assert jax.process_count() == 1
