"""`jaxlab.embedding_dim.related`: next to the estimates: Johnson-Lindenstrauss, attention's scale,
entropy of counts."""

import math

import numpy as np
import pytest
from vectors import entropy, vectors

from jaxlab import embedding_dim as ed


def test_johnson_lindenstrauss():
    stated = {0.1: 27_631, 0.5: 1_105, 0.9: 341}  # rounded down there
    for eps, value in stated.items():
        assert ed.johnson_lindenstrauss_dim(100_000, eps) == value + 1
    assert ed.johnson_lindenstrauss_dim(100_000, 0.1, constant=16) == 18_421
    assert math.sqrt(16 / 8.33) == pytest.approx(1.386, abs=1e-3)  # no eps in (0, 1) gives 8.33


def test_entropy_invariant_scale():
    assert ed.entropy_invariant_scale(512, 64) == 1 / 8
    assert ed.entropy_invariant_scale(128, 64, 128) == 1 / 8
    assert ed.entropy_invariant_scale(64, 16) == pytest.approx(math.log(64, 512) / 4)


def test_entropy_of_counts():
    uniform = np.ones((7, 7), np.int64)
    assert ed.empirical_pair_entropy(uniform) == pytest.approx(2 * math.log(7))
    assert ed.empirical_pair_entropy(uniform, pairs="conditional") == pytest.approx(math.log(7))
    assert ed.empirical_pair_entropy(np.eye(5)) == pytest.approx(math.log(5))
    assert ed.empirical_pair_entropy(np.eye(5), pairs="conditional") == pytest.approx(0, abs=1e-12)
    counts = np.random.default_rng(0).poisson(1.0, size=(20, 20))
    p = counts[counts > 0] / counts.sum()
    expected = -np.sum(p * np.log(p))
    assert ed.empirical_pair_entropy(counts) == pytest.approx(expected)
    assert ed.empirical_pair_entropy(counts[counts > 0]) == pytest.approx(expected)
    assert ed.empirical_pair_entropy(dict(np.ndenumerate(counts))) == pytest.approx(expected)


def test_scaled_attention_has_no_threshold(rng):
    # Logits divided by sqrt(d): kappa = 1 / sqrt(d), and the entropy is log L - 1/2 for every d.
    for d in (64, 256, 1024):
        assert ed.angle_entropy(d, kappa=d**-0.5) == pytest.approx(-0.5, abs=0.02)
    q, k = (vectors(rng, 1024, 64, 8.0) for _ in "qk")
    rows = entropy(q @ k.T / 8, axis=1).mean() - math.log(1024)
    assert rows == pytest.approx(ed.angle_entropy(64, kappa=1 / 8), abs=0.01)
    assert ed.angle_entropy(64, kappa=1 / 8) == pytest.approx(-0.489, abs=0.0005)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ed.angle_entropy(0), ValueError, "n is 0, must be at least 1"),
        (lambda: ed.angle_entropy("8"), TypeError, "n is '8', must be a number"),
        (lambda: ed.angle_entropy(100, kappa=1e9), ValueError, "too large to sum"),
        (lambda: ed.angle_density(0.0, 1), ValueError, "n is 1, must be at least 2"),
        (lambda: ed.skipgram_entropy(100, 0), ValueError, "dim is 0, must be at least 1"),
        (lambda: ed.skipgram_entropy(1, 8), ValueError, "vocab_size is 1"),
        (lambda: ed.vocab_capacity(0.5), ValueError, "dim is 0.5, must be at least 1"),
        (lambda: ed.vocab_capacity(8, pairs="x"), ValueError, "pairs is 'x'"),
        (lambda: ed.johnson_lindenstrauss_dim(1, 0.5), ValueError, "n_points is 1"),
        (lambda: ed.johnson_lindenstrauss_dim(9, 0), ValueError, "eps is 0, must be above 0"),
        (lambda: ed.johnson_lindenstrauss_dim(9, 1.0), ValueError, "eps is 1.0, must be below 1"),
        (lambda: ed.entropy_invariant_scale(512, 0), ValueError, "head_dim is 0"),
        (lambda: ed.entropy_invariant_scale(512, 64, 1), ValueError, "train_length is 1"),
        (lambda: ed.empirical_pair_entropy([]), ValueError, "the corpus is empty"),
        (lambda: ed.empirical_pair_entropy(np.zeros((3, 3))), ValueError, "the corpus is empty"),
        (lambda: ed.empirical_pair_entropy([[1, -1]]), ValueError, "counts have value -1.0"),
        (lambda: ed.empirical_pair_entropy([1.0, np.nan]), ValueError, "must be finite"),
        (lambda: ed.empirical_pair_entropy(["a"]), TypeError, "counts have dtype"),
        (lambda: ed.empirical_pair_entropy([1], pairs="conditional"), ValueError, "a matrix"),
    ],
)
def test_wrong_arguments_of_the_others(call, error, message):
    with pytest.raises(error, match=message):
        call()
