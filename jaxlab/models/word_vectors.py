"""Trained word vectors on the host: neighbours, rank correlation, a plane, the word2vec format."""

from collections.abc import Sequence

import numpy as np
from etils import epath
from scipy import stats

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
      count: how many.

    Returns:
      (word, cosine) pairs.

    Raises:
      ValueError: the query is no word, or words and vectors differ in number.

    Example:
      >>> nearest(np.array([[1.0, 0], [1, 1], [0, 1]]), ["a", "b", "c"], "a", count=1)[0][0]
      'b'
    """
    unit = _unit(vectors, words)
    if query not in words:
        raise InputError(f"{query!r} is not among the {len(words)} words")
    i = list(words).index(query)
    cosines = unit @ unit[i]
    cosines[i] = -np.inf
    order = np.argsort(-cosines)[:count].tolist()
    return [(str(words[j]), float(cosines[j])) for j in order]


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
      (correlation, number of pairs it is over); NaN for fewer than three pairs.

    Raises:
      ValueError: numbers of words and vectors, or of pairs and scores, differ.

    Example:
      >>> vectors = np.array([[1.0, 0], [1, 1], [0, 1], [-1, 0]])
      >>> pairs = [("a", "b"), ("a", "c"), ("a", "d"), ("a", "?")]
      >>> rank_correlation(vectors, "abcd", pairs, np.array([9, 5, 1, 7]))
      (1.0, 3)
    """
    if len(pairs) != len(scores):
        raise InputError(f"there are {len(pairs)} pairs and {len(scores)} scores")
    unit = _unit(vectors, words)
    number = {word: i for i, word in enumerate(words)}
    known = [k for k, (a, b) in enumerate(pairs) if a in number and b in number]
    if len(known) < 3:
        return float("nan"), len(known)
    left, right = (np.array([number[pairs[k][side]] for k in known]) for side in (0, 1))
    cosines = np.sum(unit[left] * unit[right], axis=1)
    result = stats.spearmanr(cosines, np.asarray(scores)[known])
    return float(result.statistic), len(known)  # type: ignore[attr-defined]


def plane(vectors: np.ndarray) -> np.ndarray:
    """Projects vectors [V, n] on their two main directions of variation: [V, 2].

    Each axis points where the entry of largest size is positive, so that pictures repeat.

    Example:
      >>> plane(np.array([[0.0, 0, 0], [3, 0, 0], [6, 0, 0]])).round(3)[:, 0].tolist()
      [-3.0, 0.0, 3.0]
    """
    centred = np.asarray(vectors, np.float64) - np.mean(vectors, axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2][np.arange(2), np.abs(axes[:2]).argmax(axis=1)])[:, None]
    return centred @ axes.T


def save_word2vec(path: epath.PathLike, words: Sequence[str], vectors: np.ndarray) -> None:
    """Writes vectors as word2vec's text format, which gensim's `load_word2vec_format` reads.

    The first line is `V n`, each other a word and its n numbers, parted by spaces.

    Args:
      path: the file; folders are made.
      words: V words without blanks.
      vectors: [V, n].

    Raises:
      ValueError: a word holds a blank or is empty, or words and vectors differ in number.

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
    _check(vectors, words)
    bad = [word for word in words if len(word.split()) != 1 or word != word.strip()]
    if bad:
        raise InputError(f"{bad[0]!r} is not one word: the format parts words by blanks")
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
    """Reads word2vec's text format.

    Args:
      path: the file.

    Returns:
      The words and float32 [V, n].

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is not in that format.
    """
    lines = epath.Path(path).read_text().split("\n")
    try:
        count, dim = map(int, lines[0].split())
        rows = [line.rstrip().split(" ") for line in lines[1:] if line.strip()]
        words = [row[0] for row in rows]
        vectors = np.array([row[1:] for row in rows], np.float32).reshape(len(rows), -1)
        if vectors.shape != (count, dim):
            raise ValueError
    except ValueError:
        raise InputError(
            f"{path}: is not in word2vec's text format (a line `V n`, then V words with n numbers)"
        ) from None
    return words, vectors


def _unit(vectors: np.ndarray, words: Sequence[str]) -> np.ndarray:
    vectors = np.asarray(vectors, np.float64)
    _check(vectors, words)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _check(vectors: np.ndarray, words: Sequence[str]) -> None:
    if vectors.ndim != 2 or len(vectors) != len(words):
        raise InputError(
            f"vectors have shape {vectors.shape}, {len(words)} words need ({len(words)}, n)"
        )
