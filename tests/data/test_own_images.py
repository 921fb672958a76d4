"""`jaxlab.data.own_images` and the readers behind it: the same pictures in every layout give the
same images, labels and batches, from memory, from the disk, and read when needed."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from jaxlab import data
from jaxlab.data import own_images
from jaxlab.data.formats import LazyImages, npz
from jaxlab.data.pipelines.endless import describe

NAMES = ("cat", "dog")


@pytest.fixture
def pictures():
    """Twenty grey pictures of 6x6, and their classes."""
    images = np.random.default_rng(0).integers(0, 256, (20, 6, 6), np.uint8)
    return images, np.arange(20) % 2


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def save_folder(root, images, labels):
    for i, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        place = root / NAMES[label] / f"{i:02d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png(pixels))


def as_pairs(found):
    """Pixels and class of each image, in whatever order."""
    names = [found.class_names[label] for label in found.labels]
    return sorted((im.tobytes(), name) for im, name in zip(found.images[:], names, strict=True))


def test_all_layouts_give_the_same_images(pictures, tmp_path):
    images, labels = pictures
    words = [NAMES[label] for label in labels]
    save_folder(tmp_path / "classes", images, labels)
    flat = tmp_path / "flat"
    (flat / "pics").mkdir(parents=True)
    lines = ["file_name,what"]
    for i, pixels in enumerate(images):
        (flat / "pics" / f"{i}.png").write_bytes(png(pixels))
        lines.append(f"pics/{i}.png,{words[i]}")
    (flat / "metadata.csv").write_text("\n".join(lines))
    (flat / "pics" / "extra.png").write_bytes(png(images[0]))
    (flat / "list.csv").write_text("\n".join(lines).replace("file_name,what", "image,label"))
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"picture": [png(p) for p in images], "label": words})
    frame.to_parquet(tmp_path / "a.parquet")
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(2, NAMES)}
    )
    rows = {"image": [{"bytes": png(p), "path": None} for p in images], "label": labels.tolist()}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "hf"))
    wanted = sorted(zip([im.tobytes() for im in images], words, strict=True))
    for name, path, options in (
        ("folder", "classes", {}),
        ("folder", "flat", {"label_column": "what"}),
        ("csv", "flat/list.csv", {}),
        ("parquet", "a.parquet", {"image_column": "picture"}),
        ("hf", "hf", {}),
    ):
        sets = {
            split: data.load(
                name, tmp_path, split, path=path, channels=1, shares=(0.2, 0.1), **options
            )
            for split in ("train", "validation", "test")
        }
        found = [as_pairs(part) for part in sets.values()]
        assert [len(part) for part in found] == [14, 4, 2], name
        assert sorted(pair for part in found for pair in part) == wanted, name
        assert [part.count() for part in sets.values()] == [{"cat": n, "dog": n} for n in (7, 2, 1)]
        assert sets["test"].spec.image_size == 6
    lines = data.describe_sets({"train": data.load("folder", flat, label_column="what")}).lines()
    assert lines[0].endswith(
        "6x6x3, mixture likelihood; left out: 1 .csv, 1 pictures without a row"
    )
    assert lines[1] == "data: train 20 (cat 10, dog 10)"


def test_splits_with_metadata_of_their_own(pictures, tmp_path):
    images, labels = pictures
    for split, rows in (("train", range(4)), ("test", range(4, 6))):
        (tmp_path / split).mkdir()
        lines = [json.dumps({"file_name": f"{i}.png", "label": int(labels[i]) + 5}) for i in rows]
        (tmp_path / split / "metadata.jsonl").write_text("\n".join(lines))
        for i in rows:
            (tmp_path / split / f"{i}.png").write_bytes(png(images[i]))
    found = data.load("folder", tmp_path, "test", channels=1)
    assert found.class_names == ("5", "6")
    assert sorted(found.labels.tolist()) == [0, 1]
    assert len(data.load("folder", tmp_path, "validation", shares=(0.25, 0.0))) == 1
    (tmp_path / "test" / "metadata.jsonl").write_text('{"file_name": "4.png", "label": 9}')
    with pytest.raises(ValueError, match=r"jsonl, row 1: label '9' is in no training row.* 5, 6"):
        data.load("folder", tmp_path, "test")
    (tmp_path / "test" / "metadata.jsonl").write_text('{"file_name": "8.png", "label": 5}')
    with pytest.raises(FileNotFoundError, match=r"row 1: .*8\.png is no file"):
        data.load("folder", tmp_path, "test")


def batches(found, *, seed=3, flip=True):
    return data.train_pipeline(found, 8, seed=seed, flip=flip)


def same(a, b, count=5):
    for _ in range(count):
        for x, y in zip(next(a).values(), next(b).values(), strict=True):
            np.testing.assert_array_equal(x, y)


def test_read_when_needed_equals_read_into_memory(pictures, tmp_path, monkeypatch):
    """Batches, what a checkpoint says of the data, and batches after a resume."""
    save_folder(tmp_path, *pictures)
    load = lambda **kwargs: data.load(
        "folder", tmp_path, shares=(0.2, 0.0), image_size=8, channels=1, pad=1, **kwargs
    )
    whole, lazy = load(), load(lazy=True)
    assert lazy.lazy
    assert not whole.lazy
    assert describe({"image": lazy.images}) == describe({"image": whole.images})
    np.testing.assert_array_equal(lazy.images[:], whole.images)
    np.testing.assert_array_equal(lazy.images[[[3], [1]]], whole.images[[[3], [1]]])
    one, two = batches(whole), batches(lazy)
    same(one, two)
    after = batches(lazy)
    after.set_state(one.get_state())
    same(one, after)
    for a, b in zip(data.eval_batches(whole, 6), data.eval_batches(lazy, 6), strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])
    monkeypatch.setattr(own_images, "LAZY_BYTES", 16 * 64)
    assert not load().lazy
    monkeypatch.setattr(own_images, "LAZY_BYTES", 16 * 64 - 1)
    assert load().lazy
    assert load(lazy=False).lazy is False
    with pytest.raises(ValueError, match="lazy is True and image_size None"):
        data.load("folder", tmp_path, lazy=True)
    (tmp_path / "dog" / "01.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"01\.png: cannot be decoded"):
        load(lazy=True)


def test_arrays_on_the_disk_equal_those_in_memory(pictures, tmp_path, monkeypatch):
    images, labels = pictures
    arrays = {"x_train": images, "y_train": labels, "x_test": images[:4], "y_test": labels[:4]}
    np.savez(tmp_path / "a.npz", **arrays)
    np.savez_compressed(tmp_path / "b.npz", **arrays)
    (tmp_path / "npy").mkdir()
    np.save(tmp_path / "npy" / "train.npy", images)
    np.save(tmp_path / "npy" / "train_labels.npy", labels)
    np.save(tmp_path / "npy" / "test.npy", images[:4])
    whole = data.load("npz", tmp_path, path="b.npz")
    for path in ("a.npz", "npy"):
        for limit in (None, 5):
            found = data.load("npz", tmp_path, path=path, lazy=True, limit=limit)
            assert isinstance(found.images.base, np.memmap)
            np.testing.assert_array_equal(found.images, whole.images[:limit])
        same(batches(data.load("npz", tmp_path, path=path, lazy=True)), batches(whole))
    assert data.load("npz", tmp_path, "test", path="npy").labels is None
    with pytest.raises(ValueError, match=r"is compressed, data\.lazy needs"):
        data.load("npz", tmp_path, path="b.npz", lazy=True)
    monkeypatch.setattr(npz, "MAPPED_BYTES", 100)
    assert isinstance(data.load("npz", tmp_path, path="a.npz").images.base, np.memmap)
    assert not isinstance(data.load("npz", tmp_path, path="b.npz").images, np.memmap)
    parts = [
        data.load("npz", tmp_path, split, path="npy/train.npy", shares=(0.1, 0.2))
        for split in data.SPLITS
    ]
    assert [len(part) for part in parts] == [14, 4, 2]
    load = lambda **kwargs: data.load(
        "npz", tmp_path, path="npy/train.npy", shares=(0.1, 0.2), **kwargs
    )
    lazy = load(lazy=True)
    assert isinstance(lazy.images, npz.ChosenRows)
    same(batches(lazy), batches(load()))
    assert describe({"x": lazy.images}) == describe({"x": load().images})


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("mnist", {"path": "a"}, "data.path is 'a', mnist takes none: --data_dir says where"),
        ("mnist", {"lazy": True}, "data.lazy is True, mnist takes none"),
        ("npz", {"image_column": "a"}, "data.image_column is 'a', npz takes none"),
        ("csv", {"config_name": "a"}, "data.config_name is 'a', csv takes none"),
        ("folder", {"shares": (0.1, 0.1), "holdout": 3}, "holdout is 3, shares"),
        ("folder", {"path": "nowhere"}, "data.path is 'nowhere': no such file or folder"),
        ("folder", {"label_column": "a"}, "label_column is 'a', .* has no metadata.csv"),
        ("csv", {"path": "a.csv"}, "data.image_column is 'image', .* has the columns n, m"),
        ("csv", {"path": "a.csv", "image_column": "m"}, "row 1: the picture is nothing"),
        ("csv", {"path": "a.csv", "image_column": "n"}, "row 1: .*x.png is no file"),
        ("csv", {"path": "a.csv", "label_column": "q"}, "label_column is 'q', .* columns n, m"),
        ("csv", {"path": "a.csv", "holdout": 2}, "holdout is 2, csv holds out data.shares"),
        ("xyz", {}, "data set is 'xyz', needs to be one of mnist, .*cifar100, folder, npz, csv"),
    ],
)
def test_errors_are_one_line(name, arguments, message, pictures, tmp_path):
    save_folder(tmp_path, *pictures)
    (tmp_path / "a.csv").write_text("n,m\n" + "x.png,\n" * 10)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        data.load(name, tmp_path, **arguments)
    assert "\n" not in str(caught.value)


def write_cifar(folder, name, images, labels):
    """In the layout of cs.toronto.edu: labels, then the red, green and blue planes."""
    coarse = np.zeros((len(images), int(name == "cifar100")), np.uint8)
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    records = np.concatenate([coarse, labels[:, None].astype(np.uint8), planes], axis=1)
    if name == "cifar10":
        for i in range(5):
            (folder / f"data_batch_{i + 1}.bin").write_bytes(records[i::5].tobytes())
        (folder / "test_batch.bin").write_bytes(records[:3].tobytes())
    else:
        (folder / "train.bin").write_bytes(records.tobytes())
        (folder / "test.bin").write_bytes(records[:3].tobytes())


@pytest.mark.parametrize(
    ("name", "inside", "names"),
    [
        ("cifar10", "cifar-10-batches-bin", "batches.meta.txt"),
        ("cifar100", "cifar-100-binary", "fine_label_names.txt"),
    ],
)
def test_cifar_in_binary_files(name, inside, names, tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (10, 32, 32, 3), np.uint8), np.arange(10) // 2
    folder = tmp_path / inside
    folder.mkdir()
    with pytest.raises(FileNotFoundError, match=rf"is missing: .* fetch_data {name} "):
        data.load(name, tmp_path)
    write_cifar(folder, name, images, labels)
    assert data.load(name, tmp_path).class_names is None
    (folder / names).write_text("a\nb\nc\nd\ne\n\n")
    found = data.load(name, tmp_path, holdout=2)
    order = np.concatenate([np.arange(10)[i::5] for i in range(5)])
    order = order if name == "cifar10" else np.arange(10)
    np.testing.assert_array_equal(found.images, images[order[:8]])
    np.testing.assert_array_equal(found.labels, labels[order[:8]])
    assert found.class_names == ("a", "b", "c", "d", "e")
    assert found.spec == data.SPECS[name]
    assert data.load(name, tmp_path, "test").labels.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(
        data.load(name, tmp_path, "validation", holdout=2).labels, labels[order[8:]]
    )
    (folder / names).write_text("a b c d")
    with pytest.raises(ValueError, match="names 4 classes, label 4 of the train split"):
        data.load(name, tmp_path)
    path = folder / ("test.bin" if name == "cifar100" else "test_batch.bin")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="needs a multiple of 307"):
        data.load(name, tmp_path, "test")


def test_a_lazy_set_is_no_array_by_accident(pictures, tmp_path):
    save_folder(tmp_path, *pictures)
    found = data.load("folder", tmp_path, lazy=True, image_size=4)
    assert isinstance(found.images, LazyImages)
    assert (found.images.shape, found.images.nbytes) == ((20, 4, 4, 3), 960)
    assert "read when needed" in data.describe_sets({"train": found}).lines()[0]


@pytest.mark.parametrize("row", ["../a.png", "{root}/a.png", ""])
def test_metadata_names_pictures_of_its_folder_alone(row, pictures, tmp_path):
    folder = tmp_path / "set"
    save_folder(folder, *pictures)
    (tmp_path / "a.png").write_bytes(png(pictures[0][0]))
    line = row.format(root=tmp_path)
    (folder / "metadata.csv").write_text(f"file_name,label\ncat/00.png,cat\n{line},dog\n")
    with pytest.raises(ValueError, match=rf"row 2: '{line}' names no picture in .*set"):
        data.load("folder", path=str(folder))


def test_metadata_without_a_picture_of_a_split_and_groups_without_metadata(pictures, tmp_path):
    save_folder(tmp_path / "train", *pictures)
    save_folder(tmp_path / "test", *pictures)
    with pytest.raises(ValueError, match=r"data.group_column is 'g', .* has no metadata\.csv or"):
        data.load("folder", path=str(tmp_path), group_column="g")
    (tmp_path / "metadata.csv").write_text("file_name\ntrain/cat/00.png\n")
    with pytest.raises(FileNotFoundError, match=r"metadata\.csv: names no picture in .*test"):
        data.load("folder", split="test", path=str(tmp_path))


def test_a_picture_has_one_row_of_metadata(pictures, tmp_path):
    """Two would be two examples, perhaps of two classes, perhaps in two splits."""
    save_folder(tmp_path, *pictures)
    rows = ["file_name,label", "cat/00.png,cat", "dog/01.png,dog", "cat/00.png,dog"]
    (tmp_path / "metadata.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(ValueError, match=r"row 3: .*00\.png is named in .*row 1 too"):
        data.load("folder", path=str(tmp_path))
