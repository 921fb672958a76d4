"""Trained word vectors on the host: neighbours, rank correlation, a plane, the word2vec format.

A word that is listed more than once has the first of its vectors everywhere, as in gensim.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from absl import logging
from etils import epath

from jaxlab.checks import check_count
from jaxlab.data.formats.plain_text import read_bytes, read_text, split_lines, whole_characters
from jaxlab.errors import InputError
from jaxlab.files import write_atomically


def nearest(
    vectors: np.ndarray, words: Sequence[str], query: str, *, count: int = 5
) -> list[tuple[str, float]]:
    """Words whose vectors have the largest cosine with that of `query`, nearest first.

    Args:
      vectors: [V, n].
      words: the V words.
      query: one of them; it is left out of the answer.
      count: how many at most; fewer where there are not as many words.

    Returns:
      (word, cosine) pairs.

    Raises:
      ValueError: the query is no word, words and vectors differ in number, a vector is not finite,
        or count is below 1.

    Example:
      >>> nearest(np.array([[1.0, 0], [1, 1], [0, 1]]), ["a", "b", "c"], "a", count=1)[0][0]
      'b'
    """
    check_count("count", count)
    unit, number = _unit(vectors, words)
    if query not in number:
        raise InputError(f"{query!r} is not among the {len(number)} words")
    others = np.array([i for word, i in number.items() if word != query], int)
    cosines = unit[others] @ unit[number[query]]
    order = np.argsort(-cosines, kind="stable")[:count].tolist()
    return [(str(words[int(others[j])]), float(cosines[j])) for j in order]


def rank_correlation(
    vectors: np.ndarray,
    words: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    scores: np.ndarray,
) -> tuple[float, int]:
    """Spearman's correlation of cosines with judgements, over the pairs whose words are known.

    Args:
      vectors: [V, n].
      words: the V words.
      pairs: word pairs.
      scores: a judgement for each pair.

    Returns:
      (correlation, number of pairs it is over); NaN, since there is no order to compare, for fewer
      than three pairs, and where all cosines or all judgements are equal.

    Raises:
      ValueError: numbers of words and vectors, or of pairs and scores, differ, or a vector or a
        judgement is not finite.

    Example:
      >>> vectors = np.array([[1.0, 0], [1, 1], [0, 1], [-1, 0]])
      >>> pairs = [("a", "b"), ("a", "c"), ("a", "d"), ("a", "?")]
      >>> rank_correlation(vectors, "abcd", pairs, np.array([9, 5, 1, 7]))
      (1.0, 3)
    """
    if len(pairs) != len(scores):
        raise InputError(f"there are {len(pairs)} pairs and {len(scores)} scores")
    scores = np.asarray(scores, np.float64)
    if not np.isfinite(scores).all():
        raise InputError(f"{(~np.isfinite(scores)).sum()} of {len(scores)} scores are not finite")
    unit, number = _unit(vectors, words)
    known = [k for k, (a, b) in enumerate(pairs) if a in number and b in number]
    if len(known) < 3:
        return float("nan"), len(known)
    left, right = (np.array([number[pairs[k][side]] for k in known]) for side in (0, 1))
    # Equal cosines must be equal ranks, despite rounding.
    cosines = np.sum(unit[left] * unit[right], axis=1).round(12)
    if np.ptp(cosines) == 0 or np.ptp(scores[known]) == 0:
        return float("nan"), len(known)
    from scipy import stats  # loads slowly

    result = stats.spearmanr(cosines, scores[known])
    return float(result.statistic), len(known)  # type: ignore[attr-defined]


def plane(vectors: np.ndarray) -> np.ndarray:
    """Projects vectors [V, n] on their two main directions of variation: [V, 2].

    Each axis points where the entry of largest size is positive, so that pictures repeat. The
    second is 0 where there is but one.

    Raises:
      ValueError: there is no vector, or one is not finite.

    Example:
      >>> plane(np.array([[0.0, 0, 0], [3, 0, 0], [6, 0, 0]])).round(3)[:, 0].tolist()
      [-3.0, 0.0, 3.0]
    """
    vectors = np.asarray(vectors)
    _check(vectors, range(len(vectors)) if vectors.ndim else ())
    if not vectors.size:
        raise InputError(f"vectors have shape {vectors.shape}, there is none to project")
    centred = np.asarray(vectors, np.float64) - np.mean(vectors, axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    return np.pad(centred @ axes.T, ((0, 0), (0, 2 - len(axes))))


def save_word2vec(path: epath.PathLike, words: Sequence[str], vectors: np.ndarray) -> None:
    """Writes vectors as word2vec's text format, which gensim's `load_word2vec_format` reads.

    The first line is `V n`, each other a word and its n numbers, separated by spaces.

    Args:
      path: the file; folders are made.
      words: V words without blanks.
      vectors: [V, n].

    Raises:
      ValueError: there is no word, or one holds a blank, half a character or a zero, is empty or
        listed twice; a vector is not finite, or words and vectors differ in number.

    Example:
      >>> import tempfile
      >>> path = tempfile.mkdtemp() + "/vectors.txt"
      >>> save_word2vec(path, ["a", "b"], np.array([[1.0, 0.5], [0.0, -1.0]]))
      >>> print(epath.Path(path).read_text().strip())
      2 2
      a 1 0.5
      b 0 -1
    """
    vectors = np.asarray(vectors)
    number = _check(vectors, words)
    if not vectors.size:
        raise InputError(f"vectors have shape {vectors.shape}, there is none to write")
    if len(number) < len(words):
        again = next(word for i, word in enumerate(words) if number[word] != i)
        raise InputError(f"{again!r} is listed twice: a word has one vector")
    readable = lambda word: word == whole_characters(word.strip()) and "\0" not in word
    bad = [word for word in words if len(word.split()) != 1 or not readable(word)]
    if bad:
        raise InputError(
            f"{bad[0]!r} is not one word of text: the format separates words by blanks"
        )
    lines = [f"{len(words)} {vectors.shape[1]}"]
    # Nine digits give every float32 back exactly.
    lines += [
        " ".join([word, *(f"{x:.9g}" for x in row)])
        for word, row in zip(words, vectors.tolist(), strict=True)
    ]
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "\n".join(lines) + "\n")


def load_word2vec(path: epath.PathLike) -> tuple[list[str], np.ndarray]:
    """Reads word2vec's text format or, of a name that ends in `.bin`, its binary one.

    Args:
      path: the file, gzipped or not (`.bin.gz`).

    Returns:
      The words and float32 [V, n]. Of a word that is listed more than once the first vector is
      kept, as gensim does, and the number of others is reported.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is not in that format, or a number is not finite; says in which line.
    """
    binary = epath.Path(path).name.removesuffix(".gz").endswith(".bin")
    rows = _binary_rows(epath.Path(path)) if binary else _text_rows(path)
    number: dict[str, int] = {}
    vectors: list[np.ndarray] = []  # the first line may claim more than any memory holds
    count = 0
    for word, vector in rows:
        count += 1
        if word not in number:
            vectors.append(vector)
            number[word] = len(number)
    if len(number) < count:
        logging.warning(
            "%s: %d words are listed before, of which the first vector is kept",
            *(path, count - len(number)),
        )
    return list(number), np.stack(vectors)


def _sizes(line: str, place: str) -> tuple[int, int]:
    """V and n of the first line."""
    try:
        count, dim = map(int, line.split())
        if count < 1 or dim < 1:
            raise ValueError
    except ValueError:
        raise InputError(f"{place}: line 1 is {line[:40]!r}") from None
    return count, dim


def _text_rows(path: epath.PathLike) -> Iterator[tuple[str, np.ndarray]]:
    lines = split_lines(read_text(path)) or [""]
    place = f"{path}: is not in word2vec's text format (a line `V n`, then V words with n numbers)"
    count, dim = _sizes(lines[0], place)
    rows = [(i, line.rstrip()) for i, line in enumerate(lines[1:], 2) if line.strip()]
    if len(rows) != count:
        raise InputError(f"{place}: line 1 says {count} words, there are {len(rows)}")
    for i, line in rows:
        word, *values = line.split(" ")
        try:
            with np.errstate(over="ignore"):
                vector = np.array(values, np.float64).astype(np.float32)
            if not word or vector.shape != (dim,) or not np.isfinite(vector).all():
                raise ValueError
        except ValueError:
            raise InputError(
                f"{place}: line {i}, {line[:40]!r}, is not a word without blanks and {dim} finite "
                "numbers"
            ) from None
        yield word, vector


def _binary_rows(path: epath.Path) -> Iterator[tuple[str, np.ndarray]]:
    """Words, each followed by a blank and n little-endian float32."""
    raw = read_bytes(path)
    place = f"{path}: is not in word2vec's binary format (a line `V n`, then words and vectors)"
    head, _, _ = raw.partition(b"\n")
    count, dim = _sizes(head[:80].decode(errors="replace"), place)
    at = len(head) + 1
    for i in range(1, count + 1):
        end = raw.find(b" ", at)
        stop = end + 1 + 4 * dim
        if end < 0 or stop > len(raw):
            raise InputError(f"{place}: line 1 says {count} words, it ends in word {i}")
        vector = np.frombuffer(raw[end + 1 : stop], "<f4").astype(np.float32)
        word = raw[at:end].lstrip(b"\n").decode(errors="replace")
        if not word or not np.isfinite(vector).all():
            raise InputError(f"{place}: word {i}, {word[:40]!r}, has no {dim} finite numbers")
        at = stop
        yield word, vector


def align(
    words: Sequence[str], known: Sequence[str], vectors: np.ndarray, fresh: np.ndarray
) -> np.ndarray:
    """Rows of `fresh`, of which those of known words are their vectors.

    Args:
      words: the words of `fresh`.
      known: the words of `vectors`.
      vectors: [V, n].
      fresh: [N, n].

    Example:
      >>> print(align(["a", "z"], ["b", "a"], np.array([[1.0], [2]]), np.array([[0.0], [5]])))
      [[2.]
       [5.]]
    """
    number = {word: i for i, word in reversed([*enumerate(known)])}
    at = [i for i, word in enumerate(words) if word in number]
    found = np.array(fresh)
    found[at] = vectors[[number[words[i]] for i in at]]
    return found


def _unit(vectors: np.ndarray, words: Sequence[str]) -> tuple[np.ndarray, dict[str, int]]:
    """Vectors of length 1, and the row of each word."""
    vectors = np.asarray(vectors)
    number = _check(vectors, words)
    vectors = vectors.astype(np.float64)
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
    vectors = vectors / np.where(largest > 0, largest, 1)  # squares neither over- nor underflow
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), number


def _check(vectors: np.ndarray, words: Sequence[Any]) -> dict[Any, int]:
    """The first row of each word; raises where words and vectors do not belong together."""
    if vectors.ndim != 2 or len(vectors) != len(words):
        raise InputError(
            f"vectors have shape {vectors.shape}, {len(words)} words need ({len(words)}, n)"
        )
    if vectors.dtype.kind in "bcmMOSU":
        raise InputError(f"vectors are {vectors.dtype}, must be real numbers")
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise InputError(
            f"vectors of {len(bad)} words are not finite, first that of {words[bad[0]]!r}"
        )
    number: dict[str, int] = {}
    for i, word in enumerate(words):
        number.setdefault(word, i)
    return number
