"""The benchmark runs and prints a table; what it times is right elsewhere."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def test_tiny_benchmark_prints_its_table():
    done = subprocess.run(
        [sys.executable, "scripts/benchmark_optimizers.py", "--tiny", "--rounds=2"],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    head, titles, *rows = done.stdout.splitlines()
    assert "in 23 leaves" in head
    assert titles.split() == ["optimizer", "median", "ms", "ratio", "quartiles"]
    assert [row.split("  ")[0] for row in rows] == [
        "adamw",
        "adamw_weissi",
        "adamw_weissi, direction",
        "weissi before adam",
    ]
    assert rows[0].split()[2:] == ["1.00", "1.00", "to", "1.00"]
