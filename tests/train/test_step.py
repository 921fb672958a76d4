"""`jaxlab.train.step`: one training step: gradients, accumulation, EMA, skips, devices."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import mesh as mesh_lib
from jaxlab import optim, train

ROWS = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
BATCH = {"x": ROWS, "y": ROWS @ np.array([1.0, -2.0, 0.5], np.float32)}


def init(key):
    return {"w": jax.random.normal(key, (3,)), "b": jnp.zeros(())}, {"seen": jnp.zeros(())}


def loss_fn(params, model_state, batch, *, key, step):
    error = batch["x"] @ params["w"] + params["b"] - batch["y"]
    model_state = {"seen": model_state["seen"] + len(error)}
    return jnp.mean(error**2), (model_state, {"mean_error": jnp.mean(jnp.abs(error))})


def make_state(tx, **kwargs):
    return train.create_state(init, tx, key=jax.random.key(0), **kwargs)


def copy(tree):
    return jax.tree.map(jnp.copy, tree)


def test_a_step_is_the_optax_update():
    tx = optax.adam(0.1)
    state = make_state(tx)
    grads = jax.grad(lambda p: loss_fn(p, state.model_state, BATCH, key=None, step=0)[0])
    expected, opt_state = copy(state.params), tx.init(state.params)
    for _ in range(3):
        updates, opt_state = tx.update(grads(expected), opt_state, expected)
        expected = optax.apply_updates(expected, updates)
    step = train.make_train_step(loss_fn, tx)
    for _ in range(3):
        state, metrics = step(state, BATCH)
    chex.assert_trees_all_close(state.params, expected, rtol=1e-6)
    assert int(state.step) == 3
    assert float(state.model_state["seen"]) == 48
    assert set(metrics) == {"loss", "grad_norm", "mean_error"}


@pytest.mark.parametrize("devices", [None, 1, 8])
@pytest.mark.parametrize("skipping", [False, True])
def test_one_trace_and_donation(devices, skipping):
    chex.clear_trace_counter()
    mesh = None if devices is None else mesh_lib.make_mesh(jax.devices()[:devices])
    tx = optim.skip_large_updates(optax.adam(0.1)) if skipping else optax.adam(0.1)
    counted = chex.assert_max_traces(loss_fn, n=1)
    step = train.make_train_step(counted, tx, mesh=mesh, clip_norm=1.0)
    state = make_state(tx, mesh=mesh)
    for _ in range(4):
        before = state
        state, _ = step(state, mesh_lib.shard_batch(mesh, BATCH))
        kept = {
            jax.tree_util.keystr(path)
            for path, leaf in jax.tree.leaves_with_path(before)
            if not leaf.is_deleted()
        }
        assert kept <= {".opt_state.skipped"}  # which no step reads, so jit leaves it out


def test_the_trace_counter_counts():
    chex.clear_trace_counter()
    step = train.make_train_step(chex.assert_max_traces(loss_fn, n=1), optax.sgd(0.1))
    state, _ = step(make_state(optax.sgd(0.1)), BATCH)
    with pytest.raises(AssertionError):
        step(state, {name: value[:8] for name, value in BATCH.items()})


def test_keys_and_steps_given_to_the_loss():
    def loss(params, model_state, batch, *, key, step):
        metrics = {"draw": jax.random.uniform(key), "at": step.astype(jnp.float32)}
        return jnp.sum(params["w"] ** 2), (model_state, metrics)

    state = make_state(optax.sgd(0.0))
    key = jnp.copy(state.key)
    step = train.make_train_step(loss, optax.sgd(0.0))
    for k in range(3):
        state, metrics = step(state, BATCH)
        assert float(metrics["at"]) == k
        assert float(metrics["draw"]) == float(jax.random.uniform(jax.random.fold_in(key, k)))


@pytest.mark.parametrize("warmup", [True, False])
def test_averages_of_parameters(warmup):
    tx = optax.sgd(0.1)
    state = make_state(tx)
    step = train.make_train_step(loss_fn, tx, ema_decay=0.5, ema_warmup=warmup)
    ema = np.asarray(state.params["w"], np.float64)
    for t in range(12):
        state, _ = step(state, BATCH)
        decay = min(0.5, (1 + t) / (10 + t)) if warmup else 0.5
        ema = decay * ema + (1 - decay) * np.asarray(state.params["w"], np.float64)
    np.testing.assert_allclose(state.ema_params["w"], ema, rtol=1e-5)


def test_without_averages():
    state = make_state(optax.sgd(0.1), ema=False)
    state, _ = train.make_train_step(loss_fn, optax.sgd(0.1))(state, BATCH)
    assert state.ema_params is None


@pytest.mark.parametrize("devices", [None, 2])
@pytest.mark.parametrize("count", [2, 4])
def test_accumulation_equals_the_full_batch(count, devices):
    mesh = None if devices is None else mesh_lib.make_mesh(jax.devices()[:devices])
    tx = optax.adam(0.1)
    whole, parts = make_state(tx, mesh=mesh), make_state(tx, mesh=mesh)
    step_whole = train.make_train_step(loss_fn, tx, mesh=mesh, clip_norm=0.5)
    step_parts = train.make_train_step(loss_fn, tx, mesh=mesh, clip_norm=0.5, accumulate=count)
    batch = mesh_lib.shard_batch(mesh, BATCH)
    for _ in range(3):
        whole, metrics_whole = step_whole(whole, batch)
        parts, metrics_parts = step_parts(parts, batch)
    chex.assert_trees_all_close(parts.params, whole.params, rtol=1e-5)
    chex.assert_trees_all_close(metrics_parts, metrics_whole, rtol=1e-5)
    # Threaded through the micro-batches, not taken from the last of them.
    assert float(parts.model_state["seen"]) == float(whole.model_state["seen"]) == 48


def test_micro_batches_are_strided_and_have_keys_of_their_own():
    def loss(params, model_state, batch, *, key, step):
        model_state = {
            "rows": jnp.roll(model_state["rows"], -1, 0).at[-1].set(batch["i"]),
            "draws": jnp.roll(model_state["draws"], -1).at[-1].set(jax.random.uniform(key)),
        }
        return jnp.sum(params["w"] ** 2), (model_state, {"count": jnp.int32(1)})

    model_state = {"rows": jnp.zeros((3, 2), jnp.int32), "draws": jnp.zeros(3)}
    tx = optax.sgd(0.1)
    state = train.create_state(
        lambda key: ({"w": jnp.ones(2)}, model_state), tx, key=jax.random.key(0)
    )
    key = jax.random.fold_in(jnp.copy(state.key), 0)
    state, metrics = train.make_train_step(loss, tx, accumulate=3)(state, {"i": jnp.arange(6)})
    np.testing.assert_array_equal(state.model_state["rows"], [[0, 3], [1, 4], [2, 5]])
    draws = [jax.random.uniform(jax.random.fold_in(key, i)) for i in range(3)]
    np.testing.assert_array_equal(state.model_state["draws"], draws)
    assert float(metrics["count"]) == 1.0


@pytest.mark.parametrize("limit", [0.1, 1e6])
def test_clipping_by_the_global_norm(limit):
    tx = optax.sgd(1.0)
    state = make_state(tx)
    before = copy(state.params)
    state, metrics = train.make_train_step(loss_fn, tx, clip_norm=limit)(state, BATCH)
    moved = optax.tree.norm(jax.tree.map(jnp.subtract, state.params, before))
    norm = float(metrics["grad_norm"])
    assert norm > 0.1
    np.testing.assert_allclose(moved, min(limit, norm), rtol=1e-5)


def test_clipping_a_gradient_of_zero():
    loss = lambda params, model_state, batch, *, key, step: (
        jnp.sum(0.0 * params["w"]),
        (model_state, {}),
    )
    tx = optax.sgd(1.0)
    state, metrics = train.make_train_step(loss, tx, clip_norm=1.0)(make_state(tx), BATCH)
    assert float(metrics["grad_norm"]) == 0.0
    chex.assert_tree_all_finite(state.params)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e9])
def test_a_skipped_step_changes_nothing_but_the_step(bad):
    tx = optim.skip_large_updates(optax.adam(0.1), factor=5.0, warmup_steps=3)
    step = train.make_train_step(loss_fn, tx, clip_norm=1.0)
    state = make_state(tx)
    for _ in range(4):
        state, metrics = step(state, BATCH)
        assert float(metrics["skipped"]) == 0.0
    kept = copy((state.params, state.model_state, state.ema_params, state.opt_state.inner_state))
    for k in (1, 2):
        state, metrics = step(state, {**BATCH, "y": BATCH["y"] + np.float32(bad)})
        assert float(metrics["skipped"]) == 1.0
        assert int(metrics["skipped_in_a_row"]) == k
    now = (state.params, state.model_state, state.ema_params, state.opt_state.inner_state)
    chex.assert_trees_all_equal(now, kept)
    assert int(state.step) == 6
    state, metrics = step(state, BATCH)
    assert float(metrics["skipped"]) == 0.0
    assert int(metrics["skipped_in_a_row"]) == 0


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"ema_decay": 1.0}, "ema_decay is 1.0"),
        ({"accumulate": 0}, "accumulate is 0"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0"),
    ],
)
def test_wrong_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        train.make_train_step(loss_fn, optax.sgd(0.1), **kwargs)


def test_wrong_losses_and_batches():
    tx = optax.sgd(0.1)

    def with_metrics(metrics):
        return lambda p, m, batch, *, key, step: (jnp.sum(p["w"]), (m, metrics))

    for metrics, message in (
        ({"v": jnp.ones(2)}, r"metric 'v' has shape \(2,\)"),
        ({"loss": 1.0}, "'loss' is written by the train step"),
    ):
        with pytest.raises(ValueError, match=message):
            train.make_train_step(with_metrics(metrics), tx)(make_state(tx), BATCH)
    with pytest.raises(ValueError, match="accumulate=3 must divide its rows"):
        train.make_train_step(loss_fn, tx, accumulate=3)(make_state(tx), BATCH)
    with pytest.raises(ValueError, match="must be a typed key"):
        train.create_state(init, tx, key=jnp.zeros(2, jnp.uint32))


def test_the_state_starts_replicated():
    mesh = mesh_lib.make_mesh()
    state = make_state(optax.adam(0.1), mesh=mesh)
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state))
    assert all(len(leaf.sharding.device_set) == 8 for leaf in jax.tree.leaves(state))


GUARDED = {
    "chain": lambda guard: optax.chain(optax.trace(0.9), guard, optax.add_decayed_weights(0.1)),
    "masked": lambda guard: optax.masked(guard, {"w": True, "b": True}),
    "multi_transform": lambda guard: optax.multi_transform(
        {"guarded": guard, "free": optax.adam(0.1)}, {"w": "guarded", "b": "free"}
    ),
    "inject_hyperparams": lambda guard: optax.inject_hyperparams(
        lambda rate: optax.chain(guard, optax.scale(rate))
    )(rate=0.5),
    "sharpness_aware": lambda guard: optim.sharpness_aware(guard, 0.05),
    "MultiSteps": lambda guard: optax.MultiSteps(guard, 1),
    "chain in MultiSteps": lambda guard: optax.MultiSteps(optax.chain(optax.trace(0.9), guard), 1),
    "twice": lambda guard: optim.skip_large_updates(optax.chain(guard, optax.scale(0.5))),
}


@pytest.mark.parametrize("wrapper", GUARDED)
def test_a_guard_is_found_wherever_it_is(wrapper):
    guard = optim.skip_large_updates(optax.adam(0.1), factor=5.0, warmup_steps=2)
    tx = GUARDED[wrapper](guard)
    step = train.make_train_step(loss_fn, tx)
    state = make_state(tx)
    for _ in range(3):
        state, metrics = step(state, BATCH)
        assert float(metrics["skipped"]) == 0.0
    found = lambda s, name: [value for _, value in optax.tree.get_all_with_path(s, name)]
    moments = lambda s: found(s.opt_state, "mu") + found(s.opt_state, "trace")
    pick = lambda s: copy((s.params, s.model_state, s.ema_params, moments(s)))
    kept = pick(state)
    for k in (1, 2):
        state, metrics = step(state, {**BATCH, "y": BATCH["y"] + np.float32(1e9)})
        assert float(metrics["skipped"]) == 1.0
        assert int(metrics["skipped_in_a_row"]) == k
    chex.assert_trees_all_equal(pick(state), kept)
    state, metrics = step(state, BATCH)
    assert float(metrics["skipped"]) == 0.0
    assert float(state.params["w"][0]) != float(kept[0]["w"][0])


def test_a_guard_inside_multisteps_judges_the_mean_of_the_micro_batches():
    tx = optax.MultiSteps(optim.skip_large_updates(optax.sgd(0.1)), 2)
    step = train.make_train_step(loss_fn, tx)
    state = make_state(tx)
    for good in (True, True, False, True):  # the bad one is not the last of its two
        kept = copy(state.params)
        state, metrics = step(state, BATCH if good else {**BATCH, "y": BATCH["y"] * np.nan})
    assert float(metrics["skipped"]) == 1.0
    chex.assert_trees_all_equal(state.params, kept)
    for skipped in (0.0, 0.0):  # not the last decision again
        state, metrics = step(state, BATCH)
        assert float(metrics["skipped"]) == skipped
    chex.assert_tree_all_finite(state.params)


@pytest.mark.parametrize("inner", [optax.sgd(0.1), optax.chain(optax.scale(2.0), optax.sgd(0.05))])
def test_clipping_bounds_the_sharpness_aware_step(inner):
    loss = lambda params, model_state, batch, *, key, step: (
        jnp.mean((params * batch["x"]) ** 2),
        (model_state, {}),
    )
    tx = optim.sharpness_aware(inner, 0.5)
    state = train.create_state(lambda key: (jnp.float32(2.0), {}), tx, key=jax.random.key(0))
    step = train.make_train_step(loss, tx, clip_norm=1.0)
    state, _ = step(state, {"x": jnp.full(4, 10.0)})
    np.testing.assert_allclose(2.0 - float(state.params), 0.1, rtol=1e-5)


def test_sharpness_awareness_accumulates():
    tx = optim.sharpness_aware(optax.sgd(0.1), 0.5)
    results = []
    for count in (1, 4):
        state = make_state(tx)
        state, _ = train.make_train_step(loss_fn, tx, accumulate=count)(state, BATCH)
        results.append(state.params)
    chex.assert_trees_all_close(*results, rtol=1e-5)


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: m.gradient_transformation()])
def test_multisteps_passes_the_loss_on(wrap):
    tx = wrap(optax.MultiSteps(optax.chain(optim.flood_updates(1e6), optax.sgd(0.1)), 2))
    plain = optax.sgd(0.1)
    state, expected = make_state(tx), make_state(plain)
    before = copy(state.params)
    for _ in range(2):
        state, metrics = train.make_train_step(loss_fn, tx)(state, BATCH)
    assert float(metrics["flooded"]) == 1.0
    expected, _ = train.make_train_step(loss_fn, plain)(expected, BATCH)
    up = jax.tree.map(jnp.subtract, state.params, before)
    down = jax.tree.map(jnp.subtract, before, expected.params)
    chex.assert_trees_all_close(up, down, rtol=1e-5)


def test_what_multisteps_cannot_pass_on_names_it():
    inner = optax.chain(optim.flood_updates(1.0), optax.sgd(0.1))
    hidden = optax.chain(optax.MultiSteps(inner, 2).gradient_transformation(), optax.identity())
    sharp = optax.MultiSteps(optim.sharpness_aware(optax.sgd(0.1), 0.5), 2)
    for tx in (hidden, sharp):
        with pytest.raises(ValueError, match="MultiSteps"):
            train.make_train_step(loss_fn, tx)(make_state(tx), BATCH)


def test_a_loss_of_the_whole_batch_is_not_accumulated():
    def loss(params, model_state, batch, *, key, step):
        return loss_fn(params, model_state, batch, key=key, step=step)

    loss.whole_batch = "it floods the mean"
    train.make_train_step(loss, optax.sgd(0.1))
    with pytest.raises(ValueError, match="accumulate is 2, must be 1: it floods the mean"):
        train.make_train_step(loss, optax.sgd(0.1), accumulate=2)
