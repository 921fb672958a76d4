"""Both jobs as processes on a real text, fresh and resumed; wrong input in one line."""

import json
import shutil

import numpy as np
import pytest
from processes import complaint

from jaxlab.metrics import read_metrics
from jaxlab.tasks.embeddings import word_vectors

SWEEP = "--config=configs/embeddings/sweep.py:tiny"
NEGATIVE = "--config=configs/embeddings/negative_sampling.py:tiny"
# Real English that is always there.
TEXT = "--config.corpus=WORKSPACE.md,README.md,docs/methods/nvae.md,docs/methods/theseus.md,LICENSE"
SWEEP_ARGS = [SWEEP, TEXT, "--config.share=1.0", "--config.block_tokens=200"]
NEGATIVE_ARGS = [NEGATIVE, TEXT, "--config.min_count=3", "--config.blocks.steps=2"]
NEGATIVE_ARGS += ["--config.epochs=2"]


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


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([SWEEP, "--data_dir=/nowhere"], "`python -m jaxlab fetch_data corpus_en`"),
        ([NEGATIVE, TEXT, "--config.min_count=9999"], "fewer than 2 words occur min_count 9999"),
    ],
)
def test_errors_are_one_line(run, args, message, tmp_path):
    done = run("train_embeddings", *args, f"--workdir={tmp_path}", code=2)
    assert message in complaint(done)
