"""Long tails, wrong labels, the sinusoid and splits."""

import numpy as np
import pytest

from jaxlab.data import (
    flip_labels,
    long_tail_counts,
    long_tail_indices,
    sinusoid,
    split_indices,
)
from jaxlab.data.labels import class_gap

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10, dtype=np.int32), 600))


# --- Long tails -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("ratio", "total"), [(100, 14886), (50, 16796), (10, 24516)])
def test_counts_of_the_fashion_mnist_tails(ratio, total):
    counts = long_tail_counts(10, 6000, ratio)
    assert counts.sum() == total
    assert (counts[0], counts[-1]) == (6000, 6000 // ratio)


def test_counts_at_the_edges():
    np.testing.assert_array_equal(long_tail_counts(5, 100, 1), [100] * 5)
    np.testing.assert_array_equal(long_tail_counts(5, 70, 7, profile="step"), [70, 70, 10, 10, 10])
    for profile in ("exponential", "step"):
        np.testing.assert_array_equal(long_tail_counts(1, 9, 4, profile=profile), [9])
    # No whole number is lost to rounding.
    for ratio in range(1, 200):
        np.testing.assert_array_equal(long_tail_counts(2, 3 * ratio, ratio), [3 * ratio, 3])


def test_the_tail_has_the_counts_and_no_repeats():
    for profile in ("exponential", "step"):
        rows = long_tail_indices(LABELS, ratio=100, seed=0, profile=profile)
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all()
        np.testing.assert_array_equal(
            np.bincount(LABELS[rows]), long_tail_counts(10, 600, 100, profile=profile)
        )
    rows = long_tail_indices(LABELS, ratio=10, seed=0, largest=50)
    np.testing.assert_array_equal(np.bincount(LABELS[rows]), long_tail_counts(10, 50, 10))


def test_a_tail_depends_on_its_seed_alone_and_nests():
    first, again, other = (long_tail_indices(LABELS, ratio=50, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert len(np.intersect1d(first, other)) < len(first)
    assert np.isin(long_tail_indices(LABELS, ratio=100, seed=3), first).all()


def test_classes_are_permuted_on_request():
    counts = long_tail_counts(10, 600, 100)
    seen = set()
    for seed in range(3):
        rows = long_tail_indices(LABELS, ratio=100, seed=seed, permute_classes=True)
        found = np.bincount(LABELS[rows])
        np.testing.assert_array_equal(np.sort(found)[::-1], counts)
        seen.add(tuple(found))
    assert len(seen) == 3


# --- Wrong labels ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.3333, 0.4, 1.0])
@pytest.mark.parametrize("kind", ["symmetric", "pair"])
def test_exactly_so_many_labels_are_wrong(rate, kind):
    flipped = flip_labels(LABELS, rate=rate, num_classes=10, seed=1, kind=kind)
    wrong = flipped != LABELS
    assert wrong.sum() == round(rate * len(LABELS))
    assert flipped.dtype == LABELS.dtype
    assert (flipped.min(), flipped.max()) == (0, 9)
    if kind == "pair":
        np.testing.assert_array_equal(flipped[wrong], (LABELS[wrong] + 1) % 10)


def test_symmetric_flips_are_uniform_over_the_other_classes():
    flipped = flip_labels(np.zeros(9000, np.uint8), rate=1.0, num_classes=10, seed=0)
    counts = np.bincount(flipped, minlength=10)
    assert counts[0] == 0
    # Chi-square with 8 degrees of freedom: above 26.1 once in a thousand.
    assert ((counts[1:] - 1000) ** 2 / 1000).sum() < 26.1


def test_flips_nest_and_depend_on_the_seed_alone():
    flip = lambda rate, seed=5: flip_labels(LABELS, rate=rate, num_classes=10, seed=seed)
    low, high = flip(0.2), flip(0.4)
    np.testing.assert_array_equal(high[low != LABELS], low[low != LABELS])
    np.testing.assert_array_equal(low, flip(0.2))
    assert (low != flip(0.2, seed=6)).any()


def test_narrow_label_dtypes_do_not_overflow():
    labels = np.full(50, 126, np.int8)
    flipped = flip_labels(labels, rate=1.0, num_classes=127, seed=0)
    assert flipped.min() >= 0
    assert (flipped != 126).all()


# --- The sinusoid ---------------------------------------------------------------------------------


def test_the_sinusoid_is_uniform_in_a_disc_and_its_noise_exact():
    x, y = sinusoid(20001, noise=0.1, seed=0)
    assert (x.dtype, y.dtype) == (np.float32, np.int32)
    radius = np.linalg.norm(x, axis=1)
    assert radius.max() <= 2 + 1e-6
    np.testing.assert_allclose([(radius < r).mean() for r in (1.0, 1.5)], [0.25, 0.5625], atol=0.01)
    np.testing.assert_allclose(x.mean(0), 0, atol=0.03)
    clean_x, clean = sinusoid(20001, noise=0.0, seed=0)
    np.testing.assert_array_equal(clean_x, x)
    assert (clean != y).sum() == round(2000.1)
    np.testing.assert_array_equal(clean, np.sign(1.5 * x[:, 0] + np.sin(1.5 * x[:, 1])) > 0)
    assert abs(clean.mean() - 0.5) < 0.02  # the curve is odd, so the classes are equal
    assert (sinusoid(20001, seed=1)[0] != x).any()


# --- Splits ---------------------------------------------------------------------------------------


def test_parts_do_not_overlap_and_keep_the_shares_of_classes():
    counts = [5000, 900, 50, 11, 10]
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(5), counts))
    parts = split_indices(labels, sizes=(0.6, 0.2, 0.2), seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    for part, share in zip(parts, (0.6, 0.2, 0.2), strict=True):
        assert np.abs(np.bincount(labels[part]) - share * np.array(counts)).max() < 2
    again = split_indices(labels, sizes=(0.6, 0.2, 0.2), seed=0)
    other = split_indices(labels, sizes=(0.6, 0.2, 0.2), seed=1)
    np.testing.assert_array_equal(parts[0], again[0])
    assert len(np.intersect1d(parts[0], other[0])) < len(parts[0])


@pytest.mark.parametrize("stratified", [True, False])
def test_sizes_are_exact(stratified):
    for n in (7, 10, 101):
        labels = np.arange(n) % 3
        parts = split_indices(labels, sizes=(3, 0, 4), seed=0, stratified=stratified)
        assert [len(part) for part in parts] == [3, 0, 4]
        assert len(np.unique(np.concatenate(parts))) == 7
        halves = split_indices(labels, sizes=(0.5, 0.5), seed=0, stratified=stratified)
        assert sum(map(len, halves)) == n
    train, held = split_indices(100, sizes=(80, 20), seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held])), np.arange(100))


def test_without_strata_the_parts_vary():
    labels = np.repeat([0, 1], [900, 100])
    rare = {
        stratified: {
            int(labels[split_indices(labels, sizes=(200,), seed=s, stratified=stratified)[0]].sum())
            for s in range(8)
        }
        for stratified in (True, False)
    }
    assert rare[True] == {20}
    assert len(rare[False]) > 1


# --- Errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: long_tail_counts(10, 600, 0.5), r"ratio is 0\.5, needs to be at least 1"),
        (lambda: long_tail_counts(0, 600, 2), "num_classes is 0"),
        (lambda: long_tail_counts(10, 600, 2, profile="line"), "profile is 'line'"),  # type: ignore
        (lambda: long_tail_counts(10, 50, 100), "leaves class 8 no example"),
        (
            lambda: long_tail_indices(LABELS, ratio=2, seed=0, largest=601),
            "labels has 600 examples of class 0, the tail needs 601",
        ),
        (
            lambda: long_tail_indices(np.array([0, 2]), ratio=1, seed=0),
            "labels has no example of class 1",
        ),
        (lambda: long_tail_indices(LABELS, ratio=2, seed=-1), "seed is -1"),
        (
            lambda: flip_labels(LABELS, rate=1.5, num_classes=10, seed=0),
            r"rate is 1\.5, needs to be in \[0, 1\]",
        ),
        (lambda: flip_labels(LABELS, rate=float("nan"), num_classes=10, seed=0), "rate is nan"),
        (
            lambda: flip_labels(LABELS, rate=0.1, num_classes=5, seed=0),
            r"labels has value 9, needs to be in \[0, 5\)",
        ),
        (
            lambda: flip_labels(LABELS, rate=0.1, num_classes=10, seed=0, kind="x"),  # type: ignore
            "kind is 'x'",
        ),
        (
            lambda: flip_labels(np.zeros(3), rate=0.1, num_classes=2, seed=0),
            r"labels is float64 \(3,\), needs to be an int vector",
        ),
        (lambda: flip_labels(LABELS, rate=0.1, num_classes=1, seed=0), "num_classes is 1"),
        (lambda: sinusoid(0, seed=0), "num_examples is 0"),
        (lambda: sinusoid(5, noise=-0.1, seed=0), r"noise is -0\.1"),
        (lambda: split_indices(10, sizes=(6, 5), seed=0), r"sizes is \(6, 5\).*10 examples"),
        (lambda: split_indices(10, sizes=(0.5, 5), seed=0), "all ints or all floats"),
        (lambda: split_indices(10, sizes=(0.9, 0.9), seed=0), "10 examples at most"),
        (lambda: split_indices(10, sizes=(-1, 5), seed=0), "at least 0 each"),
        (lambda: split_indices(10, sizes=(float("nan"), 0.5), seed=0), "at least 0 each"),
        (lambda: split_indices(10, sizes=(-0.5, 1.0), seed=0), "at least 0 each"),
        (lambda: split_indices(-1, sizes=(0,), seed=0), "labels_or_n is -1"),
        (lambda: split_indices(10, sizes=(5,), seed=1.5), r"seed is 1\.5"),  # type: ignore
        (lambda: sinusoid(5, noise="a", seed=0), "noise is 'a', must be a number"),  # type: ignore
        (lambda: sinusoid(2.5, seed=0), r"num_examples is 2\.5, must be"),  # type: ignore
        (lambda: long_tail_counts(10, 100, float("nan")), "ratio is nan, must be finite"),
        (lambda: long_tail_counts(10, 99.5, 2.0), r"largest is 99\.5, must be"),  # type: ignore
        (
            lambda: long_tail_indices(np.array([0, 2**31 - 1]), ratio=2.0, seed=0),
            "labels has no example of class 1",
        ),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- Every draw, from its seed --------------------------------------------------------------------


def test_each_choice_has_its_own_stream_of_numbers():
    """Tail 10, flips 11, points 12, splits 13: what a seed gives stays what it is."""
    labels = np.array([1, 0, 0, 1, 2, 0, 1, 0, 2, 0], np.int16)
    rows = long_tail_indices(labels, ratio=5, seed=4)
    want = []
    for k, count in ((0, 5), (1, 2), (2, 1)):
        want += (
            np.random.default_rng((4, 10, k)).permutation(np.where(labels == k)[0])[:count].tolist()
        )
    assert rows.tolist() == sorted(want)
    assert rows.dtype == np.int64
    few = long_tail_indices(labels, ratio=1.0, seed=4, largest=2, permute_classes=True)
    assert np.bincount(labels[few]).tolist() == [2, 2, 2]
    order = np.random.default_rng((4, 10)).permutation(3)
    drawn = long_tail_indices(np.repeat([0, 1, 2], 9), ratio=9.0, seed=4, permute_classes=True)
    assert np.bincount(np.repeat([0, 1, 2], 9)[drawn])[order].tolist() == [9, 3, 1]

    rng = np.random.default_rng((6, 11))
    chosen = rng.permutation(10)[:5]
    shift = rng.integers(1, 3, 10)
    flipped = labels.astype(int)
    for i in chosen:
        flipped[i] = (flipped[i] + shift[i]) % 3
    found = flip_labels(labels, rate=0.5, num_classes=3, seed=6)
    assert found.tolist() == flipped.tolist()
    assert found.dtype == np.int16

    rng = np.random.default_rng((7, 12))
    radius, angle = 2 * rng.random(6) ** 0.5, 2 * np.pi * rng.random(6)
    x, y = sinusoid(6, noise=0.0, seed=7)
    np.testing.assert_allclose(x, np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1),
                               rtol=1e-6)  # fmt: skip
    assert y.tolist() == [int(a * 1.5 > -np.sin(1.5 * b)) for a, b in x]
    noisy = sinusoid(40, seed=7)[1]  # a tenth by default, flipped with the same seed
    clean = sinusoid(40, seed=7, noise=0.0)[1]
    assert noisy.tolist() == flip_labels(clean, rate=0.1, num_classes=2, seed=7).tolist()
    assert (noisy != clean).sum() == 4

    order = np.random.default_rng((8, 13)).permutation(10)
    for options, rest in (
        ({"stratified": False}, order.tolist()),
        ({}, sorted(order.tolist(), key=lambda i: labels[i])),
    ):
        want = []
        for size in (4, 3):
            taken = [i for n, i in enumerate(rest)
                     if (n + 1) * size // len(rest) > n * size // len(rest)]  # fmt: skip
            rest = [i for i in rest if i not in taken]
            want.append(sorted(taken))
        found = split_indices(labels, sizes=(4, 3), seed=8, **options)
        assert [part.tolist() for part in found] == want
        assert found[0].dtype == np.int64
    assert (
        split_indices(10, sizes=(4, 3), seed=8)[0].tolist()
        == split_indices(labels, sizes=(4, 3), seed=8, stratified=False)[0].tolist()
    )
    assert [len(part) for part in split_indices(0, sizes=(0, 0), seed=8)] == [0, 0]
    assert [len(part) for part in split_indices(7, sizes=(0.25, 0.25, 0.5), seed=0)] == [2, 2, 3]


def test_steps_and_single_classes():
    assert long_tail_counts(5, 90, 9, profile="step").tolist() == [90, 90, 10, 10, 10]
    assert long_tail_counts(1, 90, 9, profile="step").tolist() == [90]
    assert long_tail_counts(1, 90, 9).tolist() == [90]
    assert long_tail_counts(2, 10, 10).tolist() == [10, 1]
    assert long_tail_counts(3, 1000, 1000**0.5 * 1000**0.5)[-1] == 1  # not 0 by rounding
    assert long_tail_counts(3, 7, 1).tolist() == [7, 7, 7]


@pytest.mark.parametrize(
    ("labels", "gap"), [([0], None), ([1], 0), ([0, 2], 1), ([2, 0, 1, 4, 6], 3), ([1, 0, 1], None)]
)
def test_the_lowest_class_without_a_label(labels, gap):
    assert class_gap(np.array(labels)) == gap
