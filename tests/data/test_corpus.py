"""Corpora: words, splits, pairs, judged pairs, and the blocks of text for negative sampling."""

import gzip

import numpy as np
import pytest

from jaxlab.data import corpus as corpora
from jaxlab.data.skipgram import SkipgramBlocks, skipgram_pipeline


@pytest.fixture(scope="module")
def text():
    """60 paragraphs over 40 words whose frequencies differ."""
    rng = np.random.default_rng(0)
    words = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(40)]
    lines = [" ".join(words[min(39, int(x))] for x in rng.exponential(8, 30)) for _ in range(60)]
    return corpora.read_texts(["\n\n".join(lines)])


def pairs_by_hand(corpus, size, window):
    counts = np.zeros((size, size))
    for start, stop in zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True):
        ids = corpus.ids[start:stop]
        for i, a in enumerate(ids):
            for j in range(max(0, i - window), min(len(ids), i + window + 1)):
                if i != j and a < size and ids[j] < size:
                    counts[a, ids[j]] += 1
    return counts


def test_english_corpus_has_its_known_size(data_dir):
    corpus = corpora.load_corpus("english", data_dir)
    assert len(corpus) == 2_525_039
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


# --- Blocks for negative sampling -----------------------------------------------------------------

SMALL = {"steps": 3, "stretches": 4, "length": 8, "window": 3, "negatives": 5}


def epoch_of(blocks, epoch):
    """Tokens, reaches of one epoch, joined."""
    n = blocks.batches_per_epoch
    batches = [blocks[i] for i in range(epoch * n, (epoch + 1) * n)]
    join = lambda name: np.concatenate([b[name].reshape(-1, *b[name].shape[3:]) for b in batches])
    tokens = np.concatenate([b["tokens"].reshape(-1, b["tokens"].shape[-1]) for b in batches])
    return tokens, join("left"), join("right")


def test_blocks_hold_every_word_once_with_its_neighbours(text):
    blocks = SkipgramBlocks(text, seed=0, subsample=0.0, **SMALL)
    tokens, left, right = epoch_of(blocks, 0)
    centres = tokens[:, 3:-3].ravel()[: len(text)]
    np.testing.assert_array_equal(np.sort(centres), np.sort(text.ids))
    assert (left <= 3).all()
    assert not left[len(text) :].any()
    assert not right[len(text) :].any()
    # With the full reach, the pairs are those of the co-occurrence matrix.
    counts = np.zeros((40, 40))
    for i, row in enumerate(tokens):
        for k in range(8):
            for d in range(-int(left[8 * i + k]), int(right[8 * i + k]) + 1):
                if d:
                    counts[row[k + 3], row[k + 3 + d]] += 1
    assert (counts <= pairs_by_hand(text, 40, 3)).all()
    # Reaches are uniform on 1 .. 3: 2 in 3 of all pairs on average.
    assert counts.sum() / pairs_by_hand(text, 40, 3).sum() == pytest.approx(2 / 3, abs=0.03)


def test_order_of_the_text_without_shuffling(text):
    blocks = SkipgramBlocks(text, seed=0, subsample=0.0, shuffle=False, **SMALL)
    tokens, _, _ = epoch_of(blocks, 0)
    np.testing.assert_array_equal(tokens[:, 3:-3].ravel()[: len(text)], text.ids)


def test_frequent_words_are_thinned_and_negatives_flattened(text):
    blocks = SkipgramBlocks(text, seed=0, subsample=0.01, **SMALL)
    kept, drawn = np.zeros(40), np.zeros(40)
    for epoch in range(20):
        tokens, left, right = epoch_of(blocks, epoch)
        kept += np.bincount(tokens[:, 3:-3].ravel()[(left + right) > 0], minlength=40)
    rates = corpora.subsampling_rates(text.counts, 0.01)
    expected = 20 * text.counts * rates
    assert np.abs(kept - expected).max() < 6 * np.sqrt(expected.max())
    for i in range(100):
        drawn += np.bincount(blocks[i]["negatives"].ravel(), minlength=40)
    chances = text.counts**0.75 / (text.counts**0.75).sum()
    assert np.abs(drawn / drawn.sum() - chances).max() < 0.02


def test_batches_depend_on_their_number_alone(text):
    blocks = SkipgramBlocks(text, seed=1, subsample=0.05, **SMALL)
    it = skipgram_pipeline(blocks)
    first = [next(it) for _ in range(blocks.batches_per_epoch + 2)]
    state = it.get_state()
    following = next(it)
    again = skipgram_pipeline(SkipgramBlocks(text, seed=1, subsample=0.05, **SMALL))
    again.set_state(state)
    for name, value in next(again).items():
        np.testing.assert_array_equal(value, following[name])
    assert not np.array_equal(first[0]["tokens"], first[blocks.batches_per_epoch]["tokens"])
    other = SkipgramBlocks(text, seed=2, subsample=0.05, **SMALL)[0]
    assert not np.array_equal(first[0]["negatives"], other["negatives"])


# --- Errors ---------------------------------------------------------------------------------------


def test_missing_data_says_what_brings_it(tmp_path):
    command = "python scripts/fetch_data.py corpus_en"
    with pytest.raises(FileNotFoundError, match=command):
        corpora.load_corpus("english", tmp_path)
    with pytest.raises(FileNotFoundError, match=command):
        corpora.load_word_pairs("simlex999", tmp_path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: corpora.read_texts(["", "one"]), "2 texts hold no two words in a row"),
        (lambda c: corpora.split_blocks(c, held_out=0.0), r"held_out is 0.0, must be in \(0, 1\)"),
        (lambda c: corpora.split_blocks(c, block_tokens=0), "block_tokens is 0"),
        (lambda c: corpora.split_blocks(c, block_tokens=10**6), "are one block of 1000000"),
        (lambda c: corpora.cooccurrence(c, 1), "vocab_size is 1, must be between 2 and the 40"),
        (lambda c: corpora.cooccurrence(c, 41), "vocab_size is 41"),
        (lambda c: corpora.cooccurrence(c, 2, window=0), "window is 0, must be at least 1"),
        (lambda c: corpora.subsampling_rates(c.counts, -1.0), "threshold is -1.0"),
        (lambda c: SkipgramBlocks(c, seed=0, length=0), "length is 0, must be at least 1"),
        (lambda c: SkipgramBlocks(c, seed=-1), "seed is -1, must be at least 0"),
        (lambda c: SkipgramBlocks(c.keep(c.ids < 0), seed=0), "the corpus has no words"),
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
