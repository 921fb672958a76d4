"""Flooding of the batch acts on the loss of the whole batch, however a step cuts it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import losses, optim, train
from jaxlab import mesh as mesh_lib
from jaxlab.models import classifiers
from jaxlab.tasks import classification

RNG = np.random.default_rng(0)
MODEL = classifiers.MLP(3, (4,))
BATCH = {
    "x": RNG.normal(size=(32, 5)).astype(np.float32),
    "label": RNG.integers(0, 3, 32).astype(np.int32),
}
COUNTS = jnp.array([12.0, 10.0, 10.0])
LEVEL = 1.15  # between the losses of the micro-batches
OPTIMIZER = {"name": "momentum", "learning_rate": 0.1, "l2": 0.1, "weight_decay": 0.1}


def start(tx, mesh=None):
    variables = lambda key: classifiers.init_variables(MODEL, key, jnp.asarray(BATCH["x"][:2]))
    return train.create_state(variables, tx, key=jax.random.key(0), mesh=mesh, ema=False)


def trained(accumulate, devices, **optimizer):
    mesh = None if devices == 1 else mesh_lib.make_mesh(jax.devices()[:devices])
    loss_fn, tx = classification.make_training(
        MODEL,
        class_counts=COUNTS,
        num_steps=10,
        objective={"flooding": "batch", "level": LEVEL},
        optimizer={**OPTIMIZER, **optimizer},
    )
    step = train.make_train_step(loss_fn, tx, mesh=mesh, accumulate=accumulate)
    state, flooded = start(tx, mesh), []
    for _ in range(3):
        state, metrics = step(state, mesh_lib.shard_batch(mesh, BATCH))
        flooded.append(float(metrics["flooded"]))
    return jax.device_get(state.params), flooded, float(metrics["objective"])


def reference():
    """Three steps by the gradient of |L - b| + b, L the mean over all of the batch."""
    loss_fn = classification.make_loss(MODEL, class_counts=COUNTS)
    tx = optim.make_optimizer(num_steps=10, **OPTIMIZER)
    state = start(tx)
    params, opt_state, flooded = state.params, state.opt_state, []

    @jax.jit
    def step(params, opt_state):
        plain = lambda p: loss_fn(p, {}, BATCH, key=None, step=0)[0]
        gradient = jax.grad(lambda p: losses.flood(plain(p), level=LEVEL))(params)
        updates, opt_state = tx.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, plain(params)

    for _ in range(3):
        params, opt_state, value = step(params, opt_state)
        flooded.append(float(value < LEVEL))
    return params, flooded, float(value)


@pytest.fixture(scope="module")
def expected():
    params, flooded, value = reference()
    # The level lies where micro-batches would disagree: else this file would test nothing.
    loss_fn = classification.make_loss(MODEL, class_counts=COUNTS)
    first = start(optax.sgd(0.1)).params
    parts = [
        loss_fn(first, {}, jax.tree.map(lambda x, i=i: x[i::4], BATCH), key=None, step=0)[0]
        for i in range(4)
    ]
    assert min(parts) < LEVEL < max(parts)
    assert set(flooded) == {0.0, 1.0}
    return params, flooded, value


@pytest.mark.parametrize(("accumulate", "devices"), [(1, 1), (2, 1), (4, 1), (1, 8), (4, 8)])
def test_micro_batches_and_devices_flood_alike(expected, accumulate, devices):
    params, flooded, value = trained(accumulate, devices)
    chex.assert_trees_all_close(params, jax.device_get(expected[0]), rtol=1e-4, atol=1e-6)
    assert flooded == expected[1]
    np.testing.assert_allclose(value, expected[2], rtol=1e-5)


def test_a_sharpness_aware_step_floods_too():
    one, flooded, _ = trained(1, 1, sharpness=0.05)
    four, _, _ = trained(4, 1, sharpness=0.05)
    chex.assert_trees_all_close(one, four, rtol=1e-4, atol=1e-6)
    assert 1.0 in flooded


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"flooding": "batch", "level": 1.0}, "flooding 'batch' acts on the mean loss"),
        ({"gradient_penalty": 0.1}, "the penalty is on the gradient of the batch's mean loss"),
        (
            {"flooding": "batch", "level": 1.0, "gradient_penalty": 0.1},
            "the penalty is on the gradient of the batch's mean loss",
        ),
    ],
)
def test_what_needs_the_whole_batch_is_not_accumulated(objective, message):
    loss = classification.make_loss(MODEL, class_counts=COUNTS, **objective)
    train.make_train_step(loss, optax.sgd(0.1))
    with pytest.raises(ValueError, match=f"accumulate is 2, must be 1: {message}"):
        train.make_train_step(loss, optax.sgd(0.1), accumulate=2)
