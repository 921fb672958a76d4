"""`jaxlab.data.formats`: readers: what they accept, and the one line they answer to files that are
wrong."""

import gzip
import io

import numpy as np
import pytest
from PIL import Image

from jaxlab.data import formats


def idx_bytes(array):
    shape = b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes()


@pytest.fixture
def digits():
    return np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)


@pytest.mark.parametrize("compress", [False, True])
def test_idx_round_trip_whatever_the_name(tmp_path, digits, compress):
    raw = idx_bytes(digits)
    path = tmp_path / "images.gz"  # the content decides
    path.write_bytes(gzip.compress(raw) if compress else raw)
    np.testing.assert_array_equal(formats.read_idx(path, 3), digits)


def test_idx_errors_are_one_line_that_names_the_file(tmp_path, digits):
    raw = idx_bytes(digits)
    cases = {
        "truncated, 66 bytes, shape (5, 4, 3) needs 76": raw[:66],
        "too long, 77 bytes": raw + b"x",
        "truncated, 10 bytes do not hold the header of 16": raw[:10],
        "starts with 0x00000d03, an idx file of bytes with 0x000008": b"\0\0\x0d\x03" + raw[4:],
        "starts with 0x3c68746d": b"<html>not found</html>",
        "starts with 0x": b"",
        "holds an array of 1 dimensions, 3 are needed": idx_bytes(np.zeros(4)),
        "truncated or damaged gzip file": gzip.compress(raw * 50)[:-20],
    }
    for message, content in cases.items():
        path = tmp_path / "images"
        path.write_bytes(content)
        with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is checked below)
            formats.read_idx(path, 3)
        assert message in str(caught.value)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        formats.read_idx(tmp_path / "none", 3)


def test_idx_pair_needs_as_many_labels_as_images(tmp_path, digits):
    (tmp_path / "i").write_bytes(idx_bytes(digits))
    (tmp_path / "l").write_bytes(idx_bytes(np.arange(4)))
    with pytest.raises(ValueError, match="4 labels, i has 5 images"):
        formats.read_idx_pair(tmp_path / "i", tmp_path / "l")


def write_jpeg_pack(path, count, size=32, spoil=None):
    rng = np.random.default_rng(0)
    blobs = []
    for i in range(count):
        buffer = io.BytesIO()
        picture = np.full((size, size, 3), 20 * i, np.uint8) + rng.integers(0, 3, 3, np.uint8)
        Image.fromarray(picture).save(buffer, "JPEG")
        blobs.append(b"no jpeg" if i == spoil else buffer.getvalue())
    offsets = np.cumsum([0] + [len(b) for b in blobs])
    jpeg = np.frombuffer(b"".join(blobs), np.uint8)
    np.savez(path, jpeg=jpeg, offsets=offsets, y=np.arange(count, dtype=np.uint8))


def test_jpeg_pack_decodes_the_chosen_images_in_order(tmp_path):
    path = tmp_path / "pack.npz"
    write_jpeg_pack(path, 10)
    images, labels = formats.read_jpeg_pack(path, lambda n: np.array([n - 1, 2, 5]))
    assert images.shape == (3, 32, 32, 3)
    assert labels.tolist() == [9, 2, 5]
    np.testing.assert_allclose(images.mean((1, 2, 3)), [181, 41, 101], atol=3)


def test_jpeg_pack_errors(tmp_path):
    path = tmp_path / "pack.npz"
    choose = lambda n: np.arange(n)
    write_jpeg_pack(path, 3, spoil=1)
    with pytest.raises(ValueError, match="image 1 cannot be decoded"):
        formats.read_jpeg_pack(path, choose)
    write_jpeg_pack(path, 3, size=16)
    with pytest.raises(ValueError, match=r"image 0 is \(16, 16\)"):
        formats.read_jpeg_pack(path, choose)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match="not a readable npz file"):
        formats.read_jpeg_pack(path, choose)
    np.savez(path, y=np.zeros(2))
    with pytest.raises(ValueError, match=r"holds \['y'\], \['jpeg', 'offsets'\] are missing"):
        formats.read_jpeg_pack(path, choose)
    np.savez(path, y=np.zeros(2), jpeg=np.zeros(4, np.uint8), offsets=np.array([0, 4]))
    with pytest.raises(ValueError, match="offsets of length 2 end at 4"):
        formats.read_jpeg_pack(path, choose)
    with pytest.raises(FileNotFoundError):
        formats.read_jpeg_pack(tmp_path / "none.npz", choose)


def test_folder_classes_crop_and_resize(tmp_path):
    for name, value in (("cats", 200), ("ants", 100)):
        (tmp_path / name).mkdir()
        for i in range(2):
            picture = np.full((20, 40, 3), 7, np.uint8)
            picture[:, 10:30] = value + i
            Image.fromarray(picture).save(tmp_path / name / f"{i}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    paths, labels, names = formats.list_images(tmp_path)
    assert names == ["ants", "cats"]
    assert labels is not None
    assert labels.tolist() == [0, 0, 1, 1]
    centre = formats.read_images(paths, image_size=8)
    assert centre.shape == (4, 8, 8, 3)
    assert centre[:, 4, 4, 0].tolist() == [100, 101, 200, 201]
    assert (centre[0] == 100).all()  # the centre square is all of the coloured part
    left = formats.read_images(paths, image_size=None, crop=(0, 0, 10, 10), channels=1)
    assert left.shape == (4, 10, 10, 1)
    assert (left == 7).all()
    with pytest.raises(ValueError, match="is 40x20, too small for the crop"):
        formats.read_images(paths, image_size=8, crop=(0, 0, 30, 30))
    with pytest.raises(ValueError, match="a square is needed"):
        formats.read_images(paths, image_size=None, crop=(0, 0, 30, 20))


def test_folder_without_classes_and_its_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        formats.list_images(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"holds no .png"):
        formats.list_images(tmp_path)
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    Image.new("L", (9, 9)).save(tmp_path / "b.png")
    paths, labels, _ = formats.list_images(tmp_path)
    assert labels is None
    with pytest.raises(ValueError, match=r"b.png: is \(9, 9\), a.png is \(8, 8\): give an image_s"):
        formats.read_images(paths, image_size=None)
    (tmp_path / "b.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"b.png: cannot be decoded"):
        formats.read_images(paths, image_size=8)


def test_mnist5k_damage_is_named(tmp_path):
    path = tmp_path / formats.MNIST5K_FILE
    path.write_bytes(gzip.compress(b"1,2,3\n4,5,6\n"))
    with pytest.raises(ValueError, match=r"holds a table of \(2, 3\), \(5000, 785\) is needed"):
        formats.read_mnist5k(path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match="truncated or damaged"):
        formats.read_mnist5k(path)


X = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4) * 8


BITS = np.eye(4, dtype=np.uint8)[None].repeat(2, 0)


def test_idx_lengths_and_values_are_checked(tmp_path, digits):
    path = tmp_path / "images"
    head = bytes([0, 0, 8, 3])
    for shape in ((-1, 4, 3), (-5, -4, 3), (2**31 - 1,) * 3):
        lengths = b"".join(n.to_bytes(4, "big", signed=True) for n in shape)
        path.write_bytes(head + lengths + digits.tobytes())
        with pytest.raises(ValueError, match=f"{path}: truncated, 76 bytes"):
            formats.read_idx(path, 3)
    path.write_bytes(idx_bytes(digits[:0]))
    with pytest.raises(ValueError, match=rf"{path}: holds an empty array of shape \(0, 4, 3\)"):
        formats.read_idx(path, 3)
    (tmp_path / "labels").write_bytes(idx_bytes(np.arange(2)))
    path.write_bytes(idx_bytes(BITS))
    with pytest.raises(ValueError, match=f"{path}: every value is 0 or 1"):
        formats.read_idx_pair(path, tmp_path / "labels")
    path.write_bytes(idx_bytes(X[:, :3]))
    with pytest.raises(ValueError, match=rf"{path}: images have shape \(2, 3, 4, 1\), must be"):
        formats.read_idx_pair(path, tmp_path / "labels")


def test_a_pair_of_idx_files(tmp_path):
    (tmp_path / "i").write_bytes(idx_bytes(X))
    (tmp_path / "l").write_bytes(idx_bytes(np.array([7, 0])))
    images, labels = formats.read_idx_pair(tmp_path / "i", tmp_path / "l")
    np.testing.assert_array_equal(images, X[..., None])
    assert (labels.tolist(), labels.dtype) == ([7, 0], np.int32)


def test_a_pack_says_what_is_wrong_with_its_places(tmp_path):
    path = tmp_path / "pack.npz"
    write_jpeg_pack(path, 2, size=16)
    images, labels = formats.read_jpeg_pack(path, lambda n: np.arange(n)[::-1], image_size=16)
    assert images.shape == (2, 16, 16, 3)
    assert labels.tolist() == [1, 0]
    with np.load(path) as found:
        good = dict(found)
    ends = good["offsets"]
    for offsets, message in [
        (ends + 1, "offsets of length 3 end at"), (ends[:-1], "offsets of length 2 end at"),
        (ends - np.array([0, 0, 1]), "offsets of length 3 end at"),
        (ends * 1.0, "offsets are float64"), (ends[None], r"offsets are int64 \(1, 3\)"),
        (ends[:0], r"offsets are int64 \(0,\)"),
    ]:  # fmt: skip
        np.savez(path, **{**good, "offsets": offsets})
        with pytest.raises(ValueError, match=message):
            formats.read_jpeg_pack(path, np.arange, image_size=16)


def test_five_thousand_digits(tmp_path, monkeypatch):
    path = tmp_path / formats.MNIST5K_FILE
    table = np.zeros((5000, 785), np.uint8)
    table[:, 783], table[:, 0] = 255, np.arange(5000) % 200
    table[:, 784] = np.repeat(np.arange(10), 500)
    text = lambda: "\n".join(",".join(map(str, row)) for row in table.tolist()) + "\n"
    path.write_bytes(gzip.compress(text().encode(), 1))
    images, labels = formats.read_mnist5k(path)
    np.testing.assert_array_equal(images.reshape(5000, 784), table[:, :784])
    assert images.shape == (5000, 28, 28, 1)
    np.testing.assert_array_equal(labels, table[:, 784])
    table[0, 784] = 1
    path.write_bytes(gzip.compress(text().encode(), 1))
    with pytest.raises(ValueError, match="holds other labels than 500 of each digit"):
        formats.read_mnist5k(path)
    # The data folder goes before an installed package, and the set's own folder before both.
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    assert formats.find_mnist5k(tmp_path) == path
    (tmp_path / "mnist5k").mkdir()
    assert formats.find_mnist5k(tmp_path) == path
    (own := tmp_path / "mnist5k" / path.name).write_bytes(b"")
    assert formats.find_mnist5k(tmp_path) == own
    assert formats.find_mnist5k(tmp_path / "none") is None
