"""`jaxlab.optim.skipping`: large and broken updates are skipped."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import optim


def feed(tx, norms, state=None):
    """Runs gradients of these norms through `tx`; returns which were skipped, and the state."""
    state = tx.init(jnp.zeros(2)) if state is None else state
    update = jax.jit(tx.update)
    skipped = []
    for norm in norms:
        _, state = update(jnp.array([norm, 0.0]), state)
        skipped.append(bool(state.skipped))
    return skipped, state


def test_the_rule_against_numpy():
    factor, decay, warmup = 4.0, 0.9, 5
    norms = np.random.default_rng(0).lognormal(sigma=1.2, size=200)
    skipped, _ = feed(
        optim.skip_large_updates(optax.identity(), factor=factor, decay=decay, warmup_steps=warmup),
        norms,
    )
    mean, expected = 0.0, []
    for n, norm in enumerate(norms):
        limit = mean + np.log(factor)
        expected.append(bool(n >= warmup and np.log(norm) > limit))
        seen = min(np.log(norm), limit) if n >= warmup else np.log(norm)
        mean += max(1 - decay, 1 / (1 + n)) * (seen - mean)
    assert skipped == expected
    assert 0 < sum(expected) < 100


def test_nothing_but_non_finite_is_skipped_in_the_warm_up():
    tx = optim.skip_large_updates(optax.sgd(1.0), factor=2.0, warmup_steps=4)
    skipped, state = feed(tx, [1.0, 1e9, np.nan, 1.0, np.inf, 1.0, 1e9])
    assert skipped == [False, False, True, False, True, False, True]
    assert int(state.count) == 5
    assert int(state.skipped_total) == 3


def test_a_lasting_jump_is_accepted_after_a_while():
    tx = optim.skip_large_updates(optax.sgd(1.0), factor=10.0, decay=0.9, warmup_steps=10)
    skipped, state = feed(tx, [1.0] * 50 + [1e6] * 100)
    rows = skipped[50:]
    assert rows[0]
    first = rows.index(False)
    assert not any(rows[first:])
    assert first < 60
    assert int(state.skipped_in_a_row) == 0


def test_one_outlier_hardly_moves_the_limit():
    tx = optim.skip_large_updates(optax.sgd(1.0), factor=10.0, warmup_steps=10)
    skipped, _ = feed(tx, [1.0] * 200 + [1e30, 11.0, 1.0])
    assert skipped[200:] == [True, True, False]


def test_gradients_of_zero():
    tx = optim.skip_large_updates(optax.sgd(1.0), warmup_steps=2)
    skipped, state = feed(tx, [0.0] * 5)
    assert not any(skipped)
    chex.assert_tree_all_finite(state)


@pytest.mark.parametrize("where", ["before", "within", "after"])
def test_gradients_of_zero_do_not_move_the_limit(where):
    tx = optim.skip_large_updates(optax.sgd(1.0), factor=10.0, warmup_steps=5)
    norms = {
        "before": [0.0] * 50 + [1.0] * 10,
        "within": [1.0, 0.0, 0.0] * 20,
        "after": [1.0] * 20 + [0.0] * 50 + [1.0] * 5,
    }[where]
    skipped, state = feed(tx, [*norms, 9.0])
    assert not any(skipped)
    assert int(state.count) == np.count_nonzero(norms) + 1
    assert feed(tx, [15.0], state)[0] == [True]


def test_updates_that_are_not_finite_are_skipped_whatever_norm_is_given():
    tx = optim.skip_large_updates(optax.sgd(1.0))
    update, state = tx.update(jnp.array([jnp.nan]), tx.init(jnp.zeros(1)), grad_norm=1.0)
    assert bool(state.skipped)
    assert float(update[0]) == 0.0


def test_the_norm_of_float16_updates_does_not_overflow():
    tx = optim.skip_large_updates(optax.sgd(1.0))
    params = jnp.zeros(2, jnp.float16)
    _, state = tx.update(jnp.full(2, 3e3, jnp.float16), tx.init(params), params)
    assert not bool(state.skipped)


def test_the_norm_may_be_given():
    tx = optim.skip_large_updates(optax.sgd(1.0), factor=2.0, warmup_steps=1)
    state = tx.init(jnp.zeros(1))
    for norm in (1.0, 1.0, 100.0):
        update, state = tx.update(jnp.ones(1), state, grad_norm=jnp.float32(norm))
    assert bool(state.skipped)
    assert float(update[0]) == 0.0


def test_other_extra_arguments_reach_the_inner_transformation():
    def update(updates, state, params=None, *, value, **_):
        return jax.tree.map(lambda u: u * value, updates), state

    inner = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
    tx = optim.skip_large_updates(inner)
    out, _ = tx.update(jnp.ones(1), tx.init(jnp.ones(1)), None, value=3.0)
    assert float(out[0]) == 3.0


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"factor": 1.0}, "factor is 1.0"),
        ({"decay": 1.0}, "decay is 1.0"),
        ({"warmup_steps": 0}, "warmup_steps is 0"),
        ({"factor": "2"}, "factor is .2., must be a number"),
        ({"factor": None}, "factor is None, must be a number"),
        ({"warmup_steps": 2.5}, "warmup_steps is 2.5, must be a whole number"),
    ],
)
def test_wrong_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        optim.skip_large_updates(optax.sgd(1.0), **kwargs)
