"""Readers of text on damaged files: they give data or our own line, and nothing else."""

import gzip
import json

import numpy as np
import pytest

from jaxlab.data import corpus, text
from jaxlab.data.formats.plain_text import read_text
from jaxlab.data.questions import squad as qa
from jaxlab.errors import UserError
from jaxlab.tasks.embeddings import word_vectors

PIECES = [b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\xbd", b"\r", b"\n", b'"', b"\\ud83d",
          b"\\u0000", b"[" * 2000, b"{", b"null", b"NaN", b"1e999", b"-1", b"\t\t", b" ", b"true",
          b"\xe2\x80\xa8", b"9" * 5000, b"\x1f\x8b", b",,", b"1 2"]  # fmt: skip


def mutant(raw: bytes, rng: np.random.Generator) -> bytes:
    """A file with some bits flipped, a part lost, doubled or moved, or something put in."""
    for _ in range(rng.integers(1, 4)):
        a, b = sorted(rng.integers(0, len(raw) + 1, 2).tolist())
        kind = rng.integers(6)
        if kind == 0 and raw:
            changed = bytearray(raw)
            for i in rng.integers(0, len(raw), rng.integers(1, 4)):
                changed[i] ^= 1 << int(rng.integers(8))
            raw = bytes(changed)
        elif kind == 1:
            raw = raw[:a]
        elif kind == 2:
            raw = raw[:a] + raw[min(b, a + int(rng.integers(1, 40))) :]
        elif kind == 3:
            raw = raw[:b] + raw[a:]
        else:
            raw = raw[:a] + PIECES[rng.integers(len(PIECES))] + raw[a if kind == 4 else b :]
    return raw


def squad() -> bytes:
    def article(i):
        context = f"Zoë {i} wrote 😀 notes. She was born in London in 18{i}5; Zoë was a poet."
        answers = [{"text": "Zoë", "answer_start": 0}, {"text": "London", "answer_start": 37}]
        qas = [{"id": f"{i}", "question": f"Who {i}?", "answers": answers, "is_impossible": False}]
        return {"title": f"T {i}", "paragraphs": [{"context": context, "qas": qas}]}

    return json.dumps({"data": [article(i) for i in range(4)]}).encode()


def triples(folder):
    found = []
    for name in ("a.json", "a.json.gz"):
        if (folder / name).exists():
            found, _ = qa.make_triples(qa.read_squad(folder / name), max_length=30)
            qa.read_contexts(folder / name)
    for triple in found:
        assert triple.answer in triple.passage
        triple.passage.encode()


def judged(folder):
    pairs, scores = corpus.load_word_pairs(str(folder / "pairs.tsv"))
    assert len(pairs) == len(scores)
    assert np.isfinite(scores).all()


def vectors(folder):
    words, found = word_vectors.load_word2vec(folder / "vectors.txt")
    assert len(set(words)) == len(words) == len(found)
    assert np.isfinite(found).all()


def words(folder):
    found = corpus.read_corpus([folder / "text.txt"])
    assert found.counts.sum() == found.offsets[-1]


def texts(name):
    def read(folder):
        for split in text.SPLITS:
            found = text.load_text(name, folder, split)
            assert all(isinstance(t, str) and t.encode() for t in found.texts)

    return read


PARAGRAPHS = "Zoë's cat sat on the mat.\r\n\r\nक्या आपके पास, she said: 中文 ok.\n\nEnd of it all."
HEADLINES = "".join(f"{i % 2}\tHeadline {i} é\n" for i in range(12))
REVIEWS = "category,text,movie_name,has_plot_and_reviews\n" + "".join(
    f'{("fresh", "rotten", "plot")[i % 3]},"text {i}, ""so""",film {i},1\n' for i in range(12)
)
IFLYTEK = "\n".join(
    json.dumps({"label": str(i % 3), "label_des": "地图", "sentence": f"应用 {i} of FILE", "id": i})
    for i in range(6)
)
IFLYTEK_FILES = [f"iflytek-{p}.jsonl.gz" for p in ("train-few-all", "dev-few-all", "test-public")]

# Name -> (files, content, read, whether the content is packed after it was damaged).
READERS = {
    "squad": (["a.json"], squad(), triples, False),
    "squad, gzipped": (["a.json.gz"], gzip.compress(squad()), triples, False),
    "squad in gzip": (["a.json.gz"], squad(), triples, True),
    "corpus": (["text.txt"], PARAGRAPHS.encode(), words, False),
    "corpus, gzipped": (["text.txt"], gzip.compress(PARAGRAPHS.encode()), words, False),
    "corpus in UTF-16": (["text.txt"], PARAGRAPHS.encode("utf-16"), words, False),
    "word pairs": (["pairs.tsv"], b"# a b\ntea\tcup\t7.5\ncaf\xc3\xa9\tbar\t-1e0\n", judged, False),
    "vectors": (["vectors.txt"], b"3 2\nred 1 0\nrose 0.9 -1e-3\nsky -0.9 0.2\n", vectors, False),
    "headlines": (["headlines-sarcasm.tsv.gz"], HEADLINES.encode(), texts("headlines"), True),
    "reviews": (
        ["rotten-tomatoes-snippets.csv.gz"], REVIEWS.encode(), texts("rotten_tomatoes"), True,
    ),
    "iflytek": (IFLYTEK_FILES, IFLYTEK.encode(), texts("iflytek"), True),
    "headlines, gzipped": (
        ["headlines-sarcasm.tsv.gz"], gzip.compress(HEADLINES.encode()), texts("headlines"), False,
    ),
}  # fmt: skip


def attack(name, folder, count, seed):
    """How many of `count` damaged files were read, and how many refused by a line of ours."""
    files, content, read, packed = READERS[name]
    rng = np.random.default_rng(seed)
    refused = 0
    for i in range(count + 1):
        for file in files:
            damaged = i and file == files[i % len(files)]  # the first time none
            own = content.replace(b"FILE", file.encode())  # texts of one split are of no other
            raw = mutant(own, rng) if damaged else own
            (folder / file).write_bytes(gzip.compress(raw) if packed else raw)
        message = line_of(read, folder)
        if message is not None:
            refused += 1
            assert i, message
            assert len(message.splitlines()) == 1, message
            assert any(file in message for file in files) or "text set" in message, message
    return count + 1 - refused, refused


def line_of(read, path):
    """Our line about what cannot be read, or None; any other exception goes on."""
    try:
        read(path)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_gives_data_or_our_own_line(name, tmp_path):
    assert sum(attack(name, tmp_path, 25, seed=1)) == 26


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_many_damaged_files_give_data_or_our_own_line(name, tmp_path):
    read, refused = attack(name, tmp_path, 1500, seed=2)
    assert read > 10
    assert refused > 10


def test_random_bytes_are_data_or_our_own_line(tmp_path):
    rng, refused = np.random.default_rng(0), 0
    for size in (0, 1, 2, 3, 10, 1000):
        for start in (
            b"",
            b"\xef\xbb\xbf",
            b"\xff\xfe",
            b"\xff\xfe\0\0",
            b"\0\0\xfe\xff",
            b"\x1f\x8b",
        ):
            (tmp_path / "x.txt").write_bytes(start + rng.bytes(size))
            message = line_of(lambda path: read_text(path).encode(), tmp_path / "x.txt")
            assert message is None or "x.txt" in message
            refused += message is not None
    assert refused > 15
