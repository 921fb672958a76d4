"""`jaxlab.optim.penalties`: penalties as transformations: a step in closed form."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import optim, regularizers

RNG = np.random.default_rng(0)
PARAMS = {
    "w": RNG.normal(size=(3, 4)).astype(np.float32),
    "b": RNG.normal(size=4).astype(np.float32),
    "stack": RNG.normal(size=(2, 3, 3)).astype(np.float32),
}
ZEROS = jax.tree.map(np.zeros_like, PARAMS)
STACKED = {"w": False, "b": False, "stack": True}


def one_step(tx, params=PARAMS, updates=None):
    updates = jax.tree.map(jnp.zeros_like, params) if updates is None else updates
    updates, _ = jax.jit(tx.update)(updates, tx.init(params), params)
    return optax.apply_updates(params, updates)


def squares(w):
    return float(np.sum(np.float64(w) ** 2))


# --- The exact flow -------------------------------------------------------------------------------


@pytest.mark.parametrize("min_norm", [0.0, 0.5])
def test_a_step_of_the_flow_takes_off_squared_norm(min_norm):
    tx = optim.weissi_decay(2.0, learning_rate=0.3, min_norm=min_norm, stacked=STACKED)
    new = one_step(tx)
    for old_w, new_w in (
        (PARAMS["w"], new["w"]),
        (PARAMS["stack"][0], new["stack"][0]),
        (PARAMS["stack"][1], new["stack"][1]),
    ):
        np.testing.assert_allclose(
            squares(new_w), max(squares(old_w) - 1.2, min_norm**2), rtol=1e-5
        )
        cosine = np.sum(old_w * new_w) / np.sqrt(squares(old_w) * squares(new_w))
        np.testing.assert_allclose(cosine, 1, rtol=1e-5)  # the direction stays
    np.testing.assert_array_equal(new["b"], PARAMS["b"])


def test_the_flow_composes_and_never_flips_the_sign():
    steps = lambda s, n: [s / n] * n
    ends = []
    for n in (1, 2, 7):
        w = {"w": PARAMS["w"]}
        for s in steps(3.0, n):
            w = one_step(optim.weissi_decay(s, learning_rate=0.5), w)
        ends.append(w["w"])
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-5)
    np.testing.assert_allclose(ends[2], ends[0], rtol=1e-5)
    gone = one_step(optim.weissi_decay(1e4, learning_rate=1.0), {"w": PARAMS["w"]})
    np.testing.assert_array_equal(gone["w"], np.zeros((3, 4)))
    # The explicit step flips it, and makes a small matrix larger.
    small = {"w": 0.1 * PARAMS["w"] / np.sqrt(squares(PARAMS["w"]))}
    flipped = one_step(optax.chain(optim.add_weissi(1.0), optax.scale(-0.1)), small)["w"]
    np.testing.assert_allclose(flipped, small["w"] * (1 - 0.1 / 0.01), rtol=1e-4)


def test_the_norm_table():
    """From norm 1: explicit .970, flow .9695 for s = .03; .70 and .632 for .3; .4 and 0 for .6."""
    w = jnp.ones((1, 1))
    for s, explicit, flow in ((0.03, 0.97, 0.96954), (0.3, 0.7, 0.63246), (0.6, 0.4, 0.0)):
        chain = optax.chain(optim.add_weissi(s), optax.scale(-1.0))
        np.testing.assert_allclose(one_step(chain, w), explicit, atol=1e-5)
        np.testing.assert_allclose(
            one_step(optim.weissi_decay(s, learning_rate=1.0), w), flow, atol=1e-5
        )


def test_a_tiny_strength_still_acts():
    w = jnp.full((1, 1), 1.0, jnp.float32)
    tx = optim.weissi_decay(1e-9, learning_rate=1.0)
    update, _ = tx.update(jnp.zeros((1, 1)), tx.init(w), w)
    np.testing.assert_allclose(update, -1e-9, rtol=1e-4)


def test_a_zero_matrix_stays_zero_and_the_floor_lifts_others():
    tx = optim.weissi_decay(1.0, learning_rate=1.0, min_norm=0.5)
    zero = jnp.zeros((2, 2))
    np.testing.assert_array_equal(one_step(tx, zero), zero)
    np.testing.assert_allclose(squares(one_step(tx, jnp.full((2, 2), 0.01))), 0.25, rtol=1e-5)


def test_what_is_taken_off_follows_the_schedules():
    schedule = optax.piecewise_constant_schedule(1.0, {1: 0.1})
    for tx in (
        optim.weissi_decay(0.5, learning_rate=schedule),
        optim.weissi_decay(schedule, learning_rate=0.5),
    ):
        params = {"w": jnp.asarray(PARAMS["w"])}
        state, norms = tx.init(params), [squares(params["w"])]
        for _ in range(3):
            updates, state = jax.jit(tx.update)({"w": jnp.zeros((3, 4))}, state, params)
            params = optax.apply_updates(params, updates)
            norms.append(squares(params["w"]))
        np.testing.assert_allclose(np.diff(norms), [-1.0, -0.1, -0.1], rtol=1e-3)


# --- Coupled and decoupled ------------------------------------------------------------------------


def test_coupled_is_the_penalty_in_the_loss():
    loss = lambda p: jnp.sum(jnp.tanh(p["w"]) ** 2) + jnp.sum(p["b"] ** 4) + jnp.sum(p["stack"])
    weissi = lambda p: regularizers.weissi(p, log_norm=0.3, direction=0.2, stacked=STACKED)
    both = jax.jit(jax.grad(lambda p: loss(p) + weissi(p)))(PARAMS)
    grads = jax.jit(jax.grad(loss))(PARAMS)
    for optimizer in (optax.sgd(0.1), optax.adam(0.1)):
        inside = one_step(optimizer, updates=both)
        for term in (
            optim.add_weissi(0.3, 0.2, stacked=STACKED),
            optim.add_penalty(weissi, 1.0),
        ):
            chain = one_step(optax.chain(term, optimizer), updates=grads)
            chex.assert_trees_all_close(chain, inside, atol=1e-5)


def test_l2_after_adam_is_adamw():
    grads = jax.tree.map(lambda p: p**2, PARAMS)
    ours = optax.chain(
        optax.scale_by_adam(),
        optim.add_penalty(regularizers.l2, 0.1),
        optax.scale_by_learning_rate(0.01),
    )
    chex.assert_trees_all_close(
        one_step(ours, updates=grads),
        one_step(optax.adamw(0.01, weight_decay=0.1), updates=grads),
        atol=1e-6,
    )


def test_adamw_weissi_is_adam_and_the_flow():
    grads = jax.tree.map(lambda p: p**2 - 1, PARAMS)
    adam = one_step(optax.adam(0.01), updates=grads)
    chex.assert_trees_all_equal(
        one_step(optim.adamw_weissi(0.01, log_norm=0.0), updates=grads)["b"], adam["b"]
    )
    chex.assert_trees_all_close(
        one_step(optim.adamw_weissi(0.01, log_norm=0.0), updates=grads), adam, atol=1e-7
    )
    new = one_step(optim.adamw_weissi(0.01, log_norm=30.0, direction=0.5), updates=grads)
    w = PARAMS["w"]
    shrink = np.sqrt(1 - 0.6 / squares(w)) * w - w
    tangent = regularizers.weissi_grad(w, log_norm=0.0, direction=0.5)
    np.testing.assert_allclose(new["w"], adam["w"] + shrink - 0.01 * tangent, atol=1e-6)
    np.testing.assert_array_equal(new["b"], adam["b"])


def test_masks():
    grads = ZEROS
    only_b = one_step(optim.add_penalty(regularizers.l2, 1.0, optim.named("b")), updates=grads)
    np.testing.assert_array_equal(only_b["w"], PARAMS["w"])
    np.testing.assert_allclose(only_b["b"], 2 * PARAMS["b"])
    for mask in ({"w": True, "b": False, "stack": False}, optim.named("w")):
        for tx in (
            optim.add_weissi(0.5, mask=mask),
            optim.weissi_decay(0.5, learning_rate=1.0, mask=mask),
            optax.masked(optim.add_weissi(0.5), {"w": True, "b": False, "stack": False}),
        ):
            new = one_step(tx)
            np.testing.assert_array_equal(new["stack"], PARAMS["stack"])
            np.testing.assert_array_equal(new["b"], PARAMS["b"])
            assert np.abs(new["w"] - PARAMS["w"]).max() > 0.01


def test_stacked_layers_are_like_separate_ones():
    stack = PARAMS["stack"]
    for make in (
        lambda **kw: optim.add_weissi(0.5, 0.1, **kw),
        lambda **kw: optim.weissi_decay(0.5, learning_rate=0.5, **kw),
        lambda **kw: optim.adamw_weissi(0.1, log_norm=0.5, direction=0.1, **kw),
    ):
        together = one_step(make(stacked=True), {"w": stack})["w"]
        apart = one_step(make(), [stack[0], stack[1]])
        np.testing.assert_allclose(together, np.stack(apart), rtol=1e-5, atol=1e-6)


# --- With optimizers ------------------------------------------------------------------------------

RATE = optax.cosine_decay_schedule(0.1, 4000)  # at 0.1 to the end, Adam jumps about the minimum
TRANSFORMATIONS = {
    "add_penalty": lambda **kw: optim.add_penalty(regularizers.l2, 1e-5),
    "add_penalty, schedule": lambda **kw: optim.add_penalty(
        regularizers.l2, optax.constant_schedule(1e-5)
    ),
    "add_weissi": lambda **kw: optim.add_weissi(1e-5, 1e-5, **kw),
    "weissi_decay": lambda **kw: optim.weissi_decay(1e-5, learning_rate=0.1, **kw),
}
OPTIMIZERS = {
    **{
        name: lambda make=make: optax.chain(make(), optax.adam(RATE))
        for name, make in TRANSFORMATIONS.items()
        if name != "weissi_decay"
    },
    "weissi_decay": lambda: optax.chain(optax.adam(RATE), TRANSFORMATIONS["weissi_decay"]()),
    "adamw_weissi": lambda: optim.adamw_weissi(RATE, log_norm=1e-5, direction=1e-5),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("target", ["parabola", "rosenbrock"])
def test_they_find_minima(name, target):
    if target == "parabola":
        start, end = jnp.array([[-1.0, 10.0, 1.0]]), jnp.array([[1.0, -1.0, 1.0]])
        loss = lambda x: jnp.sum((x - end) ** 2)
    else:
        start, end = jnp.zeros((1, 2)), jnp.ones((1, 2))
        loss = lambda x: jnp.sum(100 * (x[:, 1] - x[:, 0] ** 2) ** 2 + (1 - x[:, 0]) ** 2)
    tx = optax.with_extra_args_support(OPTIMIZERS[name]())

    def step(carry, _):
        x, state = carry
        value, grad = jax.value_and_grad(loss)(x)
        # Extra arguments that nobody asked for do no harm.
        updates, state = tx.update(grad, state, x, value=value, unused=1.0)
        return (optax.apply_updates(x, updates), state), None

    run = jax.jit(lambda x: jax.lax.scan(step, (x, tx.init(x)), None, length=4000)[0][0])
    np.testing.assert_allclose(run(start), end, atol=0.03)


# --- Errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optim.add_penalty(regularizers.l2, -1.0), "strength is -1.0"),
        (lambda: optim.add_weissi(-1.0), "log_norm is -1.0"),
        (lambda: optim.add_weissi(1.0, -1.0), "direction is -1.0"),
        (lambda: optim.add_weissi(np.ones(2)), r"log_norm has shape \(2,\), must be a scalar"),
        (lambda: optim.add_weissi(1.0, eps=0.0), r"eps is 0\.0"),
        (lambda: optim.weissi_decay(-1.0, learning_rate=1.0), "strength is -1.0"),
        (lambda: optim.weissi_decay(np.nan, learning_rate=1.0), "strength is nan"),
        (lambda: optim.weissi_decay(1.0, learning_rate=-1.0), "learning_rate is -1.0"),
        (lambda: optim.weissi_decay(1.0, learning_rate=1.0, min_norm=-1), "min_norm is -1"),
        (lambda: optim.adamw_weissi(0.1, log_norm=-1.0), "strength is -1.0"),
        (
            lambda: optim.add_penalty(lambda p: p, 1.0).update(
                jnp.ones(2), optax.EmptyState(), jnp.ones(2)
            ),
            r"penalty returned shape \(2,\), must return a scalar",
        ),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_params_are_needed(name):
    tx = TRANSFORMATIONS[name]()
    with pytest.raises(ValueError, match=r"params is None, .* needs them"):
        tx.update(PARAMS, tx.init(PARAMS))


@pytest.mark.parametrize(
    "make",
    [
        lambda mask: optim.add_penalty(regularizers.l2, 1.0, mask),
        lambda mask: optim.add_weissi(1.0, mask=mask),
        lambda mask: optim.weissi_decay(1.0, learning_rate=1.0, mask=mask),
        lambda mask: optim.adamw_weissi(1.0, log_norm=1.0, mask=mask),
    ],
)
def test_masks_that_select_nothing_or_do_not_fit(make):
    with pytest.raises(ValueError, match="mask selects no leaf of params"):
        make(optim.named("kernle")).init(PARAMS)
    with pytest.raises(ValueError, match="mask must be a tree of bools that fits params"):
        make({"w": True}).init(PARAMS)


def test_biases_alone_have_no_matrix():
    with pytest.raises(ValueError, match="no leaf with two or more axes"):
        optim.add_weissi(1.0).init({"b": jnp.ones(3)})
