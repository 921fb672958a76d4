"""All transformations of `jaxlab.optim`: what optax's own can do, and inside those of optax."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import optim, regularizers
from jaxlab.errors import InputError

PARAMS = {"w": np.array([[1.0, -2.0], [0.5, 3.0]], np.float32), "b": np.array([0.5, -1], "f")}
GRADS = {"w": np.array([[0.5, 1.0], [-2.0, 0.25]], np.float32), "b": np.array([1.0, 2.0], "f")}
STEPS = 3
LOSSES = (0.75, 0.3, 0.35)  # above the level of flooding, and below it


@dataclasses.dataclass(frozen=True)
class Case:
    """A transformation of the numbers, those that may be schedules, and what it is not made for."""

    make: Callable[..., Any]
    numbers: dict[str, float]
    schedules: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    refuses: tuple[str, ...] = ()


def optimizer(learning_rate, l2, weissi, weissi_decay):
    return optim.make_optimizer(
        "adamw", learning_rate=learning_rate, num_steps=9, schedule="constant", weight_decay=0.1,
        l2=l2, weissi=weissi, weissi_decay=weissi_decay, flooding=0.5, skip_factor=9.0,
    )  # fmt: skip


CASES = {
    "add_penalty": Case(
        functools.partial(optim.add_penalty, regularizers.l2), {"strength": 0.3}, ("strength",)
    ),
    "add_weissi": Case(
        optim.add_weissi, {"log_norm": 0.3, "direction": 0.2}, ("log_norm", "direction")
    ),
    "weissi_decay": Case(
        optim.weissi_decay,
        {"strength": 0.3, "learning_rate": 0.5, "min_norm": 0.1},
        ("strength", "learning_rate"),
    ),
    "adamw_weissi": Case(
        optim.adamw_weissi,
        {"learning_rate": 0.1, "log_norm": 0.3, "direction": 0.2},
        ("learning_rate", "log_norm", "direction"),
        ("nesterov", "stacked", "mask", "mu_dtype"),
    ),
    "flood_updates": Case(optim.flood_updates, {"level": 0.5}, ("level",)),
    "alternating_rates": Case(optim.alternating_rates, {"descent": 0.2, "ascent": 0.1}),
    "skip_large_updates": Case(
        lambda rate: optim.skip_large_updates(optax.adam(rate), warmup_steps=1), {"rate": 0.1}
    ),
    "sharpness_aware": Case(
        lambda radius: optim.sharpness_aware(optax.sgd(0.1), radius),
        {"radius": 0.5},
        refuses=("masked", "by a function", "partition", "MultiSteps"),
    ),
    "train_only": Case(
        lambda rate: optim.train_only(optax.adam(rate), regularizers.matrices_only), {"rate": 0.1}
    ),
    "make_optimizer": Case(
        optimizer, {"learning_rate": 0.1, "l2": 0.1, "weissi": 0.2, "weissi_decay": 0.3}
    ),
}


def elsewhere(params, _):
    """Gradients at another point, as `sharpness_aware` asks for them; none where it has None."""
    return jax.tree.map(lambda p: p * p, params)


def steps(tx, grads, params, init=None, every=1):
    """Updates of a few steps on gradients that grow."""
    tx, found = optax.with_extra_args_support(tx), []
    state = tx.init(params if init is None else init)
    for t in range(STEPS):
        for part in range(every):  # of micro-batches, whose mean is that of the step
            scale = (1 + t) * (1.0 if every == 1 else 0.5 + part)
            now = jax.tree.map(lambda g, s=scale: (s * g).astype(g.dtype), grads)
            extra = {"value": jnp.float32(LOSSES[t])} | (
                {"grad_fn": elsewhere} if every == 1 else {}
            )
            updates, state = tx.update(now, state, params, **extra)
        found.append(updates)
    return found


def halving(value):
    return lambda count: value * 0.5**count


def contexts(case):
    """Name -> function of gradients and parameters to what is found and what is wanted."""
    tx = case.make(**case.numbers)
    multi = optax.MultiSteps(tx, 2)
    static = {"static_args": case.static} if case.static else {}
    inject = optax.inject_hyperparams(case.make, **static)
    some = {"w": True, "b": False}
    labels = {"w": "some", "b": "rest"}
    only = lambda tree: {"w": tree["w"]}
    with_none = lambda tree: {**tree, "none": None}
    half = lambda tree: jax.tree.map(lambda x: x.astype(jnp.bfloat16), tree)
    alone = lambda g, p: [
        {**u, "b": (1 + t) * g["b"]} for t, u in enumerate(steps(tx, only(g), only(p)))
    ]
    parts = {"some": tx, "rest": optax.identity(), "unused": tx}
    every = {
        "masked": lambda g, p: (steps(optax.masked(tx, some), g, p), alone(g, p)),
        "by a function": lambda g, p: (
            steps(optax.masked(tx, regularizers.matrices_only), g, p),
            alone(g, p),
        ),
        "partition": lambda g, p: (steps(optax.partition(parts, labels), g, p), alone(g, p)),
        "MultiSteps": lambda g, p: (
            steps(optax.GradientTransformationExtraArgs(multi.init, multi.update), g, p, every=2),
            steps(tx, g, p),
        ),
        "inject_hyperparams": lambda g, p: (
            steps(inject(**case.numbers), g, p),
            steps(tx, g, p),
        ),
        "None in the tree": lambda g, p: (
            steps(tx, with_none(g), with_none(p)),
            [with_none(u) for u in steps(tx, g, p)],
        ),
        "None for what is frozen": lambda g, p: (
            [only(u) for u in steps(tx, {**g, "b": None}, p, init={**p, "b": None})],
            steps(tx, only(g), only(p)),
        ),
        "bfloat16": lambda g, p: (
            steps(tx, half(g), half(p)),
            steps(tx, g, p),
        ),
        "jit": lambda g, p: (steps(tx, g, p),) * 2,
    }
    for name in case.schedules:
        numbers = {**case.numbers, name: halving(case.numbers[name])}
        every[f"{name} as a schedule"] = lambda g, p, numbers=numbers: (
            steps(case.make(**numbers), g, p),
            steps(inject(**numbers), g, p),
        )
    return {name: make for name, make in every.items() if name not in case.refuses}


ALL = [(name, context) for name, case in CASES.items() for context in contexts(case)]


@functools.cache
def results(name):
    """All contexts of a transformation, compiled as one program."""
    return jax.jit(lambda g, p: {k: f(g, p) for k, f in contexts(CASES[name]).items()})(
        GRADS, PARAMS
    )


@pytest.fixture(scope="module", autouse=True)
def forget():
    yield
    results.cache_clear()


@pytest.mark.parametrize(("name", "context"), ALL)
def test_in_context(name, context):
    found, want = results(name)[context]
    if context == "bfloat16":
        chex.assert_trees_all_equal_dtypes(found, [jax.tree.map(jnp.bfloat16, GRADS)] * STEPS)
        chex.assert_trees_all_close(
            jax.tree.map(lambda x: x.astype(jnp.float32), found), want, rtol=0.03, atol=0.02
        )
        return
    if context == "jit":
        want = steps(CASES[name].make(**CASES[name].numbers), GRADS, PARAMS)
    chex.assert_trees_all_close(found, want, rtol=1e-5, atol=1e-6)
    if context.endswith("schedule"):
        plain = results(name)["jit"][0]
        chex.assert_trees_all_close(found[0], plain[0], rtol=1e-6)
        moved = [np.abs(a["w"] - b["w"]).max() > 1e-3 for a, b in zip(found, plain, strict=True)]
        # A level that falls below the loss turns nothing around.
        assert moved == [False, True, True]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", CASES)
def test_dtypes_and_shapes_of_updates_and_states_stay(name, dtype):
    case = CASES[name]
    plain = lambda tx: (tx, tx.init(params))
    params = jax.tree.map(lambda p: jnp.asarray(p, dtype), PARAMS)
    schedules = {k: halving(case.numbers[k]) for k in case.schedules}
    for numbers in (case.numbers, {**case.numbers, **schedules}):
        tx, state = plain(optax.with_extra_args_support(case.make(**numbers)))
        update = lambda g, s, p, tx=tx: tx.update(g, s, p, value=jnp.float32(1), grad_fn=elsewhere)
        updates, new = jax.eval_shape(update, params, state, params)
        chex.assert_trees_all_equal_shapes_and_dtypes(updates, params)
        chex.assert_trees_all_equal_shapes_and_dtypes(new, jax.eval_shape(lambda s: s, state))
        weak = [x.weak_type for x in jax.tree.leaves(new)]
        assert not any(weak)  # or the second step would compile again


@pytest.mark.parametrize("name", CASES)
def test_trees_without_leaves(name):
    tx = optax.with_extra_args_support(CASES[name].make(**CASES[name].numbers))
    for empty in ({}, {"w": None}):
        updates, _ = tx.update(empty, tx.init(empty), empty, value=1.0, grad_fn=elsewhere)
        assert updates == empty
    # What finds the parameters in a state starts from such a tree.
    state = tx.init(PARAMS)
    chex.assert_trees_all_equal(optax.tree.map_params(tx, lambda x: x, state), state)


@pytest.mark.parametrize("name", CASES)
def test_leaves_may_be_plain_numbers(name):
    case = CASES[name]
    everything = {"mask": True} if "weissi" in name else {}
    tx = optax.with_extra_args_support(case.make(**case.numbers, **everything))
    found, want = (
        tx.update(tree, tx.init(tree), tree, value=0.25, grad_fn=elsewhere)[0]
        for tree in ({"w": PARAMS["w"], "s": 3.0}, {"w": PARAMS["w"], "s": np.float32(3.0)})
    )
    chex.assert_trees_all_close(found, want, rtol=1e-6)


def test_states_hold_a_count_only_for_schedules():
    """Checkpoints of runs with plain numbers depend on it."""
    half = halving(0.5)
    for number, schedule in (
        (optim.add_weissi(0.5, 0.5), optim.add_weissi(0.5, half)),
        (optim.add_penalty(regularizers.l2, 0.5), optim.add_penalty(regularizers.l2, half)),
        (
            optim.weissi_decay(0.5, learning_rate=0.5),
            optim.weissi_decay(half, learning_rate=half),
        ),
    ):
        assert number.init(PARAMS) == optax.EmptyState()
        assert jax.tree.leaves(schedule.init(PARAMS)) == [0]


def test_a_schedule_that_turns_negative_is_an_error_where_it_is_seen():
    tx = optim.add_weissi(lambda count: -1.0)
    with pytest.raises(InputError, match=r"log_norm is -1\.0, must be at least 0"):
        tx.update(GRADS, tx.init(PARAMS), PARAMS)
