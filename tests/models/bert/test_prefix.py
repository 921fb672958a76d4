"""The prefix mask by brute force, what can and cannot reach a prediction, and the losses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import mesh as mesh_lib
from jaxlab import train
from jaxlab.models import bert
from jaxlab.models.bert import generation_loss, prefix

SEP, CLS = 3, 2
IDS = np.array(
    [
        [CLS, 7, 8, 9, SEP, 10, SEP, 11, 12, SEP, 0, 0],
        [CLS, 7, SEP, 10, 13, 14, SEP, 11, 12, 5, 6, SEP],
        [CLS, 9, SEP, 9, SEP, 9, SEP, 0, 0, 0, 0, 0],
        [0] * 12,
    ],
    np.int32,
)


def part_of(row, i):
    return 3 if 0 in row[: i + 1] else sum(t == SEP for t in row[:i])


@pytest.mark.parametrize("prefix_parts", [1, 2])
@pytest.mark.parametrize("hide", [None, "passage", "second"])
def test_the_mask_is_the_table_of_who_sees_whom(prefix_parts, hide):
    mask, types = prefix.inputs(IDS, SEP, prefix_parts=prefix_parts, hide=hide)
    for b, row in enumerate(IDS[:3]):
        for i, j in np.ndindex(12, 12):
            pi, pj = part_of(row, i), part_of(row, j)
            hidden = j > 0 and row[j] != SEP and {"passage": 0, "second": 1}.get(hide) == pj
            before = pj < prefix_parts or (prefix_parts <= pi and j <= i)
            if pi < 3:
                assert bool(mask[b, i, j]) == (before and pj < 3 and not hidden), (b, i, j)
            else:
                assert not mask[b, i, j] or pj < 3  # nobody sees padding, padding neither
            assert types[b, i] == (prefix_parts <= pi < 3)


def test_the_window_holds_every_target_and_nothing_else():
    for prefix_parts in (1, 2):
        positions, targets, part = prefix.target_window(IDS, SEP, 10, prefix_parts=prefix_parts)
        for b, row in enumerate(IDS):
            want = [
                (i - 1, row[i], part_of(row, i))
                for i in range(12)
                if prefix_parts <= part_of(row, i) < 3
            ]
            real = np.asarray(part[b]) > 0
            got = [tuple(int(x[b, k]) for x in (positions, targets, part)) for k in range(10)]
            assert got[: len(want)] == want
            assert not real[len(want) :].any()


def test_wrong_masks_are_refused():
    for call, message in [
        (lambda: prefix.prefix_mask(jnp.zeros(3, int)), r"shape \(3,\), must be \[batch, length\]"),
        (lambda: prefix.prefix_mask(jnp.full((1, 2), 2)), "holds 2 to 2, must be 0 or 1"),
        (lambda: prefix.prefix_mask(jnp.zeros((1, 2), int), jnp.ones((1, 3))), "visible has shape"),
        (lambda: prefix.inputs(IDS, SEP, prefix_parts=3), "prefix_parts is 3"),
        (lambda: prefix.inputs(IDS, SEP, hide="answer"), "hide is 'answer', known are"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


# --- What reaches a prediction --------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy():
    """(model, head, params, layout)."""
    model = bert.Bert(
        vocab_size=20, hidden_size=8, num_layers=1, num_heads=2, intermediate_size=12,
        max_positions=12, init_scale=0.5, pooler=False,
    )  # fmt: skip
    head = bert.MaskedLMHead()
    body = jax.jit(model.init)(jax.random.key(0), jnp.asarray(IDS))["params"]
    top = generation_loss.init_head(head, jax.random.key(1), 8, 20)
    layout = generation_loss.TargetLayout(sep_id=SEP, max_targets=10)
    return model, head, {"bert": body, "head": top}, layout


@pytest.fixture(scope="module")
def nll(toy):
    """ids [4, 12] -> (nll, part)."""
    model, head, params, layout = toy
    return jax.jit(lambda ids: generation_loss.target_nll(model, head, params, ids, layout))


def test_no_prediction_sees_its_target_or_what_follows(nll):
    """Changing target k leaves the predictions before it alone, and changes all after it."""
    base, _ = nll(IDS)
    row, start = 1, 2  # targets of row 1 stand at 3 ... 11
    for k in (3, 5, 8, 10):
        ids = IDS.copy()
        ids[row, k] = 17
        got, _ = nll(ids)
        np.testing.assert_array_equal(got[row, : k - start - 1], base[row, : k - start - 1])
        assert (np.abs(got - base)[row, k - start - 1 : 9] > 1e-6).all()
        np.testing.assert_array_equal(got[0], base[0])
    ids = IDS.copy()
    ids[row, 1] = 17
    assert (np.abs(nll(ids)[0] - base)[row, :9] > 1e-6).all()


def test_padding_changes_nothing(nll):
    base, part = nll(IDS)
    ids = IDS.copy()
    ids[0, 10:], ids[2, 7:] = 9, 5  # rubbish after the last separator is padding too
    got, again = nll(ids)
    np.testing.assert_array_equal(part, again)
    np.testing.assert_allclose(got, base, atol=1e-6)
    assert (np.asarray(base)[np.asarray(part) == 0] == 0).all()


def test_hidden_parts_are_not_seen(toy):
    model, head, params, layout = toy
    run = jax.jit(
        lambda ids, hide: generation_loss.target_nll(model, head, params, ids, layout, hide=hide)[
            0
        ],
        static_argnums=1,
    )
    ids = IDS.copy()
    ids[1, 3:6] = (17, 18, 15)  # the answer
    a, b = (run(x, "second")[1] for x in (IDS, ids))
    np.testing.assert_allclose(a[4:9], b[4:9], atol=1e-6)  # predictions of the question
    assert (np.abs(run(IDS, None)[1] - run(IDS, "second")[1])[4:9] > 1e-6).all()
    ids = IDS.copy()
    ids[0, 1:4] = (17, 18, 15)
    a, b = (run(x, "passage")[0] for x in (IDS, ids))
    np.testing.assert_allclose(a, b, atol=1e-6)


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
