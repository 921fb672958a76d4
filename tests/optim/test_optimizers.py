"""`jaxlab.optim.optimizers`: each name and each number adds what it says."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from three_classes import BATCH, COUNTS, MODEL

from jaxlab import losses, optim, regularizers, train
from jaxlab.errors import InputError
from jaxlab.models import classifiers
from jaxlab.tasks import classification


@pytest.fixture(scope="module")
def params():
    return classifiers.init_variables(MODEL, jax.random.key(0), BATCH["x"])[0]


def step_with(params, name, **numbers):
    penalties = classification.PENALTIES
    tx = optim.make_optimizer(
        name,
        learning_rate=0.1,
        num_steps=10,
        schedule="constant",
        penalties=penalties,
        **numbers,
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
    tx = optim.make_optimizer("momentum", learning_rate=0.1, num_steps=2, momentum=0.5)
    state = tx.init(jnp.zeros(1))
    first, state = tx.update(jnp.ones(1), state, jnp.zeros(1))
    second, _ = tx.update(jnp.ones(1), state, jnp.zeros(1))
    np.testing.assert_allclose([first[0], second[0]], [-0.1, -0.05 * 1.5], rtol=1e-6)


def test_sharpness_takes_the_gradient_at_the_worst_point_nearby(params):
    """Through the train step, which offers the gradient elsewhere."""
    loss = classification.make_loss(MODEL, class_counts=COUNTS)
    tx = optim.make_optimizer(
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
    make = functools.partial(optim.make_optimizer, learning_rate=0.1, num_steps=1)
    with pytest.raises(ValueError, match="optimizer is 'lion'"):
        make("lion")
    with pytest.raises(ValueError, match="schedule is 'exponential'"):
        make("sgd", schedule="exponential")
    with pytest.raises(ValueError, match="objective is 'hinge'"):
        losses.make_objective("hinge", class_counts=COUNTS)
    with pytest.raises(ValueError, match=r"label_smoothing is 0\.1, objective 'focal'"):
        losses.make_objective("focal", class_counts=COUNTS, label_smoothing=0.1)
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
    ({"skip_factor": 0.5}, "skip_factor is 0.5, must be above 1"),
    ({"name": "momentum", "nesterov": "no"}, "nesterov is 'no', must be one of False, True"),
    ({"schedule": "step", "drop_at": 0.5}, "drop_at is 0.5, must hold shares"),
    ({"name": "sgd", "eps": 1e-3}, "set eps to None"),
    ({"name": "sgd", "momentum": 0.5}, "momentum is 0.5, optimizer 'sgd' takes no numbers; "),
    *(
        ({name: value}, f"{name} is {value}, must be")
        for name in ("l2", "weissi", "weissi_direction", "path", "spectral", "weight_decay")
        for value in (-1.0, float("nan"))
    ),
    ({"weissi_decay": -1.0}, "weissi_decay is -1.0"),
    ({"sharpness": -0.1}, "sharpness is -0.1"),
    ({"flooding": -0.1}, "flooding is -0.1"),
    ({"skip_factor": 1.0}, "factor is 1.0, must be above 1"),
    ({"nesterov": True, "name": "adam"}, "nesterov is True, optimizer 'adam' takes only b1, b2"),
    ({"l3": 0.1}, "optimizer has 'l3', must be one of: momentum, nesterov, b1"),
    ({"final_learning_rate": 0.1, "schedule": "constant"}, "schedule 'constant' only warmup"),
    ({"name": "adamw_weissi"}, "log_norm is None, optimizer 'adamw_weissi' needs it"),
    ({"name": "adamw_weissi", "log_norm": -1.0}, "log_norm is -1.0"),
    ({"name": "adamw_weissi", "log_norm": 1.0, "weight_decay": 0.1}, "set weight_decay to None"),
    ({"name": "adamw", "weight_decay": -1.0}, "weight_decay is -1.0"),
    ({"name": "adam", "b1": 1.0}, "b1 is 1.0, must be below"),
    (
        {"weissi_mask": "query_key"},
        "weissi_mask is 'query_key', but nothing is penalised by WEISSI",
    ),
    ({"weissi_mask": "all", "l2": 0.1}, "weissi_mask is 'all', but nothing is penalised by WEISSI"),
    ({"weissi": 1.0, "weissi_mask": "biases"}, "weissi_mask is 'biases', must be one of all, mat"),
    ({"weissi_decay": 1.0, "weissi_min_norm": -1.0}, "weissi_min_norm is -1.0"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_OPTIMIZERS)
def test_numbers_of_an_optimizer_are_in_range(arguments, message):
    good = {"name": "momentum", "learning_rate": 0.1, "num_steps": 1}
    with pytest.raises(InputError, match=message):
        optim.make_optimizer(**(good | arguments), penalties=classification.PENALTIES)


def test_numbers_that_are_traced_still_work(params):
    @jax.jit
    def norm(rate, l2):
        tx = optim.make_optimizer("momentum", learning_rate=rate, num_steps=3, l2=l2)
        grads = jax.tree.map(jnp.ones_like, params)
        return optax.tree.norm(tx.update(grads, tx.init(params), params)[0])

    assert norm(0.2, 0.0) == pytest.approx(2 * float(norm(0.1, 0.0)), rel=1e-6)


def moves(steps, **arguments):
    """What `steps` equal gradients of 1 make of a matrix of 2 by 3 ones, each step's update."""
    tx = optim.make_optimizer(**({"name": "sgd", "learning_rate": 0.5} | arguments))
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
    penalties = classification.PENALTIES
    make = functools.partial(optim.make_optimizer, "sgd", num_steps=1, penalties=penalties)
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


def steps(tx, params, num=3, **extra):
    """The updates of a few steps by gradients that are known."""
    state, found = tx.init(params), []
    for t in range(num):
        grads = jax.tree.map(lambda p, t=t: jnp.cos(3 * p + t), params)
        updates, state = tx.update(grads, state, params, **extra)
        params = optax.apply_updates(params, updates)
        found.append(params)
    return found


def assert_same(ours, want):
    """To the digit."""
    jax.tree.map(np.testing.assert_array_equal, ours, want)


def test_the_recipe_of_nvae_is_the_chain_that_it_was(params):
    ours = optim.make_optimizer(
        "adamax",
        learning_rate=1e-2,
        num_steps=20,
        schedule="cosine",
        warmup_steps=2,
        final_learning_rate=1e-4,
        eps=1e-3,
        l2=0.1,
        decay_mask="all",
        skip_factor=10.0,
    )
    rate = optax.warmup_cosine_decay_schedule(0.0, 1e-2, 2, 20, 1e-4)
    want = optax.chain(
        optax.add_decayed_weights(0.1),
        optax.scale_by_adamax(eps=1e-3),
        optax.scale_by_learning_rate(rate),
    )
    want = optim.skip_large_updates(want, factor=10.0)
    assert_same(steps(ours, params), steps(want, params))


def test_the_recipe_of_bert_is_the_adamw_that_it_was(params):
    trained = jax.tree.map(lambda p: p.ndim == 2, params)
    numbers = {"learning_rate": 0.1, "num_steps": 5, "schedule": "linear", "warmup": 0.4}
    ours = optim.make_optimizer("adamw", weight_decay=0.3, trainable=trained, **numbers)
    rate = optim.warmup_linear_decay(0.1, 5, warmup=0.4)
    want = optax.adamw(rate, weight_decay=0.3, mask=optim.matrices_only)
    assert_same(steps(ours, params), steps(optim.train_only(want, trained), params))


def test_adamw_weissi_is_the_function_of_that_name(params):
    ours = optim.make_optimizer(
        "adamw_weissi",
        learning_rate=0.1,
        num_steps=5,
        schedule="constant",
        log_norm=0.2,
        direction=0.01,
        min_norm=0.5,
        b1=0.8,
    )
    want = optim.adamw_weissi(0.1, 0.8, log_norm=0.2, direction=0.01, min_norm=0.5)
    for a, b in zip(steps(ours, params), steps(want, params), strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), a, b)


def test_masks_say_which_leaves_are_penalised(params):
    plain = step_with(params, "sgd")
    both = step_with(params, "sgd", l2=0.05, decay_mask="all", weissi=0.1)
    for path, p in jax.tree_util.tree_leaves_with_path(params):
        at = lambda tree, path=path: np.asarray(
            dict(jax.tree_util.tree_leaves_with_path(tree))[path]
        )
        want = at(plain) - 0.1 * 0.05 * p
        if p.ndim == 2:
            want -= 0.1 * 0.1 * p / jnp.sum(p**2)
        np.testing.assert_allclose(at(both), want, atol=1e-6)


def test_stacked_layers_have_a_norm_each():
    params = {"enc": {"kernel": jnp.stack([jnp.eye(2), 2 * jnp.eye(2)]), "bias": jnp.ones((2, 2))}}
    tx = optim.make_optimizer(
        "sgd", learning_rate=1.0, num_steps=1, schedule="constant", weissi=1.0, l2=1.0, stacked=True
    )
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = tx.update(zero, tx.init(params), params)
    want = [-(1 + 1 / 2) * np.eye(2), -(1 + 1 / 8) * 2 * np.eye(2)]
    np.testing.assert_allclose(updates["enc"]["kernel"], want, rtol=1e-6)
    assert not updates["enc"]["bias"].any()


def test_flooding_turns_the_gradient_and_not_the_penalties(params):
    numbers = {"learning_rate": 0.1, "num_steps": 9, "schedule": "constant", "l2": 0.5}
    tx = optim.make_optimizer("sgd", flooding=1.0, **numbers)
    grads = jax.tree.map(jnp.ones_like, params)
    below = tx.update(grads, tx.init(params), params, value=jnp.float32(0.5))[0]
    above = tx.update(grads, tx.init(params), params, value=jnp.float32(1.5))[0]
    jax.tree.map(lambda b, a: np.testing.assert_allclose(b - a, 0.2, rtol=1e-5), below, above)


def test_frozen_leaves_stay_under_every_guard(params):
    frozen = {**jax.tree.map(lambda _: True, params), "head": {"kernel": False, "bias": False}}
    loss = classification.make_loss(MODEL, class_counts=COUNTS)
    tx = optim.make_optimizer(
        "adam",
        learning_rate=0.1,
        num_steps=3,
        trainable=frozen,
        flooding=9.0,
        sharpness=0.1,
        skip_factor=10.0,
        weissi_decay=0.1,
    )
    state = train.create_state(
        lambda key: (jax.tree.map(jnp.copy, params), {}), tx, key=jax.random.key(0), ema=False
    )
    state, metrics = train.make_train_step(loss, tx)(state, BATCH)
    assert metrics["flooded"] == 1
    assert metrics["skipped"] == 0
    assert_same(state.params["head"], params["head"])
    assert (state.params["layer_0"]["kernel"] != params["layer_0"]["kernel"]).all()


def test_only_one_floods():
    flood = optim.flooded_by_optimizer
    objective = {"flooding": "batch", "level": 0.5, "gradient_penalty": 0.1}
    assert flood(objective, {}) == (objective, {})
    for objective, optimizer in (
        ({"flooding": "example", "level": 0.5}, {"flooding": 0.5}),
        ({"gradient_penalty": 0.5}, {"flooding": 0.5}),
    ):
        with pytest.raises(InputError, match=r"flooding of the optimizer is 0\.5"):
            flood(objective, optimizer)


def test_one_method_more_is_a_function_and_a_row(monkeypatch):
    def sign(given, /, *, sharp: float = 1.0):
        return given.finish(optax.stateless(lambda g, p: jax.tree.map(jnp.sign, g)))

    monkeypatch.setitem(optim.OPTIMIZERS, "sign", sign)
    tx = optim.make_optimizer("sign", learning_rate=0.5, num_steps=1, schedule="constant", l2=1.0)
    params = jnp.full((1, 1), 2.0)
    assert tx.update(jnp.zeros((1, 1)), tx.init(params), params)[0] == -0.5
    with pytest.raises(InputError, match=r"must be one of: momentum, .*sharp, warmup"):
        optim.make_optimizer("sign", learning_rate=0.5, num_steps=1, blunt=1.0)


@pytest.mark.parametrize(
    "section",
    [
        {"name": "sgd", "l2": 0.1, "decay_mask": "query_key"},
        {"name": "adamw", "decay_mask": "feed_forward+query_key"},
        {"name": "sgd", "weight_decay": 0.1, "decay_mask": "convolutions"},
        {"name": "sgd", "weissi": 0.1, "weissi_mask": "query_key"},
    ],
)
def test_a_mask_that_selects_nothing_is_an_error(section):
    tx = optim.make_optimizer(**section, learning_rate=0.1, num_steps=5)
    which = "weissi_mask" if "weissi_mask" in section else "decay_mask"
    with pytest.raises(InputError, match=f"{which} is '{re.escape(section[which])}', must select"):
        tx.init({"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)})
