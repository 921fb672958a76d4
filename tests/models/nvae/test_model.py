"""The model's ways in and out: encode, decode, reconstruct, sample, interpolate, and its bound."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.models import nvae
from jaxlab.models.nvae import NVAE
from jaxlab.models.nvae.model import check


@pytest.fixture(scope="module")
def run(small):
    """Calls a method of the small model, compiled."""
    model, variables, _ = small
    variables = {k: variables[k] for k in ("params", "batch_stats")}

    def call(*args, method=None, static=(), **kwargs):
        names = dict(static)
        return jax.jit(lambda v, a, k: model.apply(v, *a, **k, **names, method=method))(
            variables, args, kwargs
        )

    return call


KEY = jax.random.key(7)


SMALL = {
    "image_size": 8,
    "enc_channels": 4,
    "dec_channels": 4,
    "blocks": 1,
    "pre_cells": 1,
    "post_cells": 1,
    "arch": "res_bnswish",
}


def test_the_first_features_start_between_0_and_1(small):
    """Uniformly, as the reference has them; the running statistics were changed, not these."""
    h = np.asarray(small[1]["params"]["h"])
    assert h.shape == (2, 2, 16)
    assert 0 <= h.min() < 0.1
    assert 0.9 < h.max() < 1
    assert 0.4 < h.mean() < 0.6


@pytest.fixture(scope="module")
def encoded(small, run):
    return run(small[2], key=KEY, method="encode")


def test_decoding_what_was_encoded_gives_the_same_image(encoded, run):
    decoded = run(encoded.latents, method="decode")
    np.testing.assert_allclose(decoded.parameters, encoded.parameters, atol=1e-4)
    assert encoded.kl.shape == (4, 3)
    assert [z.shape for z in encoded.latents] == [(4, 2, 2, 3), (4, 4, 4, 3), (4, 4, 4, 3)]


def test_whitened_latents_lead_back_to_the_latents(encoded, run):
    whitened = [g.whitened for g in encoded.groups]
    decoded = run(whitened=whitened, method="top_down")
    for a, b in zip(decoded.latents, encoded.latents, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_decode_from_a_group_keeps_the_ones_above(encoded, run):
    latents = encoded.latents
    decoded = run(latents, key=KEY, method="decode", static=[("from_group", 1)])
    np.testing.assert_array_equal(decoded.latents[0], latents[0])
    assert np.abs(decoded.latents[1] - latents[1]).max() > 0.1


@pytest.mark.slow
def test_reconstruct_with_no_groups_is_a_sample(small, run):
    _, _, x = small
    sample = run(key=KEY, method="sample", static=[("batch", 4)])
    none = run(x, key=KEY, method="reconstruct", static=[("num_groups", 0)])
    np.testing.assert_allclose(none.parameters, sample.parameters, atol=1e-5)
    np.testing.assert_array_equal(none.kl, 0)
    every = run(x, key=KEY, method="reconstruct")
    np.testing.assert_allclose(every.parameters, run(x, key=KEY).parameters, atol=1e-5)


@pytest.mark.slow
def test_interpolation_starts_and_ends_at_the_images(small, run):
    _, _, x = small
    path = run(x[0], x[1], method="interpolate", static=[("steps", 5)])
    ends = run(x[:2], method="encode")
    np.testing.assert_allclose(path.parameters[0], ends.parameters[0], atol=1e-3)
    np.testing.assert_allclose(path.parameters[-1], ends.parameters[1], atol=1e-3)
    steps = np.abs(np.diff(path.parameters, axis=0)).sum((1, 2, 3))
    assert steps.min() > 0


@pytest.mark.slow
def test_posterior_means_need_no_key(small, run):
    _, _, x = small
    np.testing.assert_array_equal(run(x).parameters, run(x).parameters)
    assert np.abs(run(x).parameters - run(x, key=KEY).parameters).max() > 1e-3


@pytest.mark.slow
def test_a_lower_temperature_lowers_the_variance_of_each_group(run):
    spread = lambda t: [
        float(jnp.std(z))
        for z in run(
            key=KEY, temperature=jnp.asarray(t), method="sample", static=[("batch", 64)]
        ).latents
    ]
    hot, cold, mixed = spread([1.0] * 3), spread([0.5] * 3), spread([1.0, 0.5, 0.5])
    # The first prior is fixed with sigma 1.01, so its spread is the temperature's.
    assert hot[0] == pytest.approx(1.01, rel=0.1)
    assert cold[0] == pytest.approx(hot[0] / 2, rel=1e-4)
    assert mixed[0] == pytest.approx(hot[0], rel=1e-6)
    assert all(c < h for c, h in zip(cold, hot, strict=True))
    frozen = run(key=KEY, temperature=jnp.zeros(()), method="sample", static=[("batch", 2)])
    np.testing.assert_allclose(frozen.parameters[0], frozen.parameters[1], atol=1e-6)


def test_training_moves_only_running_statistics(small):
    model, variables, x = small
    _, after = jax.jit(lambda v: model.apply(v, x, key=KEY, train=True, mutable=["batch_stats"]))(
        {k: variables[k] for k in ("params", "batch_stats")}
    )
    moved = jax.tree.map(
        lambda a, b: bool(np.any(a != b)), after["batch_stats"], variables["batch_stats"]
    )
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 10}, "image_size is 10"),
        ({"groups": (0, 1)}, r"groups\[0\] is 0, must be a whole number of at least 1"),
        ({"arch": "res_mbcon"}, "arch is 'res_mbcon', known are res_mbconv"),
        ({"likelihood": "poisson"}, "likelihood is 'poisson'"),
        ({"latents": 0}, "latents is 0"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    model = NVAE(**{"image_size": 8, "blocks": 1, **change})
    size = model.image_size
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda key: model.init(key, jnp.zeros((1, size, size, 1))), KEY)


@pytest.mark.parametrize("patch", [1, 2, 3, 4, 8])
def test_the_stem_sees_every_pixel(patch):
    model = NVAE(2 * patch, groups=(1,), blocks=0, enc_channels=1, patch=patch)
    stem = lambda model, x: model.stem(x)
    x = jnp.zeros((1, 2 * patch, 2 * patch, 1))
    params = model.init(KEY, x, method=stem)["params"]
    assert params["stem"]["kernel"].shape[0] % 2 == 1
    params = jax.tree.map(jnp.ones_like, params)
    slope = jax.grad(lambda x: model.apply({"params": params}, x, method=stem).sum())(x)
    assert (slope > 0).all()


def test_images_of_another_size_are_refused(small):
    model, variables, _ = small
    with pytest.raises(ValueError, match=r"x has shape \(2, 16, 16, 1\), the model needs"):
        model.apply(variables, jnp.zeros((2, 16, 16, 1)))


VARIANTS = {
    "one scale, one group": {"groups": (1,)},
    "three scales": {"groups": (1, 1, 1)},
    "flows": {"groups": (2,), "flows": 1},
    "plain posterior": {"groups": (2,), "residual_posterior": False},
    "patches": {"groups": (1, 1), "patch": 2, "image_size": 16},
    "mixture": {"groups": (2,), "likelihood": "mixture", "channels": 3, "num_mixtures": 2},
    "normal": {"groups": (2,), "likelihood": "normal", "channels": 3},
    "inverted residuals": {"groups": (2,), "arch": "res_mbconv"},
    "remat": {"groups": (2,), "remat": "full"},
    "bfloat16": {"groups": (2,), "dtype": jnp.bfloat16},
}


@pytest.mark.slow  # each compiles for half a minute; a mixture's numbers are in test_parity.py too
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_has_a_finite_loss_with_gradients_everywhere(name):
    base = {"image_size": 8, "latents": 2, "enc_channels": 4, "dec_channels": 4, "blocks": 1}
    model = NVAE(
        **{**base, "pre_cells": 1, "post_cells": 1, "arch": "res_bnswish"} | VARIANTS[name]
    )
    shape = (3, model.image_size, model.image_size, model.channels)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    loss_fn = nvae.make_loss(model, total_steps=10)

    def step(key):
        params, state = nvae.init_variables(model, key, jnp.asarray(images))
        run = lambda p: loss_fn(p, state, {"image": images}, key=key, step=jnp.int32(5))
        (loss, (state, _)), grads = jax.value_and_grad(run, has_aux=True)(params)
        return loss, grads, state

    # Values matter here, not speed: compile with as little optimization as there is.
    compiled = jax.jit(step).lower(KEY).compile({"xla_backend_optimization_level": 0})
    loss, grads, state = compiled(KEY)
    assert np.isfinite(loss)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(state))
    silent = [
        jax.tree_util.keystr(path)
        for path, g in jax.tree_util.tree_leaves_with_path(grads)
        if not np.any(np.abs(g) > 0)
    ]
    assert not silent


@pytest.mark.parametrize(
    ("change", "loops"),
    [({"groups": (1, 2)}, 1), ({"groups": (3, 1)}, 2), ({"groups": (3, 3), "scan": False}, 0)],
    ids=str,
)
def test_one_group_is_no_loop(change, loops):
    # In a loop of one step, XLA's convolutions would be as slow on CPU as in a long one.
    # The first group of the coarsest scale stands alone in the decoder.
    model = NVAE(**SMALL, latents=2, **change)
    x = jnp.zeros((2, 8, 8, 1))
    variables = jax.eval_shape(lambda: model.init(KEY, x))
    program = jax.jit(model.apply).lower(variables, x).as_text()
    assert program.count("stablehlo.while") == loops


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"scan": False},
        {"remat": "convolutions"},
        {"remat": "full"},
        {"scan": False, "remat": "full"},
    ],
    ids=str,
)
def test_how_groups_are_run_changes_no_number(change):
    model = NVAE(**SMALL, groups=(3,), latents=2)
    x = (jax.random.uniform(KEY, (4, 8, 8, 1)) < 0.5).astype(jnp.float32)
    quick = {"xla_backend_optimization_level": 0}
    init = lambda m: jax.jit(lambda: m.init(KEY, x, key=KEY, train=True)).lower().compile(quick)()
    variables = init(model)
    other = model.clone(**change)
    jax.tree.map(np.testing.assert_array_equal, variables, init(other))

    def gradient(model):
        def loss(params):
            every = {**variables, "params": params}
            output, after = model.apply(every, x, key=KEY, train=True, mutable=["batch_stats"])
            nats = -model.observation.log_prob(x, output.parameters)
            return jnp.mean(nats + output.kl.sum(1)), after

        run = jax.jit(jax.value_and_grad(loss, has_aux=True))
        return run.lower(variables["params"]).compile(quick)(variables["params"])

    ours, theirs = gradient(model), gradient(other)
    # Biases before a batch norm have a gradient of rounding errors: compare on the common scale.
    largest = max(float(np.abs(g).max()) for g in jax.tree.leaves(ours[1]))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6 * largest)
    jax.tree.map(close, ours, theirs)


def test_convolutions_in_a_loop_are_products():
    """On CPU, where the backend's own are slow there. Outside remain stem, head, the cells that
    resize and those of the first group; unrolled, all are the backend's."""
    x = jnp.zeros((2, 8, 8, 1))

    def count(**kwargs):
        model = NVAE(**SMALL, groups=(3,), latents=2, **kwargs)
        variables = jax.eval_shape(lambda: model.init(KEY, x))
        program = jax.jit(model.apply).lower(variables, x).as_text()
        return program.count("stablehlo.convolution")

    # Stem, two in each of pre and post, the first posterior, head.
    assert count(scan=True) == 7 < count(scan=False)


def test_limits_of_the_arguments():
    good = {"image_size": 16, "groups": (1, 1), "blocks": 1}
    refused = {
        "clamp": 0.0,
        "sigma_floor": -0.1,
        "crop": 8,
        "remat": "some",
        "pre_cells": 0,
        "post_cells": 0,
        "enc_cells": -1,
        "dec_cells": -1,
        "flows": -1,
        "blocks": -1,
        "patch": 0,
        "enc_channels": 0,
        "dec_channels": 0,
        "branch_scale": float("nan"),
    }
    for name, value in refused.items():
        with pytest.raises(ValueError, match=f"{name} is {value!r}".replace("'", ".")):
            check(NVAE(**{**good, name: value}))
    taken = {"sigma_floor": 0.0, "crop": 7, "enc_cells": 0, "dec_cells": 0, "flows": 0}
    check(NVAE(**{**good, **taken, "remat": "full"}))
    check(NVAE(4, groups=(1, 1), blocks=0, patch=2))
    with pytest.raises(ValueError, match="halve images of 16 pixels 10000001 times"):
        check(NVAE(**{**good, "blocks": 10**7}))
    for change in ({"image_size": 10}, {"patch": 8}, {"blocks": 4}, {"patch": 3}):
        with pytest.raises(ValueError, match="latent scales need a multiple of"):
            check(NVAE(**{**good, **change}))


def test_defaults_of_a_model():
    fields = {
        f.name: f.default for f in dataclasses.fields(NVAE) if f.name not in ("parent", "name")
    }
    fields.pop("image_size")
    assert fields == {
        "likelihood": "bernoulli",
        "channels": 1,
        "bits": 8,
        "num_mixtures": 10,
        "edge": "exact",
        "crop": 0,
        "groups": (2, 1),
        "latents": 20,
        "enc_channels": 32,
        "dec_channels": 32,
        "blocks": 2,
        "pre_cells": 3,
        "post_cells": 3,
        "enc_cells": 1,
        "dec_cells": 1,
        "arch": "res_mbconv",
        "squeeze_excitation": True,
        "branch_scale": 0.1,
        "residual_posterior": True,
        "flows": 0,
        "clamp": 5.0,
        "sigma_floor": 0.01,
        "patch": 1,
        "scan": True,
        "remat": "none",
        "dtype": None,
    }
