"""The benchmarks run, on shapes that take seconds; what they measure then means nothing."""


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
