"""`jaxlab.tasks.embeddings.word_vectors`: word vectors on the host: neighbours, correlation, a
plane, and the text format."""

import gzip

import numpy as np
import pytest

from jaxlab.errors import InputError
from jaxlab.tasks.embeddings import word_vectors

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


def test_the_binary_format_of_gensim_is_read(vectors, tmp_path):
    models = pytest.importorskip("gensim.models")
    theirs = models.KeyedVectors(vectors.shape[1])
    theirs.add_vectors(WORDS, vectors.astype(np.float32))
    path = tmp_path / "vectors.bin"
    theirs.save_word2vec_format(str(path), binary=True)
    words, found = word_vectors.load_word2vec(path)
    assert words == WORDS
    np.testing.assert_array_equal(found, vectors.astype(np.float32))
    (tmp_path / "zipped.bin.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert word_vectors.load_word2vec(tmp_path / "zipped.bin.gz")[0] == WORDS


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"many 2\n", "line 1 is 'many 2'"),
        (b"2 1\nred \0\0\0\0", "line 1 says 2 words, it ends in word 2"),
        (b"1 1\nred \0\0\xc0\x7f", "word 1, 'red', has no 1 finite numbers"),
    ],
)
def test_other_binary_files_are_refused(raw, message, tmp_path):
    (tmp_path / "a.bin").write_bytes(raw)
    with pytest.raises(ValueError, match=message):
        word_vectors.load_word2vec(tmp_path / "a.bin")


TWICE = "5 2\nred 1 0\nred -1 0\nrose 0.9 0.1\nsky -0.9 0.2\nsun -0.8 0.5\n"


def test_of_a_word_listed_twice_the_first_vector_stands_everywhere(tmp_path, caplog):
    path = tmp_path / "twice.txt"
    path.write_text(TWICE)
    words, vectors = word_vectors.load_word2vec(path)
    assert words == ["red", "rose", "sky", "sun"]
    assert vectors[0].tolist() == [1, 0]
    assert "1 words are listed before" in caplog.text
    # The same for lists that come from elsewhere.
    both, all_vectors = ["red", *words], np.array([[1, 0], [-1, 0], *vectors[1:]])
    assert word_vectors.nearest(all_vectors, both, "red", count=9) == word_vectors.nearest(
        vectors, words, "red", count=9
    )
    pairs, scores = [("red", "rose"), ("red", "sky"), ("red", "sun")], np.array([9.0, 2.0, 4.0])
    for listed, table in ((words, vectors), (both, all_vectors)):
        assert word_vectors.rank_correlation(table, listed, pairs, scores)[0] == pytest.approx(1)
    with pytest.raises(InputError, match="'red' is listed twice"):
        word_vectors.save_word2vec(path, both, all_vectors)


def test_gensim_finds_the_same_in_a_file_that_lists_a_word_twice(tmp_path):
    models = pytest.importorskip("gensim.models")
    path = tmp_path / "twice.txt"
    path.write_text(TWICE)
    theirs = models.KeyedVectors.load_word2vec_format(str(path))
    words, vectors = word_vectors.load_word2vec(path)
    found = word_vectors.nearest(vectors, words, "red", count=3)
    assert [word for word, _ in found] == [w for w, _ in theirs.most_similar("red", topn=3)]


def test_no_more_neighbours_come_than_there_are(vectors):
    for count in (4, 5, 100):
        found = word_vectors.nearest(vectors, WORDS, "beta", count=count)
        assert sorted(word for word, _ in found) == ["alpha", "delta", "epsilon", "gamma"]
        assert np.isfinite([cosine for _, cosine in found]).all()
    assert word_vectors.nearest(vectors[:1], WORDS[:1], "alpha") == []
    for count in (0, -1, 2.5):
        with pytest.raises(InputError, match=rf"count is {count}, must be a whole number"):
            word_vectors.nearest(vectors, WORDS, "beta", count=count)


def test_an_order_of_nothing_is_no_number(recwarn):
    pairs = [("alpha", b) for b in WORDS[1:]]
    # All cosines are 1 but for rounding.
    same = np.outer([1, 2, 3, 5, 7], [0.1, 0.7, 0.3]).astype(np.float32)
    for table, scores in ((same, [1, 2, 3, 4]), (np.eye(5), [1, 2, 3, 4])):
        rho, count = word_vectors.rank_correlation(table, WORDS, pairs, scores)
        assert np.isnan(rho)
        assert count == 4
    other = np.random.default_rng(0).normal(size=(5, 3))
    assert np.isnan(word_vectors.rank_correlation(other, WORDS, pairs, [2, 2, 2, 2])[0])
    assert np.isnan(word_vectors.rank_correlation(other, WORDS, [], [])[0])
    assert not recwarn.list


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_and_judgements_that_are_not_finite_are_named(vectors, tmp_path, bad):
    spoilt = vectors.copy()
    spoilt[3, 1] = bad
    message = "vectors of 1 words are not finite, first that of 'delta'"
    pairs = [("alpha", b) for b in WORDS[1:4]]
    for call in (
        lambda: word_vectors.nearest(spoilt, WORDS, "alpha"),
        lambda: word_vectors.rank_correlation(spoilt, WORDS, pairs, np.ones(3)),
        lambda: word_vectors.save_word2vec(tmp_path / "x", WORDS, spoilt),
    ):
        with pytest.raises(InputError, match=message):
            call()
    with pytest.raises(InputError, match="1 of 3 scores are not finite"):
        word_vectors.rank_correlation(vectors, WORDS, pairs, np.array([1, bad, 2]))


@pytest.mark.parametrize("encode", ["utf-8-sig", "utf-16"])
def test_vectors_with_a_mark_and_other_line_ends(vectors, tmp_path, encode):
    path = tmp_path / "vectors.txt"
    word_vectors.save_word2vec(path, ["naïve", *WORDS[1:]], vectors)
    raw = path.read_text().replace("\n", "\r\n").encode(encode)
    path.write_bytes(gzip.compress(raw))
    words, found = word_vectors.load_word2vec(path)
    assert words == ["naïve", *WORDS[1:]]
    np.testing.assert_array_equal(found, vectors)


def test_one_direction_has_a_plane_with_an_empty_axis(vectors):
    assert word_vectors.plane(vectors[:, :1]).shape == (5, 2)
    assert not word_vectors.plane(vectors[:, :1])[:, 1].any()
    assert word_vectors.plane(vectors[:1]).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3 2\na 1 2\nb 1 2\n", "line 1 says 3 words, there are 2"),
        ("1 2\na 1 2\nb 1 2\n", "line 1 says 1 words, there are 2"),
        ("1 2\nnew york 1 2\n", "line 2, 'new york 1 2', is not a word without blanks and 2"),
        ("2 2\na 1 2\nb 1 2 3\n", "line 3, 'b 1 2 3'"),
        ("2 2\na 1 2\nb 1 nan\n", "line 3, 'b 1 nan'"),
        ("1 2\na 1 1e39\n", "2 finite numbers"),
        ("1 2\n 1 2\n", "line 2, ' 1 2'"),
        ("a 1 2\nb 1 2\n", "line 1 is 'a 1 2'"),
        ("-1 2\n", "line 1 is '-1 2'"),
        ("0 2\n", "line 1 is '0 2'"),
        ("1 999999999999\na 1\n", "line 2, 'a 1'"),  # more than any memory holds
    ],
)
def test_the_line_that_is_wrong_is_named(text, message, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"vectors\.txt: is not in word2vec's.*{message}"):
        word_vectors.load_word2vec(path)


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


def test_five_neighbours_by_default_and_a_vector_of_zeros():
    table = np.concatenate([np.eye(7), np.zeros((1, 7))])
    found = word_vectors.nearest(table, list("abcdefgz"), "z")
    assert found == [(word, 0.0) for word in "abcde"]  # ties keep their order
    rho, count = word_vectors.rank_correlation(
        table + 0.1, list("abcdefgz"), [("a", "z"), ("a", "b"), ("a", "a")], np.array([2, 1, 3])
    )
    assert (rho, count) == (1.0, 3)


def test_a_plane_points_to_its_largest_entries():
    """The two axes of largest variance, with the sign of the largest entry of their direction."""
    points = np.array([[0, 4.0, 0], [0, -4, 0], [-2, 0, 0], [2, 0, 0]])
    np.testing.assert_allclose(
        word_vectors.plane(points), [[4, 0], [-4, 0], [0, -2], [0, 2]], atol=1e-9
    )
    turned = points @ np.array([[-0.6, 0.8, 0], [0.8, 0.6, 0], [0, 0, 1]])
    np.testing.assert_allclose(
        word_vectors.plane(turned), [[4, 0], [-4, 0], [0, -2], [0, 2]], atol=1e-9
    )


@pytest.mark.parametrize("factor", [1e300, 1e-300])
def test_cosines_do_not_depend_on_lengths(vectors, factor):
    want = word_vectors.nearest(vectors, WORDS, "alpha")
    found = word_vectors.nearest(vectors.astype(np.float64) * factor, WORDS, "alpha")
    assert [word for word, _ in found] == [word for word, _ in want]
    np.testing.assert_allclose([c for _, c in found], [c for _, c in want], rtol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((0, 2)), "there is none"),
        (np.zeros((2, 0)), "there is none"),
        (np.zeros(2), r"shape \(2,\)"),
        (np.full((2, 2), np.nan), "not finite"),
        (np.array([["a", "b"]]), "must be real numbers"),
        (np.ones((2, 2)) * 1j, "must be real numbers"),
    ],
)
def test_what_has_no_plane_and_no_file_is_named(wrong, message, tmp_path):
    words = ["a", "b"][: len(wrong)]
    with pytest.raises(ValueError, match=message):
        word_vectors.plane(wrong)
    with pytest.raises(ValueError, match=message):
        word_vectors.save_word2vec(tmp_path / "a.txt", words, wrong)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("word", ["\ud83d", "a\0", " a", "", "a b"])
def test_words_that_no_file_gives_back_are_refused(word, tmp_path):
    with pytest.raises(ValueError, match="is not one word of text"):
        word_vectors.save_word2vec(tmp_path / "a.txt", [word], np.ones((1, 2)))
