"""The benchmarks run, on shapes that take seconds; what they measure then means nothing."""

import json

import pytest
from processes import complaint

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


def test_convolutions(run):
    lines = run("benchmark_convolutions", "--batch_size=2", "--repeats=1").stdout.splitlines()
    assert len(lines) == 11
    assert all("backend" in line and "chosen" in line for line in lines[1:])


def test_any_script(run, tmp_path):
    """Variants and sweeps of `benchmark.py`, and what it cannot read."""
    tiny = "--config=configs/classifier/fashion_long_tail.py:tiny"
    args = ("--script=train_classifier", tiny, "--rounds=2", f"--out={tmp_path / 'a.json'}")
    done = run("benchmark", *args, "--variants=;model.features=(8,8),batch_size=16")
    assert "GFLOP/s" in done.stdout
    record = json.loads((tmp_path / "a.json").read_text())
    first, second = record["variants"]
    assert (first["batch_size"], second["batch_size"]) == (8, 16)
    assert first["ratio"] == {"median": 1, "low": 1, "high": 1}
    assert second["flops"] == 2 * 16 * (2 * 784 * 8 + 3 * (8 * 8 + 8 * 10))
    assert 0 < second["share_of_product"] < 1
    assert set(first["compile_seconds"]) == {"trace", "lower", "compile", "initial state"}
    run("benchmark", *args, "--sweep=devices=1,2,4")
    assert {p.name for p in tmp_path.iterdir()} == {"a.json", "a.png", "a_compile.png"}
    assert json.loads((tmp_path / "a.json").read_text())["sweep"]["x"] == [1, 2, 4]
    run("benchmark", *args, "--variants=;devices=2")  # devices made for one are not the other's
    rows = json.loads((tmp_path / "a.json").read_text())["variants"]
    assert [row["devices"] for row in rows] == [1, 2]
    for wrong, message in (
        ("--variants=batch_size", "variant is 'batch_size'"),
        ("--variants=model.fitures=3", "model.fitures=3 does not fit"),
        ("--sweep=batch_size=8,8", "its values must differ"),
    ):
        assert message in complaint(run("benchmark", *args, wrong, code=2))
