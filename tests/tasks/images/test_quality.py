"""Fréchet distance and what a classifier says of samples."""

import numpy as np
import pytest
import scipy.linalg

from jaxlab import train
from jaxlab.errors import InputError
from jaxlab.tasks import images

RNG = np.random.default_rng(0)


def test_frechet_distance_is_that_of_scipys_matrix_root():
    a = RNG.normal(size=(200, 5)) @ RNG.normal(size=(5, 5))
    b = RNG.normal(size=(150, 5)) @ RNG.normal(size=(5, 5)) + 1
    one, two = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(one @ two).real
    gap = a.mean(0) - b.mean(0)
    wanted = gap @ gap + np.trace(one + two - 2 * root)
    assert images.frechet_distance(a, b) == pytest.approx(wanted, rel=1e-8)
    assert images.frechet_distance(b, a) == pytest.approx(wanted, rel=1e-8)
    assert images.frechet_distance(a, a[::-1]) == pytest.approx(0, abs=1e-6)


def test_features_that_never_change_are_no_obstacle():
    x = np.zeros((4, 3))
    x[:, 0] = [0, 1, 2, 3]
    assert images.frechet_distance(x, x + np.array([0, 2, 0])) == pytest.approx(4, abs=1e-7)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((1, 2)), np.zeros((3, 2))),
        (np.zeros((3, 2)), np.zeros((3, 1))),
        (np.zeros(3), np.zeros(3)),
        (np.full((3, 2), np.nan), np.zeros((3, 2))),
    ],
)
def test_features_that_make_no_sense_are_refused(a, b):
    with pytest.raises(InputError, match="features"):
        images.frechet_distance(a, b)


def test_shares_are_counted_by_hand():
    logits = np.log(np.array([[0.96, 0.04], [0.94, 0.06], [0.5, 0.5], [0.01, 0.99]]))
    found = images.compare(RNG.normal(size=(4, 2)), logits, RNG.normal(size=(5, 2)))
    assert found["confident"] == 0.5
    assert found["classes"] == [0.75, 0.25]
    assert found["pictures"] == 4


def judge(x):
    """Row means as features; the class is whether the picture is bright."""
    means = x.reshape(len(x), -1, x.shape[2]).mean(1)[:, ::4] / 255
    bright = means.mean(1)
    return means, np.stack([bright, 1 - bright], 1) * 100


def test_a_runs_samples_are_judged_next_to_its_held_out_images(trained):
    run = train.load_run(trained)
    drawn = images.draw_samples(images.Pictures(run), 6, temperature=0.5)
    rows = images.judge_samples(run, judge, num=6, temperatures=(0.5, 1.0), others={"same": drawn})
    assert list(rows) == ["held-out images", "t = 0.5", "t = 1", "same"]
    assert rows["same"] == rows["t = 0.5"]
    assert rows["same"] != rows["t = 1"]
    known, _ = judge(run.load_data("train").images)
    assert rows["t = 0.5"]["frechet"] == images.frechet_distance(judge(drawn)[0], known)
    held_out = run.load_data(run.config["eval_split"], limit=6).images
    assert rows["held-out images"]["frechet"] == images.frechet_distance(judge(held_out)[0], known)
    assert images.quality_table(rows).count("\n") == 6
    groups = images.judge_samples(run, judge, num=6, temperatures=[(0.5, 0.5), (0.5, 0.0)])
    assert groups["t = 0.5:0.5"] == rows["t = 0.5"]
    assert groups["t = 0.5:0"] != rows["t = 0.5"]
    with pytest.raises(InputError, match="temperature has 3 values, the model 2 groups"):
        images.judge_samples(run, judge, num=6, temperatures=[(0.5, 0.5, 0.5)])


def test_pictures_of_other_sizes_are_refused_before_any_is_drawn(trained):
    with pytest.raises(InputError, match="other has pictures"):
        images.judge_samples(
            train.load_run(trained),
            judge,
            num=4,
            others={"other": np.zeros((4, 9, 9, 1), np.uint8)},
        )


def test_pictures_of_other_tools_are_read(tmp_path):
    grey = RNG.integers(0, 256, (3, 4, 4, 1)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", np.repeat(grey, 3, axis=-1))
    np.testing.assert_array_equal(images.read_pictures(tmp_path / "a.npz", 1), grey)
    assert images.read_pictures(tmp_path / "a.npz", 3).shape == (3, 4, 4, 3)
    np.savez(tmp_path / "b.npz", images=grey / 255)
    with pytest.raises(InputError, match="uint8"):
        images.read_pictures(tmp_path / "b.npz", 1)
    (tmp_path / "c.npz").write_text("no")
    with pytest.raises(InputError, match="not an npz"):
        images.read_pictures(tmp_path / "c.npz", 1)
    np.save(tmp_path / "e.npz.npy", grey)
    with pytest.raises(InputError, match="not an npz"):
        images.read_pictures(tmp_path / "e.npz.npy", 1)
    with pytest.raises(FileNotFoundError, match="no such file"):
        images.read_pictures(tmp_path / "d.npz", 1)
