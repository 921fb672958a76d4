"""`jaxlab.models.classifiers`: classifiers: shapes, heads, norms, and gains that leave the function
alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import losses
from jaxlab.models import classifiers
from jaxlab.models.conv import conv2d

X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6, 6, 2)), jnp.float32)


def make(kind, **kwargs):
    model = classifiers.make_classifier(kind, 3, **kwargs)
    params, state = classifiers.init_variables(model, jax.random.key(0), X)
    return model, params, state


def test_mlp_is_the_matrix_products():
    model, params, state = make("mlp", features=(5, 4))
    assert state == {}
    h = X.reshape(4, -1)
    for name in ("layer_0", "layer_1"):
        h = np.maximum(h @ params[name]["kernel"] + params[name]["bias"], 0)
    want = h @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(model.apply({"params": params}, X), want, atol=1e-5)
    assert [k.shape for k in classifiers.kernels(params)] == [(72, 5), (5, 4), (4, 3)]


def test_many_layers_keep_their_order():
    _, params, _ = make("mlp", features=(2,) * 11 + (7,))
    assert [k.shape[1] for k in classifiers.kernels(params)] == [2] * 11 + [7, 3]


def test_gains_of_product_one_leave_the_function_alone():
    model, params, _ = make("mlp", features=(5, 4))
    params = jax.tree.map(lambda p: p + 0.1, params)  # biases that are not zero
    scaled = classifiers.scale_kernels(params, (4.0, 0.5, 0.5))
    apply = lambda p: model.apply({"params": p}, X)
    np.testing.assert_allclose(apply(scaled), apply(params), rtol=1e-5)
    np.testing.assert_allclose(scaled["head"]["kernel"], 0.5 * params["head"]["kernel"])
    with pytest.raises(ValueError, match="has 3 layers"):
        classifiers.scale_kernels(params, (1.0, 1.0))


def test_cosine_head_ignores_scale():
    model, params, _ = make("mlp", features=(5,), head="cosine")
    logits = model.apply({"params": params}, X)
    assert np.abs(logits).max() <= 1 + 1e-6
    features = np.maximum(
        X.reshape(4, -1) @ params["layer_0"]["kernel"] + params["layer_0"]["bias"], 0
    )
    want = losses.cosine_logits(jnp.asarray(features), 3 * params["head"]["kernel"])
    np.testing.assert_allclose(logits, want, atol=1e-5)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_resnet_trains_and_evaluates(norm):
    model, params, state = make("resnet", widths=(3, 4), norm=norm)
    assert ("batch_stats" in state) == (norm == "batch")
    apply = lambda x: model.apply({"params": params, **state}, x, train=True, mutable=True)
    logits, updated = apply(X)
    assert logits.shape == (4, 3)
    moved = jax.tree.map(
        lambda a, b: float(jnp.abs(a - b).max()), state, {k: updated[k] for k in state}
    )
    assert all(m > 0 for m in jax.tree.leaves(moved))
    evaluated = model.apply({"params": params, **state}, X)
    one = model.apply({"params": params, **state}, X[:1])
    np.testing.assert_allclose(one, evaluated[:1], atol=1e-5)  # no example looks at another


def test_unknown_parts_are_named():
    with pytest.raises(ValueError, match="model is 'cnn'"):
        classifiers.make_classifier("cnn", 3)
    with pytest.raises(ValueError, match="norm is 'group'"):
        make("mlp", norm="group")
    with pytest.raises(ValueError, match="head is 'x'"):
        make("mlp", head="x")
    model = classifiers.ResNet(3)
    with pytest.raises(ValueError, match=r"x has shape \(2, 8\)"):
        classifiers.init_variables(model, jax.random.key(0), jnp.ones((2, 8)))


def test_the_resnet_is_its_formula_in_numpy():
    """A stem of stride 2, two stages of two blocks, with a shortcut where shapes change."""
    fields = {"widths": (2, 3), "blocks": 2, "stem_stride": 2, "norm": "none"}
    model, rng = classifiers.make_classifier("resnet", 3, **fields), np.random.default_rng(1)
    shapes = jax.eval_shape(lambda: classifiers.init_variables(model, jax.random.key(0), X)[0])
    params = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), shapes)

    def convolve(x, kernel, stride=1):
        size = kernel.shape[0]
        x = np.pad(np.float64(x), ((0, 0), *[(size // 2, size // 2)] * 2, (0, 0)))
        height, width = ((n - size) // stride + 1 for n in x.shape[1:3])
        at = lambda i, n: slice(i, i + stride * (n - 1) + 1, stride)
        return sum(
            x[:, at(i, height), at(j, width)] @ kernel[i, j]
            for i in range(size)
            for j in range(size)
        )

    relu = lambda x: np.maximum(x, 0)
    y = relu(convolve(X, params["stem"]["kernel"], 2))
    for stage, width in enumerate((2, 3)):
        for block in range(2):
            own = params[f"block_{stage}_{block}"]
            stride = 2 if (stage, block) == (1, 0) else 1
            branch = relu(convolve(y, own["conv_0"]["kernel"], stride))
            branch = convolve(branch, own["conv_1"]["kernel"])
            if stride == 2:
                assert own["shortcut"]["kernel"].shape == (1, 1, 2, 3)
                y = convolve(y, own["shortcut"]["kernel"], 2)
            else:
                assert "shortcut" not in own
            y = relu(y + branch)
            assert y.shape[-1] == width
    want = y.mean((1, 2)) @ params["head"]["kernel"] + params["head"]["bias"]
    found = jax.jit(lambda p: model.apply({"params": p}, X))(params)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)


def test_a_wider_first_block_has_a_shortcut_too():
    block = classifiers.ResidualBlock(5, 1, "none")
    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), X, True))["params"]
    assert shapes["shortcut"]["kernel"].shape == (1, 1, 2, 5)


@pytest.mark.parametrize(("norm", "variance"), [("none", 0.1), ("batch", 2.0), ("layer", 2.0)])
def test_a_branch_starts_small_only_without_a_norm(norm, variance):
    x = jnp.zeros((1, 4, 4, 32))
    block = classifiers.ResidualBlock(32, 1, norm)
    params = jax.jit(lambda: block.init(jax.random.key(0), x, True))()["params"]
    for name, scale in (("conv_0", 2.0), ("conv_1", variance)):
        kernel = np.asarray(params[name]["kernel"])
        assert kernel.var() * 9 * 32 == pytest.approx(scale, rel=0.1)
        assert np.abs(kernel).max() < 2.3 * np.sqrt(scale / 288)  # cut at two, then widened


def test_norms_and_their_running_statistics():
    x = np.asarray(X, np.float64)
    norm = lambda kind: classifiers.Norm(kind)
    variables = norm("batch").init(jax.random.key(0), X, True)
    y, after = norm("batch").apply(variables, X, True, mutable=["batch_stats"])
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5), rtol=1e-3, atol=1e-4)
    (stats,) = after["batch_stats"].values()
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * var, rtol=1e-4)
    fixed = norm("batch").apply({**variables, **after}, X, False)
    want = (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5)
    np.testing.assert_allclose(fixed, want, rtol=1e-3, atol=1e-4)
    y = norm("layer").apply(norm("layer").init(jax.random.key(0), X, True), X, True)
    spread = np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(y, (x - x.mean(-1, keepdims=True)) / spread, rtol=1e-3, atol=1e-4)
    assert norm("none").apply({}, X, True) is X


def test_layers_without_biases_and_with_a_norm():
    model, params, _ = make("mlp", features=(5,), use_bias=False, norm="layer")
    assert set(params["layer_0"]) == set(params["head"]) == {"kernel"}
    assert "norm_0" in params
    h = X.reshape(4, -1) @ params["layer_0"]["kernel"]
    h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-6)
    want = np.maximum(h, 0) @ params["head"]["kernel"]
    np.testing.assert_allclose(model.apply({"params": params}, X), want, rtol=1e-3, atol=1e-4)
    fields = lambda kind: {
        name: getattr(classifiers.make_classifier(kind, 3), name)
        for name in classifiers.MODELS[kind].__dataclass_fields__
        if name not in ("parent", "name")
    }
    plain = {"num_classes": 3, "head": "linear", "dtype": None}
    assert fields("mlp") == {**plain, "features": (128, 128), "norm": "none", "use_bias": True}
    resnet = {"widths": (16, 32, 64), "blocks": 1, "stem_stride": 1, "norm": "batch"}
    resnet["shortcut"] = "convolution"
    assert fields("resnet") == {**plain, **resnet}


def test_initial_spreads_of_dense_layers():
    """He's for layers before a ReLU, LeCun's for the head; biases are 0."""
    model = classifiers.MLP(64, (256,))
    params, _ = classifiers.init_variables(model, jax.random.key(0), jnp.zeros((1, 128)))
    spread = lambda name, fan_in: float(np.var(params[name]["kernel"])) * fan_in
    assert spread("layer_0", 128) == pytest.approx(2, rel=0.05)
    assert spread("head", 256) == pytest.approx(1, rel=0.05)
    assert not any(np.any(params[name]["bias"]) for name in params)


def test_biases_are_scaled_by_all_gains_up_to_theirs():
    _, params, _ = make("mlp", features=(5, 4))
    params = jax.tree.map(jnp.ones_like, params)
    scaled = classifiers.scale_kernels(params, (2.0, 3.0, 5.0))
    for name, kernel, bias in (("layer_0", 2, 2), ("layer_1", 3, 6), ("head", 5, 30)):
        np.testing.assert_allclose(scaled[name]["kernel"], kernel)
        np.testing.assert_allclose(scaled[name]["bias"], bias)
    with pytest.raises(ValueError, match="gains is 0"):
        classifiers.scale_kernels(params, (2.0, 0.0, 5.0))


def test_a_layer_has_a_kernel_of_its_own_and_no_bias():
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 4)).astype(np.float32)
    conv = classifiers.Conv(3, kernel_size=5, stride=2)
    params = conv.init(jax.random.key(0), x)["params"]
    assert {name: p.shape for name, p in params.items()} == {"kernel": (5, 5, 4, 3)}
    want = conv2d(x, params["kernel"], stride=2, form="backend")
    np.testing.assert_allclose(conv.apply({"params": params}, x), want, rtol=1e-4, atol=1e-5)
    plain = classifiers.Conv(64).init(jax.random.key(0), jnp.zeros((1, 4, 4, 32)))["params"]
    assert plain["kernel"].shape == (3, 3, 32, 64)
    assert float(plain["kernel"].var()) * 9 * 32 == pytest.approx(2, rel=0.05)
    half = classifiers.Conv(3).init_with_output(jax.random.key(0), jnp.asarray(x, jnp.bfloat16))
    assert half[0].dtype == jnp.bfloat16
    assert half[1]["params"]["kernel"].dtype == jnp.float32
    same = classifiers.Conv(3).init_with_output(jax.random.key(0), jnp.asarray(x))
    assert same[0].shape == (2, 5, 6, 3)


def count(**fields):
    """Parameters of a ResNet for 32x32 colours, without making them."""
    model = classifiers.make_classifier("resnet", 10, **fields)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(
        lambda x: classifiers.init_variables(model, jax.random.key(0), x), image
    )
    return sum(leaf.size for leaf in jax.tree.leaves(shapes[0]))


def test_published_networks_have_their_parameters():
    # He et al.: 0.46 million. Its convolutions, batch norms and head, by hand:
    convolutions = 9 * (3 * 16 + 10 * 16**2 + 16 * 32 + 9 * 32**2 + 32 * 64 + 9 * 64**2)
    norms = 2 * (16 + 10 * (16 + 32 + 64))
    assert count(blocks=5, shortcut="padding") == convolutions + norms + 65 * 10 == 464_154
    # ResNet-18 as it is used on CIFAR.
    assert count(widths=(64, 128, 256, 512), blocks=2, shortcut="normed") == 11_173_962
    small = {"widths": (4, 6)}
    assert count(**small) == count(**small, shortcut="padding") + 4 * 6
    assert count(**small, shortcut="normed") == count(**small) + 2 * 6


def test_a_padded_shortcut_takes_every_other_pixel_and_adds_channels_of_zeros():
    block = classifiers.ResidualBlock(5, 2, "none", "padding")
    params = block.init(jax.random.key(0), X, False)["params"]
    still = jax.tree.map(jnp.zeros_like, params)
    found = block.apply({"params": still}, X, False)
    want = np.zeros((4, 3, 3, 5), np.float32)
    want[..., 1:3] = np.maximum(X[:, ::2, ::2], 0)
    np.testing.assert_array_equal(found, want)
    with pytest.raises(ValueError, match="widths fall from 4 to 3"):
        make("resnet", widths=(4, 3), shortcut="padding")
    with pytest.raises(ValueError, match="shortcut is 'none', must be one of"):
        make("resnet", shortcut="none")


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [("mlp", {"features": (8,)}), ("resnet", {"widths": (4,)})],
)
def test_bfloat16_is_of_what_comes_before_the_head(kind, sizes):
    x = np.random.default_rng(0).normal(size=(5, 8, 8, 1)).astype(np.float32)
    logits = []
    for dtype in (None, "bfloat16"):
        model = classifiers.make_classifier(kind, 3, norm="batch", dtype=dtype, **sizes)
        params, state = classifiers.init_variables(model, jax.random.key(0), x)
        run = jax.jit(lambda *args, m=model: m.apply(*args, train=True, mutable=["batch_stats"]))
        found, state = run({"params": params, **state}, x)
        assert {leaf.dtype.name for leaf in jax.tree.leaves((params, state, found))} == {"float32"}
        logits.append(np.asarray(found))
    assert 0 < np.abs(logits[1] - logits[0]).max() < 0.05 * np.abs(logits[0]).max()
    with pytest.raises(ValueError, match=r"dtype is 'float16', must be one of"):
        classifiers.make_classifier(kind, 3, dtype="float16")
