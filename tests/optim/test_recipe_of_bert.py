"""The optimizer section of BERT's configs: what decays, what is frozen, how the rate moves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import optim
from jaxlab.models import bert


def make_optimizer(learning_rate, num_steps, *, warmup=0.1, weight_decay=0.01, mask=None):
    return optim.make_optimizer(
        "adamw",
        learning_rate=learning_rate,
        num_steps=num_steps,
        schedule="linear",
        warmup=warmup,
        weight_decay=weight_decay,
        trainable=mask,
    )


MODEL = bert.Bert(
    vocab_size=20, hidden_size=8, num_layers=1, num_heads=2, intermediate_size=16, max_positions=8
)


@pytest.mark.parametrize("masked", [False, True])
def test_decay_leaves_scales_and_biases_alone(masked):
    """Four steps of Adam without a gradient: what moves is decay."""
    ids = jnp.ones((1, 4), jnp.int32)
    shapes = jax.eval_shape(lambda key: MODEL.init(key, ids)["params"], jax.random.key(0))
    params = jax.tree.map(lambda x: jnp.ones(x.shape), {"bert": shapes})
    mask = jax.tree.map(lambda x: True, params) if masked else None
    tx = make_optimizer(1e-3, 4, warmup=0.0, weight_decay=900.0, mask=mask)
    state, none = tx.init(params), jax.tree.map(jnp.zeros_like, params)

    @jax.jit
    def step(params, state):
        updates, state = tx.update(none, state, params)
        return jax.tree.map(jnp.add, params, updates), state

    for _ in range(4):
        params, state = step(params, state)
    rates = 1e-3 * np.array([1.0, 0.75, 0.5, 0.25])
    decayed = np.prod(1 - 900.0 * rates)
    names = set()
    for path, leaf in jax.tree.leaves_with_path(params):
        name = jax.tree_util.keystr(path[-1:], simple=True)
        names.add(name)
        kept = name in ("scale", "bias")
        np.testing.assert_allclose(leaf, np.ones(leaf.shape) if kept else decayed, rtol=1e-4)
    assert names == {"scale", "bias", "kernel", "embedding"}


def test_frozen_leaves_do_not_decay():
    params = {"a": jnp.ones((2, 2)), "b": jnp.ones((2, 2))}
    tx = make_optimizer(0.1, 4, warmup=0.0, weight_decay=1.0, mask={"a": True, "b": False})
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    assert float(updates["a"][0, 0]) == pytest.approx(-0.1)
    assert float(updates["b"][0, 0]) == 0.0


def test_wrong_decay():
    with pytest.raises(ValueError, match="weight_decay is -1"):
        make_optimizer(0.1, 4, weight_decay=-1.0)


def test_the_rate_goes_up_and_down_by_default():
    """A tenth of the steps up, and decay of 0.01 of the rate: Adam without a gradient."""
    params = {"kernel": jnp.ones((2, 2))}
    tx = make_optimizer(0.5, 20)
    state, none = tx.init(params), jax.tree.map(jnp.zeros_like, params)
    rates = []
    for _ in range(20):
        updates, state = tx.update(none, state, params)
        rates.append(float(-updates["kernel"][0, 0]) / 0.01)
    assert max(rates) == pytest.approx(0.5)
    up = [0.5 * rate for rate in (0.0, 0.5)]
    down = [0.5 * (20 - t) / 18 for t in range(2, 20)]
    np.testing.assert_allclose(rates, up + down, atol=1e-6)
