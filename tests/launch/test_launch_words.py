"""`jaxlab.launch.log`, `jaxlab.launch.failures`, `jaxlab.launch.help`: what a user reads."""

import errno
import logging
import re

import pytest

from jaxlab.errors import InputError
from jaxlab.launch import config as configs
from jaxlab.launch import failures, log
from jaxlab.launch import help as help_lib


def said(level, name="absl", path=log.__file__):
    return logging.LogRecord(name, level, path, 1, "step %d", (7,), None)


def test_this_projects_words_and_warnings_are_shown():
    assert log.worth_showing(said(logging.INFO))
    assert not log.worth_showing(said(logging.INFO, path="/elsewhere/library.py"))
    assert log.worth_showing(said(logging.WARNING, path="/elsewhere/library.py"))
    assert not log.worth_showing(said(logging.ERROR, name="asyncio"))


@pytest.mark.parametrize(
    ("level", "mark"),
    [(logging.INFO, ""), (logging.WARNING, "warning: "), (logging.ERROR, "error: ")],
)
def test_a_line_has_the_time_and_a_mark(level, mark):
    text = log.LineFormatter().format(said(level))
    assert re.fullmatch(rf"\d\d:\d\d:\d\d {mark}step 7", text)


FULL = "is full: make room, and the same command goes on"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InputError("seed is 0.5"), "seed is 0.5"),
        (InputError("x: No space left on device"), "x: No space left on device"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/runs/a"),
            f"the disk of /runs/a {FULL}",
        ),
        (RuntimeError("write: Disk quota exceeded"), f"the disk {FULL}"),
        (MemoryError(), "out of memory (MemoryError): take a smaller batch_size or model"),
        (
            RuntimeError("RESOURCE_EXHAUSTED: 8 GB\nin pages"),
            "out of memory (RESOURCE_EXHAUSTED: 8 GB): take a smaller batch_size or model",
        ),
        (FileNotFoundError("no run"), "no run"),
    ],
)
def test_errors_of_users_and_of_the_machine_are_a_line(error, message):
    assert failures.is_users(error)
    assert failures.message(error) == message


@pytest.mark.parametrize(
    "error", [ValueError("shape"), RuntimeError("INTERNAL"), KeyError("RESOURCE_EXHAUSTED")]
)
def test_other_errors_are_not_the_users(error):
    assert not failures.is_users(error)


def test_help_shows_every_key_with_its_value_and_type():
    path = "configs/theseus/study.py:headlines-tiny"
    sections = {"data": {"name": str, "limit": int, "split": str}}
    lines = help_lib.help_text(help_lib.help_text, path, sections, ["script.py"]).splitlines()
    assert lines[0] == help_lib.__doc__.strip()
    assert lines[1] == ""
    assert "Common flags:" in lines
    (flag,) = (line for line in lines if line.startswith("  --config "))
    assert flag == f"  --{'config':22}Config file, with presets after a colon."
    assert f"Config keys, with the values of {path}:" in lines
    config = configs.load(path)
    (line,) = (line for line in lines if line.startswith("  --config.batch_size="))
    assert line == f"{f'  --config.batch_size={config.batch_size}':48}  {words(int)}"
    assert "  also of data: limit, split" in lines
    (named,) = (line for line in lines if line.startswith("  --config.data.name="))
    assert named.endswith(f"  {words(str)}")
    other = help_lib.help_text(help_lib.help_text, None, {}, ["script.py"])
    assert "--config." not in other


def words(kind):
    return configs.in_words(kind)
