"""Layers against convolutions of the backend, NumPy, and the definition of the operation."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy_layers
import pytest
from convolutions import convolve, random

from jaxlab.models.nvae import layers
from jaxlab.models.nvae.layers import BatchNorm, Conv, DownSkip, SqueezeExcitation, UpSkip


def test_conv_normalises_each_output_channel():
    conv = layers.Conv(4)
    x = random(0, 2, 6, 6, 3)
    variables = conv.init(jax.random.key(1), x)
    params = {k: v + 0.3 for k, v in variables["params"].items()}
    kernel, g = np.asarray(params["kernel"], np.float64), np.asarray(params["g"], np.float64)
    norm = np.sqrt((kernel**2).sum((0, 1, 2)))
    effective = np.exp(g) * kernel / (norm + 1e-5)
    y, sown = conv.apply({"params": params}, x, mutable=["kernels"])
    np.testing.assert_allclose(sown["kernels"]["kernel"], effective, rtol=1e-5)
    wanted = convolve(x, jnp.asarray(effective, jnp.float32)) + params["bias"]
    np.testing.assert_allclose(y, wanted, atol=1e-5)


def test_conv_starts_a_hundredth_longer_than_its_kernel():
    variables = layers.Conv(4).init(jax.random.key(1), random(0, 2, 6, 6, 3))
    norms = np.sqrt((np.asarray(variables["params"]["kernel"]) ** 2).sum((0, 1, 2)))
    np.testing.assert_allclose(np.exp(variables["params"]["g"]), norms + 0.01, rtol=1e-5)
    bound = 1 / np.sqrt(27)
    assert np.abs(variables["params"]["kernel"]).max() <= bound
    assert np.abs(variables["params"]["bias"]).max() <= bound


def test_data_dependent_init_centres_the_first_batch():
    conv = layers.Conv(5, data_init=True)
    x = 3 * random(0, 16, 6, 6, 2) + 1
    y = conv.apply(conv.init(jax.random.key(1), x), x)
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(y.std((0, 1, 2)), 0.2, rtol=1e-3)


def test_data_dependent_init_of_bfloat16_makes_float32_parameters():
    conv = layers.Conv(5, data_init=True, dtype=jnp.bfloat16)
    shapes = jax.eval_shape(conv.init, jax.random.key(1), jnp.zeros((2, 6, 6, 2)))
    params = shapes["params"]
    assert set(params) == {"kernel", "g", "bias"}
    assert all(p.dtype == jnp.float32 for p in params.values())


def test_strided_conv_pads_both_sides():
    conv = layers.Conv(2, stride=2, weight_norm=False, use_bias=False)
    x = random(0, 1, 4, 4, 1)
    params = conv.init(jax.random.key(1), x)["params"]
    wanted = convolve(x, params["kernel"])[:, ::2, ::2]
    np.testing.assert_allclose(conv.apply({"params": params}, x), wanted, atol=1e-6)


def test_batch_norm_keeps_the_unbiased_variance():
    norm = layers.BatchNorm(momentum=0.9)
    x = 2 * random(0, 2, 2, 2, 3) + 1
    variables = norm.init(jax.random.key(0), x, True)
    y, after = norm.apply(variables, x, True, mutable=["batch_stats"])
    flat = np.asarray(x, np.float64).reshape(-1, 3)
    np.testing.assert_allclose(
        y.reshape(-1, 3), (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5), atol=1e-5
    )
    stats = after["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * flat.mean(0), rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * flat.var(0, ddof=1), rtol=1e-5)
    fixed = norm.apply({**variables, "batch_stats": stats}, x, False)
    wanted = (flat - stats["mean"]) / np.sqrt(stats["var"] + 1e-5)
    np.testing.assert_allclose(fixed.reshape(-1, 3), wanted, atol=1e-5)


def test_batch_norm_of_bfloat16_is_rounded_once():
    wide = 30 + jax.random.normal(jax.random.key(0), (8, 4, 4, 2))
    x, norm = wide.astype(jnp.bfloat16), layers.BatchNorm()
    variables = norm.init(jax.random.key(1), x, True)
    run = lambda x: norm.apply(variables, x, True, mutable=["batch_stats"])[0]
    found, exact = run(x), run(x.astype(jnp.float32))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), exact, rtol=2**-8, atol=1e-5)


def test_batch_norm_before_nearest_upsampling_counts_every_copy():
    x = random(0, 2, 2, 2, 3)
    large = layers.upsample_nearest(x)
    run = lambda norm, x: norm.apply(
        norm.init(jax.random.key(0), x, True), x, True, mutable=["batch_stats"]
    )
    small_y, small_stats = run(layers.BatchNorm(copies=4), x)
    large_y, large_stats = run(layers.BatchNorm(), large)
    np.testing.assert_allclose(layers.upsample_nearest(small_y), large_y, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), small_stats, large_stats)


def test_bilinear_upsampling_aligns_corners():
    x = random(0, 2, 4, 5, 3)
    y = layers.upsample_bilinear(x)
    grid = lambda n: np.arange(2 * n) * (n - 1) / (2 * n - 1)
    rows, columns = np.meshgrid(grid(4), grid(5), indexing="ij")
    wanted = jax.vmap(
        jax.vmap(lambda image: jax.scipy.ndimage.map_coordinates(image, (rows, columns), 1), -1, -1)
    )(x)
    np.testing.assert_allclose(y, wanted, atol=1e-5)
    np.testing.assert_allclose(
        y[:, [0, 0, -1, -1], [0, -1, 0, -1]], x[:, [0, 0, -1, -1], [0, -1, 0, -1]], atol=1e-6
    )
    np.testing.assert_allclose(
        layers.upsample_bilinear(x[:, :1, :1]), x[:, :1, :1].repeat(2, 1).repeat(2, 2)
    )


def test_down_skip_takes_the_four_phases_in_order():
    skip = layers.DownSkip(8)
    x = random(0, 1, 4, 4, 4)
    variables = skip.init(jax.random.key(0), x)
    y = skip.apply(variables, x)
    assert y.shape == (1, 2, 2, 8)
    for i, (row, column) in enumerate([(0, 0), (1, 1), (0, 1), (1, 0)]):
        x_moved = jnp.zeros_like(x).at[:, row::2, column::2].set(x[:, row::2, column::2])
        part = slice(2 * i, 2 * i + 2)
        np.testing.assert_allclose(
            skip.apply(variables, x_moved)[..., part], y[..., part], atol=1e-6
        )


X = np.random.default_rng(0).normal(size=(2, 4, 6, 5)).astype(np.float32)


def compared(module, restated, *args):
    """A module with random variables against its restatement in NumPy."""
    variables = numpy_layers.random_variables(module, X, *args)
    found = jax.jit(lambda v: module.apply(v, X, *args))(variables)
    want = restated(np.float64(X), jax.tree.map(np.float64, variables["params"]))
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
    return variables["params"]


def test_squeeze_excitation_is_the_stated_gate():
    compared(SqueezeExcitation(), numpy_layers.squeeze_excitation)
    for channels, hidden in ((5, 4), (79, 4), (80, 5), (160, 10)):
        x = jnp.zeros((1, 2, 2, channels))
        made = SqueezeExcitation()
        params = jax.eval_shape(made.init, jax.random.key(0), x)["params"]
        assert params["squeeze"]["kernel"].shape == (channels, hidden)
        assert params["excite"]["kernel"].shape == (hidden, channels)
    params = jax.jit(made.init)(jax.random.key(0), x)["params"]
    for name, fan_in in (("squeeze", 160), ("excite", 10)):
        for leaf in params[name].values():
            assert 0.7 < np.abs(leaf).max() * np.sqrt(fan_in) <= 1
    half = jnp.zeros((1, 2, 2, 5), jnp.bfloat16)
    shape = jax.eval_shape(lambda: made.init_with_output(jax.random.key(0), half)[0])
    assert shape.dtype == jnp.bfloat16


def test_skips_that_resize_are_their_restatements():
    params = compared(DownSkip(10), numpy_layers.down_skip)
    assert [params[f"phase_{i}"]["kernel"].shape for i in range(4)] == [
        *[(1, 1, 5, 2)] * 3,
        (1, 1, 5, 4),
    ]
    assert "bias" in params["phase_3"]
    assert set(compared(UpSkip(3), numpy_layers.up_skip)["conv"]) == {"kernel", "g"}
    for module in (DownSkip(4, dtype=jnp.bfloat16), UpSkip(4, dtype=jnp.bfloat16)):
        made = lambda module=module: module.init_with_output(jax.random.key(0), X)[0]
        assert jax.eval_shape(made).dtype == jnp.bfloat16


def test_nearest_upsampling_repeats_rows_and_columns():
    found = layers.upsample_nearest(jnp.arange(4.0).reshape(1, 2, 2, 1))[0, :, :, 0]
    assert found.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]


@pytest.mark.parametrize(
    "kwargs",
    [
        {"size": 5, "groups": 5, "weight_norm": False, "use_bias": False},
        {"size": 3, "dilation": 2, "stride": 2},
        {"size": 1, "use_bias": False},
        {"weight_norm": False},
    ],
    ids=str,
)
def test_every_kind_of_convolution(kwargs):
    conv, features = Conv(10, **kwargs), 10

    def restated(x, params):
        normed = kwargs.get("weight_norm", True)
        kernel = numpy_layers.gained(params) if normed else params["kernel"]
        stride, dilation, groups = (kwargs.get(k, 1) for k in ("stride", "dilation", "groups"))
        assert kernel.shape[-1] == features
        return numpy_layers.conv(x, kernel, stride, dilation, groups) + params.get("bias", 0)

    params = compared(conv, restated)
    want = {"kernel"} | ({"bias"} if kwargs.get("use_bias", True) else set())
    assert set(params) == want | ({"g"} if kwargs.get("weight_norm", True) else set())


def test_a_mask_and_a_gain():
    """What is masked neither counts for the norm nor passes; the gain is added to g at first."""
    mask = np.ones((3, 3, 1, 1), np.float32)
    mask[1, 2:] = mask[2] = 0
    variables = Conv(4, mask=mask, log_gain=0.5).init(jax.random.key(1), X)
    params = variables["params"]
    masked = np.float64(params["kernel"]) * mask
    norms = np.sqrt((masked**2).sum((0, 1, 2)))
    np.testing.assert_allclose(params["g"], np.log(norms + 0.01) + 0.5, rtol=1e-5)
    found = Conv(4, mask=mask, log_gain=0.5).apply({"params": params}, X)
    want = numpy_layers.conv(np.float64(X), numpy_layers.gained({**params, "kernel": masked}))
    np.testing.assert_allclose(found, want + params["bias"], rtol=1e-4, atol=1e-5)


def test_data_dependent_values_are_those_of_the_first_response():
    """A g and a bias as the formula says, with the standard deviation over n - 1."""
    params = Conv(3, data_init=True).init(jax.random.key(1), X)["params"]
    kernel = np.float64(params["kernel"])
    unit = kernel / (np.sqrt((kernel**2).sum((0, 1, 2))) + 1e-5)
    response = numpy_layers.conv(np.float64(X), unit).reshape(-1, 3)
    spread = 5 * response.std(0, ddof=1) + 1e-5
    np.testing.assert_allclose(params["g"], -np.log(spread), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(params["bias"], -response.mean(0) / spread, rtol=1e-3, atol=1e-4)
    flat = Conv(3, data_init=True).init(jax.random.key(1), np.zeros_like(X))["params"]
    np.testing.assert_allclose(flat["g"], -np.log(1e-5), rtol=1e-5)


def test_batch_norm_of_one_value_and_at_the_start():
    norm = BatchNorm()
    one = jnp.full((1, 1, 1, 2), 3.0)
    variables = norm.init(jax.random.key(0), one, True)
    assert variables["batch_stats"]["mean"].tolist() == [0, 0]
    assert variables["batch_stats"]["var"].tolist() == [1, 1]
    y, after = norm.apply(variables, one, True, mutable=["batch_stats"])
    assert y.ravel().tolist() == [0, 0]
    np.testing.assert_allclose(after["batch_stats"]["mean"], 0.05 * 3, rtol=1e-5)
    np.testing.assert_allclose(after["batch_stats"]["var"], 0.95, rtol=1e-6)
    tiny = jnp.array([1e-3, -1e-3]).reshape(2, 1, 1, 1)
    variables = norm.init(jax.random.key(0), tiny, True)
    y, _ = norm.apply(variables, tiny, True, mutable=["batch_stats"])
    np.testing.assert_allclose(y.ravel(), 1e-3 / np.sqrt(1.1e-5) * np.array([1, -1]), rtol=1e-3)
