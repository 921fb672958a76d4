"""`jaxlab.attacks`: attacks against models whose worst case is known, and the input Jacobian
against autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import attacks

RNG = np.random.default_rng(0)
X = RNG.uniform(size=(5, 2, 3)).astype(np.float32)
LABELS = RNG.integers(0, 2, 5)
W = RNG.normal(size=(6, 2)).astype(np.float32)
HIDDEN = RNG.normal(size=(6, 7)).astype(np.float32)
HEAD = RNG.normal(size=(7, 4)).astype(np.float32)


def linear_loss(x):
    logits = x.reshape(len(x), -1) @ W
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, LABELS)


def network(x):
    return jnp.tanh(3 * x.reshape(len(x), -1) @ HIDDEN) @ HEAD


def network_loss(x):
    return optax.losses.softmax_cross_entropy_with_integer_labels(network(x), LABELS)


def worst_for_the_linear_model(epsilon, low=0.0, high=1.0):
    """The loss grows with (w_other - w_label) x, so every input goes to its own end."""
    slope = (W[:, 1 - LABELS] - W[:, LABELS]).T.reshape(X.shape)
    return np.clip(X + epsilon * np.sign(slope), low, high)


def test_attacks_on_a_linear_model_are_the_worst_case():
    worst = worst_for_the_linear_model(0.1)
    np.testing.assert_allclose(attacks.fgsm(linear_loss, X, epsilon=0.1), worst, atol=1e-6)
    attack = lambda x, key: attacks.pgd(
        linear_loss, x, epsilon=0.1, step_size=0.03, num_steps=7, key=key
    )
    for run in (attack, jax.jit(attack)):
        np.testing.assert_allclose(run(X, jax.random.key(0)), worst, atol=1e-6)
    # Without the box the logit margin falls by epsilon times the l1 norm of the slope.
    free = attacks.fgsm(linear_loss, X, epsilon=0.1, low=-np.inf, high=np.inf)
    margin = lambda x: np.float64(x).reshape(5, -1) @ np.float64(W[:, 0] - W[:, 1])
    np.testing.assert_allclose(
        np.abs(margin(free) - margin(X)), 0.1 * np.abs(W[:, 0] - W[:, 1]).sum(), rtol=1e-5
    )


def test_few_steps_go_only_so_far():
    few = attacks.pgd(linear_loss, X, epsilon=0.1, step_size=0.02, num_steps=3)
    np.testing.assert_allclose(few, worst_for_the_linear_model(0.06), atol=1e-6)


def test_pgd_projects():
    """The nearest point of ball and box to a target, within a step."""
    target = np.float32(RNG.uniform(-0.3, 1.3, X.shape))
    loss = lambda x: -jnp.sum((x - target) ** 2, axis=(1, 2))
    nearest = np.clip(np.clip(target, X - 0.2, X + 0.2), 0, 1)
    found = attacks.pgd(loss, X, epsilon=0.2, step_size=0.01, num_steps=60, key=jax.random.key(1))
    assert np.abs(found - nearest).max() <= 0.01 + 1e-6


def test_ball_and_box_hold_whatever_the_steps():
    attack = jax.jit(
        jax.vmap(
            lambda epsilon, key: attacks.pgd(
                network_loss, X, epsilon=epsilon, step_size=0.5, num_steps=5, key=key
            ),
        )
    )
    radii = jnp.array([0.0, 0.05, 0.3])
    found = np.asarray(attack(radii, jax.random.split(jax.random.key(0), 3)))
    distances = np.abs(found - X).max(axis=(1, 2, 3))
    assert (distances <= radii + 1e-6).all()
    np.testing.assert_allclose(distances, radii, atol=1e-6)  # and the ball is used
    assert found.min() >= 0
    assert found.max() <= 1
    np.testing.assert_array_equal(found[0], X)
    before, after = network_loss(X).mean(), network_loss(found[2]).mean()
    assert after > before + 1


def test_the_start_is_random_only_with_a_key():
    still = lambda key: attacks.pgd(
        network_loss, X, epsilon=0.1, step_size=0.0, num_steps=1, key=key
    )
    np.testing.assert_array_equal(still(None), X)
    starts = [np.asarray(still(jax.random.key(seed))) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(starts[0], starts[1])
    assert np.abs(starts[0] - starts[2]).max() > 0.01
    assert 0.01 < np.abs(starts[0] - X).max() <= 0.1 + 1e-6


def test_bounds_may_be_arrays_and_dtypes_stay():
    low, high = np.array([0.0, 0.1, 0.2], np.float32), np.array([[0.6], [0.8]], np.float32)
    x = np.clip(X, low, high)
    found = attacks.fgsm(linear_loss, x, epsilon=0.5, low=low, high=high)
    assert (found >= low).all()
    assert (found <= high).all()
    half = attacks.fgsm(linear_loss, jnp.asarray(X, jnp.bfloat16), epsilon=0.1)
    assert half.dtype == jnp.bfloat16


def test_a_range_may_be_off_by_rounding():
    mean, std = 0.1307, 0.3081  # of MNIST
    low, high = (0 - mean) / std, (1 - mean) / std
    images = np.linspace(0, 1, 30, dtype=np.float32).reshape(5, 2, 3)
    for bounds in ((low, high), (np.full(3, low), np.full((2, 1), high)), (-np.inf, high)):
        found = attacks.fgsm(
            linear_loss, (images - mean) / std, epsilon=0.1, low=bounds[0], high=bounds[1]
        )
        assert found.min() >= low - 0.1001
        assert found.max() <= np.float32(high)
    for wrong in (-1e-4, 1.0001, np.nan):
        x = X.copy()
        x[0, 0, 0] = wrong
        with pytest.raises(ValueError, match="must lie in"):
            attacks.fgsm(linear_loss, x, epsilon=0.1)
    with pytest.raises(ValueError, match="must lie in"):  # an end that is open loosens no other
        attacks.fgsm(linear_loss, X - 1, epsilon=0.1, high=np.inf)


def test_no_gradient_flows_through_an_attack():
    slope = lambda scale: jnp.sum(
        attacks.fgsm(lambda x: scale * x.sum((1, 2)), scale * X, epsilon=0.1, high=2.0)
    )
    assert float(jax.grad(slope)(1.0)) == 0


def test_input_jacobian_norm():
    one = lambda x: network(x[None])[0]
    jacobians = np.asarray(jax.jit(jax.vmap(jax.jacrev(one)))(X)).reshape(5, -1)
    norms = jax.jit(lambda x: attacks.input_jacobian_norm(network, x))(X)
    np.testing.assert_allclose(norms, np.linalg.norm(jacobians, axis=1), rtol=1e-5)
    flat = X.reshape(5, -1)
    linear = attacks.input_jacobian_norm(lambda x: x @ HIDDEN, flat)
    np.testing.assert_allclose(linear, np.full(5, np.linalg.norm(HIDDEN)), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: attacks.fgsm(linear_loss, X, epsilon=-0.1), r"epsilon is -0\.1"),
        (
            lambda: attacks.pgd(linear_loss, X, epsilon=0.1, step_size=0.1, num_steps=0),
            "num_steps is 0, must be at least 1",
        ),
        (
            lambda: attacks.pgd(linear_loss, X, epsilon=0.1, step_size=-1.0, num_steps=1),
            r"step_size is -1\.0",
        ),
        (lambda: attacks.fgsm(linear_loss, X + 1, epsilon=0.1), r"must lie in \[0\.0, 1\.0\]"),
        (
            lambda: attacks.fgsm(lambda x: linear_loss(x).mean(), X, epsilon=0.1),
            r"loss_fn returned shape \(\), inputs \(5, 2, 3\) need \(5,\)",
        ),
        (
            lambda: attacks.fgsm(linear_loss, X, epsilon=0.1, low=np.zeros((2, 5, 2, 3))),
            r"low has shape \(2, 5, 2, 3\), must broadcast to",
        ),
        (lambda: attacks.fgsm(linear_loss, np.ones((5, 6), int), epsilon=1), "must be floats"),
        (
            lambda: attacks.input_jacobian_norm(lambda x: x.sum((1, 2)), X),
            r"logits_fn returned shape \(5,\), inputs \(5, 2, 3\) need \(5, K\)",
        ),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_start_is_uniform_in_the_ball():
    x = np.full((4, 5000), 0.5, np.float32)
    start = attacks.pgd(
        lambda x: x.sum(1), x, epsilon=0.2, step_size=0.0, num_steps=1, key=jax.random.key(0)
    )
    share = np.sort(np.ravel((np.asarray(start) - x) / 0.2))
    np.testing.assert_allclose(share, np.linspace(-1, 1, share.size), atol=0.03)


def test_rounding_is_eight_units_in_the_last_place():
    unit = np.finfo(np.float32).eps
    call = lambda value, **box: attacks.fgsm(
        lambda x: x.sum(1), np.full((1, 1), value, np.float32), epsilon=0.0, **box
    )
    for units, taken in ((8, True), (9, False)):
        for value in (1 + units * unit, -units * unit):
            if taken:
                call(value)
            else:
                with pytest.raises(ValueError, match="must lie in"):
                    call(value)
    call(-4 - 32 * unit, low=-4.0)  # and they are those of the larger end
    with pytest.raises(ValueError, match="must lie in"):
        call(-4 - 36 * unit, low=-4.0)
    with pytest.raises(ValueError, match="must lie in"):
        call(-0.1 - 1e-6, low=-0.1)  # but of 1 at least
    call(-0.1 - 8e-7, low=-0.1)
