"""Every estimate of an embedding's dimension, with what it assumes."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxlab import embedding_dim as ed
from jaxlab.data import corpus as corpora


class Estimate(NamedTuple):
    """What one method says.

    Attributes:
      name: of the method.
      dim: the dimension.
      root: the number before rounding; None where there is none.
      assumes: what it rests on.
    """

    name: str
    dim: int
    root: float | None
    assumes: str


def estimates(
    vocab_size: int,
    corpus: corpora.Corpus | None = None,
    *,
    kappa: float = 1.0,
    multiple_of: int = 1,
    top_words: int = 2000,
    window: int = 5,
) -> list[Estimate]:
    """All estimates for a vocabulary.

    Args:
      vocab_size: N, its words.
      corpus: for the estimate that looks at pairs of words; None without it.
      kappa: mean |u||v| / n.
      multiple_of: dimensions are rounded up to a multiple.
      top_words: words of the corpus whose pairs are counted.
      window: largest distance of the words of a pair.

    Raises:
      ValueError: a number is out of range.

    Example:
      >>> [(row.name, row.dim) for row in estimates(1000)][:2]
      [('8.33 log N', 58), ('8.3123 log N - 0.31', 58)]
    """

    def row(name, assumes, size=vocab_size, **chosen):
        chosen = {"kappa": kappa, **chosen}
        dim = ed.embedding_dim(size, multiple_of=multiple_of, **chosen)
        return Estimate(name, dim, ed.embedding_dim_root(size, **chosen), assumes)

    norm = f"|u||v| = {kappa:g} n"
    rows = [
        row("8.33 log N", f"{norm}; 0.2406 rounded to 0.24", method="formula"),
        row("8.3123 log N - 0.31", f"{norm}; large n", method="asymptotic"),
        row("entropy, all pairs", f"{norm}; independent vectors; entropy of 0", method="entropy"),
        row(
            "entropy, a row",
            f"{norm}; softmax over the contexts of one word",
            method="entropy",
            pairs="conditional",
        ),
    ]
    for other in (0.5, 0.25):
        name = f"... |u||v| = {other:g} n"
        rows.append(row(name, "norms as trained", method="entropy", kappa=other))
    if corpus is not None:
        top = min(top_words, len(corpus.words))
        entropy = ed.empirical_pair_entropy(corpora.cooccurrence(corpus, top, window=window))
        limit = 2 * math.log(top)
        if entropy < limit:
            assumes = f"that of the corpus, {entropy:.3f} of {limit:.3f} nats, for them alone"
            target = {"method": "entropy", "target_entropy": entropy}
            rows.append(row(f"entropy of {top} words", assumes, size=top, **target))
    for eps in (0.5, 0.9):
        dim, name = ed.johnson_lindenstrauss_dim(vocab_size, eps), f"Johnson-Lindenstrauss {eps:g}"
        rows.append(Estimate(name, dim, None, f"distances within {eps:.0%}"))
    return rows


def as_text(title: str, rows: Sequence[Estimate]) -> str:
    """The estimates for people, a line each.

    Example:
      >>> print(as_text("N = 9", [Estimate("mine", 7, 6.5, "nothing")]))
      N = 9
        method                           n     exactly  assumes
        mine                             7      6.5000  nothing
    """
    lines = [title, f"  {'method':27}{'n':>7}{'exactly':>12}  assumes"]
    for name, dim, root, assumes in rows:
        exact = "" if root is None else f"{root:.4f}"
        lines.append(f"  {name:27}{dim:>7}{exact:>12}  {assumes}")
    return "\n".join(lines)


def entropy_lines(
    cases: Sequence[tuple[str, int]], *, kappa: float = 1.0
) -> tuple[np.ndarray, list[tuple[str, np.ndarray, float]]]:
    """Entropy of all pairs against dimension, as `plots.entropy_lines` draws it.

    Args:
      cases: (label, vocabulary size).
      kappa: mean |u||v| / n.

    Returns:
      Dimensions [M], and per case (label, 2 log N + h(n) [M], where it is 0).
    """
    roots = [ed.embedding_dim_root(size, kappa=kappa) for _, size in cases]
    n = np.unique(np.geomspace(1, 1.25 * max(roots) + 4, 200))
    drop = np.array([ed.angle_entropy(x, kappa=kappa) for x in n])
    return n, [
        (label, 2 * math.log(size) + drop, root)
        for (label, size), root in zip(cases, roots, strict=True)
    ]
