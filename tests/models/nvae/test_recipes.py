"""The published recipes have the published numbers of parameters, by shape evaluation alone."""

import pathlib

import jax
import jax.numpy as jnp
import pytest

from jaxlab.data import ImageSpec
from jaxlab.launch import config as configs
from jaxlab.models import nvae

CONFIGS = pathlib.Path(__file__).parents[3] / "configs" / "nvae"

MNIST = ImageSpec("mnist", pad=2)
COLOUR = {"channels": 3, "likelihood": "mixture"}
RECIPES = {  # exact counts of our shapes; the reference states them in millions, to two digits
    "mnist": (MNIST, 33_363_134, "33.36"),
    "cifar10": (ImageSpec("cifar10_jpeg", **COLOUR), 130_852_480, "130.85"),
    "celeba64": (ImageSpec("folder", image_size=64, **COLOUR), 153_281_364, "153.28"),
    "imagenet32": (ImageSpec("npz", **COLOUR), 268_509_444, "268.51"),
    "celebahq256": (ImageSpec("folder", image_size=256, bits=5, **COLOUR), 330_798_664, "330.80"),
    "ffhq256": (ImageSpec("folder", image_size=256, bits=5, **COLOUR), 330_798_664, "330.80"),
}


def read_config(name, preset=""):
    return configs.load(f"configs/nvae/{name}.py:{preset}")


def count(model):
    size = (1, model.image_size, model.image_size, model.channels)
    shapes = jax.eval_shape(
        lambda key: model.init(key, jnp.zeros(size), key=key, train=True), jax.random.key(0)
    )
    return nvae.parameter_count(shapes["params"])


@pytest.mark.parametrize(
    "name",
    [n if n == "mnist" else pytest.param(n, marks=pytest.mark.slow) for n in RECIPES],
)
def test_recipe_has_the_published_size(name):
    spec, exact, published = RECIPES[name]
    model = nvae.for_images(spec, **read_config(name).model)
    found = count(model)
    assert f"{found / 1e6:.2f}" == published
    assert found == exact


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_has_a_tiny_preset_that_fits_its_images(name):
    spec, _, _ = RECIPES[name]
    config = read_config(name, "tiny")
    model = nvae.for_images(spec, **config.model)
    assert count(model) < 300_000
    assert config.num_steps <= 20
    with pytest.raises(ValueError, match="preset"):
        read_config(name, "tinny")


SMALL = {
    "groups": (2, 1),
    "enc_channels": 16,
    "dec_channels": 16,
    "blocks": 2,
    "pre_cells": 2,
    "post_cells": 2,
}


@pytest.mark.parametrize(
    ("change", "parameters"),
    [
        ({}, 1_281_510),
        ({"flows": 1}, 1_445_190),
        ({"squeeze_excitation": False}, 1_272_050),
        ({"enc_channels": 12, "dec_channels": 12, "groups": (4, 2)}, 1_317_914),
        (
            {"enc_channels": 8, "dec_channels": 8, "latents": 8, "pre_cells": 1, "post_cells": 1},
            322_782,
        ),
    ],
)
def test_reference_sizes_of_small_configurations(change, parameters):
    assert count(nvae.for_images(MNIST, **{**SMALL, **change})) == parameters


def test_latent_dimensions_of_the_large_models():
    dims = lambda m: sum(h * w * c for h, w, c in m.latent_shapes)
    of = lambda name: nvae.for_images(RECIPES[name][0], **read_config(name).model)
    assert dims(of("mnist")) == 14_400
    assert dims(of("ffhq256")) == 6_005_760
