"""Files written whole, JSON that is not, and folders that one process holds."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from processes import ROOT

from jaxlab import files
from jaxlab.errors import InputError


@pytest.mark.parametrize("old", ["before", None])
def test_an_interrupted_write_leaves_what_was_there(tmp_path, old):
    path = tmp_path / "a.txt"
    if old is not None:
        path.write_text(old)
    writing = contextlib.ExitStack()
    part = writing.enter_context(files.replacing(path))
    with open(part, "w") as file:
        file.write("half")
    assert os.path.dirname(part) == str(tmp_path)  # a rename works within a disk only
    with pytest.raises(KeyboardInterrupt), writing:
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ([] if old is None else ["a.txt"])
    if old is not None:
        assert path.read_text() == old


def test_links_devices_and_long_names(tmp_path):
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    files.write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"
    files.write_atomically("/dev/null", "x")
    assert not os.path.isfile("/dev/null")
    longest = tmp_path / ("n" * 255)
    files.write_atomically(longest, "whole")
    assert longest.read_text() == "whole"


def test_a_full_disk_is_named():
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        files.write_atomically("/dev/full", "x")


def test_parts_of_killed_processes_are_swept_when_they_are_old(tmp_path):
    for name in (".a.part", ".b.part", "c.part"):
        (tmp_path / name).write_text("x")
    for name in (".a.part", "c.part"):
        os.utime(tmp_path / name, (0, 0))
    files.lock(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".b.part", ".lock", "c.part"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b'{"a": 1', "is not JSON"),
        (b"\xff\xfe{", "is not UTF-8"),
        (b"[" * 100_000, "is nested too deeply"),
        (b"1" * 10_000, "holds a whole number of too many digits"),
    ],
)
def test_json_that_cannot_be_read_is_named(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"a.json {message}"):
        files.read_json(path)


def test_every_file_is_written_through_one_function():
    """But rows that are appended, and what is made to be copied into a part."""
    in_place = re.compile(
        r"""\.write_(text|bytes)\(|\bopen\([^)\n]*["'][wx]b?["']|np\.savez?\(|save_file\("""
    )
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in ("jaxlab", "scripts")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in path.read_text().splitlines()
        if in_place.search(line) and ">>>" not in line and "..." not in line
    ]
    allowed = ("open(part,", "probe.write_text", "epath.Path(path).write_bytes(")
    allowed += ("archive.open(", "np.savez(file,")  # files that are open: parts
    assert [line for line in found if not any(text in line for text in allowed)] == []


HOLD = "import sys; from jaxlab.files import lock; h = lock(sys.argv[1]); print('held', flush=True)"


def hold(folder, then="; sys.stdin.read()"):
    """A process that holds the folder until it is killed or its input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD + then, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_is_held_by_one_process_and_dies_with_it(tmp_path):
    process = hold(tmp_path)
    try:
        with pytest.raises(ValueError, match=rf"in use by process {process.pid} on "):
            files.lock(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        held = files.lock(tmp_path)
        assert files.lock(tmp_path) is held
        held.close()
        assert files.lock(tmp_path) is not held
    finally:
        process.kill()
        process.communicate()


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    fork = "; import os, time; os.fork() or time.sleep(30); sys.stdin.read()"
    process = hold(tmp_path, fork)
    process.kill()
    process.wait()
    for _ in range(200):  # the child may still be starting
        try:
            files.lock(tmp_path).close()
            break
        except InputError:
            time.sleep(0.05)
    else:
        pytest.fail("the child keeps the lock")
    process.stdin.close()


def test_folders_that_cannot_be_locked(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    warned = []
    monkeypatch.setattr(files.logging, "warning", lambda text, *args: warned.append(text % args))
    assert files.lock(tmp_path) is None
    assert files.lock("gs://bucket/run") is None
    assert [text.rpartition(": ")[2] for text in warned] == ["start no second run in it"] * 2


def test_json_is_valid_whatever_the_numbers():
    value = {"a": [np.float32(1.5), float("inf")], "b": np.array([[1.0, np.nan]]), "c": (1, None)}
    text = files.to_json(value)
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name)) == {
        "a": [1.5, None],
        "b": [[1.0, None]],
        "c": [1, None],
    }


def test_an_output_is_looked_at_before_the_work(tmp_path):
    files.check_output(tmp_path / "a.png")
    files.check_output("a.png")
    files.check_output("gs://bucket/folder/a.png")
    (tmp_path / "file").write_text("")
    files.check_output(tmp_path / "file")
    for path, rule in (
        (tmp_path, "it is a folder"),
        (tmp_path / "missing" / "a.png", "there is no folder"),
        (tmp_path / "file" / "a.png", "there is no folder"),
    ):
        with pytest.raises(InputError, match=rule):
            files.check_output(path)


def test_folders_for_output_are_made_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.output_folder("~/a/b") == files.output_folder(tmp_path / "a" / "b")
    assert not list((tmp_path / "a" / "b").iterdir())
    assert files.check_output("~/a/c.png") == files.check_output(tmp_path / "a" / "c.png")
    (tmp_path / "file").write_text("")
    for name in ("file", "file/b"):
        with pytest.raises(InputError, match=r"file.* cannot be written to: .*must be a folder"):
            files.output_folder(tmp_path / name)


def test_every_script_looks_at_its_output_before_the_work():
    """What --out names goes through one of these functions, as the first thing done with it."""
    for path in sorted((ROOT / "scripts").glob("*.py")):
        text = path.read_text()
        for name in re.findall(r'(\w+) = flags.DEFINE_string\("out"', text):
            used = re.findall(rf"(\S*?)\b{name}\.value", text)
            checked = [
                u for u in used if u.endswith(("check_output(", "output_folder(", "check_table("))
            ]
            assert checked, path
            assert len(used) - len(checked) <= 2, path  # whether it is given


def test_json_may_have_a_mark():
    assert files.parse_json(b"\xef\xbb\xbf[1]", "a.json") == [1]


def test_a_part_is_old_after_an_hour(tmp_path, monkeypatch):
    (tmp_path / ".a.part").write_text("x")
    written = (tmp_path / ".a.part").stat().st_mtime
    for age, there in ((3600, True), (3600.5, False)):
        monkeypatch.setattr(files.time, "time", lambda age=age: written + age)
        files.sweep(tmp_path)
        assert (tmp_path / ".a.part").exists() == there
    files.sweep(tmp_path / "missing")


def test_lines_are_added_whole(tmp_path):
    path = tmp_path / "a.jsonl"
    for line in ("1", "é"):
        files.append_line(path, line)
    assert path.read_bytes() == "1\né\n".encode()
    path.write_bytes(b"torn")
    files.append_line(path, "2")
    assert path.read_bytes() == b"torn\n2\n"


def test_a_folder_is_no_file_that_can_be_replaced(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError):
        files.write_atomically(tmp_path / "a", "x")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_the_lock_says_who_holds_it(tmp_path):
    held = files.lock(tmp_path)
    assert held.alive
    text = (tmp_path / ".lock").read_text()
    assert text == f"process {os.getpid()} on {files.socket.gethostname()}\n"
    assert files.lock(str(tmp_path) + "/.") is held  # by any of its names
    held.close()
    assert not held.alive


def test_records_of_runs(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run was started in"):
        files.read_record(tmp_path)
    (tmp_path / "config.json").write_text('{"config": {"a": 1}, "task": "images"}')
    assert files.read_record(tmp_path) == {"config": {"a": 1}, "task": "images"}
    for text, why in (
        ("[]", 'an object with "config"'),
        ('{"config": 3}', "an object"),
        ("{", "JSON"),
    ):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match=f"config.json is not a config record: it .*{why}"):
            files.read_record(tmp_path)
