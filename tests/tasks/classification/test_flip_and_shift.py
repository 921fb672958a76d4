"""Flips and crops: pieces of the padded image, a draw for each image and step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.models import classifiers
from jaxlab.tasks import classification

IMAGES = np.random.default_rng(0).integers(1, 256, (64, 6, 5, 2), np.uint8)


def pieces(image, pad):
    """All images that one may become, from NumPy."""
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    height, width = image.shape[:2]
    for i in range(2 * pad + 1):
        for j in range(2 * pad + 1):
            for mirrored in (False, True):
                piece = padded[:, ::-1] if mirrored else padded
                yield (i, j, mirrored), piece[i : i + height, j : j + width]


def test_an_image_becomes_a_piece_of_itself_and_all_draws_occur():
    images = np.repeat(IMAGES[:1], 200, axis=0)
    found = np.asarray(classification.flip_and_shift(jax.random.key(0), images, shift=1))
    assert found.dtype == np.uint8
    known = {piece.tobytes(): draw for draw, piece in pieces(images[0], 1)}
    drawn = [known[image.tobytes()] for image in found]  # a KeyError: no piece
    assert len({*drawn}) == 2 * 3 * 3
    assert np.mean([mirrored for *_, mirrored in drawn]) == pytest.approx(0.5, abs=0.12)


def test_what_is_not_asked_for_is_not_done():
    key = jax.random.key(1)
    crop = np.asarray(classification.flip_and_shift(key, IMAGES, flip=False, shift=2))
    assert all(
        any((piece == found).all() for (_, _, mirrored), piece in pieces(image, 2) if not mirrored)
        for image, found in zip(IMAGES, crop, strict=True)
    )
    flipped = np.asarray(classification.flip_and_shift(key, IMAGES, shift=0))
    same = [(a == b).all() for a, b in zip(flipped, IMAGES, strict=True)]
    mirrored = [(a == b[:, ::-1]).all() for a, b in zip(flipped, IMAGES, strict=True)]
    assert all(a != b for a, b in zip(same, mirrored, strict=True))
    assert 0 < sum(same) < len(same)


def test_inputs_that_are_no_images():
    with pytest.raises(ValueError, match=r"x has shape \(3, 2\), flip and shift need"):
        classification.flip_and_shift(jax.random.key(0), jnp.ones((3, 2)))
    with pytest.raises(ValueError, match="shift is -1"):
        classification.make_loss(None, class_counts=jnp.ones(2), shift=-1)


def test_a_step_draws_from_its_key_and_evaluation_does_not():
    model = classifiers.make_classifier("mlp", 2, features=(3,))
    params, state = classifiers.init_variables(model, jax.random.key(0), jnp.ones((1, 6, 5, 2)))
    batch = {"x": jnp.asarray(IMAGES), "label": jnp.arange(64) % 2}
    make = lambda **given: classification.make_loss(model, class_counts=jnp.ones(2), **given)
    augmented, plain = make(flip=True, shift=2), make()

    def value(loss, seed, batch=batch):
        return float(loss(params, state, batch, key=jax.random.key(seed), step=0)[0])

    assert value(augmented, 0) == value(augmented, 0) != value(augmented, 1)
    by_hand = classification.flip_and_shift(jax.random.key(0), batch["x"], shift=2)
    assert value(augmented, 0) == value(plain, 5, {**batch, "x": by_hand})
