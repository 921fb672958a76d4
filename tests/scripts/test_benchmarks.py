"""The benchmarks run, on shapes that take seconds; what they measure then means nothing."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def run(script, *args):
    done = subprocess.run(
        [sys.executable, f"scripts/{script}.py", *args],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_seeds():
    lines = run("benchmark_seeds", "--tiny", "--num_seeds=2").splitlines()
    assert lines[0].endswith("2 seeds")
    cells = lines[-1].strip("| ").split(" | ")
    assert cells[0].startswith("MLP")
    assert min(map(float, cells[1:4])) > 0


def test_embeddings(data_dir):
    out = run("benchmark_embeddings", "--rounds=1", "--max_tokens=6000", f"--data_dir={data_dir}")
    assert "jaxlab: median" in out
    assert "wordsim353" in out
