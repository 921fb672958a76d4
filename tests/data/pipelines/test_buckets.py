"""`jaxlab.data.pipelines.buckets`: batches of texts of like length."""

import copy
import dataclasses

import numpy as np
import pytest

from jaxlab.data.pipelines import buckets
from jaxlab.data.text import TokenSet


@pytest.fixture(scope="module")
def tokens():
    """103 texts of 2 to 20 tokens; text i is all i + 1, its label i."""
    lengths = np.random.default_rng(0).integers(2, 21, 103)
    ids = [np.full(n, i + 1, np.int32) for i, n in enumerate(lengths)]
    return TokenSet(ids, np.arange(103, dtype=np.int32))


def pipeline(tokens, **kwargs):
    kwargs = {"buckets": (8, 12, 20), "seed": 3, **kwargs}
    return buckets.text_pipeline(tokens, 8, **kwargs)


def test_batches_are_right_and_an_epoch_visits_almost_all(tokens):
    data = pipeline(tokens)
    for _ in range(3):
        seen, shapes, padding = [], set(), 0
        for _ in range(103 // 8):
            batch = next(data)
            ids, mask = batch["input_ids"], batch["attention_mask"]
            assert (mask.sum(1) == tokens.lengths[batch["label"]]).all()
            assert (ids == (batch["label"][:, None] + 1) * mask).all()
            shapes.add(ids.shape)
            padding += ids.size - mask.sum()
            seen += batch["label"].tolist()
        assert len(set(seen)) == len(seen) == 96
        assert shapes == {(8, 8), (8, 12), (8, 20)}
        assert padding < 0.35 * sum(tokens.lengths)  # 0.8 without buckets


def test_order_depends_on_seed_and_resumes_anywhere(tokens):
    first = [next(pipeline(tokens))["label"].tolist() for _ in range(2)]
    assert first[0] == first[1]
    assert next(pipeline(tokens, seed=4))["label"].tolist() != first[0]
    data = pipeline(tokens, num_threads=0)
    for _ in range(14):
        next(data)
    state = data.get_state()
    expected = [next(data)["input_ids"] for _ in range(15)]
    other = pipeline(tokens)
    other.set_state(state)
    for want in expected:
        np.testing.assert_array_equal(next(other)["input_ids"], want)


def test_processes_share_a_batch(tokens):
    whole = pipeline(tokens)
    parts = [pipeline(tokens, process_index=i, process_count=2) for i in range(2)]
    for _ in range(20):
        joined = [np.concatenate(x) for x in zip(*(next(p).values() for p in parts), strict=True)]
        for a, b in zip(next(whole).values(), joined, strict=True):
            np.testing.assert_array_equal(a, b)


def test_evaluation_sees_each_text_once(tokens):
    batches = buckets.text_eval_batches(tokens, 10, buckets=(20, 8))
    assert len(batches) == len(list(batches)) == 11
    real = np.concatenate([b["label"][b["mask"] > 0] for b in batches])
    assert sorted(real) == list(range(103))
    for batch in batches:
        keep = batch["mask"] > 0
        assert (batch["index"][keep] == batch["label"][keep]).all()
        assert (batch["input_ids"][~keep] == 0).all()
        assert batch["input_ids"].shape in ((10, 8), (10, 20))
    halves = [
        buckets.text_eval_batches(tokens, 10, buckets=(8, 20), process_index=i, process_count=2)
        for i in range(2)
    ]
    assert [len(h) for h in halves] == [11, 11]
    for batch, *parts in zip(batches, *halves, strict=True):
        joined = np.concatenate([p["label"] for p in parts])
        np.testing.assert_array_equal(joined, batch["label"])


def test_wrong_batches_are_refused(tokens):
    for kwargs, message in [
        ({"buckets": (8, 16)}, "longest text has 20 tokens"),
        ({"buckets": ()}, "buckets is"),
        ({"buckets": (8, 20.0)}, r"buckets\[1\] is 20\.0, must be a whole number"),
        ({"buckets": (0, 20)}, r"buckets\[0\] is 0"),
        ({"buckets": (20, 20)}, "must be distinct"),
        ({"seed": -1}, "seed is -1"),
        ({"process_count": 3}, "batch_size is 8"),
    ]:
        with pytest.raises(ValueError, match=message):
            pipeline(tokens, **kwargs)
    with pytest.raises(ValueError, match="batch_size is 200, there are only 103"):
        buckets.text_pipeline(tokens, 200, buckets=(20,), seed=0)


def plan_by_hand(lengths, limits, size, seed, epoch):
    """The batches of an epoch as lists of texts, written down."""
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(lengths)).tolist()
    batches, waiting, shorter = [], [], 0
    for limit in limits:
        waiting += [i for i in order if shorter < lengths[i] <= limit]
        while len(waiting) >= size:
            batches.append(waiting[:size])
            waiting = waiting[size:]
        shorter = limit
    return [batches[i] for i in rng.permutation(len(batches))]


def test_each_epoch_is_drawn_from_the_seed_and_its_number(tokens):
    data, limits, lengths = pipeline(tokens, buckets=(20, 8, 12)), (8, 12, 20), tokens.lengths
    for epoch in range(3):
        want = plan_by_hand(lengths, limits, 8, 3, epoch)
        assert len(want) == 12
        for rows in want:
            batch = next(data)
            assert batch["label"].tolist() == rows
            longest = max(lengths[i] for i in rows)
            assert batch["input_ids"].shape[1] == min(x for x in limits if x >= longest)
    assert {name: x.dtype for name, x in batch.items()} == dict.fromkeys(batch, np.int32)
    everything = buckets.text_pipeline(tokens, 103, buckets=(20,), seed=0)  # a batch may hold all
    assert sorted(next(everything)["label"]) == list(range(103))


def test_evaluation_goes_from_short_to_long_and_fills_up():
    ids = [np.arange(1, n + 1) * 10 for n in (3, 1, 2, 1, 3)]
    small = TokenSet(ids, np.array([5, 6, 7, 8, 9]))
    found = list(buckets.text_eval_batches(small, 2, buckets=(3, 1)))
    assert [b["input_ids"].tolist() for b in found] == [
        [[10], [10]],
        [[10, 20, 0], [10, 20, 30]],
        [[10, 20, 30], [0, 0, 0]],
    ]
    assert [b["index"].tolist() for b in found] == [[1, 3], [2, 0], [4, 0]]
    assert [b["label"].tolist() for b in found] == [[6, 8], [7, 5], [9, 0]]
    assert [b["mask"].tolist() for b in found] == [[1, 1], [1, 1], [1, 0]]
    assert found[1]["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert found[0]["mask"].dtype == np.float32
    assert found[0]["index"].dtype == np.int32
    second = list(
        buckets.text_eval_batches(small, 2, buckets=(3, 1), process_index=1, process_count=2)
    )
    assert [b["index"].tolist() for b in second] == [[3], [0], [0]]
    assert [b["mask"].tolist() for b in second] == [[1], [1], [0]]
    assert second[2]["input_ids"].shape == (1, 3)


def test_texts_of_one_length_keep_their_order(tokens):
    batches = buckets.text_eval_batches(tokens, 103, buckets=(20,))
    order = sorted(range(103), key=lambda i: (tokens.lengths[i], i))
    assert next(iter(batches))["index"].tolist() == order


def test_a_set_equals_itself_alone_and_does_not_change(tokens):
    for one in (buckets.text_eval_batches(tokens, 9, buckets=(20,)),):
        assert one != copy.copy(one)  # arrays have no truth value to compare by
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, dataclasses.fields(one)[0].name, None)
