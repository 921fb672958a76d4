"""Texts as numbers: words ranked by frequency, pairs within a window, splits by blocks of text.

A `Corpus` is one array of word numbers cut into paragraphs. Word 0 is the most frequent, so the N
most frequent words are the numbers below N. Windows never cross a paragraph.
"""

import collections
import dataclasses
import functools
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import logging

from jaxlab.checks import check_count, check_scalar
from jaxlab.data import corpus_files
from jaxlab.data.corpus_files import CORPORA, WORD_PAIRS, data_file, text_of
from jaxlab.data.formats.plain_text import split_lines
from jaxlab.errors import InputError

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
# Between letters: an apostrophe, a Hebrew mark of abbreviation, or joiners, which cannot be seen.
_INNER = "['\u05f3\u05f4]|[\u200c\u200d]+"
# Characters that only say how to set the text: hyphens that may be shown, Arabic lines that only
# make words longer, directions, choices among forms of a character, marks.
_UNSEEN = re.compile(
    "[\u00ad\u0640\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufe00-\ufe0f\ufeff]"
)
_PARAGRAPH = re.compile(r"\n\s*\n|\u2029")


@functools.cache
def _token() -> re.Pattern[str]:
    """Letters with their marks; of Chinese, which has no spaces, every character."""
    codes = (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0))
    marks = "".join(c for c in map(chr, codes) if unicodedata.category(c)[0] == "M")
    letter = rf"[^\W\d_{_HAN}]"
    return re.compile(rf"[{_HAN}]|{letter}(?:{letter}|[{marks}]|(?:{_INNER})(?={letter}))*")


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A text of T tokens over V words in P paragraphs.

    Attributes:
      words: the V words; those of the text it was read from are ranked by frequency.
      ids: int32 [T], the number of each token.
      offsets: int64 [P + 1]; paragraph p is `ids[offsets[p] : offsets[p + 1]]`.
    """

    words: tuple[str, ...]
    ids: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def counts(self) -> np.ndarray:
        """int64 [V], how often each word occurs."""
        return np.bincount(self.ids, minlength=len(self.words))

    @property
    def paragraphs(self) -> np.ndarray:
        """int32 [T], the paragraph of each token."""
        return np.repeat(np.arange(len(self.offsets) - 1, dtype=np.int32), np.diff(self.offsets))

    def keep(self, mask: np.ndarray) -> "Corpus":
        """The corpus of the tokens where bool [T] `mask` holds; paragraphs close up over gaps.

        Example:
          >>> corpus = read_texts(["one two three", "two one"])
          >>> corpus.keep(corpus.ids < 2).ids.tolist()
          [0, 1, 1, 0]
        """
        before = np.concatenate([[0], np.cumsum(mask)])
        return Corpus(self.words, self.ids[mask], before[self.offsets])


def frequent_words(corpus: Corpus, min_count: int, max_words: int | None = None) -> Corpus:
    """The corpus without words that occur less than `min_count` times.

    Args:
      corpus: the corpus.
      min_count: >= 1.
      max_words: keep at most this number of words, the most frequent; of words that are equally
        frequent the first ones of `corpus.words`. None for all.

    Raises:
      ValueError: fewer than two words are left, or a number is out of range.

    Example:
      >>> corpus = read_texts(["one two three", "two one two"])
      >>> frequent_words(corpus, 2).words, frequent_words(corpus, 1, max_words=2).words
      (('two', 'one'), ('two', 'one'))
    """
    check_count("min_count", min_count)
    counts = corpus.counts
    known = counts >= min_count
    if max_words is not None:
        check_count("max_words", max_words, at_least=2)
        known[np.argsort(-counts, kind="stable")[max_words:]] = False
    if known.sum() < 2:
        raise InputError(f"fewer than 2 words occur min_count {min_count} times")
    kept = corpus.keep(known[corpus.ids])
    words = tuple(word for word, keep in zip(corpus.words, known, strict=True) if keep)
    number = np.cumsum(known) - 1
    return Corpus(words, number[kept.ids].astype(np.int32), kept.offsets)


def tokenize(text: str) -> list[str]:
    """Words of a text in lower case: letters with inner apostrophes, or single Han characters.

    One rule for every script: a word is a run of letters with the marks that belong to them, in
    Unicode's composed form (NFC), so that both ways of writing an accent give one word. Languages
    without spaces, Chinese apart, come in the runs between their spaces and stops.

    Example:
      >>> tokenize("The old man’s 2 boats; 北京 & café")
      ['the', 'old', "man's", 'boats', '北', '京', 'café']
      >>> tokenize("क्या cafe\u0301 İstanbul")
      ['क्या', 'café', 'i̇stanbul']
    """
    return _token().findall(normal_words(text))


def normal_words(text: str) -> str:
    """A text as words are compared: lower case, NFC, straight apostrophes, nothing unseen.

    Example:
      >>> normal_words("L’E\u0301TE\u0301")
      "l'été"
    """
    text = unicodedata.normalize("NFC", text).lower().replace("’", "'")
    return unicodedata.normalize("NFC", _UNSEEN.sub("", text))


def read_texts(texts: Sequence[str], *, left_out: collections.Counter[str] | None = None) -> Corpus:
    r"""Makes a corpus of texts: blank lines part paragraphs, and those of one word are left out.

    Args:
      texts: one or several texts.
      left_out: to which "paragraphs of one word" are added.

    Returns:
      The corpus, words by falling frequency, equal ones by the alphabet.

    Raises:
      ValueError: there is no paragraph of at least two words.

    Example:
      >>> corpus = read_texts(["To be, or not to be.\n\nThat\n\nis not that!"])
      >>> corpus.words
      ('be', 'not', 'to', 'is', 'or', 'that')
      >>> corpus.ids.tolist(), corpus.offsets.tolist()
      ([2, 0, 4, 1, 2, 0, 3, 1, 5], [0, 6, 9])
    """
    every = [tokenize(p) for text in texts for p in _PARAGRAPH.split(text)]
    paragraphs = [p for p in every if len(p) > 1]
    if left_out is not None:
        left_out.update({"paragraphs of one word": sum(len(p) == 1 for p in every)})
    counts = collections.Counter(word for p in paragraphs for word in p)
    if not counts:
        raise InputError(f"{len(texts)} texts hold no two words in a row: the corpus is empty")
    words = sorted(counts, key=lambda word: (-counts[word], word))
    number = {word: i for i, word in enumerate(words)}
    ids = np.fromiter((number[w] for p in paragraphs for w in p), np.int32, counts.total())
    offsets = np.concatenate([[0], np.cumsum([len(p) for p in paragraphs])])
    return Corpus(tuple(words), ids, offsets)


def read_corpus(
    paths: Sequence[str | os.PathLike], *, left_out: collections.Counter[str] | None = None
) -> Corpus:
    """Reads text files, plain or gzipped, as one corpus; see `read_texts`.

    Args:
      paths: files in UTF-8, or in UTF-16 with its mark; see `plain_text.decode_text`. Up to one
        damaged byte in 10,000 is reported and left out.
      left_out: see `read_texts`.

    Returns:
      The corpus.

    Raises:
      FileNotFoundError, ValueError: a file is missing, damaged, not text or holds no words.
    """
    if not paths:
        raise InputError(f"no text file is named; the corpora are {', '.join(CORPORA)}")
    texts = [text_of(os.path.expanduser(path), some_damage=True) for path in paths]
    try:
        lines = [text.replace("\r\n", "\n").replace("\r", "\n") for text in texts]
        return read_texts(lines, left_out=left_out)
    except InputError as error:
        raise InputError(f"{', '.join(map(str, paths))}: {error}") from None


def load_corpus(
    corpus: str | Sequence[str] = "english",
    data_dir: str | Path | None = None,
    *,
    path: str | Sequence[str] | None = None,
    name: str | None = None,
    text_column: str | None = None,
    config_name: str | None = None,
    left_out: collections.Counter[str] | None = None,
) -> Corpus:
    """Reads a named corpus from the data folder, or texts of one's own.

    Args:
      corpus: "english" (18 public-domain books and an extract of Wikipedia, 2.5 million tokens), or
        files, folders or patterns; see `corpus_files.text_files`.
      data_dir: the data folder; see `data_folder`.
      path: read instead of `corpus`: the same, or of a table what `sources.load_rows` takes.
      name: of the format, "text" or one of `sources.TABLES`; None for "text".
      text_column: of a table; None for "text".
      config_name: see `sources.load_rows`.
      left_out: to which what is left out is added, by reason.

    Returns:
      The corpus.

    Raises:
      FileNotFoundError: a file is missing; the message says how to get it.
      ValueError: a file is damaged or holds no words, or there is no such column.
    """
    name = name or "text"
    corpus_files.check_format(name, text_column, config_name)
    if name == "text":
        files = corpus_files.text_files(path or corpus, data_dir)
        return read_corpus(files, left_out=left_out)
    texts = corpus_files.column_texts(
        *(name, path or (), data_dir),
        text_column=text_column,
        config_name=config_name,
        left_out=left_out,
    )
    return read_texts(texts, left_out=left_out)


def split_blocks(
    corpus: Corpus, *, held_out: float = 0.1, block_tokens: int = 2000, seed: int = 0
) -> tuple[Corpus, Corpus]:
    r"""Splits a corpus by blocks of text, so that no pair of words spans both parts.

    Pairs of one sentence are far from independent: a split by pair would test on what was learned.
    A paragraph of more than half the tokens to hold out, such as a text on one line or without
    empty lines, is cut at the ends of blocks.

    Args:
      corpus: the corpus.
      held_out: share of the blocks in the second part, in (0, 1).
      block_tokens: tokens a block has at least, but for the last; blocks end with a paragraph.
      seed: of the choice of blocks.

    Returns:
      (train, held-out), both over the words of the whole corpus.

    Raises:
      ValueError: an argument is out of range, or there are fewer than two blocks.

    Example:
      >>> corpus = read_texts(["a b\n\nb c\n\nc d\n\nd e"])
      >>> [len(part) for part in split_blocks(corpus, held_out=0.25, block_tokens=2)]
      [6, 2]
    """
    check_scalar("held_out", held_out, above=0, below=1)
    check_count("block_tokens", block_tokens)
    check_count("seed", seed, at_least=0, below=None)
    offsets, bounds = corpus.offsets, np.arange(0, len(corpus), block_tokens)
    long = np.diff(offsets) > max(block_tokens, held_out * len(corpus) / 2)
    inside = np.repeat(long, np.diff(offsets))
    offsets = np.union1d(offsets, bounds[inside[bounds]])
    block_of = (offsets[1:] - 1) // block_tokens  # of each paragraph, by its last token
    blocks = np.unique(block_of)
    if len(blocks) < 2:
        raise InputError(
            f"{len(corpus)} tokens in {len(corpus.offsets) - 1} paragraphs are one block of "
            f"{block_tokens}, two are needed: lower block_tokens, or give more text"
        )
    count = min(max(1, round(held_out * len(blocks))), len(blocks) - 1)
    chosen = np.random.default_rng(seed).choice(blocks, count, replace=False)
    lengths = np.diff(offsets)
    mask = np.isin(block_of, chosen)

    def part(paragraphs: np.ndarray) -> Corpus:
        ends = np.concatenate([[0], np.cumsum(lengths[paragraphs])])
        return Corpus(corpus.words, corpus.ids[np.repeat(paragraphs, lengths)], ends)

    return part(~mask), part(mask)


def cooccurrence(corpus: Corpus, vocab_size: int, *, window: int = 5) -> np.ndarray:
    """Counts ordered pairs of the most frequent words at most `window` tokens apart.

    Rarer words are left out but keep their place: distances are those of the text.

    Args:
      corpus: the corpus.
      vocab_size: N, from 2 to the number of words.
      window: largest distance, at least 1.

    Returns:
      float64 [N, N], symmetric.

    Raises:
      ValueError: an argument is out of range, or no pair was found.

    Example:
      >>> corpus = read_texts(["a b a c b"])
      >>> cooccurrence(corpus, 2, window=2)
      array([[2., 3.],
             [3., 0.]])
    """
    check_count("vocab_size", vocab_size, at_least=0)
    if not 2 <= vocab_size <= len(corpus.words):
        raise InputError(
            f"vocab_size is {vocab_size}, must be between 2 and the {len(corpus.words)} words"
        )
    check_count("window", window)
    paragraphs = corpus.paragraphs
    counts = np.zeros(vocab_size**2)
    for distance in range(1, window + 1):
        left, right = corpus.ids[:-distance].astype(np.int64), corpus.ids[distance:]
        both = (left < vocab_size) & (right < vocab_size)
        both &= paragraphs[:-distance] == paragraphs[distance:]
        counts += np.bincount(left[both] * vocab_size + right[both], minlength=vocab_size**2)
    counts = counts.reshape(vocab_size, vocab_size)
    if not counts.any():
        raise InputError(f"no two of the {vocab_size} most frequent words are neighbours")
    return counts + counts.T


def subsampling_rates(counts: np.ndarray, threshold: float) -> np.ndarray:
    r"""Chance of each word to stay, :math:`\min(1, \sqrt{t / f} + t / f)` for frequency f.

    Args:
      counts: [V], how often each word occurs.
      threshold: t; 0 keeps everything.

    Returns:
      float64 [V].

    Example:
      >>> subsampling_rates(np.array([99, 1]), 0.01).round(3)
      array([0.111, 1.   ])

    Source: Mikolov et al., 2013, arXiv:1310.4546, in the form of the word2vec program.
    """
    check_scalar("threshold", threshold, at_least=0)
    if threshold == 0:
        return np.ones(len(counts))
    ratio = threshold * counts.sum() / np.maximum(counts, 1)
    return np.minimum(1.0, np.sqrt(ratio) + ratio)


def load_word_pairs(
    name: str, data_dir: str | Path | None = None
) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Reads word pairs with people's judgement of their similarity.

    Args:
      name: "wordsim353", "simlex999", or the path of a file of `word TAB word TAB number` lines.
      data_dir: the data folder; see `data_folder`.

    Returns:
      The pairs in the form of `tokenize`, and float64 judgements, one per pair. A pair that is
      listed more than once counts as often, as in gensim, and is reported.

    Raises:
      FileNotFoundError: the file is missing; the message says how to get it.
      ValueError: a line is no pair with a finite number, or there is none.
    """
    path = data_file(WORD_PAIRS[name], data_dir) if name in WORD_PAIRS else Path(name)
    pairs, scores = [], []
    for number, line in enumerate(split_lines(text_of(path)), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = [normal_words(field).strip() for field in line.split("\t")]
        try:
            first, second, score = fields[0], fields[1], float(fields[2])
            if not (first and second and np.isfinite(score)):
                raise ValueError
        except (ValueError, IndexError):
            raise InputError(
                f"{path}, line {number}: {line[:60]!r} is not `word TAB word TAB number`"
            ) from None
        pairs.append((first, second))
        scores.append(score)
    if not pairs:
        raise InputError(f"{path} holds no lines `word TAB word TAB number`")
    again = len(pairs) - len({frozenset(pair) for pair in pairs})
    if again:
        logging.info("%s: %d of %d pairs are listed before", path, again, len(pairs))
    return pairs, np.array(scores)
