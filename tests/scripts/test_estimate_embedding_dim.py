"""The script on sizes and on a text, and everything a user can get wrong."""

import functools

import pytest
from PIL import Image
from processes import run_script

TEXT = "WORKSPACE.md"  # real English that is always there
call = functools.partial(run_script, "estimate_embedding_dim")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Standard output for two sizes and a text, and the figure's path."""
    path = tmp_path_factory.mktemp("out") / "figure.png"
    done = call("--vocab_size=1000,100_000", f"--corpus={TEXT}", "--top_words=100", f"--out={path}")
    return done.stdout, path


def test_table_holds_every_method_with_its_assumption(table):
    text, _ = table
    titles = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert titles[:2] == ["vocabulary of 1,000 words", "vocabulary of 100,000 words"]
    assert titles[2].startswith(f"{TEXT}: ")
    second = text.split("vocabulary of 100,000 words")[1].split(TEXT)[0]
    rows = {line[2:29].strip(): line[29:].split() for line in second.splitlines()[2:] if line}
    assert rows["8.33 log N"][:2] == ["96", "95.9027"]
    assert rows["entropy, all pairs"][:2] == ["96", "95.3902"]
    assert rows["entropy, a row"][0] == "48"
    assert round(float(rows["entropy, a row"][1]), 3) == 47.539
    assert rows["Johnson-Lindenstrauss 0.5"][0] == "1106"
    assert all(len(row) > 3 for row in rows.values())  # an assumption each


def test_a_text_adds_the_estimate_from_its_entropy(table):
    last = table[0].split(f"{TEXT}: ")[1]
    (line,) = [line for line in last.splitlines() if "entropy of 100 words" in line]
    exact = float(line.split()[5])
    assert 1 < exact < 38.4  # below 8.33 log 100: the target is above 0
    assert "of 9.210 nats" in line


def test_figure(table):
    with Image.open(table[1]) as picture:
        assert picture.size == (640, 400)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "error: --vocab_size=N,N or --corpus=FILE,FILE is required"),
        (["--vocab_size=1000,many"], "error: --vocab_size has 'many', must be whole numbers"),
        (["--vocab_size=1000", "--kappa=0"], "error: kappa is 0.0, must be above 0"),
        (
            ["--corpus=/nowhere/text.txt"],
            "error: /nowhere/text.txt: no such text file (named are english)",
        ),
    ],
)
def test_errors_are_one_line(args, message, tmp_path):
    done = call(*args, f"--out={tmp_path}/x.png", code=2)
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    assert errors == [message]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x.png").exists()
