"""`jaxlab.data.pipelines.arrays`: pipelines: epochs, exact restart, process shares, fixed
binarisation."""

import copy
import dataclasses
import time

import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from jaxlab import data


def image_set(count=50, size=8, pad=0, channels=1, labels=True, seed=0):
    side = size - 2 * pad
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side, channels))
    spec = data.ImageSpec("test", channels, size, pad)
    numbers = np.arange(count, dtype=np.int32) if labels else None
    return data.ImageSet(images.astype(np.uint8), numbers, spec)


def take(batches, count):
    return [next(batches) for _ in range(count)]


def assert_same(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize("batch_size", [10, 7, 120])
def test_every_epoch_is_a_permutation(batch_size):
    images = image_set(50)
    stream = np.concatenate(
        [b["label"] for b in take(data.train_pipeline(images, batch_size, seed=3), 30)]
    )
    epochs = stream[: len(stream) // 50 * 50].reshape(-1, 50)
    assert (np.sort(epochs, axis=1) == np.arange(50)).all()
    assert len({tuple(e) for e in epochs}) == len(epochs)  # each in another order


def test_batches_hold_the_images_of_their_labels():
    images = image_set(20, pad=2)
    for batch in take(data.train_pipeline(images, 6, seed=0), 8):
        assert batch["image"].dtype == np.uint8
        assert batch["image"].shape == (6, 8, 8, 1)
        np.testing.assert_array_equal(batch["image"][:, 2:-2, 2:-2], images.images[batch["label"]])
        assert batch["image"].sum() == images.images[batch["label"]].sum(dtype=int)  # zeros around


def test_seed_and_nothing_else_decides():
    images = image_set()
    batches = lambda **kwargs: take(data.train_pipeline(images, 8, **kwargs), 10)
    assert_same(batches(seed=1), batches(seed=1, num_threads=0))
    assert_same(batches(seed=1), batches(seed=1, num_threads=4, prefetch=9))
    assert any(
        (a["label"] != b["label"]).any()
        for a, b in zip(batches(seed=1), batches(seed=2), strict=True)
    )


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("at", [0, 1, 9, 23])
def test_restart_mid_epoch_gives_the_same_batches(at, flip):
    images = image_set(50)
    make = lambda: data.train_pipeline(images, 8, seed=5, flip=flip)
    running = make()
    take(running, at)
    state = running.get_state()
    rest = take(running, 15)
    fresh = make()
    take(fresh, 4)  # its prefetched batches must be thrown away
    fresh.set_state(state)
    assert fresh.get_state() == state
    assert_same(take(fresh, 15), rest)


def test_position_survives_an_orbax_checkpoint(tmp_path):
    images = image_set(50)
    running = data.train_pipeline(images, 8, seed=5)
    take(running, 11)
    ocp.save_checkpointables(tmp_path / "checkpoint", {"data": running})
    rest = take(running, 5)
    fresh = data.train_pipeline(images, 8, seed=5)
    ocp.load_checkpointables(tmp_path / "checkpoint", {"data": fresh})
    assert_same(take(fresh, 5), rest)


@pytest.mark.parametrize("count", [2, 4])
def test_shares_of_processes_join_to_the_global_batch(count):
    images = image_set(50, channels=3)
    share = lambda **kwargs: take(data.train_pipeline(images, 8, seed=5, flip=True, **kwargs), 15)
    whole = share()
    parts = [share(process_index=i, process_count=count) for i in range(count)]
    joined = [
        {name: np.concatenate([p[name] for p in step]) for name in step[0]}
        for step in zip(*parts, strict=True)
    ]
    assert_same(joined, whole)


def test_flip_mirrors_about_half_of_the_images_left_to_right():
    images = image_set(40)
    flipped = 0
    for batch in take(data.train_pipeline(images, 40, seed=0, flip=True), 20):
        for image, label in zip(batch["image"], batch["label"], strict=True):
            original = images.images[label]
            if (image == original).all():
                continue
            np.testing.assert_array_equal(image, original[:, ::-1])
            flipped += 1
    assert 300 < flipped < 500


def test_training_never_changes_the_set():
    images = image_set(10)
    before = images.images.copy()
    for batch in take(data.train_pipeline(images, 5, seed=0, flip=True), 6):
        batch["image"][:] = 0
    np.testing.assert_array_equal(images.images, before)


def test_fast_enough_for_small_images():
    batches = data.train_pipeline(image_set(5000, size=32, pad=2), 64, seed=0)
    next(batches)
    start = time.perf_counter()
    take(batches, 500)
    assert 500 / (time.perf_counter() - start) > 300  # thousands on an idle machine


def test_eval_visits_all_in_order_and_masks_the_rest():
    images = image_set(10, pad=1)
    batches = data.eval_batches(images, 4)
    assert len(batches) == 3
    got = list(batches)
    assert [b["mask"].tolist() for b in got] == [[1] * 4, [1] * 4, [1, 1, 0, 0]]
    assert np.concatenate([b["label"] for b in got])[:10].tolist() == list(range(10))
    np.testing.assert_array_equal(got[2]["image"][:2, 1:-1, 1:-1], images.images[8:])
    assert not got[2]["image"][2:].any()
    assert_same(got, list(batches))  # a second pass


def test_eval_shares_of_processes_join_to_the_global_batch():
    images = image_set(10)
    whole = list(data.eval_batches(images, 8, binarize="fixed"))
    parts = [
        list(data.eval_batches(images, 8, binarize="fixed", process_index=i, process_count=4))
        for i in range(4)
    ]
    joined = [
        {name: np.concatenate([p[name] for p in step]) for name in step[0]}
        for step in zip(*parts, strict=True)
    ]
    assert_same(joined, whole)


def test_fixed_binarisation_depends_on_seed_and_index_alone():
    images = image_set(30, pad=1)
    join = lambda size, **kwargs: np.concatenate(
        [b["image"] for b in data.eval_batches(images, size, binarize="fixed", **kwargs)]
    )[:30]
    first = join(30)
    assert set(np.unique(first)) == {0, 255}
    np.testing.assert_array_equal(first, join(7))
    np.testing.assert_array_equal(first, join(4))
    assert (first != join(30, seed=1)).mean() > 0.1
    # Its mean over seeds is the grey value; black and white stay what they are.
    grey = image_set(8)
    grey.images[0], grey.images[1] = 0, 255
    draws = [
        next(iter(data.eval_batches(grey, 8, binarize="fixed", seed=s)))["image"]
        for s in range(400)
    ]
    mean = np.mean(draws, axis=0)
    assert not mean[0].any()
    assert (mean[1] == 255).all()
    assert np.abs(mean - grey.images).max() < 5 * 128 / 20


def test_static_binarisation_is_a_threshold():
    images = image_set(4)
    batch = next(iter(data.eval_batches(images, 4, binarize="static")))
    np.testing.assert_array_equal(batch["image"], np.where(images.images >= 128, 255, 0))


def test_without_labels_there_is_no_label():
    images = image_set(labels=False)
    assert set(next(data.train_pipeline(images, 2, seed=0))) == {"image"}
    assert set(next(iter(data.eval_batches(images, 2)))) == {"image", "mask"}


def test_arguments_out_of_range_are_named():
    images = image_set(4)
    with pytest.raises(ValueError, match="batch_size is 9, needs to be a multiple of the 2"):
        data.train_pipeline(images, 9, seed=0, process_count=2)
    with pytest.raises(ValueError, match="process_index is 2, there are 2 processes"):
        data.eval_batches(images, 8, process_index=2, process_count=2)
    with pytest.raises(ValueError, match="seed is -1"):
        data.train_pipeline(images, 2, seed=-1)
    with pytest.raises(ValueError, match="binarize is 'random', needs to be one of"):
        data.eval_batches(images, 2, binarize="random")


def test_every_number_follows_from_the_seed():
    """Orders of (seed, 0, epoch), mirror images of (seed, 1, step), pixels of (seed, image)."""
    images = image_set(5, size=3)
    order = [int(i) for e in range(4) for i in np.random.default_rng((9, 0, e)).permutation(5)]
    for options in ({}, {"flip": True}):
        for step, batch in enumerate(take(data.train_pipeline(images, 4, seed=9, **options), 5)):
            rows = order[4 * step : 4 * step + 4]
            assert batch["label"].tolist() == rows
            mirrored = np.random.default_rng((9, 1, step)).random(4) < 0.5
            for image, i, turn in zip(batch["image"], rows, mirrored, strict=True):
                want = images.images[i]
                turned = turn and bool(options)
                np.testing.assert_array_equal(image, want[:, ::-1] if turned else want)
    assert data.epoch_order(5, 3, 9, seed=9).tolist() == order[3:12]
    assert data.epoch_order(5, 5, 5, seed=9).tolist() == order[5:10]
    found = np.concatenate(
        [b["image"] for b in data.eval_batches(images, 2, binarize="fixed", seed=3)]
    )
    for i in range(5):
        draws = np.random.default_rng((3, i)).random((3, 3, 1), np.float32)
        want = np.where(draws * np.float32(255) < images.images[i], 255, 0)
        np.testing.assert_array_equal(found[i], want)
    default = next(iter(data.eval_batches(images, 5, binarize="fixed")))["image"]
    zero = next(iter(data.eval_batches(images, 5, binarize="fixed", seed=0)))["image"]
    np.testing.assert_array_equal(default, zero)
    plain = next(iter(data.eval_batches(images, 5)))  # grey values by default
    np.testing.assert_array_equal(plain["image"], images.images)
    assert plain["mask"].dtype == np.float32
    assert zero.dtype == np.uint8


def test_a_threshold_in_the_middle_of_the_greys():
    spec = data.ImageSpec("x", image_size=2)
    images = data.ImageSet(np.array([[[[0], [127]], [[128], [255]]]], np.uint8), None, spec)
    found = next(iter(data.eval_batches(images, 1, binarize="static")))["image"]
    assert found.ravel().tolist() == [0, 0, 255, 255]
    assert found.dtype == np.uint8


def test_the_last_batch_of_every_process_is_as_long():
    images = image_set(5, size=2)
    for index, masks, labels in [(0, [1, 1, 1, 0], [0, 1, 4, 0]), (1, [1, 1, 0, 0], [2, 3, 0, 0])]:
        batches = data.eval_batches(images, 4, process_index=index, process_count=2)
        got = list(batches)
        assert len(batches) == len(got) == 2
        assert np.concatenate([b["mask"] for b in got]).tolist() == masks
        assert np.concatenate([b["label"] for b in got]).tolist() == labels
    arrays = {"x": np.arange(6), "label": np.arange(6) * 10}
    order = data.epoch_order(6, 0, 12, seed=2)
    halves = [data.array_pipeline(arrays, 4, seed=2, process_index=i, process_count=2)
              for i in range(2)]  # fmt: skip
    for step in range(3):
        joined = np.concatenate([next(half)["x"] for half in halves])
        assert joined.tolist() == order[4 * step : 4 * step + 4].tolist()


def test_a_batch_of_all_examples_is_no_warning(caplog):
    next(data.train_pipeline(image_set(4, size=2), 4, seed=0))
    assert not caplog.text
    next(data.train_pipeline(image_set(4, size=2), 5, seed=0))
    assert "batch_size is 5, there are only 4 examples" in caplog.text


def test_a_set_equals_itself_alone_and_does_not_change():
    for one in (data.eval_batches(image_set(4), 2),):
        assert one != copy.copy(one)  # arrays have no truth value to compare by
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, dataclasses.fields(one)[0].name, None)


@pytest.mark.parametrize(
    "wrong", [{"batch_size": "2"}, {"batch_size": 2.0}, {"seed": "0"}, {"seed": 0.5}]
)
def test_sizes_and_seeds_of_another_type_are_named(wrong):
    arguments = {"batch_size": 2, "seed": 0, **wrong}
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*, must be a whole number"):
        data.array_pipeline({"x": np.arange(4)}, **arguments)
