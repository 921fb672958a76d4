"""Losses of generation and of masked tokens: means over targets, what is masked, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from generation_toy import IDS, SEP, make_nll, make_toy

from jaxlab import mesh as mesh_lib
from jaxlab import train
from jaxlab.models import bert
from jaxlab.models.bert import prefix
from jaxlab.models.bert.masked_lm import make_masked_loss, normalize_step
from jaxlab.tasks.question_generation import losses as generation_loss
from jaxlab.tasks.question_generation.losses import (
    TargetLayout,
    count_targets,
    make_target_loss,
    make_target_metrics,
    per_token,
    target_nll,
)


@pytest.fixture(scope="module")
def toy():
    return make_toy()


@pytest.fixture(scope="module")
def nll(toy):
    return make_nll(toy)


def test_the_loss_is_the_mean_over_target_tokens_of_the_batch(toy, nll):
    model, head, params, layout = toy
    loss_fn = generation_loss.make_target_loss(model, head, layout)
    values, part = (np.asarray(x) for x in nll(IDS))
    loss, (_, metrics) = jax.jit(
        lambda ids: loss_fn(params, {}, {"input_ids": ids}, key=None, step=0)
    )(IDS)
    assert (part > 0).sum() == 5 + 9 + 4
    np.testing.assert_allclose(loss, values[part > 0].mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["answer_nll"], values[part == 1].mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["question_nll"], values[part == 2].mean(), rtol=1e-5)


def test_random_replacement_changes_inputs_not_targets(toy, nll):
    model, head, params, layout = toy
    clean = model.clone(dropout=0.0, attention_dropout=0.0)
    run = jax.jit(
        lambda key: generation_loss.target_nll(
            clean, head, params, IDS, layout, key=key, replace=0.7
        )
    )
    (a, part), (b, _) = run(jax.random.key(0)), run(jax.random.key(1))
    plain, _ = nll(IDS)
    np.testing.assert_allclose(a[:, 0], plain[:, 0], atol=1e-6)  # sees the passage alone
    assert np.abs(a - b).max() > 1e-3
    assert (np.asarray(a)[np.asarray(part) == 0] == 0).all()
    with pytest.raises(ValueError, match="replace is 1"):
        generation_loss.make_target_loss(model, head, layout, replace=1)


def test_devices_and_micro_batches_give_the_same_update(toy):
    """Rows with few and with many targets: averages of quotients would differ."""
    model, head, params, layout = toy
    model = model.clone(dropout=0.0, attention_dropout=0.0)
    loss = generation_loss.make_target_loss(model, head, layout)
    tx = optax.sgd(0.1)
    batch = {"input_ids": np.concatenate([IDS[:3], IDS[:1]] * 4)[:8]}
    found = []
    for mesh, accumulate in ((None, 1), (mesh_lib.make_mesh(jax.devices()[:2]), 4)):
        step = train.make_train_step(loss, tx, mesh=mesh, accumulate=accumulate)
        step = normalize_step(step, generation_loss.count_targets(layout), mesh=mesh)
        state = train.create_state(
            lambda key: (params, {}), tx, key=jax.random.key(0), mesh=mesh, ema=False
        )
        state, metrics = step(state, mesh_lib.shard_batch(mesh, batch))
        found.append(jax.device_get((state.params, metrics)))
    (a, first), (b, second) = found
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-6), a, b)
    for name in ("loss", "answer_nll", "question_nll"):
        np.testing.assert_allclose(first[name], second[name], rtol=1e-5)


@pytest.mark.parametrize("parts", [1, 2])
def test_nats_are_those_of_the_logits_at_the_window(toy, parts):
    """Against the log-softmax, in float64, of the logits at every position."""
    model, head, params, _ = toy
    layout = TargetLayout(SEP, 10, ("question", "answer"), parts)
    assert layout.targets == ("question", "answer")[parts - 1 :]
    mask, types = prefix.inputs(IDS, SEP, prefix_parts=parts)
    everywhere = jnp.broadcast_to(jnp.arange(12), IDS.shape)
    logits = np.asarray(
        jax.jit(
            lambda p: bert.token_logits(model, head, p, jnp.asarray(IDS), mask, types, everywhere)
        )(params),
        np.float64,
    )
    log = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    nll, part = jax.device_get(jax.jit(lambda p: target_nll(model, head, p, IDS, layout))(params))
    sums, counts = np.zeros((4, 3)), np.zeros((4, 3))
    for b, row in enumerate(IDS[:3]):
        ends = np.flatnonzero(row == SEP)
        found = []
        for which in (1, 2)[parts - 1 :]:
            for place in range(ends[which - 1] + 1, ends[which] + 1):
                found.append((-log[b, place - 1, row[place]], which))
        np.testing.assert_allclose(nll[b, : len(found)], [x for x, _ in found], rtol=1e-5)
        assert part[b].tolist() == [x for _, x in found] + [0] * (10 - len(found))
        for nats, which in found:
            sums[b, [0, which]] += nats
            counts[b, [0, which]] += 1
    assert not nll[part == 0].any()
    batch = {"input_ids": IDS}
    np.testing.assert_array_equal(count_targets(layout)(batch), counts)
    measure = make_target_metrics(model, head, layout)
    metrics = jax.jit(lambda p: measure(p, {}, batch, key=None))(params)
    names = {"question": 1, "answer": 2}
    assert set(metrics) == {f"{n}_{x}" for n in layout.targets for x in ("nll", "tokens")}
    for name in layout.targets:
        np.testing.assert_allclose(metrics[f"{name}_nll"], sums[:, names[name]], rtol=1e-5)
        np.testing.assert_array_equal(metrics[f"{name}_tokens"], counts[:, names[name]])
    loss_fn = make_target_loss(model, head, layout)
    run = jax.jit(lambda batch: loss_fn(params, {"a": 1}, batch, key=None, step=0))
    loss, (state, found) = run(batch)
    np.testing.assert_allclose(loss, sums[:, 0].sum() / counts[:, 0].sum(), rtol=1e-5)
    assert state == {"a": 1}
    assert set(found) == {f"{name}_nll" for name in layout.targets}
    for name in layout.targets:
        column = names[name]
        want = sums[:, column].sum() / counts[:, column].sum()
        np.testing.assert_allclose(found[f"{name}_nll"], want, rtol=1e-5)
    # With a scale it is that, whatever the rows at hand.
    scaled = {**batch, "scale": jnp.full((4, 3), 0.5) * jnp.array([1.0, 2.0, 4.0])}
    loss, (_, found) = run(scaled)
    np.testing.assert_allclose(loss, 0.5 * sums[:, 0].mean(), rtol=1e-5)
    np.testing.assert_allclose(found["answer_nll"], 2 * sums[:, 2].mean(), rtol=1e-5)


def test_a_mask_freezes_and_a_hidden_part_reaches_the_metrics(toy):
    model, head, params, layout = toy
    mask = jax.tree.map(lambda _: False, params)
    mask["head"]["bias"] = True
    batch = {"input_ids": jnp.asarray(IDS), "attention_mask": jnp.asarray(IDS != 0)}
    for loss_fn in (
        make_target_loss(model, head, layout, mask=mask),
        make_masked_loss(model, head, mask_id=4, mask=mask),
    ):
        value = lambda p, f=loss_fn: f(p, {}, batch, key=jax.random.key(0), step=0)[0]
        grads = jax.jit(jax.grad(value))(params)
        assert grads["head"]["bias"].any()
        assert sum(bool(g.any()) for g in jax.tree.leaves(grads)) == 1
    measure = lambda hide: jax.jit(
        lambda p: make_target_metrics(model, head, layout, hide=hide)(p, {}, batch, key=None)
    )(params)
    hidden, seen = measure("passage"), measure(None)
    nll, part = jax.jit(lambda p: target_nll(model, head, p, IDS, layout, hide="passage"))(params)
    want = np.where(np.asarray(part) == 1, nll, 0).sum(1)
    np.testing.assert_allclose(hidden["answer_nll"], want, rtol=1e-5)
    assert np.abs(seen["answer_nll"] - hidden["answer_nll"])[:2].min() > 1e-4


def test_dropout_is_drawn_with_a_key_alone(toy):
    model, head, params, layout = toy
    run = jax.jit(lambda key: target_nll(model, head, params, IDS, layout, key=key)[0])
    np.testing.assert_array_equal(run(None), run(None))
    a, b = run(jax.random.key(0)), run(jax.random.key(1))
    np.testing.assert_array_equal(a, run(jax.random.key(0)))
    assert np.abs(a - b).max() > 1e-3
    # Without replacement the key is dropout's, as it is.
    still = jax.jit(
        lambda key: target_nll(model, head, params, IDS, layout, key=key, replace=0.0)[0]
    )
    np.testing.assert_array_equal(a, still(jax.random.key(0)))


def test_replaced_tokens_are_counted(toy, monkeypatch):
    """Targets but no separators nor passages, by anything but padding, at the rate."""
    model, head, params, layout = toy
    seen = []

    def record(model, head, params, ids, mask, types, positions, *, key):
        seen.append(ids)
        return jnp.zeros((*positions.shape, model.vocab_size))

    monkeypatch.setattr(generation_loss, "token_logits", record)

    @jax.jit
    @jax.vmap
    def run(key):
        nll, _ = target_nll(model, head, params, IDS, layout, key=key, replace=0.4)
        return nll, seen.pop()

    nll, ids = map(np.asarray, run(jax.random.split(jax.random.key(0), 4000)))
    part = np.asarray(prefix.parts(IDS, SEP))
    open_ = (part > 0) & (part < 3) & (IDS != SEP)
    changed = ids != IDS
    assert not changed[:, ~open_].any()
    np.testing.assert_allclose(changed[:, open_].mean(0), 0.4 * 18 / 19, atol=0.03)
    new = ids[:, open_][changed[:, open_]]
    assert new.min() == 1
    assert new.max() == model.vocab_size - 1
    np.testing.assert_allclose(nll[:, 0, :5], np.log(20), rtol=1e-5)


def test_means_of_tokens():
    means = {"a_nll": 6.0, "a_tokens": 4.0, "b_nll": 1.0, "b_tokens": 0.0}
    assert per_token(means, ["a"]) == {"a_nll": 1.5}
    assert np.isnan(per_token(means, ["a", "b"])["b_nll"])
