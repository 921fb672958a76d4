"""`jaxlab.tasks.classification.optimizers`: each number adds what it names."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from three_classes import BATCH, COUNTS, MODEL

from jaxlab import optim, regularizers, train
from jaxlab.errors import InputError
from jaxlab.models import classifiers
from jaxlab.tasks import classification


def step_with(params, name, **numbers):
    tx = classification.make_optimizer(
        name, learning_rate=0.1, num_steps=10, schedule="constant", **numbers
    )
    grads = jax.tree.map(lambda p: 0.3 * jnp.ones_like(p), params)
    return tx.update(grads, tx.init(params), params)[0]


@pytest.mark.parametrize(
    ("number", "penalty"),
    [
        ("l2", functools.partial(regularizers.l2, mask=optim.matrices_only)),
        ("weissi", lambda p: regularizers.weissi(p, log_norm=1.0)),
        ("weissi_direction", lambda p: regularizers.weissi(p, log_norm=0.0, direction=1.0)),
        ("path", lambda p: regularizers.path_norm(classifiers.kernels(p))),
        (
            "spectral",
            lambda p: 0.5 * sum(jnp.linalg.norm(k, ord=2) ** 2 for k in classifiers.kernels(p)),
        ),
    ],
)
def test_coupled_penalties_are_their_gradients(params, number, penalty):
    plain = step_with(params, "sgd")
    ours = step_with(params, "sgd", **{number: 0.05})
    want = jax.tree.map(lambda u, g: u - 0.1 * 0.05 * g, plain, jax.grad(penalty)(params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, want)


def test_decoupled_decays_are_those_of_adamw(params):
    ours = step_with(params, "adam", weight_decay=0.2)
    mask = optim.matrices_only(params)
    tx = optax.adamw(0.1, weight_decay=0.2, mask=mask)
    grads = jax.tree.map(lambda p: 0.3 * jnp.ones_like(p), params)
    want = tx.update(grads, tx.init(params), params)[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours, want)
    ours = step_with(params, "adam", weissi_decay=0.2)
    tx = optim.adamw_weissi(0.1, log_norm=0.2)
    want = tx.update(grads, tx.init(params), params)[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours, want)


def test_momentum_gathers_speed():
    tx = classification.make_optimizer("momentum", learning_rate=0.1, num_steps=2, momentum=0.5)
    state = tx.init(jnp.zeros(1))
    first, state = tx.update(jnp.ones(1), state, jnp.zeros(1))
    second, _ = tx.update(jnp.ones(1), state, jnp.zeros(1))
    np.testing.assert_allclose([first[0], second[0]], [-0.1, -0.05 * 1.5], rtol=1e-6)


def test_sharpness_takes_the_gradient_at_the_worst_point_nearby(params):
    """Through the train step, which offers the gradient elsewhere."""
    loss = classification.make_loss(MODEL, class_counts=COUNTS)
    tx = classification.make_optimizer(
        "sgd", learning_rate=0.5, num_steps=1, schedule="constant", sharpness=0.1
    )
    state = train.create_state(lambda key: (params, {}), tx, key=jax.random.key(0), ema=False)
    moved, _ = train.make_train_step(loss, tx)(state, BATCH)
    value = lambda p: loss(p, {}, BATCH, key=jax.random.key(0), step=0)[0]
    grads = jax.grad(value)(params)
    norm = optax.tree.norm(grads)
    worst = jax.tree.map(lambda p, g: p + 0.1 * g / norm, params, grads)
    want = jax.tree.map(lambda p, g: p - 0.5 * g, params, jax.grad(value)(worst))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), moved.params, want)


def test_unknown_names_are_named():
    make = functools.partial(classification.make_optimizer, learning_rate=0.1, num_steps=1)
    with pytest.raises(ValueError, match="optimizer is 'lion'"):
        make("lion")
    with pytest.raises(ValueError, match="schedule is 'linear'"):
        make("sgd", schedule="linear")
    with pytest.raises(ValueError, match="objective is 'hinge'"):
        classification.example_losses("hinge", class_counts=COUNTS)
    with pytest.raises(ValueError, match=r"label_smoothing is 0\.1, objective 'focal' takes none"):
        classification.example_losses("focal", class_counts=COUNTS, label_smoothing=0.1)
    with pytest.raises(ValueError, match="flooding is 'all'"):
        classification.make_loss(MODEL, class_counts=COUNTS, flooding="all")


BAD_OPTIMIZERS = [
    ({"learning_rate": -1.0}, "learning_rate is -1.0, must be above 0"),
    ({"learning_rate": 0.0}, "learning_rate is 0.0, must be above 0"),
    ({"learning_rate": float("nan")}, "learning_rate is nan, must be finite"),
    ({"learning_rate": float("inf")}, "learning_rate is inf, must be finite"),
    ({"num_steps": 0}, "num_steps is 0"),
    ({"num_steps": 2.5}, "num_steps is 2.5"),
    ({"momentum": 1.0}, "momentum is 1.0, must be below 1"),
    ({"momentum": -0.1}, "momentum is -0.1, must be at least 0"),
    ({"name": "sgd", "momentum": 0.5}, "momentum is 0.5, optimizer 'sgd' takes none"),
    *(
        ({name: value}, f"{name} is {value}, must be")
        for name in ("l2", "weissi", "weissi_direction", "path", "spectral", "weight_decay")
        for value in (-1.0, float("nan"))
    ),
    ({"weissi_decay": -1.0}, "weissi_decay is -1.0"),
    ({"sharpness": -0.1}, "sharpness is -0.1"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_OPTIMIZERS)
def test_numbers_of_an_optimizer_are_in_range(arguments, message):
    good = {"name": "momentum", "learning_rate": 0.1, "num_steps": 1}
    with pytest.raises(InputError, match=message):
        classification.make_optimizer(**(good | arguments))


def test_numbers_that_are_traced_still_work(params):
    @jax.jit
    def norm(rate, l2):
        tx = classification.make_optimizer("momentum", learning_rate=rate, num_steps=3, l2=l2)
        grads = jax.tree.map(jnp.ones_like, params)
        return optax.tree.norm(tx.update(grads, tx.init(params), params)[0])

    assert norm(0.2, 0.0) == pytest.approx(2 * float(norm(0.1, 0.0)), rel=1e-6)


def moves(steps, **arguments):
    """What `steps` equal gradients of 1 make of a matrix of 2 by 3 ones, each step's update."""
    tx = classification.make_optimizer(**({"name": "sgd", "learning_rate": 0.5} | arguments))
    params, found = {"kernel": jnp.ones((2, 3))}, []
    state = tx.init(params)
    for _ in range(steps):
        updates, state = tx.update({"kernel": jnp.ones((2, 3))}, state, params)
        found.append(float(updates["kernel"][0, 0]))
    return found


def test_what_is_not_given_adds_nothing():
    np.testing.assert_allclose(moves(1, num_steps=4), [-0.5], rtol=1e-6)


def test_the_rate_falls_along_half_a_cosine_by_default():
    want = [-0.25 * (1 + np.cos(np.pi * t / 4)) for t in (0, 1, 2, 3, 4, 4)]
    np.testing.assert_allclose(moves(6, num_steps=4), want, atol=1e-6)
    np.testing.assert_allclose(moves(3, num_steps=2, schedule="constant"), [-0.5] * 3, rtol=1e-6)


def test_momentum_is_nine_tenths_by_default():
    options = {"num_steps": 9, "schedule": "constant"}
    np.testing.assert_allclose(moves(2, name="momentum", **options), [-0.5, -0.95], rtol=1e-6)
    for momentum, second in ((0.0, -0.5), (0.995, -0.9975)):
        found = moves(2, name="momentum", momentum=momentum, **options)
        np.testing.assert_allclose(found, [-0.5, second], rtol=1e-6)


@pytest.mark.parametrize(
    "number",
    ["l2", "weissi", "weissi_direction", "path", "spectral", "weight_decay", "weissi_decay",
     "sharpness"],
)  # fmt: skip
def test_small_numbers_are_taken_and_none_is_no_number(number):
    make = functools.partial(classification.make_optimizer, "sgd", num_steps=1)
    make(learning_rate=0.005, **{number: 0.005})
    params = {"kernel": jnp.ones((2, 3))}
    plain = make(learning_rate=0.1)
    for value in (None, 0.0, 0):
        tx = make(learning_rate=0.1, **{number: value})
        assert jax.tree.structure(tx.init(params)) == jax.tree.structure(plain.init(params))


def test_both_parts_of_weissi_at_once(params):
    plain = step_with(params, "sgd")
    ours = step_with(params, "sgd", weissi=0.05, weissi_direction=0.2)
    both = lambda p: regularizers.weissi(p, log_norm=0.05, direction=0.2)
    want = jax.tree.map(lambda u, g: u - 0.1 * g, plain, jax.grad(both)(params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, want)


def test_momentum_gathers_penalties_too_and_decoupled_decay_comes_after_it():
    """In the order of the chain: penalty, momentum, decay, rate."""
    options = {"name": "momentum", "num_steps": 1, "schedule": "constant", "momentum": 0.5}
    found = moves(2, l2=0.1, weight_decay=0.2, **options)
    np.testing.assert_allclose(found, [-0.5 * (1.1 + 0.2), -0.5 * (1.65 + 0.2)], rtol=1e-6)


def test_decayed_by_weissi_after_the_rate():
    found = moves(1, weissi_decay=0.3, num_steps=1)
    tx = optim.weissi_decay(0.3, learning_rate=0.5)
    params = {"kernel": jnp.ones((2, 3))}
    want, _ = tx.update({"kernel": -0.5 * jnp.ones((2, 3))}, tx.init(params), params)
    np.testing.assert_allclose(found, [float(want["kernel"][0, 0])], rtol=1e-6)
    assert found[0] < -0.51
