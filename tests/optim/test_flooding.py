"""`jaxlab.optim.flooding`: flooding in the optimizer: equal to flooding the loss, also over devices
and micro-batches."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import losses, optim, regularizers, train
from jaxlab import mesh as mesh_lib

RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 3)).astype(np.float32)
# Rows of very different loss, so that a mean over some of them is on the other side of the level.
X *= np.linspace(0.2, 1.6, 16, dtype=np.float32)[:, None]
Y = X @ np.array([1.5, -1.0, 2.0], np.float32)
START = {"w": np.array([0.3, -0.2, 0.1], np.float32), "b": np.zeros((), np.float32)}
LEVEL = 2.0


def batch_loss(params, x=X, y=Y):
    return jnp.mean((x @ params["w"] + params["b"] - y) ** 2)


def run(loss_fn, tx, value_fn=None, steps=40):
    """Values on the way and the end, of `steps` updates."""
    tx = optax.with_extra_args_support(tx)

    def step(carry, _):
        params, state = carry
        value = (value_fn or loss_fn)(params)
        updates, state = tx.update(jax.grad(loss_fn)(params), state, params, value=value)
        return (optax.apply_updates(params, updates), state), value

    return jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), None, length=steps))(START)


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.sgd(0.1),
        optax.sgd(0.1, momentum=0.9),
        optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.1)),
        optax.chain(optax.scale(0.1), optax.add_decayed_weights(0.01), optax.scale(-1.0)),
    ],
    ids=["sgd", "momentum", "clip, adam", "decay"],
)
def test_flooding_updates_is_flooding_the_loss(optimizer):
    (params, state), values = run(batch_loss, optax.chain(optim.flood_updates(LEVEL), optimizer))
    (expected, _), _ = run(lambda p: losses.flood(batch_loss(p), level=LEVEL), optimizer)
    chex.assert_trees_all_close(params, expected, rtol=1e-5, atol=1e-6)
    flooded = int((values < LEVEL).sum())
    assert 0 < flooded < 40
    assert (int(state[0].count), int(state[0].flooded_total)) == (40, flooded)
    assert bool(state[0].flooded) == bool(values[-1] < LEVEL)


def test_the_sign_on_both_sides_and_at_the_level():
    tx = optim.flood_updates(0.5)
    state = tx.init(START)
    for value, sign in ((0.6, 1), (0.5, 1), (0.4, -1)):
        updates, state = tx.update(START, state, value=jnp.float32(value))
        chex.assert_trees_all_equal(updates, jax.tree.map(lambda u, s=sign: s * u, START))


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("devices", [1, 8])
def test_the_sign_is_that_of_the_whole_batch(devices, accumulate):
    """In the training step: over 8 devices and micro-batches, as of one batch at once."""
    mesh = mesh_lib.make_mesh(jax.devices()[:devices])
    tx = optax.chain(optim.flood_updates(LEVEL), optax.sgd(0.1, momentum=0.9))
    loss_fn = lambda params, model_state, batch, *, key, step: (
        batch_loss(params, batch["x"], batch["y"]),
        (model_state, {}),
    )
    # A copy: the state is donated.
    init = lambda key: (jax.tree.map(jnp.array, START), {})
    state = train.create_state(init, tx, key=jax.random.key(0), mesh=mesh)
    step = train.make_train_step(loss_fn, tx, mesh=mesh, accumulate=accumulate)
    batch = mesh_lib.shard_batch(mesh, {"x": X, "y": Y})
    values = []
    for _ in range(15):
        state, metrics = step(state, batch)
        values.append(float(metrics["loss"]))  # the plain loss
    (expected, reference), plain = run(batch_loss, tx, steps=15)
    np.testing.assert_allclose(values, plain, rtol=1e-4)
    chex.assert_trees_all_close(jax.device_get(state.params), expected, rtol=1e-4, atol=1e-5)
    total = int(reference[0].flooded_total)
    assert int(state.opt_state[0].flooded_total) == total
    assert 0 < total < 15
    # The parts disagree with the whole, so a sign of a part would have shown.
    parts = [float(batch_loss(START, X[i::2], Y[i::2])) for i in range(2)]
    rows = [float(batch_loss(START, X[i : i + 2], Y[i : i + 2])) for i in range(0, 16, 2)]
    assert parts[0] != parts[1]
    assert min(rows) < LEVEL < max(rows)


def test_multi_steps_takes_the_value_it_is_given_last():
    """So the mean over the micro-batches belongs there."""
    tx = optax.MultiSteps(optax.chain(optim.flood_updates(LEVEL), optax.sgd(0.1)), 2)
    state, total, update = tx.init(START), 0.0, jax.jit(tx.update)
    for i in range(2):
        value, grads = jax.value_and_grad(batch_loss)(START, X[i::2], Y[i::2])
        total += value
        updates, state = update(grads, state, START, value=total / (i + 1))
    plain = optax.chain(optim.flood_updates(LEVEL), optax.sgd(0.1))
    value, grads = jax.value_and_grad(batch_loss)(START)
    expected, _ = plain.update(grads, plain.init(START), START, value=value)
    chex.assert_trees_all_close(updates, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "tx",
    [
        optax.chain(optim.flood_updates(0.0), optax.adam(0.01)),
        optim.alternating_rates(1e-3, 2e-4),
        optax.inject_hyperparams(optim.alternating_rates)(1e-3, ascent=lambda count: 2e-4),
    ],
    ids=["flood at 0", "alternating", "injected"],
)
@pytest.mark.parametrize("target", ["parabola", "rosenbrock"])
def test_they_find_minima(tx, target):
    if target == "parabola":
        start, end = jnp.array([-1.0, 10.0, 1.0]), jnp.array([1.0, -1.0, 1.0])
        loss = lambda x: jnp.sum((x - end) ** 2)
    else:
        start, end = jnp.zeros(2), jnp.ones(2)
        loss = lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
    tx = optax.with_extra_args_support(tx)

    def step(carry, _):
        x, state = carry
        value, grad = jax.value_and_grad(loss)(x)
        updates, state = tx.update(grad, state, x, value=value, unused=1.0)
        return (optax.apply_updates(x, updates), state), None

    end_of = jax.jit(lambda x: jax.lax.scan(step, (x, tx.init(x)), None, length=40000)[0][0])
    np.testing.assert_allclose(end_of(start), end, atol=0.02)


# --- Alternating rates ----------------------------------------------------------------------------


def test_a_pair_shrinks_a_quadratic_by_its_curvature():
    """Each coordinate by exactly 1 - e^2 h^2: sharp directions first."""
    h, e = jnp.array([0.5, 2.0, 8.0]), 0.1
    for ascent_first in (False, True):
        tx = optim.alternating_rates(e, e, ascent_first=ascent_first)
        x = jnp.ones(3)
        state = tx.init(x)
        for _ in range(2):
            updates, state = tx.update(h * x, state)
            x = x + updates
        np.testing.assert_allclose(x, 1 - e**2 * h**2, rtol=1e-5)


def test_the_order_of_the_rates():
    for ascent_first, expected in ((False, [-0.1, 0.05] * 2), (True, [0.05, -0.1] * 2)):
        tx = optim.alternating_rates(0.1, 0.05, ascent_first=ascent_first)
        state, seen = tx.init(jnp.zeros(())), []
        for _ in range(4):
            updates, state = jax.jit(tx.update)(jnp.ones(()), state)
            seen.append(float(updates))
        np.testing.assert_allclose(seen, expected, rtol=1e-6)


def test_a_pair_is_a_step_on_the_explicit_penalty():
    e1, e2 = 1e-2, 4e-3
    curvy = lambda p: jnp.mean(jnp.tanh(X @ p["w"] + p["b"] - Y) ** 2)
    (pair, _), _ = run(curvy, optim.alternating_rates(e1, e2), steps=2)
    penalized = regularizers.gradient_norm_penalty(curvy, e1 * e2 / (2 * (e1 - e2)))
    (once, _), _ = run(penalized, optax.sgd(e1 - e2), steps=1)
    moved = jnp.abs(once["w"] - START["w"]).max()
    chex.assert_trees_all_close(pair, once, atol=float(moved) * 1e-3)


# --- Errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optim.flood_updates(-0.1), "level is -0.1, must be at least 0"),
        (lambda: optim.flood_updates(np.nan), "level is nan, must be finite"),
        (lambda: optim.flood_updates(np.ones(3)), r"level has shape \(3,\), must be a scalar"),
        (
            lambda: optim.flood_updates(1.0).update(START, optim.flood_updates(1.0).init(START)),
            "value is None, flood_updates needs it",
        ),
        (
            lambda: optim.flood_updates(1.0).update(
                START, optim.flood_updates(1.0).init(START), value=jnp.ones(4)
            ),
            r"value has shape \(4,\), must be a scalar",
        ),
        (lambda: optim.alternating_rates(-0.1, 0.1), "descent is -0.1"),
        (lambda: optim.alternating_rates(0.1, np.inf), "ascent is inf"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
