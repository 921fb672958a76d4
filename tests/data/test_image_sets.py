"""Descriptions of image sets, and images in memory."""

import copy
import dataclasses

import numpy as np
import pytest

from jaxlab.data.image_sets import LIKELIHOODS, SPECS, ImageSet, ImageSpec


def test_what_a_spec_says_by_itself_and_what_follows():
    plain = ImageSpec("a")
    assert (plain.channels, plain.image_size, plain.pad) == (1, 32, 0)
    assert (plain.likelihood, plain.bits) == ("bernoulli", 8)
    assert (plain.dims, plain.shape) == (1024, (32, 32, 1))
    padded = ImageSpec("b", channels=3, image_size=10, pad=2)
    assert padded.dims == 3 * 6 * 6  # what is added around is no part of an image
    assert padded.shape == (10, 10, 3)
    assert ImageSpec("c", image_size=1).dims == 1
    assert ImageSpec("d", image_size=31, pad=15, bits=1).dims == 1
    assert LIKELIHOODS == ("bernoulli", "mixture", "normal")


def test_the_sets_with_a_name():
    grey = {"channels": 1, "image_size": 32, "pad": 2, "bits": 8}
    colour = {"channels": 3, "image_size": 32, "pad": 0, "bits": 8, "likelihood": "mixture"}
    assert {name: vars(spec) for name, spec in SPECS.items()} == {
        "mnist": {"name": "mnist", "likelihood": "bernoulli", **grey},
        "mnist5k": {"name": "mnist5k", "likelihood": "bernoulli", **grey},
        "fashion_mnist": {"name": "fashion_mnist", "likelihood": "mixture", **grey},
        "cifar10_jpeg": {**colour, "name": "cifar10_jpeg"},
        "cifar10": {**colour, "name": "cifar10"},
        "cifar100": {**colour, "name": "cifar100"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 2}, "channels is 2, needs to be 1 or 3"),
        ({"channels": 0}, "channels is 0, must be"),
        ({"image_size": 0}, "image_size is 0, must be"),
        ({"pad": -1}, "pad is -1, must be"),
        ({"pad": 16}, "pad is 16, image_size 32 leaves no pixel"),
        ({"bits": 0}, "bits is 0, must be"),
        ({"bits": 9}, "bits is 9, needs to be between 1 and 8"),
        ({"likelihood": "gauss"}, "likelihood is 'gauss', needs to be one of"),
    ],
)
def test_specs_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ImageSpec("x", **arguments)


def test_zeros_are_put_around_the_chosen_images():
    images = np.arange(1, 13, dtype=np.uint8).reshape(3, 2, 2, 1)
    found = ImageSet(images, np.array([4, 5, 6]), ImageSpec("x", image_size=4, pad=1))
    row = lambda a, b: [0, a, b, 0]
    assert found.padded([2])[0, :, :, 0].tolist() == [[0] * 4, row(9, 10), row(11, 12), [0] * 4]
    assert found.padded().shape == (3, 4, 4, 1)
    assert found.padded().dtype == np.uint8
    assert found.padded(slice(1)).sum() == 1 + 2 + 3 + 4
    assert len(found) == 3
    assert repr(found) == "ImageSet('x', 3 images 2x2x1, which pipelines pad to 4x4x1)"
    bare = ImageSet(images, None, ImageSpec("y", image_size=2))
    assert repr(bare) == "ImageSet('y', 3 images 2x2x1)"
    np.testing.assert_array_equal(bare.padded(), images)


def test_images_that_do_not_fit_are_refused():
    images, spec = np.zeros((3, 2, 2, 1), np.uint8), ImageSpec("x", image_size=4, pad=1)
    with pytest.raises(ValueError, match=r"images are float32 \(3, 2, 2, 1\), .* needs uint8"):
        ImageSet(images.astype(np.float32), None, spec)
    with pytest.raises(ValueError, match=r"images are uint8 \(3, 2, 3, 1\)"):
        ImageSet(np.zeros((3, 2, 3, 1), np.uint8), None, spec)
    with pytest.raises(ValueError, match=r"labels have shape \(2,\), 3 images need \(3,\)"):
        ImageSet(images, np.zeros(2), spec)


def test_a_set_equals_itself_alone_and_does_not_change():
    images = np.zeros((1, 2, 2, 1), np.uint8)
    for one in (ImageSet(images, None, ImageSpec("x", image_size=2)),):
        assert one != copy.copy(one)  # arrays have no truth value to compare by
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, dataclasses.fields(one)[0].name, None)
