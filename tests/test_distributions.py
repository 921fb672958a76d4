"""Densities against float64 NumPy, Monte Carlo, normalisation, gradients and extremes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxlab import distributions as dist


def sigmoid(x):
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), 1 - 1 / (1 + np.exp(-np.abs(x))))


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


# --- Gaussians and Bernoulli ----------------------------------------------------------------------


def test_soft_clamp_bounds_and_slope():
    x = jnp.array([-1e6, -5.0, 0.0, 2.0, 1e6])
    np.testing.assert_allclose(dist.soft_clamp(x), 5 * np.tanh(np.array(x) / 5), rtol=1e-6)
    assert jax.grad(dist.soft_clamp)(0.0) == 1.0
    np.testing.assert_allclose(dist.soft_clamp(1e6, limit=2.0), 2.0)


def test_normal_log_prob_matches_numpy():
    rng = np.random.default_rng(0)
    x, mu, sigma = rng.normal(size=50), rng.normal(size=50), np.exp(rng.normal(size=50))
    want = -0.5 * ((x - mu) / sigma) ** 2 - 0.5 * np.log(2 * np.pi) - np.log(sigma)
    np.testing.assert_allclose(dist.normal_log_prob(x, mu, sigma), want, rtol=2e-5, atol=1e-6)


def test_normal_kl_closed_form_zero_and_monte_carlo():
    rng = np.random.default_rng(1)
    mu_q, mu_p = rng.normal(size=(2, 4))
    sigma_q, sigma_p = np.exp(0.5 * rng.normal(size=(2, 4)))
    got = dist.normal_kl(mu_q, sigma_q, mu_p, sigma_p)
    z = rng.normal(size=(400_000, 4)) * sigma_q + mu_q
    log_ratio = dist.normal_log_prob(z, mu_q, sigma_q) - dist.normal_log_prob(z, mu_p, sigma_p)
    error = np.std(log_ratio, axis=0) / math.sqrt(len(z))
    assert np.all(np.abs(np.mean(log_ratio, axis=0) - got) < 5 * error + 1e-5)
    np.testing.assert_allclose(dist.normal_kl(mu_q, sigma_q, mu_q, sigma_q), 0, atol=1e-7)
    assert np.all(np.asarray(got) >= 0)


def test_normal_sample_moments_and_reparametrised_gradient():
    z = dist.normal_sample(jax.random.key(0), jnp.full((200_000,), 2.0), 3.0)
    np.testing.assert_allclose([z.mean(), z.std()], [2.0, 3.0], atol=0.03)
    draw = lambda mu, sigma: dist.normal_sample(jax.random.key(3), mu, sigma)
    d_mu, d_sigma = jax.grad(draw, argnums=(0, 1))(0.5, 2.0)
    np.testing.assert_allclose([d_mu, d_sigma], [1.0, (draw(0.5, 2.0) - 0.5) / 2.0], rtol=1e-6)


def test_bernoulli_matches_numpy_and_sums_to_one():
    logits = np.linspace(-8, 8, 33)
    for x in (0.0, 0.3, 1.0):
        want = x * np.log(sigmoid(logits)) + (1 - x) * np.log(sigmoid(-logits))
        np.testing.assert_allclose(dist.bernoulli_log_prob(x, logits), want, rtol=1e-5)
    total = sum(jnp.exp(dist.bernoulli_log_prob(x, logits)) for x in (0.0, 1.0))
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_bernoulli_extremes_are_finite():
    logits = jnp.array([-1e30, -1e4, 0.0, 1e4, 1e30])
    for x in (0.0, 0.5, 1.0):
        value, grad = jax.vmap(jax.value_and_grad(lambda l, x=x: dist.bernoulli_log_prob(x, l)))(
            logits
        )
        assert np.isfinite(value).all()
        assert np.isfinite(grad).all()


def test_bernoulli_sample_and_binarize_frequencies():
    p = np.array([0.0, 0.1, 0.5, 0.9, 1.0], np.float32)
    x = jnp.broadcast_to(p, (40_000, 5))
    drawn = dist.binarize(jax.random.key(0), x)
    assert drawn.dtype == jnp.float32
    assert set(np.unique(drawn)) == {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean(0), p, atol=0.012)
    np.testing.assert_array_equal(drawn[:, [0, -1]].mean(0), [0, 1])
    logits = np.log(p[1:4] / (1 - p[1:4]))
    drawn = dist.bernoulli_sample(jax.random.key(1), jnp.broadcast_to(logits, (40_000, 3)))
    np.testing.assert_allclose(drawn.mean(0), p[1:4], atol=0.012)


def test_binarize_refuses_integers():
    with pytest.raises(TypeError, match="x has dtype uint8, binarize needs float"):
        dist.binarize(jax.random.key(0), jnp.zeros(3, jnp.uint8))


# --- Discretized mixture of logistics -------------------------------------------------------------


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


def test_check_grads_of_the_smooth_functions():
    rng = np.random.default_rng(2)
    a, b, c, d = (jnp.asarray(v, jnp.float32) for v in rng.uniform(0.5, 1.5, (4, 6)))
    loose = {"order": 1, "atol": 1e-2, "rtol": 1e-2}
    check_grads(dist.normal_kl, (a, b, c, d), **loose)
    check_grads(dist.normal_log_prob, (a, b, c), **loose)
    check_grads(lambda l: dist.bernoulli_log_prob(a / 2, l), (b,), **loose)
    check_grads(lambda p: dist.normal_decoder_log_prob(a[:3], p), (b,), **loose)
    check_grads(
        lambda p: dist.discretized_logistic_mixture_log_prob(
            jnp.array([1.0, 0.0, 3.0]) / 7, p, bits=3, num_mixtures=1
        ),
        (jnp.concatenate([a, b])[:10],),
        **loose,
    )


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


# --- Normal decoder and units ---------------------------------------------------------------------


def test_normal_decoder_matches_numpy_and_integrates_to_one():
    rng = np.random.default_rng(0)
    x, params = rng.uniform(size=(3, 4, 2)), rng.normal(size=(3, 4, 4)) * 3
    mu, sigma = 5 * np.tanh(params[..., :2] / 5), np.exp(5 * np.tanh(params[..., 2:] / 5)) + 0.01
    y = 2 * x - 1
    want = (-0.5 * ((y - mu) / sigma) ** 2 - 0.5 * np.log(2 * np.pi) - np.log(sigma)).sum(-1)
    got = dist.normal_decoder_log_prob(x, params)
    np.testing.assert_allclose(got, want, rtol=3e-5, atol=1e-5)
    y = np.linspace(-30, 30, 20_001)
    density = jnp.exp(
        dist.normal_decoder_log_prob((y[:, None] + 1) / 2, np.tile([0.3, 0.1], (y.size, 1)))
    )
    assert np.trapezoid(np.asarray(density), y) == pytest.approx(1, abs=1e-4)


def test_normal_decoder_sample_and_mean():
    params = jnp.tile(jnp.array([0.2, -0.4, 0.0, -3.0, -3.0, -3.0]), (20_000, 1))
    mean = dist.normal_decoder_mean(params)
    np.testing.assert_allclose(
        mean[0], (5 * np.tanh(np.array([0.04, -0.08, 0])) + 1) / 2, rtol=1e-5
    )
    cold, warm = (
        dist.normal_decoder_sample(jax.random.key(0), params, temperature=t) for t in (0.5, 1.0)
    )
    np.testing.assert_allclose(warm.mean(0), mean[0], atol=2e-3)
    np.testing.assert_allclose(2 * cold.std(0), warm.std(0), rtol=1e-3)
    assert float(warm.min()) >= 0
    assert float(warm.max()) <= 1
    with pytest.raises(ValueError, match="params has shape"):
        dist.normal_decoder_log_prob(jnp.zeros((2, 3)), jnp.zeros((2, 4)))
    with pytest.raises(ValueError, match="5 channels"):
        dist.normal_decoder_mean(jnp.zeros((2, 5)))


def test_everything_is_float32_from_half_precision_inputs():
    half = lambda *shape: jnp.zeros(shape, jnp.bfloat16)
    for out in (
        dist.soft_clamp(half(2)),
        dist.normal_log_prob(half(2), half(2), half(2) + 1),
        dist.normal_kl(half(2), half(2) + 1, half(2), half(2) + 1),
        dist.normal_sample(jax.random.key(0), half(2), half(2)),
        dist.bernoulli_log_prob(half(2), half(2)),
        dist.discretized_logistic_mixture_log_prob(half(2, 1), half(2, 3), num_mixtures=1),
        dist.discretized_logistic_mixture_mean(half(2, 3), num_mixtures=1),
        dist.normal_decoder_log_prob(half(2, 1), half(2, 2)),
    ):
        assert out.dtype == jnp.float32


def test_reduce_bits_matches_the_published_formula():
    values = np.arange(256, dtype=np.uint8)
    for bits in (1, 3, 5, 6, 8):
        want = np.floor(values / 2 ** (8 - bits)) / (2**bits - 1)
        np.testing.assert_allclose(dist.reduce_bits(values, bits), want, rtol=1e-6)
    with pytest.raises(TypeError, match="float32, reduce_bits needs uint8"):
        dist.reduce_bits(jnp.zeros(2), 5)
    with pytest.raises(ValueError, match="bits is 0"):
        dist.reduce_bits(values, 0)


def test_bits_per_dim():
    assert float(dist.bits_per_dim(784 * math.log(2), 784)) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="dims is 0"):
        dist.bits_per_dim(1.0, 0)
