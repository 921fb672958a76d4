"""Two real processes of every training script compute what one computes, or none starts."""

import re
import signal

import jax
import numpy as np
import pytest
from processes import start_script, wait

from jaxlab import checkpoints
from jaxlab.metrics import read_metrics
from jaxlab.models import bert

# A bias before a batch norm has no gradient but rounding, which Adamax scales to the rate.
RATE = "--config.optimizer.learning_rate=1e-2"
TEXT = "--config.corpus=WORKSPACE.md,docs/methods/nvae.md,LICENSE"
SCRIPTS = {
    "nvae": ("train_nvae", "--config=configs/nvae/mnist5k.py:tiny", RATE),
    "nvae, split state": (
        *("train_nvae", "--config=configs/nvae/mnist5k.py:tiny", RATE, "--config.fsdp=2"),
    ),
    "classifier": ("train_classifier", "--config=configs/classifier/fashion_long_tail.py:tiny"),
    "questions": ("train_qa_generation", "--config=configs/qa_generation/english.py:tiny"),
    "compression": ("compress_bert", "--config=configs/theseus/study.py:headlines-tiny"),
    "negative sampling": (
        *("train_embeddings", "--config=configs/embeddings/negative_sampling.py:tiny", TEXT),
        *("--config.min_count=3", "--config.blocks.steps=2", "--config.epochs=2"),
    ),
}
REFUSED = {
    "compare": ("compare", "--config=configs/studies/long_tail.py:tiny"),
    "sweep": ("train_embeddings", "--config=configs/embeddings/sweep.py:tiny"),
    "study": ("study_nvae", "--config=configs/studies/nvae.py:tiny"),
}


@pytest.fixture(scope="module")
def group(data_dir):
    """Runs a script in several processes; returns [(exit code, standard error)]."""

    def call(count, name, *args, kill_at=None, signum=signal.SIGKILL):
        processes = start_script(name, *args, f"--data_dir={data_dir}", count=count)
        if kill_at is not None:
            for line in processes[0].stderr:
                if re.search(kill_at, line):
                    for process in processes:
                        process.send_signal(signum)
                    break
        return wait(processes, timeout=900)

    return call


def assert_same(workdir, alone):
    """Files of the same names, figures and parameters the same within sums of floats.

    Of checkpoints the last one is compared: a stop saves its step too, and an older one goes.
    """
    listed = lambda folder: {
        path.relative_to(folder)
        for path in folder.rglob("*")
        if not re.search(r"checkpoints/\d+(/|$)|\.lock$", str(path))
    }
    assert listed(workdir) == listed(alone)
    close = {"rtol": 2e-3, "atol": 1e-4}
    for path in sorted(alone.rglob("*")):
        other, name = workdir / path.relative_to(alone), str(path.relative_to(alone))
        if path.name == "metrics.jsonl":
            rows, others = read_metrics(path), read_metrics(other)
            assert [r["step"] for r in rows] == [r["step"] for r in others], name
            for a, b in zip(rows, others, strict=True):
                assert sorted(a) == sorted(b)
                np.testing.assert_allclose(
                    *[[row[k] for k in sorted(row)] for row in (b, a)], **close, err_msg=name
                )
        elif path.name == "checkpoints":
            saved = [checkpoints.load_params(p) for p in (other, path)]
            assert saved[0][0] == saved[1][0], name
            for (place, a), (_, b) in zip(*map(leaves, saved), strict=True):
                np.testing.assert_allclose(a, b, **close, err_msg=f"{name} {place}")
        elif path.name == "model" and path.is_dir():
            for (place, a), (_, b) in zip(
                *[leaves(bert.load_pretrained(p)[1]) for p in (other, path)], strict=True
            ):
                np.testing.assert_allclose(a, b, **close, err_msg=f"{name} {place}")


def leaves(tree):
    return [(jax.tree_util.keystr(p), np.asarray(x)) for p, x in jax.tree.leaves_with_path(tree)]


@pytest.fixture(scope="module")
def alone(group, tmp_path_factory):
    """Folder of a run in one process, by name; made once."""
    made = {}

    def call(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("alone") / "run"
            ((code, errors),) = group(1, *SCRIPTS[name], f"--workdir={made[name]}")
            assert code == 0, errors
        return made[name]

    return call


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in SCRIPTS if "split" not in n])
def test_two_processes_give_what_one_gives(group, alone, tmp_path, name):
    results = group(2, *SCRIPTS[name], f"--workdir={tmp_path / 'run'}")
    assert [code for code, _ in results] == [0, 0], results
    assert_same(tmp_path / "run", alone(name))


@pytest.mark.slow
def test_a_state_split_over_processes(group, alone, tmp_path):
    results = group(2, *SCRIPTS["nvae, split state"], f"--workdir={tmp_path / 'run'}")
    assert [code for code, _ in results] == [0, 0], results
    assert_same(tmp_path / "run", alone("nvae"))


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_what_takes_one_process_refuses_several(group, tmp_path, name):
    results = group(2, *REFUSED[name], f"--workdir={tmp_path / 'run'}")
    assert [code for code, _ in results] == [2, 2], results
    for _, errors in results:
        (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
        assert "one process" in line or "takes one" in line
        assert "Traceback" not in errors
    assert not list((tmp_path / "run").rglob("*.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "moment", "again"),
    [
        ("questions", "seq2seq: .* sequences", 2),
        ("questions", "step 4/6 .*question", 1),
        ("compression", "replacing: ", 2),
    ],
)
def test_two_killed_processes_go_on(group, alone, tmp_path, name, moment, again):
    """Killed in a later stage, gone on with by as many, or by one."""
    workdir = tmp_path / "run"
    results = group(2, *SCRIPTS[name], f"--workdir={workdir}", kill_at=moment)
    assert all(code != 0 for code, _ in results)
    results = group(again, *SCRIPTS[name], f"--workdir={workdir}")
    assert [code for code, _ in results] == [0] * again, results
    assert_same(workdir, alone(name))


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment", ["seq2seq: .* sequences", "step 3/6 .*question"], ids=["between stages", "evaluation"]
)
def test_sigterm_to_all_saves_and_loses_nothing(group, alone, tmp_path, moment):
    arguments = (*SCRIPTS["questions"], f"--workdir={tmp_path / 'run'}")
    results = group(2, *arguments, kill_at=moment, signum=signal.SIGTERM)
    assert [code for code, _ in results] == [0, 0], results
    assert all("SIGTERM: saved step" in errors for _, errors in results), results
    assert not (tmp_path / "run" / "seq2seq" / "result.json").exists()
    results = group(2, *arguments)
    assert [code for code, _ in results] == [0, 0], results
    assert_same(tmp_path / "run", alone("questions"))
