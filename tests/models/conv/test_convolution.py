"""`jaxlab.models.conv`: all forms have the same values and gradients, and each stands where it is
fast: `jaxlab.models.conv.backend`, `jaxlab.models.conv.patches`, `jaxlab.models.conv.taps`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.models import conv
from jaxlab.models.conv import backend, patches, taps


@pytest.mark.parametrize(("size", "stride", "side"), [(3, 1, 6), (3, 2, 7), (1, 2, 6), (5, 2, 6)])
def test_both_formulations_agree(size, stride, side):
    rng = np.random.default_rng(size)
    x = jnp.asarray(rng.normal(size=(2, side, side + 1, 3)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(size, size, 3, 4)), jnp.float32)
    outs, grads = [], []
    for form in (patches.patch_product, backend.backend_convolution):
        out, pull = jax.vjp(lambda x, k, form=form: form(x, k, stride=stride), x, kernel)
        outs.append(out)
        grads.append(pull(jnp.sin(jnp.arange(out.size, dtype=jnp.float32).reshape(out.shape))))
    np.testing.assert_allclose(*outs, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), *grads)


@pytest.mark.parametrize("kind", ["taps", "depthwise", "1x1"])
def test_bfloat16_is_rounded_once(kind):
    size, groups = {"taps": (3, 1), "depthwise": (5, 16), "1x1": (1, 1)}[kind]
    rng = np.random.default_rng(0)
    shapes = (4, 8, 8, 16), (size, size, 16 // groups, 16)
    x, kernel = (jnp.array(rng.normal(size=s), jnp.bfloat16) for s in shapes)
    with conv.inside_loop():
        run = jax.jit(lambda x, kernel: conv.conv2d(x, kernel, groups=groups))
        found = run(x, kernel)
    exact = run(x.astype(jnp.float32), kernel.astype(jnp.float32))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), exact, rtol=2**-8, atol=1e-5)


def convolved(x, kernel, stride=1, dilation=1, groups=1):
    """In float64, tap by tap and group by group."""
    size, _, inputs, outputs = kernel.shape
    reach, each = dilation * (size // 2), outputs // groups
    x = np.pad(np.float64(x), ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    height, width = (-(-(n - 2 * reach) // stride) for n in x.shape[1:3])
    y = np.zeros((len(x), height, width, outputs))
    for i in range(size):
        for j in range(size):
            rows = dilation * i + stride * np.arange(height)
            columns = dilation * j + stride * np.arange(width)
            view = x[:, rows][:, :, columns]
            for g in range(groups):
                out, into = slice(g * each, (g + 1) * each), slice(g * inputs, (g + 1) * inputs)
                y[..., out] += view[..., into] @ np.float64(kernel[i, j, :, out])
    return y


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize(
    ("size", "outputs", "options", "ours"),
    [
        (3, 6, {}, "tap_products"),
        (5, 6, {"dilation": 2}, "tap_products"),
        (3, 6, {"stride": 2}, "backend_convolution"),
        (3, 6, {"groups": 2, "dilation": 2}, "backend_convolution"),
        (3, 4, {"groups": 4, "stride": 2}, "depthwise_conv"),
        (5, 4, {"groups": 4, "dilation": 2}, "depthwise_conv"),
        (3, 8, {"groups": 4}, "backend_convolution"),
        (1, 6, {"stride": 2}, "row_product"),
        (1, 6, {"groups": 2}, "backend_convolution"),
    ],
    ids=str,
)
def test_values_gradients_and_who_computes_them(monkeypatch, loop, size, outputs, options, ours):
    """The backend's form outside of loops, products inside, and forms of their own for others."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 6, 4)).astype(np.float32)
    kernel = rng.normal(size=(size, size, 4 // options.get("groups", 1), outputs))
    kernel = kernel.astype(np.float32)
    called = []
    for name in ("tap_products", "backend_convolution", "depthwise_conv", "row_product"):
        form = getattr(conv, name)
        watch = lambda *a, name=name, form=form, **k: called.append(name) or form(*a, **k)
        monkeypatch.setattr(conv, name, watch)

    def run(x, kernel):
        with conv.inside_loop(loop):
            y = conv.conv2d(x, kernel, **options)
        return jnp.sum(jnp.sin(y)), y

    run = jax.jit(jax.value_and_grad(run, argnums=(0, 1), has_aux=True))
    (_, y), slopes = run(x, kernel)
    want = convolved(x, kernel, **options)
    np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-4)
    own = "backend_convolution" if ours == "tap_products" and not loop else ours
    assert called[0] == own
    weights = np.cos(want)
    for which, slope in enumerate(slopes):  # along a random direction
        direction = rng.normal(size=slope.shape)
        moved = [x, kernel]
        moved[which] = direction
        found = np.sum(np.float64(slope) * direction)
        assert found == pytest.approx(np.sum(weights * convolved(*moved, **options)), rel=1e-3)


def test_a_loop_ends_with_its_block():
    inside = conv._IN_LOOP.get
    assert not inside()
    with conv.inside_loop():
        assert inside()
        with conv.inside_loop(False):
            assert not inside()
        assert inside()
    assert not inside()


@pytest.mark.parametrize("stride", [1, 2])
def test_other_backends_get_their_own(stride):
    x, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 3))

    def lowered(function, platform):
        step = jax.jit(jax.grad(lambda x, k: function(x, k).sum(), (0, 1)))
        text = step.trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
        return text.count("stablehlo.convolution")

    plain = lambda x, k: conv.conv2d(x, k, stride=stride, form="patches")
    assert lowered(plain, "cpu") == 0 < lowered(plain, "cuda")
    products = lambda x, k: taps.tap_products(x, k, 1)
    assert lowered(products, "cpu") == 0 < lowered(products, "cuda")


@pytest.mark.parametrize("form", ["auto", "patches", "backend"])
def test_every_form_has_the_same_values(form):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 6, 4)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, 4, 6)).astype(np.float32)
    found = conv.conv2d(x, kernel, stride=2, form=form)
    np.testing.assert_allclose(found, convolved(x, kernel, 2), rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_refused():
    x, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 2))
    with pytest.raises(ValueError, match=r"kernel \(3, 3, 1, 1\)"):
        conv.conv2d(x, jnp.ones((3, 3, 1, 1)))
    with pytest.raises(ValueError, match=r"x has shape \(4, 4, 2\)"):
        conv.conv2d(x[0], kernel)
    with pytest.raises(ValueError, match="its 3 outputs must be a multiple of groups 2"):
        conv.conv2d(x, jnp.ones((3, 3, 1, 3)), groups=2)
    for shape in ((2, 2, 2, 1), (3, 1, 2, 1)):
        with pytest.raises(ValueError, match="square and odd"):
            conv.conv2d(x, jnp.ones(shape))
    with pytest.raises(ValueError, match="form is 'taps', must be one of auto, patches, backend"):
        conv.conv2d(x, kernel, form="taps")
    for options in ({"dilation": 2}, {"groups": 2}):
        given = jnp.ones((3, 3, 1, 2)) if "groups" in options else kernel
        with pytest.raises(ValueError, match="must be 1 for form 'patches'"):
            conv.conv2d(x, given, form="patches", **options)
