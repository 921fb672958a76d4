"""`jaxlab.checkpoints.orbax_faults`: names, sums of files, what a full disk says, and pages not
printed."""

import logging as std_logging
import sys
import types
import zlib

import pytest
from absl import logging
from etils import epath

from jaxlab.checkpoints import orbax_faults
from jaxlab.errors import InputError


@pytest.mark.parametrize(
    "name", ["plain", "a b", "ö", "{a,b}", "a?", "run[1]", "a**", "a\\b", "\udce9"]
)
def test_folders_whose_names_are_patterns_are_refused(tmp_path, name):
    folder = epath.Path(tmp_path / name)
    folder.mkdir()
    if name in ("run[1]", "a**", "a\\b", "\udce9"):
        with pytest.raises(InputError, match="cannot hold checkpoints"):
            orbax_faults.check_name(folder)
    else:
        orbax_faults.check_name(folder)
    assert list(folder.iterdir()) == []


def chain(error, cause=None, context=None):
    error.__cause__, error.__context__ = cause, context
    return error


FULL = OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FULL, "No space left on device"),
        (OSError("quota"), "quota"),
        (ValueError("a: b: Failed to write: No space [OS error 28: ENOSPC]"), "No space"),
        (ValueError("x: Disk quota exceeded [os_error_code=122]"), "Disk quota exceeded"),
        (ValueError("anything else [1, 2]"), None),
        (chain(ValueError("a"), cause=chain(TypeError("b"), context=FULL)), FULL.strerror),
        (ExceptionGroup("several", [ValueError("a"), FULL]), FULL.strerror),
        (chain(ValueError("a"), context=ValueError("b")), None),
    ],
)
def test_the_systems_word_is_found_wherever_it_is(error, said):
    assert orbax_faults.fault_of_the_disk(error) == said


def test_an_error_that_is_its_own_cause_ends():
    one, two = ValueError("a"), ValueError("b")
    one.__cause__, two.__cause__ = two, one
    assert orbax_faults.fault_of_the_disk(one) is None


def test_sums_are_of_every_file_but_their_own(tmp_path):
    (tmp_path / "d" / "e").mkdir(parents=True)
    files = {"b": b"bytes", "d/e/a": b"", "d/c": bytes(range(256)) * 5}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    folder = epath.Path(tmp_path)
    assert not orbax_faults.is_changed(folder)  # nothing to compare with
    orbax_faults.write_sums(folder)
    lines = [f'"{name}": {zlib.crc32(files[name])}' for name in sorted(files)]
    assert (tmp_path / "sums.json").read_text() == "{\n" + ",\n".join(lines) + "\n}\n"
    assert not orbax_faults.is_changed(folder)
    for change in (
        lambda: (tmp_path / "b").write_bytes(b"bytez"),
        lambda: (tmp_path / "b").unlink(),
        lambda: (tmp_path / "new").write_bytes(b""),
        lambda: (tmp_path / "sums.json").write_text("{"),
    ):
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        orbax_faults.write_sums(folder)
        change()
        assert orbax_faults.is_changed(folder)
        (tmp_path / "new").unlink(missing_ok=True)


def test_files_larger_than_a_part_are_summed_in_parts(tmp_path):
    content = b"abc" * 2**23
    (tmp_path / "large").write_bytes(content)
    assert orbax_faults._sums(epath.Path(tmp_path)) == {"large": zlib.crc32(content)}


def test_a_bucket_keeps_its_own_sums(monkeypatch):
    monkeypatch.setattr(orbax_faults, "_sums", lambda folder: pytest.fail("reads the bucket"))
    folder = types.SimpleNamespace(__fspath__=lambda: "gs://a/b")
    monkeypatch.setattr(orbax_faults.os, "fspath", lambda folder: "gs://a/b")
    orbax_faults.write_sums(folder)
    assert not orbax_faults.is_changed(folder)


def test_what_orbax_says_of_broken_files_is_dropped_and_nothing_else(monkeypatch, caplog):
    heard = {"except": [], "unraisable": []}
    monkeypatch.setattr(sys, "excepthook", lambda *args: heard["except"].append(args))
    monkeypatch.setattr(sys, "unraisablehook", heard["unraisable"].append)
    hooks = sys.excepthook, sys.unraisablehook
    monkeypatch.setattr(orbax_faults.time, "sleep", lambda seconds: None)
    logger = logging.get_absl_logger()
    monkeypatch.setattr(logger, "propagate", True)

    def say(path):
        logger.handle(std_logging.LogRecord("absl", 40, path, 1, f"of {path}", None, None))

    def coroutine():
        async def wait():
            pass

        return wait()

    closed, other = RuntimeError("Event loop is closed"), RuntimeError("another")
    left = coroutine()
    unraisable = [
        types.SimpleNamespace(object=left, exc_value=other),
        types.SimpleNamespace(object=None, exc_value=closed),
        types.SimpleNamespace(object=None, exc_value=other),
    ]

    def read():
        say("/env/orbax/x.py")
        say("/env/jaxlab/x.py")
        sys.excepthook(RuntimeError, closed, None)
        sys.excepthook(RuntimeError, other, None)
        for found in unraisable:
            sys.unraisablehook(found)
        raise KeyError("bad")

    with pytest.raises(KeyError), orbax_faults.quiet():
        read()
    left.close()
    say("/env/orbax/y.py")
    assert set(caplog.messages) == {"of /env/jaxlab/x.py", "of /env/orbax/y.py"}
    assert heard == {"except": [(RuntimeError, other, None)], "unraisable": unraisable[2:]}
    assert (sys.excepthook, sys.unraisablehook) == hooks
