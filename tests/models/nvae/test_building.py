"""Models for sets of images: what the config names, and their size."""

import dataclasses
from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from jaxlab.models.nvae import NVAE, for_images, groups_per_scale, parameter_count


def test_groups_per_scale():
    assert groups_per_scale(2, 10, adaptive=True) == (10, 5)
    assert groups_per_scale(4, 5, adaptive=True) == (5, 2, 1, 1)
    assert groups_per_scale(3, 4) == (4, 4, 4)


def test_a_config_names_the_dtype():
    spec = SimpleNamespace(image_size=8, channels=1, likelihood="bernoulli", bits=1, pad=0)
    assert for_images(spec, dtype="bfloat16").dtype == jnp.bfloat16
    assert for_images(spec, dtype="float32") == for_images(spec, dtype=jnp.dtype("float32"))
    with pytest.raises(ValueError, match="dtype is 'bf16', must be one of float32, bfloat16"):
        for_images(spec, dtype="bf16")


def test_a_model_for_images():
    spec = SimpleNamespace(image_size=32, channels=3, likelihood="mixture", bits=5, pad=2)
    model = for_images(spec, groups=[2, 1])
    assert (model.image_size, model.channels, model.likelihood) == (32, 3, "mixture")
    assert (model.bits, model.crop, model.groups) == (5, 2, (2, 1))
    assert for_images(spec, bits=8, image_size=16).bits == 8
    assert for_images(spec, bits=8, image_size=16).image_size == 16
    with pytest.raises(ValueError, match="latent_size"):
        for_images(spec, latent_size=3)
    with pytest.raises(ValueError, match=r"^crop is 0, must be the 2 of data\.pad: .*model\.crop"):
        for_images(spec, crop=0)
    likelihood = NVAE(8, "mixture", 3, 5, 4, "reference", 1).observation
    assert dataclasses.astuple(likelihood) == ("mixture", 3, 5, 4, "reference", 1)


def test_parameters_are_counted_in_scalars():
    assert parameter_count({"a": jnp.zeros((2, 3, 8)), "b": [jnp.zeros(()), jnp.zeros(7)]}) == 56
