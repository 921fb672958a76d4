"""Tables: R's format against bytes written here, the real table where it is there, scaling."""

import gzip
import lzma
import struct

import numpy as np
import pytest

from jaxlab.data import load_table, standardize, tables

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
        FileNotFoundError, match=r"Shuttle\.rda\.gz is missing: .*fetch_data\.py shuttle --data_dir"
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
    np.testing.assert_array_equal(tables._numbers(np.array([4, -(2**31)])), [4, np.nan])


def test_standardize_needs_rows_and_numbers():
    with pytest.raises(ValueError, match="train has no row"):
        standardize(X[:0])
    with pytest.raises(ValueError, match="not finite"):
        standardize(X, np.full((1, 2), np.nan))
    with pytest.raises(ValueError, match=r"rows have shape \(2,\)"):
        standardize(X[0])
