"""Wrong input gets one clear line and a non-zero exit; --help can be read by a person."""

import os
import types

import pytest
from processes import TOY, start

from jaxlab import launch
from jaxlab.launch import config as launch_config
from jaxlab.launch import record
from jaxlab.launch.config import flat

WRONG = {
    "no workdir": ([], "--workdir=FOLDER is required"),
    "unwritable workdir": (["--workdir={here}/file/run"], "cannot write to --workdir="),
    "missing config": (["--config=nowhere.py", "--workdir={here}/a"], "no config file nowhere.py"),
    "config that fails": (
        ["--config=tests/toy/config.py:huge", "--workdir={here}/a"],
        "preset is 'huge', there is none",
    ),
    "unknown key": (
        ["--config.learning_rat=1", "--workdir={here}/a"],
        "no config key 'learning_rat'",
    ),
    "wrong type": (
        ["--config.learning_rate=fast", "--workdir={here}/a"],
        "--config.learning_rate=fast: could not convert string to float: 'fast'",
    ),
    "unknown flag": (["--wrokdir={here}/a"], "Unknown command line flag 'wrokdir'"),
    "no flag at all": (["train", "--workdir={here}/a"], "not understood: train"),
    "half an address": (
        ["--workdir={here}/a", "--num_processes=2"],
        "give all three or none",
    ),
    "no cluster": (["--workdir={here}/a", "--distributed"], "no cluster detected"),
    "wrong value": (
        ["--workdir={here}/a", "--config.log_every=0"],
        "log_every is 0, must be a whole number of at least 1",
    ),
    "learning rate too high": (
        ["--workdir={here}/a", "--config.learning_rate=1e38", "--config.log_every=100"],
        "the first because loss is nan at step 2",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input(tmp_path, name):
    (tmp_path / "file").write_text("")
    args, message = WRONG[name]
    args = [a.format(here=tmp_path) for a in args]
    code, errors = run(args)
    lines = [line for line in errors.splitlines() if line[2] != ":"]  # no log lines
    assert code == 2, errors
    assert len(lines) == 1, errors
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert not (tmp_path / "a" / "config.json").exists()  # the corrected command may use the folder


def run(args, script=TOY, **env):
    cache = f"--compile_cache={os.environ['JAX_COMPILATION_CACHE_DIR']}"
    process = start(script, *args, cache, **env)
    shown, errors = process.communicate(timeout=120)
    return process.returncode, errors or shown


def test_help_is_for_people():
    code, text = run(["--help"])
    assert code == 0
    assert text.startswith("Trains a tiny network on made-up rows")
    assert "--workdir" in text
    assert "--config.learning_rate=0.01" in text
    assert "--allow_config_change" in text
    # None of the flags of absl, grain and others.
    assert "--v" not in text.replace("--config.v", "")
    assert len(text.splitlines()) < 50


def test_a_script_without_config(tmp_path):
    script = tmp_path / "sample.py"
    script.write_text(
        '"""Draws samples."""\n'
        "from absl import flags\n"
        "from jaxlab import launch\n"
        'COUNT = flags.DEFINE_integer("count", 3, "How many samples.")\n'
        "def main(config, workdir):\n"
        "    assert config is None\n"
        '    (workdir / "count").write_text(f"{COUNT.value} {launch.options().data_dir}")\n'
        'if __name__ == "__main__":\n'
        "    launch.run(main)\n"
    )
    code, errors = run([f"--workdir={tmp_path}", "--count=5", "--data_dir=d"], script)
    assert code == 0, errors
    assert (tmp_path / "count").read_text() == "5 d"
    assert not (tmp_path / "config.json").exists()
    code, text = run(["--help"], script)
    assert code == 0
    assert "Draws samples." in text
    assert "How many samples. [3]" in text
    assert "--config" not in text


@pytest.mark.parametrize(
    ("body", "code", "expected", "traced"),
    [
        ("raise errors.InputError('x is 3, must be 2')", 2, "error: x is 3, must be 2", False),
        ("raise ValueError('a bug')", 1, "error: a bug", True),
        ("open('/nowhere/at/all')", 2, "error: [Errno 2] No such file", False),
        ("raise KeyError('lost')", 1, "error: KeyError: 'lost'", True),
        ("import numpy; numpy.zeros((2,)).reshape(3)", 1, "error: cannot reshape", True),
        ("raise SystemExit(7)", 7, "", False),
        ("raise KeyboardInterrupt", 130, "interrupted", False),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 0, "SIGTERM", False),
    ],
)
def test_exit_codes(tmp_path, body, code, expected, traced):
    script = tmp_path / "script.py"
    script.write_text(
        "from jaxlab import errors, launch\n"
        f"def main(config, workdir):\n    {body}\nlaunch.run(main)\n"
    )
    seen, errors = run([f"--workdir={tmp_path / 'w'}"], script)
    assert seen == code, errors
    assert expected in errors
    assert ("Traceback" in errors) == traced
    if code == 2:
        assert "Traceback" in run([f"--workdir={tmp_path / 'w'}", "--debug"], script)[1]


def test_the_record_of_a_run_that_failed_before_it_wrote_anything_is_taken_back(tmp_path):
    script, workdir = tmp_path / "script.py", tmp_path / "w"
    script.write_text(
        "from jaxlab import errors, launch\n"
        "def main(config, workdir):\n"
        "    if config.width == 7:\n"
        "        (workdir / 'notes').write_text('new')\n"
        "    if config.width != 8:\n"
        "        raise errors.InputError('width must be 8')\n"
        "launch.run(main, default_config='tests/toy/config.py')\n"
    )
    record = workdir / "config.json"
    code = lambda *args: run([f"--workdir={workdir}", *args], script)[0]
    assert code("--config.width=9") == 2
    assert not record.exists()
    assert code() == 0
    first = record.read_bytes()
    (workdir / "notes").write_text("old")
    assert code("--config.width=9", "--allow_config_change") == 2
    assert record.read_bytes() == first
    assert sorted(p.name for p in workdir.iterdir()) == [".lock", "config.json", "notes"]
    assert code("--config.width=7", "--allow_config_change") == 2
    assert launch.read_config(workdir).width == 7  # what was written belongs to this config


def test_config_differences():
    old = {"a": 1, "b": {"c": [1, 2], "d": "x"}, "gone": None}
    new = {"a": 1.5, "b": {"c": [1, 2], "d": "y"}, "new": True}
    assert record._changes(flat(old), flat(new)) == [
        "a: 1 -> 1.5",
        'b.d: "x" -> "y"',
        "gone: null -> absent",
        "new: absent -> true",
    ]


def test_buckets_are_left_alone():
    assert str(launch.full_path("gs://bucket/run")) == "gs://bucket/run"
    assert launch.full_path("runs/a").is_absolute()


@pytest.mark.parametrize("name", ["distributed", "num_processes"])
def test_scripts_of_one_process_know_no_flags_of_several(name):
    error = launch_config.unknown_flag(types.SimpleNamespace(flagname=name), None)
    assert error == (f"--{name} is not known here: this script runs in one process, start it alone")
