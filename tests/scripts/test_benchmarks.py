"""The benchmarks run, on shapes that take seconds; what they measure then means nothing."""

import pytest

pytestmark = pytest.mark.slow


def test_seeds(run):
    lines = run("benchmark_seeds", "--tiny", "--num_seeds=2").stdout.splitlines()
    assert lines[0].endswith("2 seeds")
    cells = lines[-1].strip("| ").split(" | ")
    assert cells[0].startswith("MLP")
    assert min(map(float, cells[1:4])) > 0


def test_embeddings(run, data_dir):
    args = ("--rounds=1", "--max_tokens=6000", f"--data_dir={data_dir}")
    out = run("benchmark_embeddings", *args).stdout
    assert "jaxlab: median" in out
    assert "wordsim353" in out


def test_optimizers(run):
    done = run("benchmark_optimizers", "--tiny", "--rounds=2")
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


def test_generation(run):
    shape = ("--layers=1", "--hidden=32", "--vocab=50", "--new=4", "--length=8")
    sizes = ("--batches=1", "--beams=1,2", "--repeats=1")
    assert "tokens/s" in run("benchmark_generation", *shape, *sizes).stdout
