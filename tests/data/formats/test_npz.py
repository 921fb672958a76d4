"""`jaxlab.data.formats`: arrays of npz files, which are pictures and class numbers or refused."""

import zipfile

import numpy as np
import pytest

from jaxlab.data import formats


def test_npz_keys_and_errors(tmp_path):
    path = tmp_path / "a.npz"
    x = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4)
    np.savez(path, x_train=x, y_train=[1, 2], x_test=x[:1])
    images, labels = formats.read_npz(path, "train")
    np.testing.assert_array_equal(images[..., 0], x)
    assert labels is not None
    assert (labels.tolist(), labels.dtype) == ([1, 2], np.int32)
    images, labels = formats.read_npz(path, "test")
    assert (images.shape, labels) == ((1, 4, 4, 1), None)
    with pytest.raises(ValueError, match="the validation split needs one of validation_images"):
        formats.read_npz(path, "validation")
    np.savez(path, images=x / 255.0)
    with pytest.raises(ValueError, match="images are float64"):
        formats.read_npz(path, "train")
    np.savez(path, images=x, labels=[1])
    with pytest.raises(ValueError, match=r"labels have shape \(1,\), 2 images need \(2,\)"):
        formats.read_npz(path, "train")


X = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4) * 8


BITS = np.eye(4, dtype=np.uint8)[None].repeat(2, 0)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (BITS, "every value is 0 or 1, which is black among 0 to 255: multiply by 255"),
        (
            X / 255.0,
            r"images are float64 .*255 \* x\)\.astype\(np\.uint8\) where they are in \[0, 1",
        ),
        (X.astype(np.float32), r"float32 .* from 0\.0 to 248\.0, .*np\.round\(x\)"),
        (np.where(X > 200, np.nan, X), "images are float64 .* from nan to nan, .* is needed$"),
        (X.astype(int) - 9, r"images are int64 .* from -9 to 239, uint8"),
        (BITS.astype(bool), r"images are bool .*255 \* x\.astype\(np\.uint8\)"),
        (X.astype("U3"), "images are <U3"),
        (X.astype(object), "cannot be read"),
        (X.reshape(2, 16), r"images are uint8 \(2, 16\)"),
        (X[:0], r"images have shape \(0, 4, 4\), there is none"),
        (X[:, :3], r"images have shape \(2, 3, 4, 1\), must be \[N, H, H, C\], square"),
        (np.stack([X] * 3, 1), r"images have shape \(2, 3, 4, 4\), must be .* channels last"),
        (np.stack([X] * 4, -1), r"images have shape \(2, 4, 4, 4\), must be"),
    ],
)
def test_images_of_an_npz_are_pictures_or_refused(tmp_path, images, message):
    path = tmp_path / "a.npz"
    np.savez(path, x_train=images, y_train=[0, 1])
    with pytest.raises(ValueError, match=f"{path}.*x_train.*{message}"):
        formats.read_npz(path, "train")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0.0, 1.0], r"labels are float64 from 0\.0 to 1\.0, class numbers need to be integers"),
        ([0.0, np.nan], "labels are float64 from nan to nan"),
        (["cat", "dog"], "labels are <U3, class numbers need"),
        ([0, -1], "labels are int64 from -1 to 0, class numbers need to be from 0"),
        ([0, 2**40], f"labels are int64 from 0 to {2**40}, class"),
        (np.array([0, 2**63], np.uint64), "labels are uint64"),
        (np.array([0, None]), "cannot be read"),
        (
            np.eye(2, dtype=int),
            r"shape \(2, 2\), 2 images need \(2,\): of one-hot rows take labels\.arg",
        ),
        ([0], r"labels have shape \(1,\), 2 images need \(2,\)"),
        (0, r"labels have shape \(\), 2 images"),
    ],
)
def test_labels_of_an_npz_are_class_numbers_or_refused(tmp_path, labels, message):
    path = tmp_path / "a.npz"
    np.savez(path, x_train=X, y_train=labels)
    with pytest.raises(ValueError, match=f"{path}.*y_train.*{message}"):
        formats.read_npz(path, "train")


def test_labels_as_people_store_them(tmp_path):
    for stored in ([True, False], np.array([[1], [0]], np.int64), np.array([1, 0], np.uint64)):
        np.savez(tmp_path / "a.npz", X_train=X, Y_train=stored)  # scikit-learn's capital X
        _, labels = formats.read_npz(tmp_path / "a.npz", "train")
        assert labels is not None
        assert (labels.tolist(), labels.dtype) == ([1, 0], np.int32)


def test_labels_of_no_split_belong_to_the_training_images(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=X, x_test=X[::-1], y=[0, 1], notes=np.array(None))
    train, labels = formats.read_npz(tmp_path / "a.npz", "train")
    assert labels is not None
    assert labels.tolist() == [0, 1]
    test, labels = formats.read_npz(tmp_path / "a.npz", "test")
    assert labels is None  # not those of other images
    np.testing.assert_array_equal(train, test[::-1])


def npy_header(shape):
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\1\0" + (len(header) + 1).to_bytes(2, "little") + header + b"\n"


def test_npz_files_that_are_none_are_named(tmp_path):
    path = tmp_path / "a.npz"
    with open(path, "wb") as file:
        np.save(file, X)
    with pytest.raises(
        ValueError, match=rf"{path}: not a readable npz file, but one array \(\.npy\)"
    ):
        formats.read_npz(path, "train")
    for size in (30_720_000_000, 10**15, 10**30, -5):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("images.npy", npy_header((size,)) + bytes(64))
        with pytest.raises(ValueError, match=f"{path}.*images cannot be read") as caught:
            formats.read_npz(path, "train")
        assert "\n" not in str(caught.value)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images.npy", b"no array")
    with pytest.raises(ValueError, match=f"{path}.*images is no array"):
        formats.read_npz(path, "train")


def test_images_and_labels_at_their_bounds():
    check = lambda images: formats.check_images("a", images)
    for plain in ([[0, 0], [0, 0]], [[1, 1], [1, 1]], [[0, 2], [1, 0]], [[0, 255], [0, 0]]):
        images = np.array([plain], np.uint8)
        np.testing.assert_array_equal(check(images), images[..., None])
    for channels in (1, 3):
        assert check(np.full((2, 4, 4, channels), 9, np.uint8)).shape == (2, 4, 4, channels)
    for images, advice in [
        (np.array([[[0, 1]]]), "is needed$"),  # whole numbers up to 1 say nothing
        (np.array([[[0, 2]]]), r"is needed: np\.round\(x\)"),
        (np.array([[[0.0, 1.0]]]), r"is needed: np\.round\(255 \* x\)"),
        (np.array([[[0.0, 1.5]]]), r"is needed: np\.round\(x\)"),
        (np.zeros((0, 2, 2)), r"\(0, 2, 2\), uint8 .* is needed$"),
        (np.full((1, 2), 9, np.uint8), r"uint8 \(1, 2\) from 9 to 9, .* is needed$"),
        (np.zeros((1, 2, 2, 1, 1), np.uint8), "is needed$"),
    ]:
        with pytest.raises(ValueError, match=advice):
            check(images)
    most = 2**20 - 1
    assert formats.check_labels("a", np.array([0, most])).tolist() == [0, most]
    assert formats.check_labels("a", np.zeros(0, int)).tolist() == []
    assert formats.check_labels("a", np.array([[3]]), 1).tolist() == [3]
    with pytest.raises(ValueError, match=f"class numbers need to be from 0 to {most}"):
        formats.check_labels("a", np.array([0, most + 1]))
    with pytest.raises(ValueError, match=r"a: labels have shape \(1, 2\): of one-hot"):
        formats.check_labels("a", np.zeros((1, 2), int))
    with pytest.raises(ValueError, match=r"a: labels have shape \(1, 1, 1\)$"):
        formats.check_labels("a", np.zeros((1, 1, 1), int))


def test_which_array_is_taken(tmp_path):
    path = tmp_path / "a.npz"
    one = lambda value: np.full((1, 2, 2), value, np.uint8)
    order = ["{}_images", "images_{}", "x_{}", "{}_x"]
    names = [form.format(n) for n in ("validation", "valid", "val", "dev") for form in order]
    names += ["images", "x"]
    arrays = {name: one(10 + i) for i, name in enumerate(names)}
    for i in range(len(names)):
        np.savez(path, **{name: arrays[name] for name in reversed(names[i:])})
        assert formats.read_npz(path, "validation")[0].flat[0] == 10 + i
        assert formats.npz_has_split(path, "validation") == (i < len(names) - 2)
        assert not formats.npz_has_split(path, "test")
    # Labels of no split belong to images of no split, and to those of training.
    cases = [("x", "test", True), ("X", "test", True), ("x_test", "test", False)]
    for key, split, there in [*cases, ("x_train", "train", True), ("images", "validation", True)]:
        np.savez(path, **{key: one(5), "y": [3]})
        labels = formats.read_npz(path, split)[1]
        assert (labels is not None) == there
    np.savez(path, x=one(5), y=[3], labels=[4], y_test=[5])
    assert formats.read_npz(path, "test")[1].tolist() == [5]
    assert formats.read_npz(path, "train")[1].tolist() == [4]
    assert formats.split_names("validation", ".npz") == (
        "validation.npz", "valid.npz", "val.npz", "dev.npz",
    )  # fmt: skip


GREYS = np.arange(0, 256, 4, dtype=np.uint8).reshape(1, 8, 8, 1)


@pytest.mark.parametrize(
    ("stored", "most"),
    [
        (GREYS / 255, 0),
        (GREYS.astype(np.float32) / 127.5 - 1, 0),
        (GREYS.astype(np.uint16) * 257, 0),
        (GREYS.astype(np.int64), 0),
        (GREYS.astype(np.float16), 0),
        (GREYS > 127, 127),
        (np.repeat(GREYS, 3, 3).transpose(0, 3, 1, 2), 0),
    ],
)
def test_the_advice_about_images_can_be_followed(stored, most):
    with pytest.raises(ValueError, match=r"a\.npz, x: images") as caught:
        formats.check_images("a.npz, x", stored)
    advice = str(caught.value).rpartition(": ")[2].partition(" where ")[0]
    images = formats.check_images("a.npz, x", eval(advice, {"np": np, "x": stored}))
    assert np.abs(images.astype(int) - GREYS).max() <= most


@pytest.mark.parametrize(
    "stored",
    [
        GREYS.astype(int) - 200,
        np.where(GREYS > 9, np.nan, GREYS),
        np.where(GREYS > 9, np.inf, GREYS),
        GREYS + 500.5,
        GREYS + 0j,
    ],
)
def test_no_advice_where_the_range_tells_nothing(stored):
    with pytest.raises(ValueError, match=r"from 0 to 255 is needed$"):
        formats.check_images("a.npz, x", stored)


def test_labels_that_are_names_or_whole_floats_are_numbered_as_advised(tmp_path):
    for stored in (np.array(["dog", "cat"]), np.array([3.0, 1.0])):
        with pytest.raises(ValueError, match="class numbers need to be integers") as caught:
            formats.check_labels("a.npz, y", stored)
        advice = str(caught.value).rpartition(": ")[2].removesuffix(" numbers them")
        assert formats.check_labels("y", eval(advice, {"np": np, "y": stored})).tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"integers from 0$"):
        formats.check_labels("a.npz, y", np.array([0.5, 1.0]))
    np.savez(tmp_path / "a.npz", x=np.array([GREYS, None], object))
    with pytest.raises(ValueError, match=r"x cannot be read \(it holds Python objects, no plain"):
        formats.read_npz(tmp_path / "a.npz", "train")
