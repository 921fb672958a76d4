"""`jaxlab.tasks.embeddings.estimates`: every method, what it assumes, lines of the figure."""

import math

import numpy as np
import pytest

from jaxlab.data.corpus import read_texts
from jaxlab.tasks.embeddings import estimates


def test_every_method_by_its_formula():
    rows = {row.name: row for row in estimates.estimates(100_000)}
    assert rows["8.33 log N"].root == pytest.approx(8.33 * math.log(100_000))
    assert rows["8.33 log N"].dim == 96
    assert rows["Johnson-Lindenstrauss 0.5"].dim == 1106
    assert rows["Johnson-Lindenstrauss 0.5"].root is None
    assert rows["... |u||v| = 0.25 n"].dim > rows["... |u||v| = 0.5 n"].dim
    assert rows["entropy, a row"].dim * 2 == rows["entropy, all pairs"].dim
    assert {row.dim % 8 for row in estimates.estimates(1000, multiple_of=8)[:6]} == {0}
    half = {row.name: row for row in estimates.estimates(1000, kappa=0.5)}
    assert half["entropy, all pairs"].dim == half["... |u||v| = 0.5 n"].dim
    assert half["8.33 log N"].assumes.startswith("|u||v| = 0.5 n")


def test_a_corpus_adds_the_estimate_of_its_own_entropy():
    corpus = read_texts(["the sun is red and the sea is blue . " * 20])
    rows = estimates.estimates(8, corpus, top_words=4, window=2)
    (row,) = [row for row in rows if row.name == "entropy of 4 words"]
    assert f"of {2 * math.log(4):.3f} nats" in row.assumes
    assert row.dim < estimates.estimates(4)[2].dim  # its target is above 0


def test_lines_cross_zero_where_they_say():
    dims, lines = estimates.entropy_lines([("a", 100), ("b", 1000)])
    assert [label for label, _, _ in lines] == ["a", "b"]
    for _, entropy, root in lines:
        assert np.interp(root, dims, entropy) == pytest.approx(0, abs=0.02)
    np.testing.assert_allclose(lines[1][1] - lines[0][1], 2 * math.log(10))
    dims, ((_, entropy, root),) = estimates.entropy_lines([("a", 100)], kappa=0.5)
    assert np.interp(root, dims, entropy) == pytest.approx(0, abs=0.02)
