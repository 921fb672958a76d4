"""One latent group in NumPy: where s and the feature are 0, every convolution gives its bias."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.models.nvae.latents import GroupInput, LatentGroup, NVAEOutput

SHAPE, CHANNELS, CLAMP, FLOOR = (2, 3, 3, 2), 4, 5.0, 0.01
RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=SHAPE).astype(np.float32)
GIVEN = RNG.normal(size=SHAPE).astype(np.float32)
ZERO = jnp.zeros((*SHAPE[:3], CHANNELS))


def gaussian(raw):
    mean, log_sigma = CLAMP * np.tanh(np.stack(np.split(raw, 2, axis=-1)) / CLAMP)
    return mean, np.exp(log_sigma) + FLOOR


def log_normal(z, mean, sigma):
    return -0.5 * ((z - mean) / sigma) ** 2 - np.log(sigma) - 0.5 * np.log(2 * np.pi)


GROUP = {
    "latents": 2,
    "cells": 0,
    "ops": (),
    "squeeze_excitation": False,
    "branch_scale": 1.0,
    "residual": True,
    "flows": 0,
    "clamp": CLAMP,
    "sigma_floor": FLOOR,
    "dtype": None,
}


def run(inputs, **kwargs):
    """The group's output, and its parameters in float64; biases are large enough to be clamped."""
    group = LatentGroup(**{**GROUP, **kwargs})
    params = group.init(jax.random.key(0), ZERO, inputs, False)["params"]
    scaled = lambda path, p: 30 * p if "'bias'" in str(path) else p
    params = jax.tree_util.tree_map_with_path(scaled, params)
    s, output = group.apply({"params": params}, ZERO, inputs, False)
    return s, output, jax.tree.map(lambda p: np.asarray(p, np.float64), params)


def inputs(**kwargs):
    return GroupInput(noise=jnp.asarray(NOISE), temperature=jnp.float32(1.0), **kwargs)


def priors(params, first):
    return gaussian(np.zeros(4) if first else params["prior"]["bias"])


def total(x):
    return x.sum((1, 2, 3))


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_the_posterior_and_its_kl(first, residual):
    _, out, params = run(inputs(feature=ZERO), first=first, residual=residual)
    raw = params["posterior"]["bias"]
    if residual and not first:
        raw = raw + params["prior"]["bias"]
    if not first:  # a convolution of 1x1 takes s into the feature, and its bias is not 0
        kernel = params["posterior"]["kernel"]
        kernel = (
            np.exp(params["posterior"]["g"]) * kernel / (np.sqrt((kernel**2).sum((0, 1, 2))) + 1e-5)
        )
        feature = np.pad(
            np.broadcast_to(params["combine"]["bias"], (3, 3, CHANNELS)), ((1, 1), (1, 1), (0, 0))
        )
        raw = raw + sum(
            feature[i : i + 3, j : j + 3] @ kernel[i, j] for i in range(3) for j in range(3)
        )
    mean, sigma = gaussian(np.broadcast_to(raw, (3, 3, 4)))
    z = mean + sigma * NOISE
    prior_mean, prior_sigma = priors(params, first)
    kl = (
        np.log(prior_sigma / sigma)
        + (sigma**2 + (mean - prior_mean) ** 2) / (2 * prior_sigma**2)
        - 0.5
    )
    kl = np.broadcast_to(kl, SHAPE)
    np.testing.assert_allclose(out.z, z, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(out.whitened, (z - prior_mean) / prior_sigma, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(out.kl, total(kl), rtol=1e-3)
    np.testing.assert_allclose(out.kl_per_channel, kl.sum((1, 2)), rtol=1e-3)
    np.testing.assert_allclose(out.log_q, total(log_normal(z, mean, sigma)), rtol=1e-3)
    np.testing.assert_allclose(out.log_p, total(log_normal(z, prior_mean, prior_sigma)), rtol=1e-3)


@pytest.mark.parametrize("merge", ["concat", "replace"])
def test_a_draw_from_the_prior_and_what_follows_it(merge):
    cold = GroupInput(noise=jnp.asarray(NOISE), temperature=jnp.float32(0.6))
    s, out, params = run(cold, merge=merge)
    mean, sigma = priors(params, False)
    z = mean + 0.6 * sigma * NOISE
    np.testing.assert_allclose(out.z, z, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(out.whitened, NOISE, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(out.kl, 0)
    np.testing.assert_array_equal(out.log_q, 0)
    np.testing.assert_allclose(out.log_p, total(log_normal(z, mean, 0.6 * sigma)), rtol=1e-4)
    kernel = params["merge"]["kernel"][0, 0]
    kernel = np.exp(params["merge"]["g"]) * kernel / (np.sqrt((kernel**2).sum(0)) + 1e-5)
    joined = z if merge == "replace" else np.concatenate([np.asarray(ZERO), z], -1)
    np.testing.assert_allclose(s, joined @ kernel + params["merge"]["bias"], rtol=1e-3, atol=1e-3)


def test_what_is_given_and_what_is_inferred_by_flags():
    given = {"given": jnp.asarray(GIVEN), "is_given": jnp.array(True)}
    np.testing.assert_allclose(run(inputs(**given))[1].z, GIVEN)
    drawn = run(inputs())[1].z
    off = run(inputs(given=jnp.asarray(GIVEN), is_given=jnp.array(False)))[1].z
    np.testing.assert_allclose(off, drawn)
    np.testing.assert_allclose(run(inputs(given=jnp.asarray(GIVEN)))[1].z, GIVEN)
    posterior = run(inputs(feature=ZERO))[1]
    for flag, want in ((True, posterior.z), (False, GIVEN)):
        out = run(inputs(feature=ZERO, inferred=jnp.array(flag), **given))[1]
        np.testing.assert_allclose(out.z, want)
        np.testing.assert_allclose(out.kl, posterior.kl if flag else 0)


def test_with_flows_the_kl_is_that_of_the_draw():
    _, out, _ = run(inputs(feature=ZERO), flows=1)
    np.testing.assert_allclose(out.kl, out.log_q - out.log_p, rtol=1e-3, atol=1e-2)
    _, plain, _ = run(inputs(feature=ZERO))
    np.testing.assert_allclose(out.log_q, plain.log_q, rtol=1e-5)
    assert np.abs(out.z - plain.z).max() > 1e-4


def test_groups_of_an_output_are_in_order():
    """Two scales of one and two groups, whose numbers say where they belong."""
    stack = lambda first, count: jax.tree.map(
        lambda x: jnp.stack([jnp.full_like(x, first + i) for i in range(count)]),
        run(inputs())[1],
    )
    output = NVAEOutput(parameters=jnp.zeros(1), scales=(stack(1, 1), stack(2, 2)))
    assert [float(g.kl[0]) for g in output.groups] == [1, 2, 3]
    assert [float(z.ravel()[0]) for z in output.latents] == [1, 2, 3]
    np.testing.assert_array_equal(output.kl, [[1, 2, 3]] * 2)
    np.testing.assert_array_equal(output.log_q, [6, 6])
    np.testing.assert_array_equal(output.log_p, [6, 6])
