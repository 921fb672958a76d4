"""Random moves of training pictures."""

import numpy as np
import pytest

from jaxlab.data import ImageSet, ImageSpec, train_pipeline
from jaxlab.data.pipelines.augmentation import augment

IMAGES = np.random.default_rng(0).integers(1, 256, (40, 5, 5, 3)).astype(np.uint8)


def moved(image, down, right):
    """`image` moved, zeros in its place, by plain loops."""
    found = np.zeros_like(image)
    for row in range(5):
        for column in range(5):
            if 0 <= row - down < 5 and 0 <= column - right < 5:
                found[row, column] = image[row - down, column - right]
    return found


def test_every_picture_is_moved_by_one_of_the_moves_and_all_moves_occur():
    found = augment(IMAGES.copy(), slice(0, 40), seed=1, step=3, batch_size=40, shift=1)
    moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    seen = set()
    for before, after in zip(IMAGES, found, strict=True):
        which = [m for m in moves if (moved(before, *m) == after).all()]
        assert len(which) == 1
        seen.add(which[0])
    assert seen == set(moves)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous


def test_processes_draw_what_one_process_draws():
    change = {"seed": 1, "step": 3, "batch_size": 40, "flip": True, "shift": 2}
    whole = augment(IMAGES.copy(), slice(0, 40), **change)
    parts = [augment(IMAGES[rows].copy(), rows, **change) for rows in (slice(0, 10), slice(10, 40))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_moves_change_from_step_to_step_and_nothing_else_is_drawn_anew():
    spec = ImageSpec("any", channels=3, image_size=5, likelihood="mixture")
    labels = np.arange(40, dtype=np.int32)
    plain, shifted = (
        train_pipeline(ImageSet(IMAGES, labels, spec), 20, seed=0, num_threads=0, **given)
        for given in ({}, {"shift": 1})
    )
    for _ in range(2):
        before, after = next(plain), next(shifted)
        np.testing.assert_array_equal(before["label"], after["label"])
        assert (before["image"] != after["image"]).any()
    first = [augment(IMAGES, slice(0, 40), seed=0, step=k, batch_size=40, shift=1) for k in (0, 1)]
    assert (first[0] != first[1]).any()
    same = augment(IMAGES, slice(0, 40), seed=0, step=0, batch_size=40)
    np.testing.assert_array_equal(same, IMAGES)


@pytest.mark.parametrize("shift", [-1, 5, 0.5])
def test_moves_out_of_the_picture_are_refused(shift):
    spec = ImageSpec("any", channels=3, image_size=5, likelihood="mixture")
    with pytest.raises(ValueError, match="shift is"):
        train_pipeline(ImageSet(IMAGES, None, spec), 20, seed=0, shift=shift)
