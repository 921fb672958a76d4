"""The scripts of question generation as processes: a tiny run, the same resumed, and errors."""

import json
import shutil

import pytest
from processes import run_script

from jaxlab.metrics import read_metrics
from jaxlab.models import bert

pytest.importorskip("tokenizers")
pytestmark = pytest.mark.slow  # two minutes

TINY = "--config=configs/qa_generation/english.py:tiny"
TEXT = (
    """Ada Lovelace was born in London in 1815. Her father was a poet.

A second paragraph, which is about the river that runs through the city. """
    + "It is long. " * 9
)


@pytest.fixture(scope="module")
def run(tmp_path_factory, data_dir):
    """Runs a script; returns the finished process."""
    cache = tmp_path_factory.mktemp("compiled")

    def call(script, *args, **kwargs):
        options = f"--compile_cache={cache}", f"--data_dir={data_dir}"
        quick = "--xla_backend_optimization_level=0"
        return run_script(script, *args, *options, XLA_FLAGS=quick, **kwargs)

    return call


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory):
    """Folder of a finished tiny run."""
    workdir = tmp_path_factory.mktemp("questions") / "run"
    run("train_qa_generation", TINY, f"--workdir={workdir}")
    return workdir


def test_a_run_leaves_its_stages_and_a_model_folder(trained):
    names = {str(p.relative_to(trained)) for p in trained.rglob("*")}
    for stage in ("mlm", "seq2seq"):
        assert {f"{stage}/metrics.jsonl", f"{stage}/curves.png", f"{stage}/result.json"} <= names
    files = ("model.safetensors", "config.json", "tokenizer.json", "generator.json")
    assert {f"model/{name}" for name in files} <= names
    rows = read_metrics(trained / "seq2seq")
    assert {"answer_nll", "question_nll", "loss"} <= set(rows[0])
    assert {"validation/nll", "validation/answer_nll"} <= set(rows[-1])
    data = json.loads((trained / "data.json").read_text())
    assert data["train"]["records"] == 400
    assert data["train"]["skipped"]["question too long"] > 0
    model, _ = bert.load_pretrained(trained / "model")
    assert (model.vocab_size, model.pooler) == (data["vocab_size"], False)
    assert "mlm" in bert.load_heads(trained / "model")


def test_a_run_goes_on_in_the_middle_of_a_stage(run, trained, tmp_path):
    again = tmp_path / "run"
    shutil.copytree(trained, again)
    shutil.rmtree(again / "model")
    (again / "seq2seq" / "result.json").unlink()
    shutil.rmtree(again / "seq2seq" / "checkpoints" / "6")
    done = run("train_qa_generation", TINY, f"--workdir={again}")
    assert "resumed from step 3" in done.stderr
    for file in ("seq2seq/metrics.jsonl", "seq2seq/result.json", "model/model.safetensors"):
        assert (again / file).read_bytes() == (trained / file).read_bytes(), file


def test_pairs_from_standard_input_and_from_a_file(run, trained, tmp_path):
    folder = f"--workdir={trained}"
    done = run("generate_qa", folder, "--text=-", "--spans_only", "--num_pairs=2", text=TEXT)
    assert done.stdout.count("  Q: ") == done.stdout.count("  A: ") >= 4
    assert "2 texts were cut into" in done.stderr
    assert "not in the passage" not in done.stdout
    (tmp_path / "text.txt").write_text(TEXT)
    out = tmp_path / "pairs.jsonl"
    args = (f"--text={tmp_path / 'text.txt'}", "--format=jsonl", f"--out={out}", "--mode=beam")
    run("generate_qa", folder, *args, "--beam_size=2", "--num_pairs=2", "--spans_only")
    pairs = [json.loads(line) for line in out.read_text().splitlines()]
    assert {pair["text"] for pair in pairs} == {0, 1}
    for pair in pairs:
        assert pair["answer"] in pair["passage"]
        assert pair["answer_log_prob"] < 0
        assert pair["is_span"]


def test_the_evaluation_reports_every_part(run, trained):
    args = ("--limit=24", "--num_passages=3", "--num_samples=3", "--shown=2", "--batch_size=8")
    done = run("evaluate_qa_generation", f"--workdir={trained}", *args)
    report = json.loads((trained / "evaluation" / "report.json").read_text())
    assert set(report["likelihood"]) == {
        "articles", "model", "unigram", "passage hidden", "answer hidden",
    }  # fmt: skip
    assert report["answers"]["spans only"]["spans"] == 1
    assert set(report["questions"]) == {"model", "most frequent question"}
    assert done.stdout.count("  Q: ") == 2
    assert (trained / "evaluation" / "likelihood.png").stat().st_size > 1000


def test_wrong_input_is_one_clear_line(run, trained, tmp_path):
    folder = f"--workdir={trained}"
    (tmp_path / "x.json").write_text('{"data": [{"title": "t"}]}')
    headless = tmp_path / "headless"
    model, params = bert.load_pretrained(trained / "model")
    bert.save_pretrained(headless, model, params)
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "data.json").write_text("{}")
    wrong = [
        ("generate_qa", (folder,), "name one of --text"),
        ("generate_qa", (folder, "--text=-"), "standard input is empty"),
        ("generate_qa", (folder, f"--squad={tmp_path / 'x.json'}"), "has no 'paragraphs'"),
        ("generate_qa", (folder, f"--text={tmp_path / 'no.txt'}"), "no.txt"),
        ("generate_qa", (f"--workdir={headless}", "--text=README.md"), "has no head"),
        ("generate_qa", (f"--workdir={unfinished}", "--text=README.md"), "has not ended"),
        (
            "train_qa_generation",
            (TINY, f"--workdir={tmp_path / 'a'}", "--config.limits.passage=80"),
            "buckets are (42,), the limits allow 82 tokens",
        ),
    ]
    for script, args, message in wrong:
        done = run(script, *args, code=2, text="")
        assert message in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
