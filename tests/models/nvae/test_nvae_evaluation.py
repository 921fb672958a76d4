"""Evaluation: the importance-weighted bound in closed form, active channels, statistics anew."""

import inspect
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.models import nvae
from jaxlab.models.nvae import importance_bound
from jaxlab.models.nvae.evaluation import count_active

KEY = jax.random.key(7)
LOG_NORMAL = lambda x, mean, variance: (
    -0.5 * ((x - mean) ** 2 / variance + jnp.log(2 * jnp.pi * variance))
)


class LinearGaussian:
    """z ~ N(0, 1), x | z ~ N(z, 1), so x ~ N(0, 2) and z | x ~ N(x / 2, 1 / 2).

    Its posterior q is N(x / 2 + shift, 1 / 2); its decoder gives 3 z.
    """

    observation = SimpleNamespace(log_prob=lambda x, output: LOG_NORMAL(x, output / 3, 1.0))

    def apply(self, shift, inputs, *, key=None, method):
        if method == "bottom_up":
            return (inputs[None],)
        mean = inputs[0][0] / 2 + shift
        z = mean + jnp.sqrt(0.5) * jax.random.normal(key, mean.shape)
        return SimpleNamespace(
            parameters=3 * z, log_p=LOG_NORMAL(z, 0.0, 1.0), log_q=LOG_NORMAL(z, mean, 0.5)
        )


X = jnp.array([-1.0, 0.3, 2.5])
EXACT = -np.asarray(LOG_NORMAL(X, 0.0, 2.0))


@pytest.mark.parametrize(("num_samples", "chunk"), [(1, 1), (6, 2), (6, 6)])
def test_with_the_true_posterior_every_weight_is_the_likelihood(num_samples, chunk):
    bound = importance_bound(LinearGaussian(), num_samples=num_samples, chunk=chunk)
    np.testing.assert_allclose(bound(0.0, X, jax.random.key(0)), EXACT, rtol=1e-5)


def test_with_another_posterior_it_falls_to_the_likelihood():
    """One sample costs KL(q || posterior) = shift^2 on average, thousands nearly nothing."""
    mean = lambda count: np.mean(
        [
            importance_bound(LinearGaussian(), num_samples=count, chunk=count)(
                0.5, jnp.repeat(X, 400), jax.random.key(1)
            )
        ]
    )
    assert mean(1) == pytest.approx(EXACT.mean() + 0.25, abs=0.07)
    assert EXACT.mean() - 0.02 < mean(1000) < EXACT.mean() + 0.02


def test_the_chunk_divides_the_samples():
    with pytest.raises(ValueError, match="chunk must divide"):
        importance_bound(LinearGaussian(), num_samples=10, chunk=4)


@pytest.mark.slow
def test_bound_of_one_sample_is_an_elbo_and_falls_with_more(small):
    model, variables, x = small
    variables = {k: variables[k] for k in ("params", "batch_stats")}
    mean = {k: nvae.importance_bound(model, num_samples=k, chunk=c)(variables, x, KEY)
            for k, c in ((64, 16), (1, 1))}  # fmt: skip
    output = jax.jit(lambda v, key: model.apply(v, x, key=key))
    elbo = []
    for i in range(64):
        out = output(variables, jax.random.fold_in(KEY, 100 + i))
        elbo.append(out.log_q - out.log_p - model.observation.log_prob(x, out.parameters))
    elbo = np.asarray(elbo)
    assert mean[1].shape == (4,)
    assert (mean[64] < elbo.mean(0)).all()
    # Against the definition: the same weights, summed at once in float64.
    direct = -np.log(np.mean(np.exp(-(elbo - elbo.min(0)).astype(np.float64)), 0)) + elbo.min(0)
    np.testing.assert_allclose(mean[64], direct, atol=3 * elbo.std(0).max())


@pytest.mark.slow
def test_bound_does_not_depend_on_the_chunk_when_weights_are_equal(small):
    model, variables, x = small
    # A model whose decoder ignores z and whose posterior is its prior has equal weights.
    zero = jax.tree.map(jnp.zeros_like, variables["params"])
    flat = {"params": zero, "batch_stats": variables["batch_stats"]}
    bounds = [nvae.importance_bound(model, num_samples=4, chunk=c)(flat, x, KEY) for c in (1, 2, 4)]
    # Zero parameters: logits 0 and sigma 1.01 everywhere, so every pixel costs log 2.
    for bound in bounds:
        np.testing.assert_allclose(bound, 64 * np.log(2), rtol=1e-5)
    with pytest.raises(ValueError, match="chunk must divide"):
        nvae.importance_bound(model, num_samples=10, chunk=4)


@pytest.mark.slow
def test_active_channels_sum_to_the_kl(small):
    model, variables, x = small
    channels = nvae.active_channels(model)(variables, x, KEY)
    kl = model.apply(variables, x, key=KEY).kl
    np.testing.assert_allclose(channels.sum(1), kl.mean(0), rtol=1e-4)
    assert nvae.count_active(np.array([[0.2, 0.0], [0.05, 0.05]])) == (1, 1)


def test_statistics_measured_anew_match_one_large_batch(small):
    model, variables, x = small
    fresh = nvae.refresh_statistics(model, variables, [x, x], KEY)
    stem = model.apply(variables, 2 * x - 1, method=lambda m, y: m.stem(y))
    first = next(iter(fresh["pre_0"].values()))["norm"]
    np.testing.assert_allclose(first["mean"], stem.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(first["var"], np.asarray(stem).var((0, 1, 2), ddof=1), rtol=1e-3)
    with pytest.raises(ValueError, match="no batches"):
        nvae.refresh_statistics(model, variables, [], KEY)


def test_sampling_statistics_leave_the_encoder_alone(small):
    model, variables, _ = small
    stats = nvae.reestimate_sampling_statistics(
        model, variables, KEY, temperature=0.5, batch=8, num_batches=3
    )
    old = variables["batch_stats"]
    assert stats.keys() == old.keys()
    for name in old:
        same = all(
            bool(np.array_equal(a, b))
            for a, b in zip(jax.tree.leaves(stats[name]), jax.tree.leaves(old[name]), strict=True)
        )
        assert same != name.startswith(("group_", "up_", "post_")), name
    broken = jax.tree.map(lambda p: p * jnp.nan, variables["params"])
    with pytest.raises(FloatingPointError, match="is not finite after 1 batches"):
        nvae.reestimate_sampling_statistics(
            model, {**variables, "params": broken}, KEY, temperature=1.0, batch=2, num_batches=1
        )


def test_a_channel_is_in_use_above_a_tenth_of_a_nat():
    assert count_active(np.array([[0.11, 0.1], [0.09, 0.0], [5.0, 0.2]])) == (2, 3)


class Told:
    """A model whose statistics say with what it was run."""

    likelihood, bits, num_groups = "bernoulli", 8, 3

    def apply(self, variables, first, *, key, train, mutable, temperature=0.0, method=None):
        assert train
        assert mutable == ["batch_stats"]
        assert method == (None if jnp.ndim(first) else "sample")
        size = first if method else first.sum()
        # What is left of a statistic after one pass from zero.
        seen = 0.05 * (size + 100 * temperature + jax.random.uniform(key))
        names = ("enc_0", "group_0", "up_0", "post_0")
        old = variables["batch_stats"]
        return None, {"batch_stats": {name: old[name] + seen for name in names}}


def test_statistics_are_means_over_batches():
    variables = {"params": {}, "batch_stats": dict.fromkeys(("enc_0", "group_0", "up_0", "post_0"),
                                                            jnp.float32(7.0))}  # fmt: skip
    noise = [float(jax.random.uniform(jax.random.fold_in(KEY, i))) for i in range(100)]
    sampled = lambda **kwargs: nvae.reestimate_sampling_statistics(
        Told(), variables, KEY, temperature=0.5, **kwargs
    )
    found = sampled(batch=3, num_batches=4)
    assert float(found["enc_0"]) == 7  # the encoder's stay
    for name in ("group_0", "up_0", "post_0"):
        assert float(found[name]) == pytest.approx(53 + np.mean(noise[:4]), rel=1e-5)
    assert float(sampled()["up_0"]) == pytest.approx(66 + np.mean(noise), rel=1e-5)
    batches = [jnp.full((2, 1), value) for value in (1.0, 3.0, 5.0)]
    found = nvae.refresh_statistics(Told(), variables, batches, KEY)
    keys = [jax.random.split(jax.random.fold_in(KEY, i))[1] for i in range(3)]
    want = 6 + np.mean([float(jax.random.uniform(key)) for key in keys])
    for value in found.values():
        assert float(value) == pytest.approx(want, rel=1e-5)


def test_active_channels_are_means_over_images_in_order():
    scales = [np.arange(12.0).reshape(1, 3, 4), 100 + np.arange(24.0).reshape(2, 3, 4)]
    output = SimpleNamespace(scales=[SimpleNamespace(kl_per_channel=s) for s in scales])
    model = SimpleNamespace(apply=lambda variables, x, key: output)
    found = nvae.active_channels(model)({}, jnp.zeros(3), KEY)
    np.testing.assert_allclose(found, np.concatenate([s.mean(1) for s in scales]))
    assert inspect.signature(importance_bound).parameters["chunk"].default == 10
