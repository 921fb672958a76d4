"""Masked tokens, fresh heads and reduced vocabularies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from generation_toy import IDS, SEP, make_toy

from jaxlab.models import bert
from jaxlab.models.bert import masked_lm, prefix
from jaxlab.models.bert.masked_lm import (
    count_masked,
    make_masked_loss,
    normalize_step,
)


@pytest.fixture(scope="module")
def toy():
    return make_toy()


def test_masked_tokens(toy):
    model, head, params, _ = toy
    batch = {"input_ids": jnp.asarray(IDS[:2]), "attention_mask": jnp.asarray(IDS[:2] != 0)}
    counts = masked_lm.count_masked(0.3)(batch)
    assert counts.tolist() == [[2.0], [3.0]]  # of 8 and of 10 tokens
    loss_fn = masked_lm.make_masked_loss(model, head, mask_id=4, rate=0.3)
    run = jax.jit(lambda b, key: loss_fn(params, {}, b, key=key, step=0)[0])
    a, b = run(batch, jax.random.key(0)), run(batch, jax.random.key(1))
    assert np.isfinite([a, b]).all()
    assert a != b
    with pytest.raises(ValueError, match="rate is 1"):
        masked_lm.make_masked_loss(model, head, mask_id=4, rate=1)


def test_which_tokens_are_masked_and_by_what(toy, monkeypatch):
    """Counted over many keys: never the ends nor padding, 80 % masks, 10 % random, 10 % kept."""
    model, head, params, _ = toy
    ids = np.array([[2, 7, 8, 9, 10, 11, 12, 3], [2, 7, 8, 9, 3, 0, 0, 0]])
    batch = {"input_ids": jnp.asarray(ids), "attention_mask": jnp.asarray(ids != 0)}
    mask_id, seen = 4, []

    def record(model, head, params, ids, visible, types, positions, *, key):
        seen.append((ids, positions))
        return jnp.zeros((*positions.shape, model.vocab_size))

    monkeypatch.setattr(masked_lm, "token_logits", record)
    loss_fn = masked_lm.make_masked_loss(model, head, mask_id=mask_id, rate=0.4)

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
    small, reduced = masked_lm.reduce_vocabulary(model, params, keep)
    assert small.vocab_size == 15
    where = np.full(20, -1)
    where[keep] = np.arange(15)

    def logits(model, params, ids):
        mask, types = prefix.inputs(ids, SEP)
        return masked_lm.token_logits(
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
            masked_lm.reduce_vocabulary(model, params, wrong)


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
    real = masked_lm.token_logits

    def record(model, head, params, ids, visible, types, positions, *, key):
        logits = real(model, head, params, ids, visible, types, positions, key=key)
        seen.append((ids, visible, types, positions, logits))
        return logits

    monkeypatch.setattr(masked_lm, "token_logits", record)
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


@pytest.mark.parametrize(("rate", "places"), [(0.01, 1), (0.15, 2), (0.5, 6)])
def test_logits_are_asked_for_at_the_share_of_the_width_and_at_one_place_at_least(
    toy, monkeypatch, rate, places
):
    model, head, params, _ = toy
    asked = []

    def record(model, head, params, ids, visible, types, positions, *, key):
        asked.append(positions.shape)
        return jnp.zeros((*positions.shape, model.vocab_size))

    monkeypatch.setattr(masked_lm, "token_logits", record)
    loss_fn = make_masked_loss(model, head, mask_id=4, rate=rate)
    batch = {"input_ids": jnp.asarray(IDS[:2]), "attention_mask": jnp.asarray(IDS[:2] != 0)}
    run = lambda batch, key: loss_fn(params, {}, batch, key=key, step=0)[0]
    jax.eval_shape(run, batch, jax.random.key(0))
    assert IDS.shape[1] == 12
    assert asked == [(2, places)]


def test_a_step_scales_rows_by_the_targets_of_the_batch():
    step = lambda state, batch: (state, batch)
    count = lambda batch: batch["n"]
    batch = {"n": jnp.array([[4.0, 0.0], [2.0, 0.0], [0.0, 0.0]])}
    state, found = normalize_step(step, count)("state", batch)
    assert state == "state"
    np.testing.assert_allclose(found["scale"], [[0.5, 3.0]] * 3)  # 3 rows over 6, over at least 1
    np.testing.assert_array_equal(found["n"], batch["n"])


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
