"""`jaxlab.data.corpus`: corpora: words, splits, pairs, judged pairs."""

import gzip
import unicodedata

import numpy as np
import pytest
from small_corpus import make_text, pairs_by_hand

from jaxlab.data import corpus as corpora
from jaxlab.errors import InputError


@pytest.fixture(scope="module")
def text():
    return make_text()


def test_english_corpus_has_its_known_size(data_dir):
    corpus = corpora.load_corpus("english", data_dir)
    assert len(corpus) == 2525031
    assert corpus.words[:4] == ("the", "and", "of", "to")
    counts = corpus.counts
    assert (np.diff(counts) <= 0).all()
    assert (counts >= 5).sum() == 20_540
    train, held_out = corpora.split_blocks(corpus, held_out=0.1)
    assert len(held_out) / len(corpus) == pytest.approx(0.1, abs=0.01)
    assert (train.counts + held_out.counts == counts).all()


@pytest.mark.parametrize(
    ("name", "count", "first"), [("wordsim353", 353, 6.77), ("simlex999", 999, 1.58)]
)
def test_judged_pairs(data_dir, name, count, first):
    pairs, scores = corpora.load_word_pairs(name, data_dir)
    assert len(pairs) == len(scores) == count
    assert scores[0] == first
    assert all(a == a.lower() for pair in pairs for a in pair)


def test_paragraphs_and_gzip(tmp_path):
    path = tmp_path / "text.txt.gz"
    path.write_bytes(gzip.compress("It’s one.\r\n\r\nTWO words\n\nalone".encode()))
    corpus = corpora.read_corpus([path])
    assert corpus.words == ("it's", "one", "two", "words")
    assert corpus.offsets.tolist() == [0, 2, 4]  # a word alone has no neighbour
    assert corpus.paragraphs.tolist() == [0, 0, 1, 1]
    assert corpora.load_corpus(f"{path},{path}").counts.tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("क्या आपके पास मिल्क है", "क्या आपके पास मिल्क है"),  # vowel signs, virama
        ("தமிழ் மொழி", "தமிழ் மொழி"),
        ("שָׁלוֹם עוֹלָם, צה״ל", "שָׁלוֹם עוֹלָם צה״ל"),  # points, and a mark of abbreviation
        ("كَتَبَ الطُّلّابُ", "كَتَبَ الطُّلّابُ"),  # vowels
        ("می\u200cخواهم، بله", "می\u200cخواهم بله"),  # a joiner that separates shapes, not words
        ("ශ්\u200dරී ලංකා\u200d", "ශ්\u200dරී ලංකා"),
        ("İstanbul'da IŞIK", "i̇stanbul'da işik"),
        ("한국어 문장", "한국어 문장"),
        ("ภาษาไทย ดี!", "ภาษาไทย ดี"),  # runs between spaces
        ("東京へ行く\U00020000", "東 京 へ 行 く \U00020000"),
        ("l’été o'clock 'quoted' rock''n", "l'été o'clock quoted rock n"),
        ("fine 👩\u200d👩\u200d👧\ufe0f❤\ufe0f day", "fine day"),
        ("co\u00adoperate\ufeff \u200fabc\u200e", "cooperate abc"),
        ("كتـــاب a\ufe0f b", "كتاب a b"),  # lines and forms that are chosen for looks
        ("3 boats, x2 snake_case", "boats x snake case"),
    ],
)
def test_a_word_is_letters_with_their_marks_in_every_script(text, words):
    expected = unicodedata.normalize("NFC", words).split()
    for form in ("NFC", "NFD"):
        assert corpora.tokenize(unicodedata.normalize(form, text)) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("pack", [lambda raw: raw, gzip.compress])
def test_texts_read_alike_in_every_encoding_and_with_all_line_ends(tmp_path, encoding, ends, pack):
    lines = ["Le café était là.", "", "Ein schöner Tag\tund\u2028noch einer"]
    (tmp_path / "a.txt").write_bytes(pack(ends.join(lines).encode(encoding)))
    corpus = corpora.read_corpus([tmp_path / "a.txt"])
    assert [corpus.words[i] for i in corpus.ids] == corpora.tokenize(" ".join(lines))
    assert corpus.offsets.tolist() == [0, 4, 10]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("le café était là".encode("latin-1"), "3 of its 16 bytes cannot be read, the first in"),
        ("one two\nthree four".encode("utf-16-le"), "holds 18 zero bytes: it is no text"),
        ("one two".encode("utf-16")[:-1], "is not text in utf-16, as its mark says"),
        (bytes(range(256)) * 9, "it is no text"),
        (b"\x1f\x8b nothing", "truncated or damaged gzip"),
        (b"", "the corpus is empty"),
        (b"123 ... \xf0\x9f\x91\x8d", "the corpus is empty"),
    ],
)
def test_what_is_no_text_is_refused_by_name(tmp_path, raw, message):
    (tmp_path / "mine.txt").write_bytes(raw)
    with pytest.raises(InputError, match=rf"mine\.txt.*{message}"):
        corpora.read_corpus([tmp_path / "mine.txt"])


def test_a_few_damaged_bytes_are_reported(tmp_path, caplog):
    (tmp_path / "big.txt").write_bytes(b"one two three four\n" * 1000 + b"caf\xe9 five\n")
    with caplog.at_level("WARNING"):
        corpus = corpora.read_corpus([tmp_path / "big.txt"])
    assert corpus.counts.sum() == 4002
    assert "big.txt: 1 of its 19010 bytes cannot be read, the first in line 1001" in caplog.text


@pytest.mark.parametrize("between", [" ", "\n", "\n\n"])
def test_a_text_without_empty_lines_is_held_out_by_blocks(between):
    rng = np.random.default_rng(0)
    words = [f"w{chr(97 + i)}" for i in range(20)]
    lines = [" ".join(rng.choice(words, 12)) for _ in range(5000)]
    corpus = corpora.read_texts([between.join(lines)])
    train, held_out = corpora.split_blocks(corpus, held_out=0.1, block_tokens=2000, seed=0)
    assert len(held_out) == pytest.approx(6_000, abs=40)
    assert (train.counts + held_out.counts == corpus.counts).all()
    pairs = [corpora.cooccurrence(x, 20, window=2).sum() for x in (train, held_out, corpus)]
    assert 0 <= 1 - (pairs[0] + pairs[1]) / pairs[2] <= 30 * 6 / 60_000 / 2 + 1e-9
    # Where paragraphs allow the share, none is cut.
    mixed = corpora.read_texts([" ".join(lines[:200]) + "\n\n" + "\n\n".join(lines[200:])])
    assert max(np.diff(corpora.split_blocks(mixed, seed=s)[k].offsets).max()
               for s in range(20) for k in range(2)) == 2400  # fmt: skip


def test_judged_pairs_are_words_as_a_corpus_has_them(tmp_path, caplog):
    path = tmp_path / "pairs.tsv"
    rows = ["# word1 word2", "CAFE\u0301\tl’Été \t7.5\tnoun", "", "tea\tcup\t-1e0", "cup\tTea\t2"]
    for raw in ("\r\n".join(rows).encode("utf-8-sig"), "\r".join(rows).encode("utf-16")):
        path.write_bytes(raw)
        with caplog.at_level("INFO"):
            pairs, scores = corpora.load_word_pairs(str(path))
        assert pairs == [("café", "l'été"), ("tea", "cup"), ("cup", "tea")]
        assert scores.tolist() == [7.5, -1, 2]
        assert "1 of 3 pairs are listed before" in caplog.text
    for line in ("a\tb\tnan", "a\tb\tinf", "a\t\t1", "a\tb", "a\tb\t7,5"):
        path.write_text(f"x\ty\t1\n{line}\n")
        with pytest.raises(InputError, match=r"pairs\.tsv, line 2: .* is not `word TAB word"):
            corpora.load_word_pairs(str(path))
    path.write_text("# nothing\n")
    with pytest.raises(InputError, match="holds no lines"):
        corpora.load_word_pairs(str(path))


@pytest.mark.parametrize(("size", "window"), [(40, 5), (7, 2), (2, 1)])
def test_cooccurrence_counts_what_a_loop_counts(text, size, window):
    found = corpora.cooccurrence(text, size, window=window)
    np.testing.assert_array_equal(found, pairs_by_hand(text, size, window))
    np.testing.assert_array_equal(found, found.T)


def test_blocks_share_no_paragraph_and_nothing_is_lost(text):
    train, held_out = corpora.split_blocks(text, held_out=0.25, block_tokens=100, seed=3)
    assert len(train) + len(held_out) == len(text)
    cut = lambda c: {
        c.ids[a:b].tobytes() for a, b in zip(c.offsets[:-1], c.offsets[1:], strict=True)
    }
    assert cut(train) | cut(held_out) == cut(text)
    assert not cut(train) & cut(held_out)
    both = [corpora.cooccurrence(part, 40) for part in (train, held_out)]
    np.testing.assert_array_equal(sum(both), corpora.cooccurrence(text, 40))
    again = corpora.split_blocks(text, held_out=0.25, block_tokens=100, seed=4)[1]
    assert cut(again) != cut(held_out)


def test_subsampling_rates_are_those_of_word2vec():
    counts = np.array([50_000, 1_000, 10, 0])
    threshold = 1e-3 * counts.sum()
    expected = np.minimum(1, (np.sqrt(counts[:3] / threshold) + 1) * threshold / counts[:3])
    np.testing.assert_allclose(corpora.subsampling_rates(counts, 1e-3)[:3], expected)
    assert (corpora.subsampling_rates(counts, 0.0) == 1).all()


# --- Errors ---------------------------------------------------------------------------------------


def test_missing_data_says_what_brings_it(tmp_path):
    command = "python -m jaxlab fetch_data corpus_en"
    with pytest.raises(FileNotFoundError, match=command):
        corpora.load_corpus("english", tmp_path)
    with pytest.raises(FileNotFoundError, match=command):
        corpora.load_word_pairs("simlex999", tmp_path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: corpora.read_texts(["", "one"]), "2 texts hold no two words in a row"),
        (lambda c: corpora.split_blocks(c, held_out=0.0), "held_out is 0.0, must be above 0"),
        (lambda c: corpora.split_blocks(c, block_tokens=0), "block_tokens is 0"),
        (lambda c: corpora.split_blocks(c, block_tokens=10**6), "are one block of 1000000"),
        (lambda c: corpora.cooccurrence(c, 1), "vocab_size is 1, must be between 2 and the 40"),
        (lambda c: corpora.cooccurrence(c, 41), "vocab_size is 41"),
        (lambda c: corpora.cooccurrence(c, 2, window=0), "window is 0, must be a whole number"),
        (lambda c: corpora.subsampling_rates(c.counts, -1.0), "threshold is -1.0"),
        (lambda c: corpora.split_blocks(c, held_out=1), "held_out is 1, must be below 1"),
        (lambda c: corpora.split_blocks(c, held_out=float("nan")), "held_out is nan"),
        (lambda c: corpora.frequent_words(c, 0), "min_count is 0, must be a whole number"),
        (lambda c: corpora.subsampling_rates(c.counts, float("nan")), "threshold is nan"),
    ],
)
def test_wrong_arguments_are_named(text, call, message):
    with pytest.raises(ValueError, match=message):
        call(text)


def test_broken_files_are_named(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"one two three")[:-9])
    with pytest.raises(ValueError, match=r"x\.gz: truncated or damaged gzip"):
        corpora.read_corpus([path])
    with pytest.raises(FileNotFoundError, match="no such text file"):
        corpora.read_corpus([tmp_path / "none.txt"])
    path = tmp_path / "pairs.tsv"
    path.write_text("# head\na\tb\t1.5\na b 2\n")
    with pytest.raises(ValueError, match=r"pairs.tsv, line 3: 'a b 2' is not"):
        corpora.load_word_pairs(str(path))


# --- By hand --------------------------------------------------------------------------------------


def numbered(*sizes):
    """A corpus of paragraphs of these sizes, whose tokens are all different words."""
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    words = tuple(f"w{i}" for i in range(offsets[-1]))
    return corpora.Corpus(words, np.arange(offsets[-1], dtype=np.int32), offsets)


def test_blocks_by_hand():
    """Blocks end with a paragraph: by its last token, so that 4 and 4 are two blocks of 4."""
    corpus = numbered(4, 4, 3, 2, 4, 3)
    blocks = [0, 1, 2, 3, 4, 4]  # last tokens 3, 7, 10, 12, 16, 19
    for seed, share, count in ((0, 0.1, 1), (1, 0.5, 2), (2, 0.99, 4), (3, 0.3, 2)):
        chosen = np.random.default_rng(seed).choice(np.arange(5), count, replace=False)
        options = {"held_out": share, "seed": seed} if seed else {}
        train, held_out = corpora.split_blocks(corpus, block_tokens=4, **options)
        want = [[], []]
        for p, block in enumerate(blocks):
            want[block in chosen].append(corpus.ids[corpus.offsets[p] : corpus.offsets[p + 1]])
        for part, paragraphs in zip((train, held_out), want, strict=True):
            assert part.ids.tolist() == np.concatenate(paragraphs).tolist()
            assert np.diff(part.offsets).tolist() == [len(p) for p in paragraphs]
            assert part.words == corpus.words
    # Two blocks are enough, and one of them stays for training.
    halves = corpora.split_blocks(numbered(2, 2), held_out=0.9, block_tokens=2)
    assert [len(part) for part in halves] == [2, 2]


def test_only_long_paragraphs_are_cut_and_at_ends_of_blocks():
    # 0.5 of 20 tokens to hold out: a paragraph of more than 5 is long.
    pieces = lambda corpus, **options: sorted(
        corpus.ids[a:b].tolist()
        for corpus in corpora.split_blocks(corpus, held_out=0.5, **options)
        for a, b in zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True)
    )
    ids = np.arange(20).tolist()
    found = pieces(numbered(5, 6, 4, 5), block_tokens=3)
    assert found == [ids[:5], ids[5:6], ids[6:9], ids[9:11], ids[11:15], ids[15:]]
    assert pieces(numbered(5, 5, 5, 5), block_tokens=3) == [ids[i : i + 5] for i in (0, 5, 10, 15)]
    # No longer than a block: not cut.
    assert pieces(numbered(7, 7, 6), block_tokens=7) == [ids[:7], ids[7:14], ids[14:]]


def test_small_counts_by_hand(caplog, tmp_path):
    corpus = corpora.read_texts(["a b a c b\u2029c\n \t\nb a", "One word\n\nalone"])
    assert corpus.words == ("a", "b", "c", "one", "word")
    assert corpus.ids.tolist() == [0, 1, 0, 2, 1, 1, 0, 3, 4]
    assert corpus.offsets.tolist() == [0, 5, 7, 9]
    assert corpus.counts.tolist() == [3, 3, 1, 1, 1]
    assert (corpus.ids.dtype, corpus.paragraphs.dtype) == (np.int32, np.int32)
    near = corpora.cooccurrence(corpus, 3, window=1)
    assert near.tolist() == [[0, 3, 1], [3, 0, 1], [1, 1, 0]]
    assert corpora.cooccurrence(corpus, 5)[0].tolist() == [2, 5, 2, 0, 0]  # reaches 5 by default
    seven = numbered(7)
    assert corpora.cooccurrence(seven, 7)[0].tolist() == [0, 1, 1, 1, 1, 1, 0]
    few = corpora.frequent_words(corpus, 3)
    assert (few.words, few.ids.tolist()) == (("a", "b"), [0, 1, 0, 1, 1, 0])
    assert few.offsets.tolist() == [0, 4, 6, 6]
    with pytest.raises(ValueError, match="no two of the 2 most frequent words are neighbours"):
        corpora.cooccurrence(corpora.read_texts(["a x y b z a x y b z"]), 2, window=1)
    counts = np.array([90, 9, 1, 0])
    rates = corpora.subsampling_rates(counts, 0.1)
    want = [(10 / 90) ** 0.5 + 10 / 90, 1, 1, 1]
    np.testing.assert_allclose(rates, want)
    with pytest.raises(ValueError, match="fewer than 2 words occur min_count 4 times"):
        corpora.frequent_words(corpus, 4)


def test_names_of_files_as_people_write_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a.txt", "x,y.txt"):
        (tmp_path / name).write_text("two words")
    one = f"{tmp_path}/a.txt"
    for name, tokens in ((f"{one}, {one},", 4), (f"{tmp_path}/x,y.txt", 2), ("~/a.txt", 2)):
        assert len(corpora.load_corpus(name)) == tokens
    with pytest.raises(FileNotFoundError, match=r"English: no such text file \(named are english"):
        corpora.load_corpus("English")
    with pytest.raises(ValueError, match="no text file is named"):
        corpora.load_corpus(" ,")


@pytest.mark.parametrize("mark", ["\u0300", "\U00011001", "\U000e0100", "\U000e01ef"])
def test_marks_belong_to_their_letters(mark):
    (word,) = corpora.tokenize(f"a{mark}b")
    assert word[-1] == "b"
