"""Cached decoding against full recomputation, and what a cache holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoding_toy import IDS, PASSAGES, SEP, make_toy, recompute

from jaxlab.models import bert
from jaxlab.models.bert.cache import append_tokens, empty_cache, encode_prefix

TARGETS = np.array([[10, SEP, 11, 12, SEP, 0, 0], [10, 13, 14, SEP, 11, 12, SEP]], np.int32)


@pytest.fixture(scope="module")
def toy():
    return make_toy()


@pytest.fixture(scope="module")
def full(toy):
    """Logits [2, 10, vocab] at all positions, without a cache."""
    model, head, params = toy
    return jax.jit(recompute, static_argnums=(0, 1))(model, head, params, IDS)


def test_cached_decoding_is_full_recomputation(toy, full):
    """One by one as in decoding, all at once, and with pauses; two outputs share a passage."""
    model, head, params = toy

    @jax.jit
    def one_by_one(tokens):
        prefix, last = bert.encode_prefix(model, params, PASSAGES)
        cache = bert.empty_cache(model, prefix, tokens.shape[1], copies=2)
        step_fn = bert.make_step(model, head, params, prefix)
        _, logits = jax.lax.scan(lambda c, t: step_fn(c, t)[::-1], cache, tokens.T)
        return bert.next_logits(head, params, last), logits.swapaxes(0, 1)

    @jax.jit
    def at_once(tokens):
        prefix, _ = bert.encode_prefix(model, params, PASSAGES)
        cache = bert.empty_cache(model, prefix, tokens.shape[1] + 2)
        a, cache = bert.append_tokens(
            model, params, prefix, cache, tokens[:, :3], tokens[:, :3] != 0
        )
        b, _ = bert.append_tokens(model, params, prefix, cache, tokens[:, 3:], tokens[:, 3:] != 0)
        return bert.next_logits(head, params, jnp.concatenate([a, b], axis=1))

    # Rows 0, 1 belong to the first passage; the second of them is another output, with pauses.
    other = np.array([0, 10, 0, 0, SEP, 11, 12], np.int32)
    first, cached = one_by_one(np.stack([TARGETS[0], other, TARGETS[1], TARGETS[1]]))
    whole = at_once(TARGETS)
    for row, (start, count) in enumerate([(4, 5), (2, 7)]):
        want = full[row, start : start + count + 1]
        np.testing.assert_allclose(first[row], want[0], atol=1e-5)
        np.testing.assert_allclose(cached[2 * row, :count], want[1:], atol=1e-5)
        np.testing.assert_allclose(whole[row, :count], want[1:], atol=1e-5)
    np.testing.assert_allclose(cached[1, [1, 4, 5, 6]], full[0, 5:9], atol=1e-5)
    np.testing.assert_allclose(cached[3], cached[2], atol=1e-6)


def test_a_prefix_holds_what_a_passage_is(toy):
    """Also where layers are computed anew in training, and in a row that is nothing but padding."""
    model, _, params = toy
    rows = np.concatenate([PASSAGES, np.zeros((1, 6), np.int32)])
    run = jax.jit(lambda p, model: encode_prefix(model, p, rows), static_argnums=1)
    prefix, last = run(params, model)
    np.testing.assert_array_equal(prefix.lengths, [5, 3, 1])
    np.testing.assert_array_equal(prefix.visible[:2], PASSAGES != 0)
    assert prefix.visible[2].tolist() == [True] + [False] * 5
    assert [len(prefix.keys), len(prefix.values)] == [2, 2]
    assert {x.shape for x in (*prefix.keys, *prefix.values)} == {(3, 2, 6, 4)}
    states = jax.jit(lambda p: model.apply({"params": p["bert"]}, rows, rows != 0))(params)
    for row, length in enumerate((5, 3)):
        want = states.last_hidden_state[row, length - 1]
        np.testing.assert_allclose(last[row], want, atol=1e-5)
    assert np.isfinite(last).all()
    again, last_again = run(params, model.clone(remat=True))
    np.testing.assert_allclose(last_again, last, atol=1e-6)
    np.testing.assert_allclose(again.keys[1], prefix.keys[1], atol=1e-6)


def test_an_empty_cache_has_room_and_nothing_in_it(toy):
    model, _, params = toy
    prefix, _ = jax.jit(lambda p: encode_prefix(model, p, PASSAGES))(params)
    cache = empty_cache(model, prefix, 18, copies=3)  # 6 + 18 is the table's end
    assert {x.shape for x in (*cache.keys, *cache.values)} == {(6, 2, 18, 4)}
    assert (len(cache.keys), cache.visible.shape, cache.slot.tolist()) == (2, (6, 18), [0] * 6)
    assert not cache.visible.any()
    assert empty_cache(model, prefix, 2).visible.shape == (2, 2)
    with pytest.raises(ValueError, match="need 25 positions, the position table ends at 24"):
        empty_cache(model, prefix, 19)
    tokens = jnp.array([[10, 0, 11]] * 6)
    _, after = jax.jit(
        lambda p, cache: append_tokens(model, p, prefix, cache, tokens, tokens != 0)
    )(params, cache)
    assert after.slot.tolist() == [3] * 6
    np.testing.assert_array_equal(after.visible, np.isin(np.arange(18), (0, 2))[None].repeat(6, 0))
