"""`jaxlab.distributions.logistic_mixture`: the discretised logistic mixture against NumPy in
float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from logistic import sigmoid

from jaxlab import distributions as dist
from jaxlab.distributions import logistic_mixture


def softplus(x):
    return np.logaddexp(0, x)


def mixture_log_prob(x, params, bits, m, edge):
    """The published rule in float64, component by component, colour by colour."""
    x, params = np.float64(x), np.float64(params)
    top = 2**bits - 1
    colours = x.shape[-1]
    y = 2 * x - 1
    logits = params[..., :m]
    log_weights = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1))[..., None]
    log_weights -= logits.max(-1, keepdims=True)
    rest = params[..., m:].reshape(*x.shape, -1)
    coefficients = np.tanh(rest[..., 2 * m :]) if colours == 3 else None
    total = []
    for j in range(m):
        log_p = log_weights[..., j]
        for c in range(colours):
            mean = rest[..., c, j]
            if c == 1:
                mean = mean + coefficients[..., 0, j] * y[..., 0]
            if c == 2:
                mean = mean + coefficients[..., 1, j] * y[..., 0]
                mean = mean + coefficients[..., 2, j] * y[..., 1]
            log_scale = np.maximum(rest[..., c, m + j], -7)
            d, i = y[..., c] - mean, np.exp(-log_scale)
            plus, minus = i * (d + 1 / top), i * (d - 1 / top)
            mass = sigmoid(plus) - sigmoid(minus)
            if edge == "reference":
                density = i * d - log_scale - 2 * softplus(i * d) - np.log(top / 2)
                with np.errstate(divide="ignore"):
                    inner = np.where(mass > 1e-5, np.log(np.maximum(mass, 1e-10)), density)
                inner = np.where(y[..., c] > 0.99, -softplus(minus), inner)
                inner = np.where(y[..., c] < -0.999, plus - softplus(plus), inner)
            else:
                k = np.round(x[..., c] * top)
                # sinh form of the difference of two sigmoids: no cancellation in float64
                inner = np.log(-np.expm1(-2 * i / top)) - softplus(-plus) - softplus(minus)
                inner = np.where(k == 0, -softplus(-plus), inner)
                inner = np.where(k == top, -softplus(minus), inner)
            log_p = log_p + inner
        total.append(log_p)
    total = np.stack(total, -1)
    return total.max(-1) + np.log(np.exp(total - total.max(-1, keepdims=True)).sum(-1))


def random_mixture(seed, shape, colours, m, scale=1.0):
    rng = np.random.default_rng(seed)
    channels = 10 * m if colours == 3 else 3 * m
    return (scale * rng.normal(size=(*shape, channels))).astype(np.float32)


@pytest.mark.parametrize("edge", ["exact", "reference"])
@pytest.mark.parametrize("bits", [5, 8])
@pytest.mark.parametrize("colours", [1, 3])
def test_mixture_matches_numpy(edge, bits, colours):
    rng = np.random.default_rng(bits)
    top = 2**bits - 1
    x = rng.integers(0, top + 1, (4, 6, 5, colours))
    x[0, 0], x[0, 1], x[0, 2] = 0, top, top - 1
    x = (x / top).astype(np.float32)
    params = random_mixture(bits, (4, 6, 5), colours, 4)
    got = dist.discretized_logistic_mixture_log_prob(
        x, params, bits=bits, num_mixtures=4, edge=edge
    )
    want = mixture_log_prob(x, params, bits, 4, edge)
    assert got.shape == (4, 6, 5)
    np.testing.assert_allclose(got, want, rtol=3e-5, atol=3e-5)


@pytest.mark.parametrize("bits", [1, 3, 5, 8])
@pytest.mark.parametrize("mean", [-1.7, -1.0, 0.0031, 0.98, 1.0, 30.0])
@pytest.mark.parametrize("log_scale", [-50.0, -7.0, -3.0, 0.0, 6.0, 60.0])
def test_grey_mixture_sums_to_one(bits, mean, log_scale):
    top = 2**bits - 1
    x = (np.arange(top + 1, dtype=np.float32) / np.float32(top))[:, None]
    params = np.array([0.3, -0.2, mean, -mean / 2, log_scale, -2.0], np.float32)
    params = np.tile(params, (top + 1, 1))
    log_p = dist.discretized_logistic_mixture_log_prob(x, params, bits=bits, num_mixtures=2)
    assert np.isfinite(log_p).all()
    assert abs(np.exp(np.asarray(log_p, np.float64)).sum() - 1) < 1e-5


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_rgb_mixture_sums_to_one(scale):
    top = 7
    grid = np.stack(np.meshgrid(*[np.arange(8)] * 3, indexing="ij"), -1).reshape(-1, 3)
    for seed in range(4):
        params = np.tile(random_mixture(seed, (1,), 3, 2, scale), (512, 1))
        log_p = dist.discretized_logistic_mixture_log_prob(
            (grid / top).astype(np.float32), params, bits=3, num_mixtures=2
        )
        assert abs(np.exp(np.asarray(log_p, np.float64)).sum() - 1) < 1e-5


def test_reference_edge_rule_is_not_normalised_at_eight_bits():
    """The known defect: the value 254 is scored as the right tail as well."""
    x = (np.arange(256, dtype=np.float32) / np.float32(255))[:, None]
    params = np.tile(np.array([0.0, 0.98, -3.0], np.float32), (256, 1))
    total = lambda edge: float(
        jnp.exp(
            dist.discretized_logistic_mixture_log_prob(x, params, num_mixtures=1, edge=edge)
        ).sum()
    )
    assert total("reference") == pytest.approx(1.42, abs=0.01)
    assert total("exact") == pytest.approx(1.0, abs=1e-5)


def test_colours_condition_on_earlier_colours_with_the_right_coefficients():
    # One component; means 0 and coefficients tanh(a) so that the likeliest value is the mean.
    params = np.zeros(10, np.float32)
    coefficient = lambda colour: 1 + 3 * colour + 2
    params[[1 + 1, 1 + 4, 1 + 7]] = -7.0  # sharp
    params[coefficient(0)] = np.arctanh(0.5)  # red into green
    params[coefficient(1)] = np.arctanh(-0.25)  # red into blue
    params[coefficient(2)] = np.arctanh(0.5)  # green into blue
    y = np.array([0.6, 0.5 * 0.6, -0.25 * 0.6 + 0.5 * 0.5 * 0.6])
    x = np.round((y + 1) / 2 * 255) / 255
    best = dist.discretized_logistic_mixture_log_prob(x, params, num_mixtures=1)
    for channel in (1, 2):
        for step in (-2, 2):
            other = x.copy()
            other[channel] += step / 255
            assert dist.discretized_logistic_mixture_log_prob(other, params, num_mixtures=1) < best
    params[1] = 0.6
    mean = dist.discretized_logistic_mixture_mean(params, num_mixtures=1)
    np.testing.assert_allclose(mean, (y + 1) / 2, atol=1e-6)


@pytest.mark.parametrize("edge", ["exact", "reference"])
def test_mixture_gradients_match_float64_differences(edge):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 32, (5, 3))
    x[0], x[1] = 0, 31
    x = (x / 31).astype(np.float32)
    params = random_mixture(0, (5,), 3, 2)
    f = lambda p: dist.discretized_logistic_mixture_log_prob(
        x, p, bits=5, num_mixtures=2, edge=edge
    ).sum()
    want = np.zeros(params.shape)
    for j in range(params.shape[-1]):
        step = np.zeros(params.shape[-1])
        step[j] = 1e-5
        up, down = (mixture_log_prob(x, params + s * step, 5, 2, edge) for s in (1, -1))
        want[:, j] = (up - down) / 2e-5
    np.testing.assert_allclose(jax.grad(f)(jnp.asarray(params)), want, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("edge", ["exact", "reference"])
@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_mixture_gradients_are_finite_at_extremes(edge, scale):
    x = jnp.tile(jnp.array([0.0, 0.5, 1.0, 254 / 255])[:, None], (1, 3))
    for seed in range(3):
        params = jnp.asarray(random_mixture(seed, (4,), 3, 3, scale))
        f = lambda p: dist.discretized_logistic_mixture_log_prob(
            x, p, num_mixtures=3, edge=edge
        ).sum()
        value, grad = jax.value_and_grad(f)(params)
        assert np.isfinite(value)
        assert np.isfinite(grad).all()


def test_mixture_samples_follow_the_log_probability():
    """Binned samples of a single grey component against the exact masses."""
    m, n, top = 2, 200_000, 7
    params = np.array([0.4, -0.4, -0.3, 0.5, -2.0, -1.0], np.float32)
    drawn = dist.discretized_logistic_mixture_sample(
        jax.random.key(0), jnp.tile(params, (n, 1)), num_mixtures=m
    )
    grid = (np.arange(top + 1) / top).astype(np.float32)[:, None]
    log_p = dist.discretized_logistic_mixture_log_prob(
        grid, np.tile(params, (top + 1, 1)), bits=3, num_mixtures=m
    )
    counts = np.bincount(np.round(np.asarray(drawn[:, 0]) * top).astype(int), minlength=top + 1)
    np.testing.assert_allclose(counts / n, np.exp(log_p), atol=0.005)


def test_lower_temperature_lowers_the_variance_of_samples():
    params = jnp.tile(jnp.asarray(random_mixture(3, (1,), 3, 5) * 0.5), (4000, 1))
    spread = [
        float(
            dist.discretized_logistic_mixture_sample(
                jax.random.key(0), params, num_mixtures=5, temperature=t
            )
            .std(0)
            .mean()
        )
        for t in (0.0, 0.3, 0.7, 1.0)
    ]
    assert spread == sorted(spread)
    assert spread[0] < 1e-6 < 0.05 < spread[-1]


def test_mean_of_a_certain_component_is_its_sample_at_temperature_zero():
    params = random_mixture(5, (7, 4), 3, 3)
    params[..., 0] += 200
    params[..., 1:3] -= 200
    mean = dist.discretized_logistic_mixture_mean(params, num_mixtures=3)
    drawn = dist.discretized_logistic_mixture_sample(
        jax.random.key(0), params, num_mixtures=3, temperature=0.0
    )
    assert mean.shape == (7, 4, 3)
    np.testing.assert_allclose(mean, drawn, atol=1e-6)


def test_mixture_messages():
    with pytest.raises(ValueError, match="params has 7 channels, 2 mixtures need 20"):
        dist.discretized_logistic_mixture_mean(jnp.zeros((1, 7)), num_mixtures=2)
    with pytest.raises(ValueError, match=r"x has shape \(4, 1\), params of shape \(4, 10\)"):
        dist.discretized_logistic_mixture_log_prob(
            jnp.zeros((4, 1)), jnp.zeros((4, 10)), num_mixtures=1
        )
    with pytest.raises(ValueError, match="bits is 9"):
        dist.discretized_logistic_mixture_log_prob(
            jnp.zeros((4, 1)), jnp.zeros((4, 3)), num_mixtures=1, bits=9
        )
    with pytest.raises(ValueError, match="edge is 'rounded'"):
        dist.discretized_logistic_mixture_log_prob(
            jnp.zeros((4, 1)), jnp.zeros((4, 3)), num_mixtures=1, edge="rounded"
        )


def test_log_of_one_minus_exp_is_exact_in_every_range():
    log_w = np.linspace(-30, 6, 400)
    want = np.log(-np.expm1(-np.exp(log_w)))
    found = jax.jit(logistic_mixture._log1mexp)(jnp.asarray(log_w, jnp.float32))
    np.testing.assert_allclose(found, want, rtol=4e-7, atol=4e-6)


def test_scales_have_a_floor_and_arguments_have_defaults():
    grid = np.arange(256, dtype=np.float32)[:, None] / 255
    log_p = lambda log_scale, **kwargs: dist.discretized_logistic_mixture_log_prob(
        grid, np.tile(np.float32([0.0, 0.1, log_scale]), (256, 1)), num_mixtures=1, **kwargs
    )
    np.testing.assert_array_equal(log_p(-9.0), log_p(-7.0))
    assert np.abs(log_p(-6.9) - log_p(-7.0)).max() > 1e-3
    np.testing.assert_array_equal(log_p(-2.0), log_p(-2.0, bits=8, edge="exact"))
    params = random_mixture(0, (3,), 3, 10)
    key, x = jax.random.key(0), np.full((3, 3), 7 / 255, np.float32)
    for function, inputs, options in (
        (dist.discretized_logistic_mixture_log_prob, (x, params), {}),
        (dist.discretized_logistic_mixture_sample, (key, params), {"temperature": 1.0}),
        (dist.discretized_logistic_mixture_mean, (params,), {}),
    ):
        np.testing.assert_array_equal(
            function(*inputs), function(*inputs, num_mixtures=10, **options)
        )


def test_a_draw_is_that_of_its_component_and_temperature():
    """The same key moves y by the scale: halved with the temperature, for one sharp component."""
    params = np.tile(np.float32([0.0, 0.0, -4.0]), (1000, 1))
    draw = lambda temperature: 2 * np.asarray(
        dist.discretized_logistic_mixture_sample(
            jax.random.key(0), params, num_mixtures=1, temperature=temperature
        )
    ) - 1  # fmt: skip
    np.testing.assert_allclose(2 * draw(0.5), draw(1.0), atol=1e-6)
    # A logistic's standard deviation is pi / sqrt(3) times its scale.
    assert draw(1.0).std() == pytest.approx(np.exp(-4) * np.pi / np.sqrt(3), rel=0.07)


@pytest.mark.parametrize(
    ("means", "want"),
    [
        # Red as it is clipped goes into green, both into blue.
        ((1.5, 2.0, 0.25), (1.0, 1.0, 0.0)),
        ((-1.5, -2.0, 0.25), (-1.0, -1.0, 0.5)),
        ((0.4, 0.1, 3.0), (0.4, 0.3, 1.0)),
        ((0.4, 0.1, -3.0), (0.4, 0.3, -1.0)),
    ],
)
def test_colours_are_clipped_one_after_the_other(means, want):
    coefficients = np.arctanh([0.5, 0.25, -0.5])
    rows = [[mean, 0.0, c] for mean, c in zip(means, coefficients, strict=True)]
    params = jnp.array([[0.0, *np.ravel(rows)]], jnp.float32)
    drawn = dist.discretized_logistic_mixture_sample(
        jax.random.key(0), params, num_mixtures=1, temperature=0.0
    )
    np.testing.assert_allclose(drawn[0], (np.array(want) + 1) / 2, atol=1e-6)
