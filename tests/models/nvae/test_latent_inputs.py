"""Where latents come from: stacking by scale, noise, and which source counts for which group."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.models.nvae.latent_inputs import (
    by_scale,
    check_temperature,
    draw_noise,
    group_inputs,
)

COUNTS = (1, 2)
SHAPES = [(1, 1, 2), (2, 2, 2), (2, 2, 2)]


def numbered(count):
    return [jnp.full((3, *shape), i + 1.0) for i, shape in enumerate(SHAPES[:count])]


def test_arrays_are_stacked_by_scale():
    one, two = by_scale(COUNTS, numbered(2))
    assert (one.shape, two.shape) == ((1, 3, 1, 1, 2), (2, 3, 2, 2, 2))
    assert [float(x.max()) for x in (one[0], two[0], two[1])] == [1, 2, 0]
    assert by_scale(COUNTS, numbered(1))[1] is None
    assert by_scale(COUNTS, []) == [None, None]


def test_noise_is_standard_normal_and_all_of_it_different():
    first, second = draw_noise(COUNTS, SHAPES, 500, jax.random.key(0))
    assert (first.shape, second.shape) == ((1, 500, 1, 1, 2), (2, 500, 2, 2, 2))
    values = np.concatenate([np.ravel(first), np.ravel(second)])
    assert len(np.unique(values)) > 0.999 * len(values)
    np.testing.assert_allclose([values.mean(), values.std()], [0, 1], atol=0.03)
    assert abs(np.corrcoef(np.ravel(second[0]), np.ravel(second[1]))[0, 1]) < 0.06
    assert not any(np.any(x) for x in draw_noise(COUNTS, SHAPES, 2, None))


def test_which_groups_are_inferred_given_or_drawn():
    noise = by_scale(COUNTS, [10 * x for x in numbered(3)])
    features = by_scale(COUNTS, numbered(3))
    first, second = group_inputs(
        COUNTS, noise, [0.1, 0.2, 0.3], features=features, num_inferred=2, latents=numbered(2)
    )
    np.testing.assert_allclose(first.temperature, [0.1])
    np.testing.assert_allclose(second.temperature, [0.2, 0.3])
    assert first.inferred is None  # all of them
    assert first.is_given is None
    assert second.inferred.tolist() == [True, False]
    assert second.is_given.tolist() == [True, False]
    np.testing.assert_array_equal(first.feature, features[0])
    np.testing.assert_array_equal(second.feature, features[1])
    np.testing.assert_array_equal(second.given[0], numbered(2)[1])
    np.testing.assert_array_equal(second.noise, noise[1])
    first, second = group_inputs(COUNTS, noise, 0.7, features=features)
    assert second.inferred is None
    np.testing.assert_allclose(second.temperature, [0.7, 0.7])
    first, second = group_inputs(COUNTS, noise, 1.0, features=features, num_inferred=1)
    assert second.feature is None
    first, second = group_inputs(COUNTS, noise, 1.0)
    assert first.feature is None
    assert first.given is None


def test_whitened_latents_take_the_place_of_noise_after_what_is_inferred():
    noise = by_scale(COUNTS, [10 * x for x in numbered(3)])
    features = by_scale(COUNTS, numbered(3))
    first, second = group_inputs(
        COUNTS, noise, 1.0, features=features, num_inferred=1, whitened=numbered(2)
    )
    assert [float(x.max()) for x in (first.noise[0], *second.noise)] == [10, 2, 30]
    first, second = group_inputs(COUNTS, noise, 1.0, whitened=numbered(3))
    assert [float(x.max()) for x in (first.noise[0], *second.noise)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (-0.1, "temperature is -0.1, must be finite and at least 0"),
        ([0.5, float("nan"), 1.0], "must be finite and at least 0"),
        ("hot", "temperature is hot, must be"),
        (True, "temperature is True, must be"),
        ([0.5, 1.0], "temperature has 2 values, the model 3 groups"),
        (np.ones((1, 3)), r"temperature has shape \(1, 3\), must be one number or one per group"),
    ],
)
def test_temperatures_without_sense(wrong, message):
    with pytest.raises(ValueError, match=message):
        check_temperature(wrong, 3)
    with pytest.raises(ValueError, match=message):
        group_inputs(COUNTS, by_scale(COUNTS, numbered(3)), wrong)


def test_of_a_traced_temperature_the_shape_is_checked():
    jax.jit(lambda t: check_temperature(t, 3))(jnp.ones(3))
    with pytest.raises(ValueError, match="temperature has 2 values"):
        jax.jit(lambda t: check_temperature(t, 3))(jnp.ones(2))


@pytest.mark.parametrize(
    "wrong", [{"num_inferred": 4}, {"num_inferred": -1}, {"num_inferred": 1.5}]
)
def test_a_number_of_groups_that_is_out_of_range(wrong):
    features = [jnp.ones((count, 3, *SHAPES[i], 1)) for i, count in enumerate(COUNTS)]
    with pytest.raises(ValueError, match="num_inferred is"):
        group_inputs(COUNTS, draw_noise(COUNTS, SHAPES, 3, None), 1.0, features=features, **wrong)


@pytest.mark.parametrize("name", ["latents", "whitened"])
def test_more_latents_than_groups(name):
    arrays = {name: [*numbered(3), numbered(1)[0]]}
    with pytest.raises(ValueError, match=f"{name} are of 4 groups, the model has 3"):
        group_inputs(COUNTS, draw_noise(COUNTS, SHAPES, 3, None), 1.0, **arrays)
