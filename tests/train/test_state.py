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


def make_state(head, *, dtype=jnp.float32, mesh=None, extra=()):
    body = {"kernel": jnp.zeros((2, 3), dtype), "bias": jnp.zeros(3, dtype)}
    params = {"body": body, "head": jnp.full(head, 7.0, dtype)}
    model_state = {"batch_stats": {"mean": jnp.zeros(3)}, **dict.fromkeys(extra, jnp.ones(2))}
    init = lambda key: (params, model_state)
    return train.create_state(init, optax.adam(0.1), key=jax.random.key(5), mesh=mesh)


OTHER = {
    "body": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.ones(3)},
    "head": jnp.arange(4.0),
}
STATS = {"batch_stats": {"mean": jnp.array([1.0, 2.0, 3.0])}, "theirs_alone": jnp.ones(9)}


def test_another_runs_weights_replace_parameters_average_and_statistics_alone():
    mesh = mesh_lib.make_mesh(jax.devices()[:2])
    fresh = make_state(4, mesh=mesh, extra=["ours_alone"])
    state = train.start_from(fresh, OTHER, STATS)
    for tree in (state.params, state.ema_params):
        jax.tree.map(np.testing.assert_array_equal, tree, OTHER)
    np.testing.assert_array_equal(state.model_state["batch_stats"]["mean"], [1, 2, 3])
    np.testing.assert_array_equal(state.model_state["ours_alone"], [1, 1])
    assert sorted(state.model_state) == ["batch_stats", "ours_alone"]
    assert int(state.step) == 0
    assert state.opt_state is fresh.opt_state
    assert state.key is fresh.key
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(fresh.params), strict=True):
        assert a.sharding == b.sharding
    step = train.make_train_step(loss_of_head, optax.adam(0.1), mesh=mesh)
    step(state, {"x": np.ones(4, np.float32)})  # donates
    np.testing.assert_array_equal(OTHER["head"], np.arange(4.0))


def loss_of_head(params, model_state, batch, *, key, step):
    return jnp.sum((params["head"] - batch["x"].mean()) ** 2), (model_state, {})


def test_a_mean_in_float32_becomes_parameters_in_bfloat16():
    state = train.start_from(make_state(4, dtype=jnp.bfloat16), OTHER, STATS)
    assert {p.dtype for p in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.bfloat16)}
    assert {p.dtype for p in jax.tree.leaves(state.ema_params)} == {jnp.dtype(np.float32)}
    np.testing.assert_array_equal(state.ema_params["head"], OTHER["head"])


def test_weights_that_do_not_fit_are_listed_and_may_be_left_out():
    other = {**OTHER, "tail": jnp.ones(2)}
    want = (
        r"params/head seen float32\[4\], wanted float32\[5\]; "
        r"params/tail seen float32\[2\], wanted absent\)"
    )
    with pytest.raises(ValueError, match=want):
        train.start_from(make_state(5), other, STATS)
    state = train.start_from(make_state(5), other, STATS, skip="head|tail")
    np.testing.assert_array_equal(state.params["head"], np.full(5, 7.0))
    np.testing.assert_array_equal(state.ema_params["head"], np.full(5, 7.0))
    np.testing.assert_array_equal(state.params["body"]["bias"], np.ones(3))
    lacking = {"body": OTHER["body"]}
    with pytest.raises(ValueError, match=r"params/head seen absent, wanted float32\[5\]"):
        train.start_from(make_state(5), lacking)
    kept = train.start_from(make_state(5), {**lacking, "head": jnp.ones(5)}, STATS, skip="^model_")
    np.testing.assert_array_equal(kept.model_state["batch_stats"]["mean"], np.zeros(3))


@pytest.mark.parametrize(
    ("skip", "message"),
    [("(", "must be a regular expression"), ("hat", "which is in no name, such as"), ("", "fit")],
)
def test_patterns_of_what_is_left_out(skip, message):
    if not skip:  # the empty pattern is found everywhere
        assert train.start_from(make_state(5), OTHER, skip=skip).params["head"][0] == 7
        return
    with pytest.raises(ValueError, match=message):
        train.start_from(make_state(4), OTHER, STATS, skip=skip)
