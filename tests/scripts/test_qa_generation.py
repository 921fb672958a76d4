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
def run(data_dir):
    """Runs a script; returns the finished process."""

    def call(script, *args, **kwargs):
        quick = "--xla_backend_optimization_level=0"
        data = () if script == "generate_qa" else (f"--data_dir={data_dir}",)  # reads texts alone
        return run_script(script, *args, *data, XLA_FLAGS=quick, **kwargs)

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
    assert data["splits"]["train"]["records"] == 400
    assert data["splits"]["train"]["left_out"]["question too long"] > 0
    model, _ = bert.load_pretrained(trained / "model")
    assert f"a vocabulary of {model.vocab_size}" in data["sizes"]
    assert not model.pooler
    assert "mlm" in bert.load_heads(trained / "model")


def test_own_questions_with_half_a_character_and_impossible_ones(run, tmp_path):
    """A small file of one's own: trained on, counted, and asked about in UTF-16."""
    articles = []
    for i in range(10):
        text = f"Ada{i} wrote the first long letter to the queen in {1800 + i}. \ud83d"
        answers = [{"text": f"{1800 + i}", "answer_start": str(text.index("18"))}]
        qas = [{"question": "when was it written?", "answers": answers},
               {"question": "why?", "answers": [], "is_impossible": True}]  # fmt: skip
        articles.append({"title": f"{i}", "paragraphs": [{"context": text, "qas": qas}]})
    (tmp_path / "mine.json").write_text(json.dumps({"data": articles}))
    workdir = tmp_path / "run"
    args = ["train_qa_generation", TINY, f"--workdir={workdir}", "--config.vocab_size=120"]
    args += [f"--config.data.files=('{tmp_path / 'mine.json'}',)"]
    done = run(*args, code=2)
    assert "mine.json: 8 sequences to train stage" in done.stderr
    assert "Traceback" not in done.stderr
    run(*args, "--config.batch_size=4", "--config.model.max_positions=96")
    data = json.loads((workdir / "data.json").read_text())
    assert data["left_out"] == {"impossible question": 10}
    assert data["splits"]["train"]["examples"] == 8
    (tmp_path / "text.txt").write_bytes("Bob wrote a letter.\r\n\r\nSo did Ada.".encode("utf-16"))
    text = f"--text={tmp_path / 'text.txt'}"
    done = run("generate_qa", f"--workdir={workdir}", text, "--num_pairs=1")
    assert done.stdout.startswith("Bob wrote a letter.\n  Q: ")
    assert "(log p: answer -" in done.stdout
    assert "of 2 passages" in done.stderr


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
        *(
            (
                "train_qa_generation",
                (TINY, f"--workdir={tmp_path / 'a'}", f"--config.{change}"),
                line,
            )
            for change, line in (
                ("stages.mlm.buckets=()", "stages.mlm.buckets is (), must hold one"),
                ("stages.seq2seq.num_steps=0", "stages.seq2seq.num_steps is 0"),
                ("batch_size=0", "batch_size is 0, must be a whole number"),
                ("max_train=-3", "max_train is -3"),
                ("mask_rate=nan", "mask_rate is nan"),
                ("data.shares=(0.0,0.0)", "no article is left for validation and test"),
            )
        ),
        ("generate_qa", (folder, "--text=README.md", "--temperature=0"), "temperature is 0.0"),
        ("generate_qa", (folder, "--text=README.md", "--top_p=nan"), "top_p is nan"),
        ("generate_qa", (folder, "--text=README.md", "--num_pairs=0"), "num_pairs"),
        ("generate_qa", (folder, "--text=README.md", "--limit=-1"), "limit"),
        ("generate_qa", (folder, "--text=README.md", "--out=/no/where/x"), "there is no folder"),
        ("generate_qa", (folder, "--text=README.md", "--f1=2"), "f1 is 2.0"),
        (
            "generate_qa",
            (folder, "--text=README.md", f"--reader={trained}"),
            "writes answer and question, a reader is a run with --config.order=question_first",
        ),
        ("evaluate_qa_generation", (folder, "--limit=-5"), "limit"),
        ("evaluate_qa_generation", (folder, "--f1=nan"), "f1 is nan"),
    ]
    for script, args, message in wrong:
        done = run(script, *args, code=2, text="")
        assert message in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
