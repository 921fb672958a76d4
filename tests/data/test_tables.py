"""`jaxlab.data.tables`, `jaxlab.data.formats.rdata`: tables: R's format against bytes written here,
the real table where it is there, scaling."""

import gzip
import lzma
import struct

import numpy as np
import pytest

from jaxlab.data import load_table, standardize
from jaxlab.data.formats import rdata

X = np.array([[1.5, -2.0], [0.0, 7.0], [3.0, 4.0], [5.0, 6.0]])


def number(*values):
    return struct.pack(f">{len(values)}i", *values)


def text(value):
    return number(9, len(value)) + value.encode()


def strings(*values):
    return number(16, len(values)) + b"".join(map(text, values))


def symbol(name):
    return number(1) + text(name)


def factor(levels, codes):
    """Integers with the attributes `levels` and `class`, as R writes them."""
    attributes = number(0x402) + symbol("levels") + strings(*levels)
    attributes += number(0x402) + symbol("class") + strings("factor") + number(254)
    return number(13 | 0x300, len(codes), *codes) + attributes


def frame(codes, levels=("rare", "often"), table="Shuttle", target="Class"):
    """The serialization of a data frame with two columns of numbers and a factor."""
    out = b"RDX2\nX\n" + number(2, 0x20A00, 0x20300) + number(0x402) + symbol(table)
    out += number(19 | 0x300, 3)
    for column in X.T:
        out += number(14, len(column)) + struct.pack(f">{len(column)}d", *column)
    out += factor(levels, codes) + number(0x402) + symbol("names") + strings("V1", "V2", target)
    # "class" was the third symbol: a reference now.
    return out + number(0x402) + number(3 << 8 | 255) + strings("data.frame") + number(254, 254)


def store(folder, raw):
    (folder / "shuttle").mkdir(exist_ok=True)
    (folder / "shuttle" / "Shuttle.rda.gz").write_bytes(raw)


def test_a_table_is_read_with_its_classes_by_frequency(tmp_path):
    for pack in (lambda raw: gzip.compress(lzma.compress(raw)), lzma.compress):
        store(tmp_path, pack(frame([2, 1, 2, 2])))
        x, y, classes = load_table("shuttle", tmp_path)
        np.testing.assert_array_equal(x, X.astype(np.float32))
        np.testing.assert_array_equal(y, [0, 1, 0, 0])
        assert (x.dtype, y.dtype, classes) == (np.float32, np.int32, ("often", "rare"))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (lzma.compress(frame([2, 1, 2, 2]))[:-20], "is damaged"),
        (gzip.compress(lzma.compress(frame([2, 1, 2, 2])))[:60], "is damaged"),
        (b"<html>log in</html>", "is damaged"),
        (lzma.compress(frame([2, 1, 2, 2])[:150]), "holds no table Shuttle"),
        (lzma.compress(b"RDX3\nX\n" + bytes(50)), "holds no table Shuttle"),
        (lzma.compress(frame([2, 1, 2, 2], table="Letter")), "holds no table Shuttle"),
        (lzma.compress(frame([2, 1, 2, 2], target="Other")), "with Class"),
        (lzma.compress(frame([2, 1, 2, 3])), "holds no table Shuttle"),
        (lzma.compress(frame([2, 1, 2])), "holds no table Shuttle"),
    ],
    ids=("cut", "cut gzip", "html", "cut inside", "version", "table", "target", "class", "rows"),
)
def test_damaged_and_other_files(tmp_path, raw, message):
    store(tmp_path, raw)
    with pytest.raises(ValueError, match=message):
        load_table("shuttle", tmp_path)


def test_missing_and_unknown_tables(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"Shuttle\.rda\.gz is missing: .*python -m jaxlab fetch_data shuttle --data_dir",
    ):
        load_table("shuttle", tmp_path)
    with pytest.raises(ValueError, match="table is 'iris', needs to be one of shuttle"):
        load_table("iris", tmp_path)


def test_the_real_table(data_dir):
    try:
        x, y, classes = load_table("shuttle", data_dir)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert x.shape == (58000, 9)
    assert np.isfinite(x).all()
    np.testing.assert_array_equal(np.bincount(y), [45586, 8903, 3267, 171, 50, 13, 10])
    assert (classes[0], classes[-1]) == ("Rad.Flow", "Bpv.Close")


def test_standardize():
    rng = np.random.default_rng(0)
    train = rng.normal([3.0, -1.0, 5.0], [2.0, 0.5, 0.0], size=(4000, 3))
    train[0, 0] = 1e6  # one reading far out
    plain, other = standardize(train[1:], train[:10], tails=0.0)
    np.testing.assert_allclose(plain.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(plain.std(0), [1, 1, 0], atol=1e-5)
    np.testing.assert_allclose(other[1:], plain[:9], atol=1e-5)
    assert other[0, 0] == plain[:, 0].max()
    (clipped,) = standardize(train)
    np.testing.assert_allclose(clipped.std(0)[:2], 1, atol=1e-5)
    assert np.abs(clipped).max() < 4
    assert clipped.dtype == np.float32
    with pytest.raises(ValueError, match=r"tails is 0\.5"):
        standardize(train, tails=0.5)
    with pytest.raises(ValueError, match=r"rows have shape \(4, 2\), training rows \(4000, 3\)"):
        standardize(train, X)


@pytest.mark.parametrize(("value", "column"), [(np.nan, 0), (np.inf, 1), (1e300, 1)])
def test_missing_and_infinite_values_of_a_table_are_named(tmp_path, monkeypatch, value, column):
    changed = X.copy()
    changed[2, column] = value
    monkeypatch.setitem(globals(), "X", changed)
    store(tmp_path, lzma.compress(frame([2, 1, 2, 2])))
    name = f"V{column + 1}"
    with pytest.raises(ValueError, match=rf"rda\.gz: 1 values .* first in row 3 of '{name}'"):
        load_table("shuttle", tmp_path)


def test_r_writes_a_missing_whole_number_as_the_smallest_one():
    np.testing.assert_array_equal(rdata.numbers(np.array([4, -(2**31)])), [4, np.nan])


def test_standardize_needs_rows_and_numbers():
    with pytest.raises(ValueError, match="train has no row"):
        standardize(X[:0])
    with pytest.raises(ValueError, match="not finite"):
        standardize(X, np.full((1, 2), np.nan))
    with pytest.raises(ValueError, match=r"rows have shape \(2,\)"):
        standardize(X[0])


def test_scaling_by_hand():
    train = np.array([[0.0, 5.0], [10.0, 5.0], [20.0, 5.0], [90.0, 5.0], [30.0, 5.0]])
    found, other = standardize(train, np.array([[-50.0, 6.0], [95.0, 4.0]]), tails=0.25)
    # Quarters at 10 and 30: 10, 10, 20, 30, 30 have mean 20 and variance 80.
    np.testing.assert_allclose(found[:, 0], np.array([-10, -10, 0, 10, 10]) / 80**0.5, rtol=1e-6)
    np.testing.assert_allclose(other[:, 0], np.array([-10, 10]) / 80**0.5, rtol=1e-6)
    assert not found[:, 1].any()
    assert not other[:, 1].any()  # what never varies in training is 0 everywhere
    assert found.dtype == other.dtype == np.float32
    x = np.random.default_rng(0).normal(size=(3000, 2))
    np.testing.assert_array_equal(*(s for t in ({}, {"tails": 0.001}) for s in standardize(x, **t)))


def test_every_kind_of_value_of_r():
    def read(raw):
        return rdata.Reader(b"RDX2\nX\n" + number(2, 0, 0) + raw).read()

    assert read(number(254)) is None
    assert read(number(9, -1)) is None  # R's missing text
    assert read(number(9, 2) + "é".encode()) == "é"
    for kind in (10, 13):
        values, attributes = read(number(kind, 3, 1, -(2**31), 0))
        assert values.tolist() == [1, -(2**31), 0]
        assert values.dtype == np.int64
        assert attributes == {}
    values, _ = read(number(14, 2) + struct.pack(">2d", 1.5, -2.0))
    assert values.tolist() == [1.5, -2.0]
    assert read(strings("a", "b")) == (["a", "b"], {})
    listed, _ = read(number(19, 2) + number(13, 1, 4) + number(254))
    assert listed[0][0].tolist() == [4]
    assert listed[1] is None
    # Pairs with a name, without one, with attributes of their own; a name given once is known.
    pairs = number(0x402) + symbol("one") + number(254)
    pairs += number(0x602) + number(254) + number(1 << 8 | 255) + number(254) + number(254)
    assert read(pairs) == {"one": None}
    assert read(number(2) + text("x") + number(254)) == {None: "x"}
    two = number(0x402) + symbol("a") + text("x") + number(0x402) + symbol("b") + text("y")
    again = number(0x402) + number(2 << 8 | 255) + text("z") + number(254)
    assert read(two + again) == {"a": "x", "b": "z"}
    for raw, message in [(number(3, 1), "R data of kind 3"), (number(9, 5) + b"abc", "too early"),
                         (number(13, -1), "too early"), (b"\0\0\0", "too early")]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            read(raw)
    assert read(number(9, 3) + b"abc") == "abc"  # up to the last byte


def test_a_table_may_be_packed_or_not_and_classes_come_by_frequency(tmp_path):
    (tmp_path / "shuttle").mkdir()
    raw = lzma.compress(frame([3, 1, 3, 1], levels=("a", "b", "c")))
    (tmp_path / "shuttle" / "Shuttle.rda").write_bytes(raw)
    x, y, classes = load_table("shuttle", tmp_path)
    assert classes == ("a", "c", "b")  # as often, in the order of the file; none at all
    assert y.tolist() == [1, 0, 1, 0]
    assert x.tolist() == X.tolist()
    store(tmp_path, gzip.compress(lzma.compress(frame([1, 1, 1, 2]))))
    assert load_table("shuttle", tmp_path)[1].tolist() == [0, 0, 0, 1]  # the packed one is first
