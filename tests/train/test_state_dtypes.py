"""The state keeps its dtypes from step to step, whatever the dtypes of the parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

from jaxlab import optim, regularizers, train

BATCH = {"x": jnp.linspace(-1.0, 1.0, 12).reshape(4, 3)}
DTYPES = {
    "float32": (jnp.float32, jnp.float32),
    "bfloat16": (jnp.bfloat16, jnp.bfloat16),
    "float16": (jnp.float16, jnp.float16),
    "mixed": (jnp.bfloat16, jnp.float32),
}
RATE = optax.cosine_decay_schedule(0.1, 10)
OURS = {
    "adamw_weissi": lambda: optim.adamw_weissi(RATE, log_norm=0.1, direction=0.1),
    "add_penalty": lambda: optax.chain(optim.add_penalty(regularizers.l2, RATE), optax.adam(0.1)),
    "add_weissi": lambda: optax.chain(optim.add_weissi(0.1, 0.1), optax.sgd(0.1, momentum=0.9)),
    "alternating_rates": lambda: optim.alternating_rates(0.1, 0.05),
    "flood_updates": lambda: optax.chain(optim.flood_updates(0.1), optax.adam(0.1)),
    "sharpness_aware": lambda: optim.sharpness_aware(optax.adam(RATE), 0.05),
    "skip_large_updates": lambda: optim.skip_large_updates(optax.adam(RATE)),
    "weissi_decay": lambda: optax.chain(
        optax.sgd(RATE), optim.weissi_decay(0.1, learning_rate=RATE)
    ),
}
PENALTIES = {
    "l2": 0.1,
    "weissi": 0.1,
    "weissi_direction": 0.1,
    "spectral": 0.1,
    "weight_decay": 0.1,
    "weissi_decay": 0.1,
    "sharpness": 0.1,
}
OPTAX = {
    "adamw": lambda: optax.adamw(RATE),
    "adamax": lambda: optax.adamax(RATE),
    "lion": lambda: optax.lion(RATE),
    "clipped": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.nadam(RATE)),
    "hyperparams": lambda: optax.inject_hyperparams(optax.adam)(learning_rate=RATE),
    "MultiSteps": lambda: optax.MultiSteps(optim.skip_large_updates(optax.adam(RATE)), 2),
    "noise": lambda: optax.chain(optax.add_noise(0.1, 0.55, 0), optax.sgd(0.1)),
    "schedule_free": lambda: contrib.schedule_free_sgd(0.1),
}
TRANSFORMATIONS = {
    **OURS,
    **{
        f"make_optimizer {name}": lambda name=name: optim.make_optimizer(
            name, learning_rate=0.1, num_steps=10, **PENALTIES
        )
        for name in ("sgd", "momentum", "adam", "adamax")
    },
    **OPTAX,
}


def loss_fn(params, model_state, batch, *, key, step):
    error = batch["x"].astype(params["w"].dtype) @ params["w"] + params["b"].astype(jnp.float32)
    # A loss that forgets the dtype of what it carries along.
    model_state = {"seen": model_state["seen"] * jnp.float32(0.5) + error.mean()}
    return jnp.mean(error**2), (model_state, {"error": error.mean()})


def avals(tree):
    describe = lambda path, x: (jax.tree_util.keystr(path), x.shape, x.dtype, x.weak_type)
    return [describe(*pair) for pair in jax.tree.leaves_with_path(tree)]


def make(tx, dtypes, **kwargs):
    kernel, bias = DTYPES[dtypes]

    def init(key):
        params = {"w": jnp.ones((3, 2), kernel), "b": jnp.ones(2, bias)}
        return params, {"seen": jnp.zeros((), kernel)}

    create = lambda: train.create_state(init, tx, key=jax.random.key(0))
    return create, train.make_train_step(loss_fn, tx, clip_norm=1.0, **kwargs)


@pytest.mark.parametrize("dtypes", DTYPES)
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_every_transformation_keeps_the_dtypes_of_the_state(name, dtypes):
    create, step = make(TRANSFORMATIONS[name](), dtypes)
    state = jax.eval_shape(create)
    before = avals(state)
    for _ in range(2):
        state, _ = jax.eval_shape(step, state, BATCH)
        assert avals(state) == before


def test_all_of_our_transformations_are_tried():
    helpers = {"warmup_linear_decay", "all_of", "matrices_only", "named", "none_of", "vectors_only"}
    helpers |= {"OPTIMIZERS", "PENALTIES", "SCHEDULES", "STATIC", "Given", "rows"}
    helpers |= {"flooded_by_optimizer", "make_optimizer", "make_schedule"}
    helpers |= {"freeze", "train_only", "trainable_mask"}
    names = {name for name in optim.__all__ if not name.endswith("State")} - helpers
    assert names == set(OURS)


@pytest.mark.parametrize("dtypes", DTYPES)
@pytest.mark.parametrize("kwargs", [{"accumulate": 2}, {"ema_warmup": False}])
def test_so_do_accumulation_and_averages(dtypes, kwargs):
    create, step = make(optax.adam(0.1), dtypes, **kwargs)
    state = jax.eval_shape(create)
    new, _ = jax.eval_shape(step, state, BATCH)
    assert avals(new) == avals(state)


def test_a_step_is_traced_once_for_bfloat16_and_for_python_numbers():
    tx = optax.adam(0.1)
    state = train.create_state(
        lambda key: ({"w": jnp.ones((3, 2), jnp.bfloat16), "b": jnp.full(2, 1.0)}, {"seen": 0.0}),
        tx,
        key=jax.random.key(0),
    )
    step = train.make_train_step(loss_fn, tx)
    for _ in range(3):
        state, _ = step(state, BATCH)
    assert step._cache_size() == 1


def test_averages_of_bfloat16_parameters_move_by_a_thousandth():
    # 1 - 0.999 of a change is below half a bfloat16: a mean of that dtype would stand still.
    loss = lambda params, model_state, batch, *, key, step: (
        jnp.sum(params.astype(jnp.float32)),
        (model_state, {}),
    )
    tx = optax.sgd(0.125)
    state = train.create_state(
        lambda key: (jnp.ones(1, jnp.bfloat16), {}), tx, key=jax.random.key(0)
    )
    step = train.make_train_step(loss, tx, ema_warmup=False)
    expected = weight = 1.0
    for _ in range(4):
        state, _ = step(state, BATCH)
        weight -= 0.125
        expected += 0.001 * (weight - expected)
    np.testing.assert_allclose(state.ema_params, [expected], rtol=1e-6)


def test_micro_batches_of_bfloat16_add_up():
    count = 1024
    loss = lambda params, model_state, batch, *, key, step: (
        jnp.mean(batch["x"].astype(jnp.bfloat16) * params),
        (model_state, {}),
    )
    tx = optax.sgd(1.0)
    state = train.create_state(
        lambda key: (jnp.zeros((), jnp.bfloat16), {}), tx, key=jax.random.key(0)
    )
    step = train.make_train_step(loss, tx, accumulate=count)
    state, metrics = step(state, {"x": np.ones(count, np.float32)})
    assert float(state.params) == -1.0
    assert float(metrics["grad_norm"]) == 1.0


def test_a_state_that_changes_its_form_is_an_error():
    def loss(params, model_state, batch, *, key, step):
        return jnp.sum(params), ({**model_state, "new": step}, {})

    tx = optax.sgd(1.0)
    state = train.create_state(lambda key: (jnp.ones(1), {}), tx, key=jax.random.key(0))
    with pytest.raises(ValueError, match="model_state has the structure"):
        train.make_train_step(loss, tx)(state, BATCH)

    def loss(params, model_state, batch, *, key, step):
        return jnp.sum(params), ({"count": model_state["count"] / 2}, {})

    state = train.create_state(
        lambda key: (jnp.ones(1), {"count": jnp.zeros((), jnp.int32)}), tx, key=jax.random.key(0)
    )
    with pytest.raises(ValueError, match="model_state/count is int32 before the step, float32"):
        train.make_train_step(loss, tx)(state, BATCH)
