"""Blocks of running text for skip-gram with negative sampling, drawn from a seed."""

import functools
from typing import Any

import numpy as np

from jaxlab.checks import check_count, check_scalar
from jaxlab.data.corpus import Corpus, subsampling_rates
from jaxlab.data.pipelines.endless import Batches, describe
from jaxlab.errors import InputError

# Streams of random numbers that one seed gives.
_ORDER, _NEGATIVES = 0, 1


class SkipgramBlocks:
    """Batches of blocks of text, each a function of (corpus, arguments, index) alone.

    An epoch shuffles the paragraphs, drops frequent words at random and draws the reach of each
    word's window, as word2vec does but for the shuffling; all of it is drawn anew each epoch. The
    end of an epoch is filled up with places of reach 0, so that every epoch has
    `batches_per_epoch` batches.

    Args:
      corpus: the words to train on.
      seed: >= 0.
      steps: S, blocks a batch.
      stretches: b, stretches of text a block.
      length: B, words a stretch.
      window: W, the largest reach; each word's is uniform on 1 .. W.
      negatives: M, negatives a stretch, drawn with the chance count^power.
      power: see `negatives`.
      subsample: threshold of `subsampling_rates`; 0 keeps every word.
      shuffle: whether paragraphs come in a new order each epoch; else, as in word2vec, in that of
        the text, of which the end then counts most.

    Raises:
      ValueError: an argument is out of range, or the corpus has no words.

    Example:
      >>> from jaxlab.data.corpus import read_texts
      >>> corpus = read_texts(["one two three four five six"])
      >>> blocks = SkipgramBlocks(corpus, seed=0, steps=1, stretches=2, length=4, window=2,
      ...                         negatives=3, subsample=0.0)
      >>> {name: x.shape for name, x in blocks[0].items()}["tokens"], blocks.batches_per_epoch
      ((1, 2, 8), 1)
      >>> blocks[0]["right"].ravel()[[4, 5, 6, 7]]  # no word after the sixth
      array([1, 0, 0, 0], dtype=int32)
    """

    def __init__(
        self,
        corpus: Corpus,
        *,
        seed: int,
        steps: int = 200,
        stretches: int = 16,
        length: int = 32,
        window: int = 5,
        negatives: int = 16,
        power: float = 0.75,
        subsample: float = 1e-3,
        shuffle: bool = True,
    ):
        sizes = {"steps": steps, "stretches": stretches, "length": length, "window": window,
                 "negatives": negatives}  # fmt: skip
        for name, value in sizes.items():
            check_count(name, value)
        check_count("seed", seed, at_least=0, below=None)
        check_scalar("power", power)
        if not len(corpus):
            raise InputError("the corpus has no words")
        self._corpus, self._seed, self._window = corpus, seed, window
        self._shape = (steps, stretches, length)
        self._negatives, self._shuffle = negatives, shuffle
        self._choices = (*self._shape, window, negatives, power, subsample, shuffle)
        counts = corpus.counts
        self._rates = subsampling_rates(counts, subsample)
        with np.errstate(over="ignore"):
            chances = np.where(counts > 0, np.maximum(counts, 1).astype(np.float64) ** power, 0)
        if not 0 < chances.sum() < np.inf:
            raise InputError(f"power is {power}: the counts to this power are no finite numbers")
        self._cumulative = np.cumsum(chances / chances.sum())
        self._cumulative[np.flatnonzero(counts)[-1] :] = 1.0  # despite rounding
        kept = float(counts @ self._rates)
        # Room for what chance may add: four standard deviations.
        room = min(len(corpus), kept + 4 * np.sqrt(kept))
        self.batches_per_epoch = int(np.ceil(room / self.words_per_batch))
        self._epoch = functools.lru_cache(maxsize=2)(self._draw_epoch)

    @property
    def words_per_batch(self) -> int:
        """Places for words in a batch, S b B."""
        return int(np.prod(self._shape))

    def described(self) -> dict[str, Any]:
        """What the batches depend on, as JSON."""
        corpus = {"tokens": self._corpus.ids, "paragraphs": self._corpus.offsets}
        return {"data": describe(corpus), "seed": self._seed, "blocks": list(self._choices)}

    def _draw_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens with W more at either end, and the reaches to the left and to the right."""
        corpus, rng = self._corpus, np.random.default_rng((self._seed, _ORDER, epoch))
        lengths = np.diff(corpus.offsets)
        order = rng.permutation(len(lengths)) if self._shuffle else np.arange(len(lengths))
        # Indices of all tokens, paragraph after paragraph in the new order.
        ends = np.cumsum(lengths[order])
        jumps = np.repeat(corpus.offsets[:-1][order] - (ends - lengths[order]), lengths[order])
        index = np.arange(len(corpus)) + jumps
        paragraph = np.repeat(np.arange(len(order)), lengths[order])
        keep = rng.random(len(corpus), np.float32) < self._rates.astype(np.float32)[
            corpus.ids[index]
        ]  # fmt: skip
        room = self.batches_per_epoch * self.words_per_batch
        ids, paragraph = corpus.ids[index[keep]][:room], paragraph[keep][:room]
        reach = rng.integers(1, self._window + 1, len(ids))
        first = np.searchsorted(paragraph, paragraph, "left")
        last = np.searchsorted(paragraph, paragraph, "right") - 1
        place = np.arange(len(ids))
        pad = lambda x, before, after: np.pad(x.astype(np.int32), (before, room - len(ids) + after))
        left = np.minimum(reach, place - first)
        right = np.minimum(reach, last - place)
        return pad(ids, self._window, self._window), pad(left, 0, 0), pad(right, 0, 0)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        epoch, batch = divmod(int(index), self.batches_per_epoch)
        tokens, left, right = self._epoch(epoch)
        steps, stretches, length = self._shape
        part = slice(batch * self.words_per_batch, (batch + 1) * self.words_per_batch)
        starts = np.arange(part.start, part.stop, length).reshape(steps, stretches, 1)
        rng = np.random.default_rng((self._seed, _NEGATIVES, int(index)))
        draws = rng.random((steps, stretches, self._negatives))
        return {
            "tokens": tokens[starts + np.arange(length + 2 * self._window)],
            "left": left[part].reshape(self._shape),
            "right": right[part].reshape(self._shape),
            "negatives": np.searchsorted(self._cumulative, draws, "right").astype(np.int32),
        }


def skipgram_pipeline(blocks: SkipgramBlocks, *, prefetch: int = 2) -> Batches:
    """Endless batches of `blocks`, made ahead in a thread; its position is one number.

    Args:
      blocks: what to draw from.
      prefetch: batches made ahead.

    Returns:
      A grain iterator (`get_state`, `set_state`).

    Example:
      >>> from jaxlab.data.corpus import read_texts
      >>> blocks = SkipgramBlocks(read_texts(["one two three"]), seed=0, subsample=0.0)
      >>> batches = skipgram_pipeline(blocks)
      >>> int(next(batches)["right"].sum() > 0), int(next(batches)["left"].sum() > 0)
      (1, 1)
    """
    return Batches(
        lambda step, _: blocks[step],
        of=blocks.described,
        per_epoch=blocks.batches_per_epoch,
        num_threads=1,
        prefetch=prefetch,
    )
