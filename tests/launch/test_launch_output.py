"""`jaxlab.launch.output`: standard output that goes away, in this process, on a pipe."""

import contextlib
import io
import os
import sys

import pytest

from jaxlab.launch import output


@pytest.fixture
def pipe(monkeypatch):
    """A standard output that is a pipe: its reading end, and how its encoding is chosen."""
    read, write = os.pipe()

    def to_pipe(**options):
        options = {"encoding": "utf-8"} | options
        old = io.TextIOWrapper(os.fdopen(write, "wb", buffering=0), **options)
        monkeypatch.setattr(sys, "stdout", old)
        return old

    to_pipe.read = read
    yield to_pipe
    monkeypatch.undo()
    with contextlib.suppress(OSError):
        os.close(read)


def test_what_is_printed_arrives_and_the_old_output_comes_back(pipe):
    old = pipe(encoding="ascii", errors="strict")
    with output.watched():
        print("±1")
        assert sys.stdout.encoding == "ascii"
        assert not sys.stdout.line_buffering
    assert sys.stdout is old
    assert not old.closed
    assert os.read(pipe.read, 99) == b"\\xb11\n"


@pytest.mark.parametrize("name", ["line_buffering", "write_through"])
def test_a_terminal_gets_every_line_at_once(pipe, name):
    pipe(**{name: True})
    with output.watched():
        print("a")
        assert os.read(pipe.read, 99) == b"a\n"
        assert getattr(sys.stdout, name)


def test_a_reader_that_goes_away_is_one_error_and_then_silence(pipe, monkeypatch):
    said = []
    monkeypatch.setattr(output.signals, "say", said.append)
    old = pipe()
    os.close(pipe.read)
    with pytest.raises(output.OutputGoneError), output.watched():
        print("a", flush=True)
    assert sys.stdout is old
    with output.watched():
        with pytest.raises(output.OutputGoneError):
            print("a", flush=True)
        print("b" * 99, flush=True)  # nobody is there to be told again
        assert sys.stdout.buffer.raw.write(b"four") == 4
    assert said == []


def test_other_faults_are_said_once(monkeypatch):
    said = []
    monkeypatch.setattr(output.signals, "say", said.append)
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(output.OutputGoneError) as caught, output.watched():
            print("a")
        monkeypatch.undo()
    assert caught.value.errno == 28
    assert said == ["warning: standard output is lost: No space left on device"]


def test_what_is_no_file_stays_as_it_is(monkeypatch):
    text = io.StringIO()
    monkeypatch.setattr(sys, "stdout", text)
    with output.watched():
        print("a")
        assert sys.stdout is text
    assert text.getvalue() == "a\n"
