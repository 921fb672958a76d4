"""Layers against convolutions of the backend, NumPy, and the definition of the operation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import mesh as mesh_lib
from jaxlab.models.depthwise import depthwise_conv
from jaxlab.models.nvae import layers


def convolve(x, kernel, stride=1, dilation=1, groups=1):
    pad = dilation * (kernel.shape[0] - 1) // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(pad, pad)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def random(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize(("batch", "height"), [(2, 7), (6, 20), (5, 2), (48, 4)])
def test_depthwise_and_its_gradients_equal_the_backends(size, stride, dilation, batch, height):
    x, kernel = random(0, batch, height, 8, 3), random(1, size, size, 1, 3)
    ours = lambda x, k: depthwise_conv(x, k, stride, dilation)
    theirs = lambda x, k: convolve(x, k, stride, dilation, groups=3)
    y, pull = jax.vjp(ours, x, kernel)
    wanted, pull_wanted = jax.vjp(theirs, x, kernel)
    np.testing.assert_allclose(y, wanted, atol=1e-5)
    for a, b in zip(pull(y / y.size), pull_wanted(y / y.size), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)


def test_depthwise_of_float64_has_float64_gradients():
    with jax.enable_x64(True):
        x, kernel = (
            jnp.asarray(random(*a), jnp.float64) for a in ((0, 2, 5, 4, 3), (1, 3, 3, 1, 3))
        )
        y, pull = jax.vjp(depthwise_conv, x, kernel)
        wanted, pull_wanted = jax.vjp(lambda x, k: convolve(x, k, groups=3), x, kernel)
        np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-12)
        for a, b in zip(pull(y), pull_wanted(y), strict=True):
            assert a.dtype == jnp.float64
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_shifted_views_of_depthwise_are_not_kept_in_memory():
    """Between normalisations and activations too, where the compiler would like to share them."""

    def normalised(x):
        mean = x.mean((0, 1, 2))
        return nn.silu((x - mean) * jax.lax.rsqrt(jnp.mean((x - mean) ** 2, (0, 1, 2)) + 1e-5))

    def loss(x, kernel):
        return jnp.mean(normalised(depthwise_conv(normalised(x), kernel)) ** 3)

    x, kernel = random(0, 16, 16, 16, 32), random(1, 5, 5, 1, 32)
    compiled = jax.jit(jax.grad(loss, (0, 1))).lower(x, kernel).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 12 * x.nbytes


def test_depthwise_on_many_devices_gathers_no_images():
    mesh = mesh_lib.make_mesh()
    x, kernel = random(0, 6 * mesh.size, 4, 4, 3), random(1, 3, 3, 1, 3)
    loss = lambda x, k: jnp.mean(depthwise_conv(x, k) ** 2)
    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    placed = (
        jax.device_put(x, mesh_lib.split(mesh)),
        jax.device_put(kernel, mesh_lib.replicated(mesh)),
    )
    compiled = step.lower(*placed).compile()
    assert mesh.size > 1
    assert "all-gather" not in compiled.as_text()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), compiled(*placed), step(x, kernel)
    )


def test_depthwise_refuses_a_kernel_of_other_channels():
    with pytest.raises(ValueError, match=r"needs \(k, k, 1, 3\)"):
        depthwise_conv(jnp.zeros((1, 4, 4, 3)), jnp.zeros((3, 3, 1, 2)))


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
