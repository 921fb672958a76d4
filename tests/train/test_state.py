"""`jaxlab.train.state`: a state that starts from parameters at hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import mesh as mesh_lib
from jaxlab import train


def loss_fn(params, model_state, batch, *, key, step):
    return jnp.sum((params["w"] - batch["x"].mean()) ** 2), (model_state, {})


def test_it_trains_as_a_new_state_does_and_leaves_the_parameters_alone():
    tx, key = optax.adam(0.1), jax.random.key(3)
    start = {"w": jnp.arange(3.0)}
    state = train.state_from_params(start, tx, key=key, mesh=mesh_lib.make_mesh(jax.devices()[:2]))
    step = train.make_train_step(loss_fn, tx, mesh=mesh_lib.make_mesh(jax.devices()[:2]))
    other = train.create_state(lambda _: (start, {}), tx, key=key, ema=False)
    plain = train.make_train_step(loss_fn, tx)
    batch = {"x": np.ones(4, np.float32)}
    state, other = step(state, batch)[0], plain(other, batch)[0]
    np.testing.assert_allclose(state.params["w"], other.params["w"], rtol=1e-6)
    np.testing.assert_array_equal(start["w"], np.arange(3.0))  # not donated away
    assert not np.array_equal(state.params["w"], start["w"])


def test_a_key_of_the_old_kind_is_refused():
    with pytest.raises(ValueError, match="must be a typed key"):
        train.state_from_params({}, optax.sgd(0.1), key=jnp.zeros(2, jnp.uint32))
