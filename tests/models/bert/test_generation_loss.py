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
from jaxlab.models.bert import generation_loss, prefix
from jaxlab.models.bert.generation_loss import (
    TargetLayout,
    count_masked,
    count_targets,
    make_masked_loss,
    make_target_loss,
    make_target_metrics,
    normalize_step,
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
        step = generation_loss.normalize_step(
            step, generation_loss.count_targets(layout), mesh=mesh
        )
        state = train.create_state(
            lambda key: (params, {}), tx, key=jax.random.key(0), mesh=mesh, ema=False
        )
        state, metrics = step(state, mesh_lib.shard_batch(mesh, batch))
        found.append(jax.device_get((state.params, metrics)))
    (a, first), (b, second) = found
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-6), a, b)
    for name in ("loss", "answer_nll", "question_nll"):
        np.testing.assert_allclose(first[name], second[name], rtol=1e-5)


def test_masked_tokens(toy):
    model, head, params, _ = toy
    batch = {"input_ids": jnp.asarray(IDS[:2]), "attention_mask": jnp.asarray(IDS[:2] != 0)}
    counts = generation_loss.count_masked(0.3)(batch)
    assert counts.tolist() == [[2.0], [3.0]]  # of 8 and of 10 tokens
    loss_fn = generation_loss.make_masked_loss(model, head, mask_id=4, rate=0.3)
    run = jax.jit(lambda b, key: loss_fn(params, {}, b, key=key, step=0)[0])
    a, b = run(batch, jax.random.key(0)), run(batch, jax.random.key(1))
    assert np.isfinite([a, b]).all()
    assert a != b
    with pytest.raises(ValueError, match="rate is 1"):
        generation_loss.make_masked_loss(model, head, mask_id=4, rate=1)


def test_which_tokens_are_masked_and_by_what(toy, monkeypatch):
    """Counted over many keys: never the ends nor padding, 80 % masks, 10 % random, 10 % kept."""
    model, head, params, _ = toy
    ids = np.array([[2, 7, 8, 9, 10, 11, 12, 3], [2, 7, 8, 9, 3, 0, 0, 0]])
    batch = {"input_ids": jnp.asarray(ids), "attention_mask": jnp.asarray(ids != 0)}
    mask_id, seen = 4, []

    def record(model, head, params, ids, visible, types, positions, *, key):
        seen.append((ids, positions))
        return jnp.zeros((*positions.shape, model.vocab_size))

    monkeypatch.setattr(generation_loss, "token_logits", record)
    loss_fn = generation_loss.make_masked_loss(model, head, mask_id=mask_id, rate=0.4)

    @jax.jit
    @jax.vmap
    def run(key):
        loss = loss_fn(params, {}, batch, key=key, step=0)[0]
        return (loss, *seen.pop())

    count = 3000
    losses, inputs, positions = map(np.asarray, run(jax.random.split(jax.random.key(0), count)))
    # Logits of 0 cost log V for each target, whatever the number of padded places.
    np.testing.assert_allclose(losses, np.log(model.vocab_size), rtol=1e-5)
    changed = inputs != ids
    assert not changed[:, :, 0].any()
    assert not changed[:, 0, 7].any()
    assert not changed[:, 1, 4:].any()
    # Targets per row: 0.4 of 6 and of 3 tokens, rounded; all places are taken alike often.
    wanted = [2, 1]
    for row, (number, inner) in enumerate(zip(wanted, (range(1, 7), range(1, 4)), strict=True)):
        chosen = positions[:, row, :number]
        assert set(np.unique(chosen)) == set(inner)
        places = np.bincount(chosen.ravel(), minlength=8)[list(inner)] / (count * number)
        np.testing.assert_allclose(places, 1 / len(inner), atol=0.03)
    first = positions[:, 0, :2]
    new = np.take_along_axis(inputs[:, 0], first, 1)
    old = np.take_along_axis(np.broadcast_to(ids[0], (count, 8)), first, 1)
    # A random token is the mask or the old one in 1 of the 19 draws each.
    shares = [
        (new == mask_id).mean(),
        (new == old).mean(),
        ((new != mask_id) & (new != old)).mean(),
    ]
    np.testing.assert_allclose(shares, [0.8 + 0.1 / 19, 0.1 + 0.1 / 19, 0.1 * 17 / 19], atol=0.02)
    assert new.min() >= 1
    assert new.max() == model.vocab_size - 1
    # What is not chosen stays.
    assert (changed[:, 0].sum(1) <= 2).all()
    assert (changed[:, 1].sum(1) <= 1).all()


def test_a_reduced_vocabulary_scores_its_tokens_as_before(toy):
    model, head, params, _ = toy
    keep = np.array([0, 1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 5, 6, 13, 14])
    small, reduced = generation_loss.reduce_vocabulary(model, params, keep)
    assert small.vocab_size == 15
    where = np.full(20, -1)
    where[keep] = np.arange(15)

    def logits(model, params, ids):
        mask, types = prefix.inputs(ids, SEP)
        return generation_loss.token_logits(
            model, head, params, ids, mask, types, jnp.arange(12)[None].repeat(4, 0)
        )

    assert where[SEP] == SEP
    old, new = logits(model, params, jnp.asarray(IDS)), logits(small, reduced, where[IDS])
    np.testing.assert_allclose(new, old[..., keep], atol=1e-5)
    for wrong, message in [
        ([0, 20], r"keep holds 0 to 20, must be in \[0, 20\)"),
        ([1, 1], "1 ids twice"),
        ([], "holds nothing"),
    ]:
        with pytest.raises(ValueError, match=message):
            generation_loss.reduce_vocabulary(model, params, wrong)


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


def test_counts_of_masked_tokens():
    mask = np.zeros((6, 14), int)
    for row, length in zip(mask, (0, 1, 2, 3, 9, 14), strict=True):
        row[:length] = 2
    # 0 where nothing stands between the ends, at least 1, else the share rounded.
    assert count_masked(0.3)({"attention_mask": mask}).tolist() == [[0], [0], [0], [1], [2], [4]]
    assert count_masked(0.01)({"attention_mask": mask})[:, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert count_masked(0.3)({"attention_mask": mask}).dtype == jnp.float32


def test_the_masked_loss_is_that_of_the_chosen_tokens(toy, monkeypatch):
    """Nats by hand from the logits asked for; with a scale, rows count by it."""
    model, head, params, _ = toy
    seen = []
    real = generation_loss.token_logits

    def record(model, head, params, ids, visible, types, positions, *, key):
        logits = real(model, head, params, ids, visible, types, positions, key=key)
        seen.append((ids, visible, types, positions, logits))
        return logits

    monkeypatch.setattr(generation_loss, "token_logits", record)
    batch = {"input_ids": jnp.asarray(IDS[:2]), "attention_mask": jnp.asarray(IDS[:2] != 0) * 3}
    loss_fn = make_masked_loss(model, head, mask_id=4)  # rate 0.15: 1 of 8, 2 of 10 tokens
    for scale in (None, jnp.array([[2.0], [3.0]])):
        fields = batch if scale is None else {**batch, "scale": scale}
        run = jax.jit(
            lambda fields: (
                loss_fn(params, {"a": 1}, fields, key=jax.random.key(3), step=0),
                seen.pop(),
            )
        )
        (loss, (state, metrics)), (ids, visible, types, positions, logits) = run(fields)
        assert (state, metrics, types) == ({"a": 1}, {}, None)
        np.testing.assert_array_equal(visible, IDS[:2] != 0)
        assert positions.shape == (2, 2)
        x = np.asarray(logits, np.float64)
        log = x - np.log(np.exp(x).sum(-1, keepdims=True))
        nats = [
            sum(-log[b, k, IDS[b, positions[b, k]]] for k in range(n)) for b, n in ((0, 1), (1, 2))
        ]
        want = sum(nats) / 3 if scale is None else (2 * nats[0] + 3 * nats[1]) / 2
        np.testing.assert_allclose(loss, want, rtol=1e-5)
        other = np.ones((2, 12), bool)
        other[[0, 1, 1], [positions[0, 0], *positions[1]]] = False
        np.testing.assert_array_equal(np.asarray(ids)[other], IDS[:2][other])


def test_a_step_scales_rows_by_the_targets_of_the_batch():
    step = lambda state, batch: (state, batch)
    count = lambda batch: batch["n"]
    batch = {"n": jnp.array([[4.0, 0.0], [2.0, 0.0], [0.0, 0.0]])}
    state, found = normalize_step(step, count)("state", batch)
    assert state == "state"
    np.testing.assert_allclose(found["scale"], [[0.5, 3.0]] * 3)  # 3 rows over 6, over at least 1
    np.testing.assert_array_equal(found["n"], batch["n"])


def test_means_of_tokens():
    means = {"a_nll": 6.0, "a_tokens": 4.0, "b_nll": 1.0, "b_tokens": 0.0}
    assert per_token(means, ["a"]) == {"a_nll": 1.5}
    assert np.isnan(per_token(means, ["a", "b"])["b_nll"])


def test_a_fresh_head_is_nearly_the_identity():
    head = bert.MaskedLMHead(init_scale=0.02)
    params = bert.init_head(head, jax.random.key(0), 40, 7)
    noise = np.asarray(params["dense"]["kernel"]) - np.eye(40)
    np.testing.assert_allclose(noise.std(), 0.02, rtol=0.06)
    np.testing.assert_allclose(noise.mean(), 0, atol=2e-3)
    assert not params["dense"]["bias"].any()
    assert params["bias"].shape == (7,)
    assert params["norm"]["scale"].shape == (40,)


def test_a_reduced_vocabulary_gathers_what_it_keeps(toy):
    model, _, params, _ = toy
    keep = [0, 19, 5]
    small, cut = bert.reduce_vocabulary(model, params, keep)
    assert small == model.clone(vocab_size=3)
    table = params["bert"]["embeddings"]["word"]["embedding"]
    np.testing.assert_array_equal(
        cut["bert"]["embeddings"]["word"]["embedding"], table[np.array(keep)]
    )
    np.testing.assert_array_equal(cut["head"]["bias"], params["head"]["bias"][np.array(keep)])
    assert set(bert.reduce_vocabulary(model, {"bert": params["bert"]}, [19])[1]) == {"bert"}
    with pytest.raises(ValueError, match="keep holds -1 to 1"):
        bert.reduce_vocabulary(model, params, [-1, 1])
