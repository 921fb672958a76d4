"""Two Gaussians and two spirals, against closed forms."""

import math

import numpy as np
import pytest

from jaxlab import data


def test_the_best_classifier_of_two_gaussians_has_the_error_of_the_closed_form():
    for shift in (1.0, 0.8):
        x, y = data.gaussians(40_000, seed=0, shift=shift)
        wrong = np.mean((x.mean(1) > shift / 2) != y)
        best = 0.5 * math.erfc(shift * math.sqrt(10) / 2 / math.sqrt(2))
        assert wrong == pytest.approx(best, abs=4 * math.sqrt(best / 40_000))
    np.testing.assert_allclose(np.cov(x[y == 0].T), np.eye(10), atol=0.05)
    np.testing.assert_allclose(x[y == 1].mean(0), 0.8, atol=0.05)


def test_a_spiral_without_blur_lies_on_its_curve():
    x, y = data.spiral(401, seed=3, blur=0.0)
    assert y.sum() == 200
    radius, angle = np.linalg.norm(x, axis=1), np.arctan2(x[:, 1], x[:, 0])
    along = radius - np.pi * y  # the angle, but for whole turns
    turns = (along - angle) / (2 * np.pi)
    np.testing.assert_allclose(turns, turns.round(), atol=1e-5)
    assert along.min() == pytest.approx(0, abs=1e-5)
    assert along.max() == pytest.approx(4 * np.pi, abs=1e-4)
    blurred = data.spiral(401, seed=3, blur=0.5)[0]
    assert np.std(blurred - x) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("draw", [data.gaussians, data.spiral])
def test_wrong_labels_are_counted_and_all_is_drawn_from_the_seed(draw):
    x, y = draw(200, noise=0.1, seed=1)
    clean_x, clean = draw(200, seed=1)
    np.testing.assert_array_equal(x, clean_x)
    assert (y != clean).sum() == 20
    assert x.dtype == np.float32
    assert y.dtype == np.int32
    assert (draw(200, seed=2)[0] != x).any()
    for given, text in (({"noise": 1.5}, "noise is 1.5"), ({"seed": -1}, "seed is -1")):
        with pytest.raises(ValueError, match=text):
            draw(5, **{"seed": 0, **given})


def test_numbers_out_of_range():
    with pytest.raises(ValueError, match="blur is -1"):
        data.spiral(5, seed=0, blur=-1.0)
    with pytest.raises(ValueError, match="dims is 0"):
        data.gaussians(5, seed=0, dims=0)


@pytest.mark.parametrize("name", ["gaussians", "spiral"])
def test_classification_sets_of_points(name):
    sets = data.load_classification(name, seed=2, num_train=30, num_validation=20, num_test=9)
    assert [len(s["label"]) for s in (sets.train, sets.validation, sets.test)] == [30, 20, 9]
    np.testing.assert_array_equal(sets.test["x"], getattr(data, name)(9, seed=8)[0])
    with pytest.raises(ValueError, match=f"{name} has no long tail"):
        data.load_classification(name, seed=0, imbalance=2.0)
