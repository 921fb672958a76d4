"""Files that outlive their process: written whole, read with a line of ours, folders locked."""

import contextlib
import json
import math
import os
import pathlib
import socket
import stat
import tempfile
import time
import uuid
import weakref
from collections.abc import Iterator
from typing import Any

from absl import logging
from etils import epath

from jaxlab.errors import InputError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

__all__ = [
    "Lock",
    "append_line",
    "check_output",
    "lock",
    "output_folder",
    "parse_json",
    "read_json",
    "read_record",
    "replacing",
    "sweep",
    "to_json",
    "write_atomically",
]

LOCK_FILE = ".lock"
RECORD_FILE = "config.json"  # what a run was started with
_STALE_SECONDS = 3600  # no file takes longer to write: its process was killed


def write_atomically(path: epath.PathLike, content: str | bytes) -> None:
    """Writes `content` next to `path`, flushes it to the disk, and renames it.

    Args:
      path: a file on a disk or in a bucket (gs://...), where a write is whole by itself. Devices
        and pipes (/dev/stdout) are written to as they are.
      content: text, written as UTF-8, or bytes.

    Raises:
      OSError: the file cannot be written; what was there before is unchanged.

    Example:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.json"
      >>> write_atomically(path, "{}")
      >>> path.read_text(), len(list(path.parent.iterdir()))
      ('{}', 1)
    """
    data = content.encode() if isinstance(content, str) else content
    if _in_bucket(path):
        epath.Path(path).write_bytes(data)
        return
    with replacing(path) as part, _naming(path), open(part, "wb") as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: epath.PathLike) -> Iterator[str]:
    """Gives a path to write to, for libraries that write files; it becomes `path` at the end.

    Args:
      path: as for `write_atomically`.

    Yields:
      A path on this machine, where nothing is yet. If the block raises, it is deleted.

    Raises:
      OSError: the file cannot be written; what was there before is unchanged.

    Example:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
      >>> with replacing(path) as part:
      ...     _ = pathlib.Path(part).write_text("whole")
      >>> path.read_text(), len(list(path.parent.iterdir()))
      ('whole', 1)
    """
    if _in_bucket(path):
        with tempfile.TemporaryDirectory() as folder:
            part = os.path.join(folder, os.path.basename(os.fspath(path)))
            yield part
            epath.Path(path).write_bytes(pathlib.Path(part).read_bytes())
        return
    name = os.path.realpath(os.fspath(path))  # a link stays a link
    if os.path.exists(name) and not stat.S_ISREG(os.stat(name).st_mode):
        yield name  # a device cannot be replaced, and a folder raises where it is opened
        return
    # A name of its own for every write: two processes must not write into one part.
    part = os.path.join(os.path.dirname(name), f".{uuid.uuid4().hex[:12]}.part")
    try:
        yield part
        with _naming(path):
            handle = os.open(part, os.O_RDWR)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            os.replace(part, name)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def append_line(path: epath.PathLike, line: str) -> None:
    r"""Adds a line to a file; one whose last newline is missing gets it first.

    Args:
      path: a file on a disk or in a bucket, made if missing.
      line: without a newline.

    Raises:
      OSError: the file cannot be written.

    Example:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.jsonl"
      >>> _ = path.write_text("1")
      >>> append_line(path, "2")
      >>> path.read_text()
      '1\n2\n'
    """
    if _in_bucket(path):  # object stores know no append
        path = epath.Path(path)
        text = path.read_text() if path.exists() else ""
        write_atomically(
            path, text + ("" if text.endswith("\n") or not text else "\n") + line + "\n"
        )
        return
    with _naming(path), open(path, "ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read() == b"\n" else "\n" + line
        file.write(line.encode() + b"\n")


def check_output(path: epath.PathLike) -> epath.Path:
    """The path of a file that can be written, `~` replaced: before the work, not after it.

    Raises:
      ValueError: its folder is missing or cannot be written to, or it is a folder itself.

    Example:
      >>> check_output("missing/a.png")
      Traceback (most recent call last):
      jaxlab.errors.ValueError: missing/a.png cannot be written: there is no folder missing
    """
    path = epath.Path(path)
    if _in_bucket(path):
        return path
    path = path.expanduser()
    if path.is_dir():
        raise InputError(f"{path} cannot be written: it is a folder, must be a file")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"{path} cannot be written: no permission")
    return path


def output_folder(path: epath.PathLike) -> epath.Path:
    """The path of a folder that can be written to, `~` replaced; made if missing.

    Raises:
      ValueError: it cannot be made or written to.

    Example:
      >>> output_folder("/dev/null")
      Traceback (most recent call last):
      jaxlab.errors.ValueError: /dev/null cannot be written to: File exists, must be a folder
    """
    path = epath.Path(path)
    path = path if _in_bucket(path) else path.expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) if not _in_bucket(path) else contextlib.nullcontext():
            pass
    except OSError as error:
        raise InputError(
            f"{os.fspath(path)} cannot be written to: {error.strerror}, must be a folder"
        ) from error
    return path


def to_json(value: Any, **kwargs: Any) -> str:
    """`json.dumps` of values that JSON may not hold: what is not finite becomes null.

    Args:
      value: dicts, lists, texts and numbers, also NumPy's.
      **kwargs: of `json.dumps`.

    Example:
      >>> to_json({"mean": float("nan"), "sizes": (1, 2.5)})
      '{"mean": null, "sizes": [1, 2.5]}'
    """
    return json.dumps(_plain(value), allow_nan=False, **kwargs)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(x) for key, x in value.items()}
    if hasattr(value, "tolist"):  # of NumPy and JAX
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sweep(folder: epath.PathLike) -> None:
    """Deletes the parts that processes killed while writing have left, an hour old or more."""
    with contextlib.suppress(OSError):
        for part in pathlib.Path(folder).glob(".*.part"):
            if time.time() - part.stat().st_mtime > _STALE_SECONDS:
                part.unlink(missing_ok=True)


def read_json(path: epath.PathLike) -> Any:
    """Reads a JSON file.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is not UTF-8, not JSON, or nested too deeply; the message names the file.

    Example:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.json"
      >>> _ = path.write_text('{"steps": 3}')
      >>> read_json(path)
      {'steps': 3}
    """
    return parse_json(epath.Path(path).read_bytes(), os.fspath(path))


def read_record(workdir: epath.PathLike) -> dict[str, Any]:
    """The record of the run in `workdir`: {"config": {...}, "data_dir": ..., "task": ..., ...}.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it cannot be read.
    """
    path = epath.Path(workdir) / RECORD_FILE
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: no run was started in {workdir}")
    try:
        record = parse_json(path.read_bytes(), "it")
        if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
            raise InputError('it must be an object with "config"')
    except InputError as error:
        raise InputError(f"{path} is not a config record: {error}") from error
    return record


def parse_json(text: str | bytes, name: str) -> Any:
    """Reads JSON text that is called `name` in the message of the `ValueError`.

    Example:
      >>> parse_json(b"[1, 2]", "a.json")
      [1, 2]
      >>> parse_json(b"nan.", "a.json")
      Traceback (most recent call last):
      jaxlab.errors.ValueError: a.json is not JSON: Expecting value: line 1 column 1 (char 0)
    """
    try:
        return json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text") from error
    except RecursionError as error:
        raise InputError(f"{name} is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{name} is not JSON: {error}") from error
    except ValueError as error:  # Python's limit on digits, with advice that is not for users
        raise InputError(f"{name} holds a whole number of too many digits") from error


class Lock:
    """A folder held by this process, until `close`, the last reference, or the process ends."""

    def __init__(self, handle: int):
        self._finalizer = weakref.finalize(self, os.close, handle)

    @property
    def alive(self) -> bool:
        """Whether it has not been closed."""
        return self._finalizer.alive

    def close(self) -> None:
        """Lets others have the folder."""
        self._finalizer()


_held: weakref.WeakValueDictionary[str, Lock] = weakref.WeakValueDictionary()


def lock(folder: epath.PathLike) -> Lock | None:
    """Holds a folder against other processes, on this machine and on others that share the disk.

    The system drops the lock when the process ends, however it ends: nothing stale remains, and
    the file `.lock` that stays behind means nothing. A process that asks again has it already.

    Args:
      folder: an existing folder.

    Returns:
      The lock, to be kept as long as the folder is used; None, with a warning, in buckets and on
      file systems without locks, where users must see to it themselves.

    Raises:
      ValueError: another process holds it.
      OSError: the folder cannot be written to.

    Example:
      >>> import tempfile
      >>> folder = tempfile.mkdtemp()
      >>> held = lock(folder)
      >>> lock(folder) is held
      True
    """
    name = os.fspath(folder)
    path = os.path.join(os.path.realpath(name), LOCK_FILE)
    held = _held.get(path)
    if held is not None and held.alive:
        return held
    if fcntl is None or _in_bucket(name):
        logging.warning("%s cannot be locked: start no second run in it", name)
        return None
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        # Not lockf, whose lock ends when anything in this process closes the file.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.read(handle, 200).decode(errors="replace").strip() or "another process"
        os.close(handle)
        if isinstance(error, BlockingIOError | PermissionError):
            raise InputError(
                f"{name} is in use by {owner}: wait until it has ended, or choose another folder"
            ) from error
        logging.warning("%s cannot be locked (%s): start no second run in it", name, error.strerror)
        return None
    with contextlib.suppress(OSError):  # a full disk: the lock holds without the name
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    held = _held[path] = Lock(handle)
    sweep(folder)
    return held


def _forget_locks() -> None:
    for held in list(_held.values()):
        held.close()


if hasattr(os, "register_at_fork"):
    # A fork shares the lock, and would keep it alive when this process is killed.
    os.register_at_fork(after_in_child=_forget_locks)


@contextlib.contextmanager
def _naming(path: epath.PathLike) -> Iterator[None]:
    """Gives errors of a full disk the file's name, which the system leaves out."""
    try:
        yield
    except OSError as error:
        unnamed = error.filename is None or str(error.filename).endswith(".part")
        if unnamed and error.errno is not None:  # without a number its text is all there is
            error.filename = os.fspath(path)
        raise


def _in_bucket(path: epath.PathLike) -> bool:
    return "://" in os.fspath(path)
