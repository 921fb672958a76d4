"""Fetching against a server on loopback that serves right, wrong, broken and slow bytes."""

import dataclasses
import gzip
import hashlib
import http.server
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import pytest

from jaxlab.data import fetch

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "fetch_data.py"
CONTENTS = {"images": bytes(range(256)) * 40, "labels": b"0123456789"}
SUMS = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()}


class Server:
    """Serves `files` by path; a value may be bytes, a status, or a function of the handler."""

    def __init__(self):
        self.files, self.asked = {}, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                answer = outer.files.get(self.path, 404)
                if callable(answer):
                    answer(self)
                elif isinstance(answer, int):
                    self.send_error(answer)
                else:
                    send(self, answer)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def send(handler, body, claim=None):
    handler.send_response(200)
    handler.send_header("Content-Length", str(claim or len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def server():
    server = Server()
    for folder in ("", "mirror/"):
        for name, content in CONTENTS.items():
            server.files[f"/{folder}{name}.gz"] = gzip.compress(content)
    yield server
    server.server.shutdown()
    server.server.server_close()


def run(recipe, folder, source="auto"):
    lines = []
    fetch.fetch_recipe("toy", recipe, folder, source=source, say=lines.append)
    return lines


def recipe(*addresses, package=None):
    return fetch.Recipe("toy", SUMS, addresses, package)


def left(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def assert_fetched(folder):
    assert left(folder) == ["images.gz", "labels.gz"]
    for name, content in CONTENTS.items():
        assert gzip.decompress((folder / "toy" / f"{name}.gz").read_bytes()) == content


def test_right_bytes_are_stored_once(server, tmp_path):
    run(recipe(server.address), tmp_path)
    assert_fetched(tmp_path)
    assert server.asked == ["/images.gz", "/labels.gz"]
    assert "already there" in run(recipe(server.address), tmp_path)[0]
    assert len(server.asked) == 2
    (tmp_path / "toy" / "labels.gz").write_bytes(b"damaged")
    run(recipe(server.address), tmp_path)
    assert_fetched(tmp_path)


def test_other_compression_of_the_same_content_is_right(server, tmp_path):
    server.files["/images.gz"] = gzip.compress(CONTENTS["images"], 1)
    server.files["/labels.gz"] = CONTENTS["labels"]  # not compressed at all
    run(recipe(server.address), tmp_path)
    assert_fetched(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [gzip.compress(b"other bytes"), b"<html>log in</html>", gzip.compress(b"x" * 999)[:20]],
    ids=["other", "html", "truncated"],
)
def test_a_wrong_sum_is_an_error_that_keeps_nothing(server, tmp_path, wrong):
    server.files["/labels.gz"] = wrong
    with pytest.raises(fetch.FetchError, match=r"labels from .* has SHA-256 .*, needs 84d8"):
        run(recipe(server.address, server.address + "mirror/"), tmp_path)
    assert left(tmp_path) == []


def test_unreachable_addresses_lead_to_the_next(server, tmp_path):
    server.files["/images.gz"] = 503
    lines = run(recipe("http://127.0.0.1:9/", server.address, server.address + "mirror/"), tmp_path)
    assert_fetched(tmp_path)
    assert "cannot be reached (ConnectionError)" in lines[1]
    assert "503" in lines[3]


def test_a_download_that_breaks_off_is_tried_again(server, tmp_path):
    content = gzip.compress(CONTENTS["images"])
    broken = [True]

    def once(handler):
        send(handler, content[:30] if broken else content, len(content))
        broken.clear()

    server.files["/images.gz"] = once
    run(recipe(server.address), tmp_path)
    assert_fetched(tmp_path)
    assert server.asked == ["/images.gz", "/images.gz", "/labels.gz"]


def test_a_download_that_always_breaks_off_keeps_nothing(server, tmp_path):
    server.files["/labels.gz"] = lambda handler: send(handler, b"begin", 5000)
    with pytest.raises(fetch.FetchError, match=r"no source could be reached: .*broke off twice"):
        run(recipe(server.address), tmp_path)
    assert left(tmp_path) == []


def test_killed_while_downloading_then_started_again(server, tmp_path):
    reached = threading.Event()

    def slow(handler):
        send(handler, b"\x1f\x8b" + bytes(100), 5000)
        reached.set()
        time.sleep(3)

    good, server.files["/labels.gz"] = server.files["/labels.gz"], slow
    code = (
        "from pathlib import Path; from jaxlab.data import fetch;"
        f"fetch.fetch_recipe('toy', fetch.Recipe('toy', {SUMS}, ('{server.address}',)),"
        f"Path('{tmp_path}/data'), source='auto', say=print)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    child = subprocess.Popen([sys.executable, "-c", code], env=environment)
    assert reached.wait(60)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert left(tmp_path / "data") == []
    server.files["/labels.gz"] = good
    run(recipe(server.address), tmp_path / "data")
    assert_fetched(tmp_path / "data")


def test_failure_while_storing_leaves_no_part(server, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *args: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        run(recipe(server.address), tmp_path)
    assert left(tmp_path) == []
    old = tmp_path / "toy" / ".images.abc.part"
    old.write_bytes(b"of a killed run")
    os.utime(old, (0, 0))
    monkeypatch.undo()
    run(recipe(server.address), tmp_path)
    assert_fetched(tmp_path)


def archive(kind, contents):
    """The bytes of a package as npm, Debian and Python pack them, files below data/."""
    buffer = io.BytesIO()
    if kind == "whl":
        with zipfile.ZipFile(buffer, "w") as wheel:
            for name, content in contents.items():
                wheel.writestr(f"data/{name}", content)
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode="w:xz" if kind == "deb" else "w:gz") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"data/{name}.gz")
            member.size = len(content := gzip.compress(content))
            tar.addfile(member, io.BytesIO(content))
    if kind == "tgz":
        return buffer.getvalue()
    deb = b"!<arch>\n"
    for name, content in (
        ("debian-binary", b"2.0\n"),
        ("c.tar", b"odd"),
        ("data.tar.xz", buffer.getvalue()),
    ):
        deb += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        deb += content + b"\n" * (len(content) % 2)
    return deb


def client(path, kind):
    """A command that does what the clients do: put the package into the temporary folder."""
    code = f"import shutil; shutil.copy(r'{path}', r'{{tmp}}/toy-1.0.{kind}')"
    return fetch.Package(((sys.executable, "-c", code),), f"toy-*.{kind}", "data/")


@pytest.mark.parametrize("kind", ["tgz", "deb", "whl"])
def test_packages_where_addresses_cannot_be_reached(tmp_path, kind):
    (tmp_path / "package").write_bytes(archive(kind, CONTENTS))
    data = tmp_path / "data"
    run(recipe("http://127.0.0.1:9/", package=client(tmp_path / "package", kind)), data)
    assert_fetched(data)


@pytest.mark.parametrize("kind", ["tgz", "deb", "whl"])
def test_wrong_and_damaged_packages_keep_nothing(tmp_path, kind):
    package, data = tmp_path / "package", tmp_path / "data"
    package.write_bytes(archive(kind, {**CONTENTS, "labels": b"tampered"}))
    with pytest.raises(fetch.FetchError, match=r"labels from .* has SHA-256"):
        run(recipe(package=client(package, kind)), data)
    package.write_bytes(archive(kind, {"images": CONTENTS["images"]}))
    with pytest.raises(fetch.FetchError, match="holds no data/labels"):
        run(recipe(package=client(package, kind)), data)
    package.write_bytes(archive(kind, CONTENTS)[:-150])
    with pytest.raises(fetch.FetchError, match="no source could be reached"):
        run(recipe(package=client(package, kind)), data)
    assert left(data) == []


def test_one_archive_that_holds_all_files(server, tmp_path):
    """Its sum is checked, then that of each file that has one; others come along unchecked."""
    packed = archive("tgz", {**CONTENTS, "names": b"a b"})
    server.files["/set.tar.gz"] = packed
    whole = fetch.Recipe(
        "data",
        {**SUMS, "names": None},
        archive=server.address + "set.tar.gz",
        archive_sum=hashlib.sha256(packed).hexdigest(),
        gzipped=False,
    )
    run(whole, tmp_path)
    for name, content in {**CONTENTS, "names": b"a b"}.items():
        assert (tmp_path / "data" / name).read_bytes() == content
    run(whole, tmp_path)
    assert server.asked == ["/set.tar.gz"]
    for wrong, message in (
        ({"archive_sum": "0" * 64}, r"set\.tar\.gz has SHA-256 .*, needs 0000"),
        ({"files": {**SUMS, "labels": "0" * 64}}, "labels from .* has SHA-256"),
        ({"files": {**SUMS, "more": None}}, "holds no data/more"),
    ):
        with pytest.raises(fetch.FetchError, match=message):
            run(dataclasses.replace(whole, **wrong), tmp_path / "none")
        assert not (tmp_path / "none").exists()


def test_clients_that_are_missing_or_fail(tmp_path):
    get = lambda *command: run(recipe(package=fetch.Package((command,), "*.tgz", "")), tmp_path)
    with pytest.raises(fetch.FetchError, match="no-such-client is not installed"):
        get("no-such-client")
    with pytest.raises(fetch.FetchError, match=r"failed \(no network\)"):
        get(sys.executable, "-c", "import sys; sys.exit('no network')")
    with pytest.raises(fetch.FetchError, match=r"left no \*.tgz"):
        get(sys.executable, "-c", "")


def test_source_chooses(server, tmp_path):
    (tmp_path / "package").write_bytes(archive("tgz", CONTENTS))
    both = recipe(server.address, package=client(tmp_path / "package", "tgz"))
    run(both, tmp_path / "a", source="packages")
    assert server.asked == []
    run(both, tmp_path / "b", source="public")
    assert len(server.asked) == 2
    with pytest.raises(fetch.FetchError, match="no source could be reached"):
        run(recipe("http://127.0.0.1:9/", package=both.package), tmp_path / "c", source="public")
    with pytest.raises(fetch.FetchError, match=r"^toy has no public source: leave out --source$"):
        run(recipe(package=both.package), tmp_path / "c", source="public")


def test_names_and_folders_that_do_not_work(tmp_path):
    with pytest.raises(fetch.FetchError, match="data set is 'cifar', needs to be one of mnist"):
        fetch.fetch("cifar", tmp_path)
    with pytest.raises(
        fetch.FetchError, match=r"no public address .* provide cifar10_train_jpeg\.npz"
    ):
        fetch.fetch("cifar10_jpeg", tmp_path)
    (tmp_path / "file").write_text("in the way")
    errors = fetch.fetch_all(["cifar", "cifar10_jpeg"], tmp_path)
    assert len(errors) == 2


def test_script_help_and_errors(tmp_path):
    call = lambda *args: subprocess.run(
        [sys.executable, str(SCRIPT), *args], capture_output=True, text=True
    )
    shown = call("--help").stdout
    assert "python scripts/fetch_data.py mnist fashion_mnist" in shown
    assert "--data_dir" in shown
    done = call()
    assert done.returncode == 2
    assert done.stderr.startswith("error: name at least one data set: mnist, fashion_mnist, ")
    assert done.stderr.count("\n") == 1
    done = call("mnist4", f"--data_dir={tmp_path}")
    assert done.returncode == 2
    assert done.stderr.startswith("error: data set is 'mnist4', needs to be one of")
    assert done.stderr.count("\n") == 1
