"""`jaxlab.launch.record`: what config.json says, when it is written, and what may change."""

import json
import os
import subprocess

import jax
import pytest
from etils import epath

from jaxlab import files, launch
from jaxlab.data import Found
from jaxlab.launch import record
from jaxlab.launch.config import Config, UsageError


@pytest.fixture
def prepare(tmp_path, monkeypatch):
    """Prepares a run in a folder; the hook that Python cannot take back is called by the test."""
    hooks = []
    monkeypatch.setattr(record.sys, "addaudithook", hooks.append)
    monkeypatch.setattr(record, "_git_commit", lambda: "abc+")

    def prepared(config, data_dir=None, *, overrides=(), allow_change=False, task=None):
        workdir = epath.Path(tmp_path)
        done = record.prepare(
            workdir,
            Config(config),
            dict(overrides),
            data_dir,
            task=task,
            allow_change=allow_change,
        )
        return done

    prepared.hooks = hooks
    return prepared


def test_a_record_says_what_a_run_was_started_with(prepare, tmp_path):
    prepare({"a": (1, 2), "b": {"c": None}}, "data", overrides={"b.c": None, "a": (1, 2)})()
    text = (tmp_path / "config.json").read_text()
    found = json.loads(text)
    assert text == json.dumps(found, indent=2) + "\n"
    assert list(found) == ["config", "overrides", "data_dir", "versions", "git_commit"]
    assert found["config"] == {"a": [1, 2], "b": {"c": None}}
    assert found["overrides"] == {"b.c": None, "a": [1, 2]}
    assert found["data_dir"] == os.path.abspath("data")
    assert found["git_commit"] == "abc+"
    assert found["versions"]["jax"] == jax.__version__
    assert record.read_config(tmp_path).b.c is None
    assert prepare({"a": 1}, "gs://bucket/data", allow_change=True)() is None
    assert files.read_record(tmp_path)["data_dir"] == "gs://bucket/data"
    prepare({"a": 2}, task="images", allow_change=True)()
    assert files.read_record(tmp_path)["task"] == "images"


def test_the_record_comes_with_the_first_file_that_is_written(prepare, tmp_path):
    done = prepare({"a": 1})
    (hook,) = prepare.hooks
    path = tmp_path / "config.json"
    read, write = os.O_RDONLY, os.O_WRONLY
    for event, name, flags in (
        ("import", str(tmp_path / "x"), write),
        ("open", str(tmp_path / "x"), read),
        ("open", str(tmp_path) + "x", write),
        ("open", 7, write),
        ("open", str(tmp_path / ".lock"), write),
        ("open", str(tmp_path / "checkpoints" / ".probe"), write),
    ):
        hook(event, (name, "w", flags))
        assert not path.exists(), (event, name)
    hook("open", (os.fsencode(tmp_path / "checkpoints" / "x"), "w", os.O_RDWR))
    assert record.read_config(tmp_path).a == 1
    path.unlink()
    hook("open", (str(tmp_path / "y"), "w", write))
    done()
    assert not path.exists()  # once is enough


def test_a_full_disk_is_tried_again_with_the_next_file(prepare, tmp_path, monkeypatch):
    prepare({"a": 1})
    (hook,) = prepare.hooks
    event = "open", (str(tmp_path / "x"), "w", os.O_WRONLY)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(record.files, "write_atomically", full)
        with pytest.raises(OSError, match="No space"):
            hook(*event)
    hook(*event)
    assert record.read_config(tmp_path).a == 1


def test_a_changed_config_is_an_error_that_lists_the_differences(prepare, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(record.logging, "warning", lambda text, *args: said.append(text % args))
    prepare({"a": 1, "b": "x", "gone": 0.5}, "/data")()
    before = (tmp_path / "config.json").read_bytes()
    again = {"a": 1, "b": "x", "gone": 0.5}
    prepare(again)()
    prepare(again, "/data")()
    assert (tmp_path / "config.json").read_bytes() == before  # nothing new to say
    with pytest.raises(UsageError) as caught:
        prepare({"a": 2, "b": "x", "new": True})
    prepare({**again, "later": None})()  # a key of a later version, left at its default
    changes = "a: 1 -> 2; gone: 0.5 -> absent; new: absent -> true"
    assert str(caught.value) == (
        f"{tmp_path} was started with another config ({changes}): choose another --workdir, or go "
        "on with --allow_config_change"
    )
    prepare({"a": 2, "b": "x", "new": True}, allow_change=True)()
    assert said == [f"config changed: {changes}"]
    assert files.read_record(tmp_path)["data_dir"] == "/data"  # remembered
    prepare({"a": 2, "b": "x", "new": True}, "/other")()
    assert files.read_record(tmp_path)["data_dir"] == "/other"
    assert len(said) == 1


def test_only_process_0_writes(prepare, tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(record.mesh_lib, "wait_for_all", waited.append)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    prepare({"a": 1})()
    assert (len(waited), prepare.hooks) == (1, [])
    assert not (tmp_path / "config.json").exists()


def test_a_commit_has_a_plus_where_files_differ(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert record._git_commit() is None

    def git(*args):
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", str(tmp_path), *who, *args], check=True, capture_output=True)

    git("init")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "first")
    commit = record._git_commit()
    assert len(commit) == 40
    (tmp_path / "a").write_text("2")
    assert record._git_commit() == commit + "+"


def test_packages_that_are_not_there_are_said_to_be_so(monkeypatch):
    monkeypatch.setattr(record, "_PACKAGES", ("numpy", "no-such-package"))
    found = record._versions()
    assert list(found) == ["python", "jaxlab", "numpy", "no-such-package"]
    assert found["no-such-package"] == "not installed"


def test_found_data_are_written_with_the_record(prepare, tmp_path, caplog):
    """Two lines at once; data.json waits for the record, and comes by itself where none waits."""
    found = Found("csv", "a.csv", {"train": {"examples": 3, "classes": {"né": 3}}})
    caplog.set_level("INFO")
    finish = prepare({"a": 1})
    launch.report_data(epath.Path(tmp_path), found)
    assert [r.getMessage() for r in caplog.records][-2:] == found.lines()
    assert not list(tmp_path.iterdir())
    finish()
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "data.json"}
    (tmp_path / "data.json").unlink()
    launch.report_data(epath.Path(tmp_path), found)
    assert json.loads((tmp_path / "data.json").read_text())["splits"]["train"]["examples"] == 3
