"""Word vectors on the host: neighbours, correlation, a plane, and the text format."""

import numpy as np
import pytest

from jaxlab.models import word_vectors

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon"]


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def test_neighbours_are_sorted_by_cosine(vectors):
    found = word_vectors.nearest(vectors, WORDS, "gamma", count=4)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = sorted(((float(unit[i] @ unit[2]), w) for i, w in enumerate(WORDS) if i != 2))[::-1]
    assert [word for word, _ in found] == [word for _, word in expected]
    assert found[0][1] == pytest.approx(expected[0][0], abs=1e-6)
    scaled = word_vectors.nearest(10 * vectors, tuple(WORDS), "gamma", count=4)
    assert [word for word, _ in scaled] == [word for word, _ in found]


def test_rank_correlation_uses_ranks_and_known_words(vectors):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [(a, b) for i, a in enumerate(WORDS) for b in WORDS[:i]] + [("alpha", "omega")]
    cosines = [unit[WORDS.index(a)] @ unit[WORDS.index(b)] for a, b in pairs[:-1]]
    scores = np.exp([*cosines, 3.0])  # any increasing function
    assert word_vectors.rank_correlation(vectors, WORDS, pairs, scores) == (pytest.approx(1), 10)
    assert word_vectors.rank_correlation(vectors, WORDS, pairs, -scores)[0] == pytest.approx(-1)
    rho, count = word_vectors.rank_correlation(vectors, WORDS, pairs[-3:-1], scores[-3:-1])
    assert np.isnan(rho)
    assert count == 2


def test_plane_keeps_the_main_directions(vectors):
    stretched = vectors * [10, 3, 0.01]
    xy = word_vectors.plane(stretched)
    distances = lambda x: np.linalg.norm(x[:, None] - x[None], axis=-1)
    np.testing.assert_allclose(distances(xy), distances(stretched), atol=0.1)
    np.testing.assert_allclose(word_vectors.plane(stretched + 5), xy, atol=1e-4)
    assert xy[:, 0].var() > xy[:, 1].var()


def test_word2vec_text_comes_back_bit_for_bit(vectors, tmp_path):
    path = tmp_path / "deep" / "vectors.txt"
    word_vectors.save_word2vec(path, WORDS, vectors)
    lines = path.read_text().splitlines()
    assert lines[0] == "5 3"
    assert lines[1].split()[0] == "alpha"
    words, found = word_vectors.load_word2vec(path)
    assert words == WORDS
    np.testing.assert_array_equal(found, vectors)
    assert found.dtype == np.float32


def test_gensim_reads_the_same(vectors, tmp_path):
    models = pytest.importorskip("gensim.models")
    path = tmp_path / "vectors.txt"
    word_vectors.save_word2vec(path, WORDS, vectors)
    found = models.KeyedVectors.load_word2vec_format(str(path), binary=False)
    assert found.index_to_key == WORDS
    np.testing.assert_array_equal(found.vectors, vectors)


@pytest.mark.parametrize(
    ("text", "name"),
    [("", "empty"), ("2 3\na 1 2 3\n", "missing line"), ("1 2\na 1\n", "short"), ("x\n", "head")],
)
def test_other_files_are_refused(text, name, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"vectors.txt: is not in word2vec's text format"):
        word_vectors.load_word2vec(path)


def test_wrong_arguments_are_named(vectors, tmp_path):
    with pytest.raises(ValueError, match="'omega' is not among the 5 words"):
        word_vectors.nearest(vectors, WORDS, "omega")
    with pytest.raises(ValueError, match=r"shape \(4, 3\), 5 words need \(5, n\)"):
        word_vectors.nearest(vectors[:4], WORDS, "alpha")
    with pytest.raises(ValueError, match="there are 1 pairs and 2 scores"):
        word_vectors.rank_correlation(vectors, WORDS, [("a", "b")], np.ones(2))
    with pytest.raises(ValueError, match="'new york' is not one word"):
        word_vectors.save_word2vec(tmp_path / "x", ["new york"], vectors[:1])
    with pytest.raises(FileNotFoundError):
        word_vectors.load_word2vec(tmp_path / "none.txt")
