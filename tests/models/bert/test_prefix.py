"""`jaxlab.models.bert.prefix`: the prefix mask by brute force, what can and cannot reach a
prediction of the loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from generation_toy import IDS, SEP, make_nll, make_toy

from jaxlab.models.bert import prefix
from jaxlab.tasks.question_generation import losses


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
    return make_toy()


@pytest.fixture(scope="module")
def nll(toy):
    return make_nll(toy)


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
        lambda ids, hide: losses.target_nll(model, head, params, ids, layout, hide=hide)[0],
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


def test_windows_that_reach_beyond_the_row_or_cut_targets():
    """By hand: targets are cut after the window's size, places beyond the row are the last."""
    ids = jnp.array([[2, 7, SEP, 8, SEP, 9, SEP], [2, 7, SEP, 8, SEP, 9, 0]])
    for size, parts, want in (
        (6, 1, ([[2, 3, 4, 5, 6, 6]] * 2, [[8, 3, 9, 3, 0, 0], [8, 3, 9, 0, 0, 0]],
                [[1, 1, 2, 2, 0, 0], [1, 1, 2, 2, 0, 0]])),
        (2, 1, ([[2, 3]] * 2, [[8, 3]] * 2, [[1, 1]] * 2)),
        (3, 2, ([[4, 5, 6]] * 2, [[9, 3, 0], [9, 0, 0]], [[2, 2, 0]] * 2)),
    ):  # fmt: skip
        for got, expected in zip(
            prefix.target_window(ids, SEP, size, prefix_parts=parts), want, strict=True
        ):
            np.testing.assert_array_equal(got, expected)
            assert got.dtype == jnp.int32
    positions, targets, part = prefix.target_window(jnp.zeros((1, 4), int), SEP, 2)
    assert positions.shape == targets.shape == part.shape == (1, 2)
    assert prefix.parts(jnp.array([[SEP] * 6]), SEP).tolist() == [[0, 1, 2, 3, 3, 3]]
