"""Blocks of text for skip-gram, against loops and the numbers that a seed gives."""

import numpy as np
import pytest
from small_corpus import make_text, pairs_by_hand

from jaxlab.data import corpus as corpora
from jaxlab.data.skipgram import SkipgramBlocks, skipgram_pipeline


@pytest.fixture(scope="module")
def text():
    return make_text()


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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: SkipgramBlocks(c, seed=0, power=float("nan")), "power is nan, must be finite"),
        (lambda c: SkipgramBlocks(c, seed=0, power=1e4), r"power is 10000\.0: the counts to this"),
        (lambda c: SkipgramBlocks(c, seed=0, steps=2.5), "steps is 2.5, must be a whole number"),
        (lambda c: SkipgramBlocks(c, seed=0, length=0), "length is 0, must be a whole number"),
        (lambda c: SkipgramBlocks(c, seed=-1), "seed is -1, must be a whole number of at least 0"),
        (lambda c: SkipgramBlocks(c.keep(c.ids < 0), seed=0), "the corpus has no words"),
    ],
)
def test_wrong_arguments_are_named(text, call, message):
    with pytest.raises(ValueError, match=message):
        call(text)


def test_every_number_of_a_block_follows_from_the_seed(text):
    """Order, words kept and reaches of the second epoch, and negatives, by a loop."""
    blocks = SkipgramBlocks(text, seed=7, subsample=0.02, power=0.5, **SMALL)
    rates = corpora.subsampling_rates(text.counts, 0.02)
    kept = float((text.counts * rates).sum())
    places = 3 * 4 * 8
    assert blocks.words_per_batch == places
    assert blocks.batches_per_epoch == -(-(kept + 4 * kept**0.5) // places)
    rng = np.random.default_rng((7, 0, 1))
    words = [
        (int(word), p)
        for p in rng.permutation(len(text.offsets) - 1)
        for word in text.ids[text.offsets[p] : text.offsets[p + 1]]
    ]
    chance = rng.random(len(words), np.float32)
    words = [w for w, x in zip(words, chance, strict=True) if x < np.float32(rates[w[0]])]
    reach = rng.integers(1, 4, len(words))
    left, right = [], []
    for i, (_, p) in enumerate(words):
        same = [k for k in range(len(words)) if words[k][1] == p]
        left.append(min(reach[i], i - same[0]))
        right.append(min(reach[i], same[-1] - i))
    found = epoch_of(blocks, 1)
    fill = [0] * (blocks.batches_per_epoch * places - len(words))
    assert found[1].tolist() == left + fill
    assert found[2].tolist() == right + fill
    row = [0, 0, 0, *(word for word, _ in words), *fill, 0, 0, 0]
    assert found[0].tolist() == [row[i : i + 14] for i in range(0, len(row) - 6, 8)]
    number = blocks.batches_per_epoch + 1
    draws = np.random.default_rng((7, 1, number)).random((3, 4, 5))
    total = np.cumsum(text.counts**0.5 / (text.counts**0.5).sum())
    want = [int((total <= x).sum()) for x in draws.ravel()]
    assert blocks[number]["negatives"].ravel().tolist() == want
    assert {x.dtype for x in blocks[number].values()} == {np.dtype(np.int32)}


def test_blocks_as_they_are_by_default(text):
    default = SkipgramBlocks(text, seed=0)
    said = SkipgramBlocks(
        text, seed=0, steps=200, stretches=16, length=32, window=5, negatives=16, power=0.75,
        subsample=1e-3, shuffle=True,
    )  # fmt: skip
    for name, value in said[1].items():
        np.testing.assert_array_equal(default[1][name], value)
    assert default[0]["negatives"].shape == (200, 16, 16)


def test_a_word_that_does_not_occur_is_no_negative():
    corpus = corpora.read_texts(["a b c a b a d"])
    fewer = corpus.keep((corpus.ids == 0) | (corpus.ids == 2))
    blocks = SkipgramBlocks(fewer, seed=0, steps=20, stretches=1, length=4, window=1,
                            negatives=50, power=0.0, subsample=0.0)  # fmt: skip
    drawn = np.bincount(blocks[0]["negatives"].ravel(), minlength=4)
    assert (drawn > 400).tolist() == [True, False, True, False]
    assert drawn.sum() == 1000 == drawn[0] + drawn[2]
