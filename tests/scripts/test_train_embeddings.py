"""Both jobs as processes on a real text, fresh and resumed; wrong input in one line."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
from processes import ROOT, complaint

from jaxlab import planning
from jaxlab.errors import InputError
from jaxlab.metrics import read_metrics
from jaxlab.tasks.embeddings import word_vectors

SWEEP = "--config=configs/embeddings/sweep.py:tiny"
NEGATIVE = "--config=configs/embeddings/negative_sampling.py:tiny"
# Real English that is always there.
TEXT = "--config.corpus=WORKSPACE.md,README.md,docs/methods/nvae.md,docs/methods/theseus.md,LICENSE"
SWEEP_ARGS = [SWEEP, TEXT, "--config.share=1.0", "--config.block_tokens=200"]
NEGATIVE_ARGS = [NEGATIVE, TEXT, "--config.min_count=3", "--config.blocks.steps=2"]
NEGATIVE_ARGS += ["--config.epochs=2"]


def test_a_dimension_that_diverged_is_not_the_best():
    path = ROOT / "scripts/train_embeddings.py"
    spec = importlib.util.spec_from_file_location("train_embeddings", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    nan = float("nan")
    assert module.optimum((2, 4, 8), [nan, 3.0, 5.0]) == 4
    assert module.optimum((2, 4, 8), [3.0, 5.0, -np.inf]) == 2
    assert np.isnan(module.optimum((2, 4), [nan, nan]))
    want = module.optimum((2, 4, 8), [2.0, 1.0, 3.0])
    assert module.optimum((1, 2, 4, 8), [nan, 2.0, 1.0, 3.0]) == want


@pytest.fixture(scope="module")
def swept(run, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("sweep") / "run"
    return workdir, run("train_embeddings", *SWEEP_ARGS, f"--workdir={workdir}")


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("words") / "run"
    return workdir, run("train_embeddings", *NEGATIVE_ARGS, f"--workdir={workdir}")


def test_a_sweep_leaves_rows_optima_and_a_figure(swept):
    workdir, done = swept
    rows = read_metrics(workdir)
    assert [(r["dim"], r["seed"]) for r in rows] == [(n, s) for n in (2, 4, 8) for s in (0, 1)]
    for row in rows:
        assert row["held_out_best"] <= row["held_out"] < 2 * np.log(60)
        assert row["entropy_corpus"] - 0.05 < row["train"]
        assert row["entropy_theory"] <= row["entropy_theory_at_norm"] or row["norm_ratio"] > 1
    (entry,) = json.loads((workdir / "summary.json").read_text())
    assert entry["predicted"]["8.33 log N"] == pytest.approx(8.33 * np.log(60))
    low, high = entry["held_out"]["interval"]
    assert 2 <= low <= entry["held_out"]["optimum"] + 1e-9 <= high + 1e-8 <= 8 + 1e-7
    assert (workdir / "held_out.png").stat().st_size > 5000
    assert "N = 60: best dimension" in done.stdout


def test_a_stopped_sweep_ends_as_if_nothing_had_happened(run, swept, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(swept[0], workdir)
    path = workdir / "metrics.jsonl"
    whole = path.read_bytes()
    lines = whole.decode().splitlines(keepends=True)
    path.write_text("".join(lines[:5]) + lines[5][:20])  # killed within the last cell
    done = run("train_embeddings", *SWEEP_ARGS, f"--workdir={workdir}")
    assert "2 of 3 cells are done" in done.stderr
    assert path.read_bytes() == whole


@pytest.mark.slow
def test_other_dimensions_keep_the_cells_that_they_share(run, swept, tmp_path):
    workdir, fresh = tmp_path / "run", tmp_path / "fresh"
    shutil.copytree(swept[0], workdir)
    before = (workdir / "metrics.jsonl").read_text()
    other = [*SWEEP_ARGS, "--config.dims=(3,4,8)", "--allow_config_change"]
    done = run("train_embeddings", *other, f"--workdir={workdir}")
    assert "2 of 3 cells are done" in done.stderr
    assert (workdir / "metrics.jsonl").read_text().startswith(before)
    assert [(r["step"], r["dim"]) for r in read_metrics(workdir)[6:]] == [(4, 3)] * 2
    run("train_embeddings", *other, f"--workdir={fresh}")
    summaries = [(path / "summary.json").read_text() for path in (workdir, fresh)]
    assert summaries[0] == summaries[1]
    # Back again: nothing is missing.
    done = run("train_embeddings", *SWEEP_ARGS, "--allow_config_change", f"--workdir={workdir}")
    assert "3 of 3 cells are done" in done.stderr
    assert (workdir / "summary.json").read_text() == (swept[0] / "summary.json").read_text()


def test_one_dimension_has_no_best(run, tmp_path):
    done = run("train_embeddings", *SWEEP_ARGS, "--config.dims=(4,)", f"--workdir={tmp_path}")
    assert "N = 60: only dimension 4, so no best one" in done.stdout
    (entry,) = json.loads((tmp_path / "summary.json").read_text())
    assert entry["held_out"]["optimum"] is entry["held_out"]["interval"] is None
    assert len(entry["held_out"]["mean"]) == 1
    assert (tmp_path / "held_out.png").stat().st_size > 5000


def test_negative_sampling_leaves_vectors_and_pictures(trained):
    workdir, done = trained
    words, vectors = word_vectors.load_word2vec(workdir / "vectors.txt")
    assert words[0] == "the"
    assert vectors.shape == (len(words), 8)
    assert np.isfinite(vectors).all()
    losses = [row["loss"] for row in read_metrics(workdir) if "loss" in row]
    # Six terms of log 2 at the start, where contexts are 0.
    assert losses[-1] < losses[0] <= 6 * np.log(2) * 1.01
    assert (workdir / "plane.png").stat().st_size > 5000
    assert (workdir / "neighbours.txt").exists()
    assert "words/s" in done.stdout


def test_resumed_negative_sampling_ends_bit_for_bit(run, trained, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(trained[0], workdir)
    steps = sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())
    shutil.rmtree(workdir / "checkpoints" / str(steps[-1]))
    (workdir / "vectors.txt").unlink()
    done = run("train_embeddings", *NEGATIVE_ARGS, f"--workdir={workdir}")
    assert f"resumed from step {steps[-2]}" in done.stderr
    for name in ("vectors.txt", "metrics.jsonl"):
        assert (workdir / name).read_bytes() == (trained[0] / name).read_bytes()


def tiny(name):
    """A tiny config on a text that is always there, not read yet."""
    path = ROOT / "configs" / "embeddings" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"config_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config("tiny")
    config.corpus = str(ROOT / "LICENSE")
    return config


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("sweep", {"seeds": 0}, "seeds is 0, must be a whole number"),
        ("sweep", {"share": 2.0}, "share is 2.0, must be at most 1"),
        ("sweep", {"share": float("nan")}, "share is nan, must be finite"),
        ("sweep", {"vocab_sizes": ()}, r"vocab_sizes is \(\), must hold one whole number or more"),
        ("sweep", {"vocab_sizes": (60, 10**6)}, "the corpus has [0-9]+ words"),
        ("sweep", {"vocab_sizes": (60, 60)}, "must not hold a number twice"),
        ("sweep", {"dims": ()}, r"dims is \(\), must hold one whole number or more"),
        ("sweep", {"dims": (4, 0)}, r"dims\[1\] is 0, must be a whole number of at least 1"),
        ("sweep", {"share": 1.0, "held_out": 1.0}, r"held_out is 1.0, must be in \(0, 1\)"),
        ("sweep", {"share": 1.0, "block_tokens": 0}, "block_tokens is 0"),
        ("sweep", {"share": 1.0, "block_tokens": 200, "window": 0}, "window is 0"),
        ("negative_sampling", {"dim": 0}, "dim is 0, must be a whole number of at least 1"),
        ("negative_sampling", {"epochs": 0}, "epochs is 0, must be a whole number of at least 1"),
        ("negative_sampling", {"max_tokens": -5}, "max_tokens is -5"),
        ("negative_sampling", {"min_count": 0}, "min_count is 0"),
        ("negative_sampling", {"learning_rate": float("nan")}, "learning_rate is nan"),
        ("negative_sampling", {"final_learning_rate": -1.0}, "final_learning_rate is -1.0"),
        ("negative_sampling", {"num_negatives": 0.0}, "num_negatives is 0.0, must be above 0"),
        ("negative_sampling", {"blocks": {"power": float("nan")}}, "power is nan"),
        ("negative_sampling", {"blocks": {"window": 0}}, "window is 0"),
        ("negative_sampling", {"seed": -1}, "seed is -1"),
    ],
)
def test_numbers_without_sense_are_refused_before_training(name, change, message, tmp_path):
    script = planning.load_script("train_embeddings", ROOT / "scripts")
    config = tiny(name)
    config.update(change)

    def start():
        if name == "sweep":
            script.sweep(config, tmp_path, tmp_path)
        script.build_sampling(config, script.frequent_words(config, tmp_path)[0])

    with pytest.raises(InputError, match=message):
        start()
    assert not list(tmp_path.iterdir())


def test_dimensions_are_swept_in_their_order(tmp_path):
    script, config = planning.load_script("train_embeddings", ROOT / "scripts"), tiny("sweep")
    config.update({"dims": (8, 2, 4), "vocab_sizes": (10**6,)})
    with pytest.raises(InputError, match="vocab_sizes is"):
        script.sweep(config, tmp_path, tmp_path)
    assert config.dims == (2, 4, 8)  # what `optimum` takes neighbours from


def test_judgements_are_a_line_also_where_there_are_none():
    script = planning.load_script("train_embeddings", ROOT / "scripts")
    assert "no judged word pairs, so no rank correlation" in script.as_line({})
    pairs = [("a", "b"), ("a", "c"), ("a", "d")]
    judged = {"mine": (pairs, np.array([3.0, 2.0, 1.0])), "few": (pairs[:1], np.array([1.0]))}
    vectors = np.array([[1, 0], [1, 0.1], [1, 1], [0, 1]])
    line = script.as_line(script.judge(vectors, "abcd", judged, 3))
    assert line == "rank correlation: mine 1.0000 (of 3 pairs), few none (of 1 pairs)"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([SWEEP, "--data_dir=/nowhere"], "`python scripts/fetch_data.py corpus_en`"),
        ([NEGATIVE, TEXT, "--config.min_count=9999"], "fewer than 2 words occur min_count 9999"),
    ],
)
def test_errors_are_one_line(run, args, message, tmp_path):
    done = run("train_embeddings", *args, f"--workdir={tmp_path}", code=2)
    assert message in complaint(done)
