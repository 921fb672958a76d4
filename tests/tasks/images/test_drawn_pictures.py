"""`jaxlab.tasks.images.pictures`: what a finished run draws, as arrays."""

import dataclasses
import functools
import types

import jax
import numpy as np
import pytest

from jaxlab import train
from jaxlab.tasks import images


@pytest.fixture(scope="module")
def pictures(trained):
    return images.Pictures(train.load_run(trained), columns=3)


def test_the_nearest_images_are_those_of_brute_force():
    rng = np.random.default_rng(0)
    known = rng.integers(0, 256, (5000, 2, 2, 1)).astype(np.uint8)
    samples = rng.random((3, 2, 2, 1), np.float32)
    apart = ((samples[:, None] - known[None] / 255.0) ** 2).sum((2, 3, 4))
    want = np.argsort(apart, axis=1)[:, :4]
    np.testing.assert_array_equal(images.nearest(samples, known, 4), want)


def test_rows_of_temperatures_share_their_noise(pictures):
    drawn = pictures.temperatures([1.0, 0.5])
    assert drawn.shape == (6, 28, 28, 1)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    np.testing.assert_array_equal(drawn[:3], pictures.samples(1.0))
    assert np.abs(drawn[:3] - drawn[3:]).max() > 0


def test_a_single_image_has_no_neighbour_to_go_to(pictures):
    one = dataclasses.replace(pictures)
    one.__dict__["images"] = pictures.images[:1]
    with pytest.raises(ValueError, match=r"^interpolation needs two held-out images"):
        one.interpolation()


def test_rows_that_keep_fewer_groups_start_with_the_images(pictures):
    grid, labels, columns = pictures.resampled()
    groups = pictures.run.model.num_groups
    kept = [f"{k} of {groups} kept" for k in range(groups, -1, -1)]
    assert labels == ["image", *kept]
    assert columns == 3
    assert len(grid) == 3 * len(labels)
    held_out = pictures.run.load_data("validation", limit=3).images / 255
    assert np.mean((grid[:3] > 0.5) == (held_out > 0.5)) > 0.9  # binary, drawn from the grey


def test_paths_and_statistics_of_each_temperature(pictures, trained):
    assert pictures.interpolation().shape == (3 * 3, 28, 28, 1)
    fresh = images.Pictures(train.load_run(trained), columns=3, reestimate=1)
    assert np.abs(fresh.temperatures([0.5]) - pictures.temperatures([0.5])).max() > 0
    # Samples too are drawn with statistics of their temperature, also with one per group.
    np.testing.assert_array_equal(fresh.samples(0.5), fresh.temperatures([0.5]))
    np.testing.assert_allclose(fresh.samples([0.5, 0.5]), fresh.samples(0.5), atol=1e-5)
    assert np.abs(fresh.samples([0.5, 1.0]) - fresh.samples(0.5)).max() > 0
    with pytest.raises(ValueError, match="temperature has 3 values, the model 2 groups"):
        fresh.samples([0.5] * 3)


def test_a_page_of_samples_has_noise_of_its_own_in_each_row(pictures):
    page = pictures.samples(0.7, rows=3)
    assert page.shape == (9, 28, 28, 1)
    np.testing.assert_array_equal(page[:3], pictures.samples(0.7))
    assert np.abs(page[3:6] - page[:3]).max() > 0
    assert np.abs(page[6:] - page[3:6]).max() > 0


def test_temperatures_are_one_or_one_per_group(pictures):
    assert pictures.heat([0.7]) == 0.7
    assert pictures.heat([0.7, 1.0]) == pictures.heat([(0.7, 1.0)]) == [0.7, 1.0]
    rows = pictures.temperatures([0.7, (0.7, 0.7), (0.7, 0.0)])
    np.testing.assert_array_equal(rows[:3], rows[3:6])
    assert np.abs(rows[6:] - rows[3:6]).max() > 0
    with pytest.raises(ValueError, match="temperature has 3 values, the model 2 groups"):
        pictures.temperatures([(1.0, 1.0, 1.0)])
    with pytest.raises(ValueError, match="--temperature has 3 values, the model 2 groups"):
        pictures.heat([1.0] * 3)


def test_one_program_draws_what_the_methods_of_the_model_do(pictures):
    run, x = pictures.run, pictures.images
    mean = run.model.observation.mean

    def draw(*args, **kwargs):
        output = jax.jit(lambda v: run.model.apply(v, *args, **kwargs))(run.variables)
        return mean(output.parameters)

    close = functools.partial(np.testing.assert_allclose, atol=1e-5)
    sampled = draw(3, key=pictures.key, temperature=0.5, method="sample")
    close(pictures.samples(0.5), sampled)
    close(pictures.interpolation()[3:6], draw(x[2], x[3], steps=3, method="interpolate"))
    options = {"key": pictures.key, "num_groups": 1, "method": "reconstruct"}
    close(pictures.resampled()[0][6:9], draw(x[:3], **options))
    assert pictures._program._cache_size() == 1


def test_rows_of_a_deep_model_keep_six_numbers_of_groups(monkeypatch):
    inner = types.SimpleNamespace(inner=lambda x: x)
    model = types.SimpleNamespace(num_groups=10, observation=inner)
    row = lambda self, *, kept, temperature: np.full((4, 1, 1, 1), kept * temperature)
    monkeypatch.setattr(images.Pictures, "_row", row)
    drawn = images.Pictures(types.SimpleNamespace(model=model, variables={}), columns=2)
    drawn.__dict__["images"] = np.zeros((4, 1, 1, 1))
    grid, labels, columns = drawn.resampled(0.5)
    kept = [10, 8, 6, 4, 2, 0]
    assert labels == ["image", *(f"{k} of 10 kept" for k in kept)]
    assert columns == 2
    assert grid.ravel().tolist() == [x / 2 for k in (0, *kept) for x in (k, k)]


def test_samples_need_no_data(pictures):
    def load_data(*args, **kwargs):
        raise AssertionError("data were read")

    run = dataclasses.replace(pictures.run, load_data=load_data)
    alone = images.Pictures(run, columns=3)
    np.testing.assert_array_equal(alone.temperatures([1.0]), pictures.samples(1.0))
