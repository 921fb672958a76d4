"""Schedules, balancing and penalties against closed forms and NumPy."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import mesh as mesh_lib
from jaxlab.models.nvae import (
    NVAE,
    init_variables,
    make_loss,
    make_metrics,
    objective,
    prepare_images,
)
from jaxlab.models.nvae.objective import (
    balance,
    balance_alphas,
    elbo_terms,
    penalty_coefficient,
)


@pytest.mark.parametrize(
    ("groups", "wanted"),
    [
        ((10, 5), [1] * 5 + [2] * 10),
        ((20, 10, 5), [1] * 5 + [2] * 10 + [4] * 20),
        ((16, 8, 4, 4, 4), [1] * 4 + [4] * 4 + [16] * 4 + [32] * 8 + [64] * 16),
        ((30,), [1] * 30),
    ],
)
def test_square_alphas_of_the_published_models(groups, wanted):
    np.testing.assert_allclose(balance_alphas(groups), wanted)


def test_alphas_of_the_other_kinds_and_an_unknown_one():
    np.testing.assert_allclose(balance_alphas((1, 1, 1), "linear"), [1, 2, 4])
    np.testing.assert_allclose(balance_alphas((1, 1, 1), "sqrt"), [1, 2**0.5, 2])
    np.testing.assert_allclose(balance_alphas((1, 1, 1), "equal"), 1)
    with pytest.raises(ValueError, match="balance is 'cube', known are equal, linear"):
        balance_alphas((1,), "cube")


def test_balance_averages_to_one_and_carries_no_gradient():
    kl = jax.random.normal(jax.random.key(0), (6, 3)) * jnp.array([1.0, 10.0, 30.0])
    alphas = np.array([1.0, 2.0, 2.0])
    size = np.abs(np.asarray(kl)).mean(0) + 0.01
    wanted = size / alphas / (size / alphas).mean()
    np.testing.assert_allclose(balance(kl, alphas), wanted, rtol=1e-6)
    assert not np.any(jax.grad(lambda k: jnp.sum(balance(k, alphas) * jnp.arange(3.0)))(kl))


def test_penalty_coefficient_is_geometric_in_beta():
    for beta in (0.0, 0.25, 1.0):
        wanted = 10 ** ((1 - beta) * 1 + beta * -2)
        np.testing.assert_allclose(
            penalty_coefficient(beta, final=0.01, initial=10.0), wanted, rtol=1e-5
        )
    assert float(penalty_coefficient(0.5, final=0.02)) == pytest.approx(0.02)
    assert float(penalty_coefficient(0.5, final=0.0, initial=1.0)) == 0


@pytest.mark.parametrize("initial", [0.0, -1.0, float("nan")])
def test_a_penalty_starts_above_zero(initial):
    with pytest.raises(ValueError, match="initial is"):
        penalty_coefficient(1.0, final=0.01, initial=initial)
    with pytest.raises(ValueError, match="penalty_init is"):
        make_loss(NVAE(8), total_steps=1, penalty_init=initial)
    traced = jax.jit(lambda i: penalty_coefficient(0.5, final=0.01, initial=i))(1.0)
    assert float(traced) == pytest.approx(0.1)


def test_loss_is_the_stated_sum(small):
    """At the end of the warm-up and inside it, with the balancing recomputed in NumPy."""
    model, variables, x = small
    params, key = variables["params"], jax.random.key(5)
    state = {"batch_stats": variables["batch_stats"], "spectral": variables["spectral"]}
    loss_fn = make_loss(model, total_steps=100, penalty=0.03)
    run = jax.jit(lambda step: loss_fn(params, state, {"image": x}, key=key, step=step))
    loss, (_, metrics) = run(jnp.int32(50))  # the KL coefficient is 1: no balancing
    total = metrics["reconstruction"] + metrics["kl"]
    np.testing.assert_allclose(metrics["nelbo"], total, rtol=1e-6)
    penalty = 0.03 * (metrics["spectral"] + metrics["batch_norm"])
    np.testing.assert_allclose(loss, total + penalty, rtol=1e-6)

    noise = jax.random.split(key)[1]
    terms = jax.jit(lambda: elbo_terms(model, params, state, x, key=noise, train=True)[:2])()
    nats, kl = (np.asarray(term, np.float64) for term in terms)
    beta = (10 - 0.01) / 30
    gamma = (np.abs(kl).mean(0) + 0.01) / [1.0, 2.0, 2.0]  # the coarsest group comes first
    gamma /= gamma.mean()
    assert np.abs(gamma - 1).max() > 0.1  # balancing changes something here
    loss, (after, metrics) = run(jnp.int32(10))
    assert float(metrics["kl_coefficient"]) == pytest.approx(beta, rel=1e-4)
    penalty = 0.03 * float(metrics["spectral"] + metrics["batch_norm"])
    assert penalty > 0.03
    want = np.mean(nats + beta * (gamma * kl).sum(1)) + penalty
    assert float(loss) == pytest.approx(want, rel=1e-5)
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), after, state)
    assert all(any(jax.tree.leaves(moved[name])) for name in ("batch_stats", "spectral"))


def test_two_devices_have_the_loss_of_one(small):
    """Batch statistics and the balancing are those of the whole batch."""
    model, variables, x = small
    state = {"batch_stats": variables["batch_stats"]}
    loss_fn = make_loss(model, total_steps=100, penalty=0.0)

    def run(x):
        return loss_fn(variables["params"], state, {"image": x}, key=jax.random.key(5), step=10)

    one, (after_one, _) = jax.jit(run)(x)
    mesh = mesh_lib.make_mesh(jax.devices()[:2])
    two, (after_two, _) = jax.jit(run)(mesh_lib.shard_batch(mesh, np.asarray(x)))
    np.testing.assert_allclose(two, one, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after_two, after_one)


def test_metrics_are_per_example_and_sum_up(small):
    """And use running statistics: those of a batch would be others."""
    model, variables, x = small

    @jax.jit
    def run(key):
        values = make_metrics(model)(variables["params"], variables, {"image": x}, key=key)
        known = {k: variables[k] for k in ("params", "batch_stats")}
        output = model.apply(known, x, key=jax.random.split(key)[1], train=False)
        return values, output.kl, -model.observation.log_prob(x, output.parameters)

    values, kl, nats = run(jax.random.key(0))
    assert all(v.shape == (4,) for v in values.values())
    np.testing.assert_allclose(values["reconstruction"], nats, rtol=1e-5)
    np.testing.assert_allclose(values["nelbo"], nats + kl.sum(1), rtol=1e-5)
    np.testing.assert_allclose(values["kl"], kl.sum(1), rtol=1e-5)
    np.testing.assert_allclose(
        np.stack([values[f"kl_{i:02d}"] for i in range(3)], 1), kl, rtol=1e-5, atol=1e-6
    )


def test_images_are_prepared_as_the_likelihood_wants():
    key = jax.random.key(0)
    grey = jnp.full((2, 8, 8, 1), 128, jnp.uint8)
    binary = prepare_images(NVAE(8), grey, key)
    assert set(np.unique(binary)) == {0.0, 1.0}
    np.testing.assert_allclose(prepare_images(NVAE(8), grey), 128 / 255, rtol=1e-6)
    ramp = jnp.asarray([[0, 127, 128, 255]], jnp.uint8).reshape(1, 2, 2, 1)
    cut = prepare_images(NVAE(8), ramp, key, static=True)
    np.testing.assert_array_equal(cut.ravel(), [0, 0, 1, 1])
    colour = NVAE(8, likelihood="mixture", channels=3, bits=5)
    values = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)
    np.testing.assert_allclose(
        np.asarray(prepare_images(colour, values)).ravel(), (np.arange(256) // 8) / 31, atol=1e-6
    )


def test_initial_values_repeat_and_depend_on_the_key():
    model = NVAE(8, groups=(1,), latents=2, enc_channels=4, dec_channels=4, blocks=1,
                 pre_cells=1, post_cells=1, arch="res_bnswish")  # fmt: skip
    init = jax.jit(lambda key: init_variables(model, key, jnp.zeros((2, 8, 8, 1))))
    a, b, c = (init(jax.random.key(s))[0]["stem"]["kernel"] for s in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    assert 0.2 < np.abs(a).max() <= 1 / 3


def test_defaults_of_the_objective():
    defaults = lambda f: {
        name: p.default
        for name, p in inspect.signature(f).parameters.items()
        if p.default is not p.empty
    }
    assert defaults(balance_alphas) == {"kind": "square"}
    assert defaults(make_loss) == {
        "kl_portion": 0.3,
        "kl_constant": 1e-4,
        "kl_minimum": 1e-4,
        "balancing": "square",
        "penalty": 1e-2,
        "penalty_init": None,
        "spectral_iterations": 4,
        "static_binarization": False,
    }
    assert defaults(objective.training_objective)["spectral_iterations"] == 4
    assert defaults(prepare_images) == {"key": None, "static": False}
    assert defaults(init_variables) == {"spectral": True}
    assert objective.ACTIVE_NATS == 0.1


def test_numbers_at_the_edge_are_taken():
    make_loss(NVAE(8), total_steps=1, kl_portion=0.0, kl_constant=0.0, kl_minimum=1.0, penalty=0.0)
    make_loss(NVAE(8), total_steps=1, kl_constant=1.0, kl_minimum=0.0, balancing=None)
