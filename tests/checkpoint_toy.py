"""A small state and a position for tests of checkpoints."""

import functools

import chex
import jax
import jax.numpy as jnp
import optax

from jaxlab import train
from jaxlab.checkpoints import Checkpointer


class Position:
    """A data iterator reduced to what checkpoints see."""

    def __init__(self, state):
        self.state = state

    def get_state(self):
        return self.state

    def set_state(self, state):
        self.state = state


@functools.cache
def _made(width, ema, value):
    tx = optax.chain(optax.clip(1.0), optax.adam(1e-3))
    params = {"dense": {"kernel": jnp.full((2, width), value), "bias": jnp.zeros(width)}}
    return train.create_state(
        lambda key: (params, {"stats": {"mean": jnp.sin(jnp.arange(5000.0))}}),
        tx,
        key=jax.random.key(7),
        ema=ema,
    )


def make_state(step=0, width=3, ema=True, value=1.0):
    return _made(width, ema, value).replace(step=jnp.int32(step))


def fill(directory, steps=(10, 20, 30), **kwargs):
    saved = Checkpointer(directory, keep_latest=len(steps))
    for step in steps:
        saved.save(make_state(step, value=float(step), **kwargs), Position({"next_index": step}))
    saved.close()


def equal(a, b):
    raw = lambda t: t.replace(key=jax.random.key_data(t.key))
    chex.assert_trees_all_equal(raw(a), raw(b))
