"""`jaxlab.data.pipelines.endless`, and `jaxlab.data.pipelines.arrays` on it: positions in the data,
of another batch size, another number of processes, other data."""

import json

import numpy as np
import pytest

from jaxlab import data
from jaxlab.data.corpus import read_texts
from jaxlab.data.pipelines.buckets import text_pipeline
from jaxlab.data.pipelines.endless import describe, fill_up, process_rows
from jaxlab.data.skipgram import SkipgramBlocks, skipgram_pipeline
from jaxlab.data.text import TokenSet

LABELS = np.arange(60) % 7
ROWS = {"x": np.linspace(0, 1, 60).astype(np.float32), "label": LABELS, "i": np.arange(60)}


def rows_pipeline(batch_size=4, seed=0, rows=ROWS, **kwargs):
    return data.array_pipeline(rows, batch_size, seed=seed, **kwargs)


def texts_pipeline(batch_size=4, seed=0, buckets=(4, 8), labels=LABELS):
    ids = [np.full(2 + i % 6, i) for i in range(60)]
    return text_pipeline(TokenSet(ids, labels), batch_size, buckets=buckets, seed=seed)


def words_pipeline(length=4, seed=0, text="one two three four five six seven " * 9):
    blocks = SkipgramBlocks(
        read_texts([text]), seed=seed, steps=1, stretches=2, length=length, subsample=0.0
    )
    return skipgram_pipeline(blocks)


def through_json(state):
    return json.loads(json.dumps(state))


@pytest.mark.parametrize("sizes", [(4, 8), (8, 4), (4, 7), (7, 3, 10)])
def test_another_batch_size_sees_each_example_of_the_epoch_once(sizes):
    seen, state = [], None
    for size in sizes:
        batches = rows_pipeline(size)
        if state is not None:
            batches.set_state(state)
        seen += [i for _ in range(3) for i in next(batches)["i"].tolist()]
        state = through_json(batches.get_state())
    while len(seen) < 60:
        seen += next(batches)["i"].tolist()
    assert sorted(seen[:60]) == list(range(60))
    np.testing.assert_array_equal(seen, data.epoch_order(60, 0, len(seen), seed=0))


def test_another_number_of_processes_goes_on():
    batches = rows_pipeline()
    next(batches)
    state, want = through_json(batches.get_state()), next(batches)["i"]
    parts = [rows_pipeline(process_index=i, process_count=2) for i in range(2)]
    for part in parts:
        part.set_state(state)
    assert [part.get_state() for part in parts] == [state, state]
    np.testing.assert_array_equal(np.concatenate([next(part)["i"] for part in parts]), want)


@pytest.mark.parametrize("make", [rows_pipeline, texts_pipeline, words_pipeline])
def test_the_same_data_go_on_where_they_were(make):
    batches = make()
    for _ in range(3):
        next(batches)
    state, want = through_json(batches.get_state()), next(batches)
    for known in (state, {"next_index": 3}):  # as earlier versions kept it
        again = make()
        again.set_state(known)
        for name, values in next(again).items():
            np.testing.assert_array_equal(values, want[name])


@pytest.mark.parametrize(
    ("make", "change", "message"),
    [
        (rows_pipeline, {"seed": 1}, "seed 0 -> 1"),
        (rows_pipeline, {"rows": {**ROWS, "label": LABELS[::-1]}}, "label has other values"),
        (rows_pipeline, {"rows": {**ROWS, "x": ROWS["x"][::-1]}}, "x has other values"),
        (rows_pipeline, {"rows": {k: v[:50] for k, v in ROWS.items()}}, r"\[60\] -> .*\[50\]"),
        (texts_pipeline, {"seed": 1}, "seed 0 -> 1"),
        (texts_pipeline, {"batch_size": 8}, "batch_size 4 -> 8"),
        (texts_pipeline, {"buckets": (4, 6, 8)}, "buckets"),
        (texts_pipeline, {"labels": np.roll(LABELS, 1)}, "labels has other values"),
        (words_pipeline, {"seed": 1}, "seed 0 -> 1"),
        (words_pipeline, {"length": 8}, "blocks"),
        (words_pipeline, {"text": "one three two four five six seven " * 9}, "tokens has other"),
    ],
)
def test_other_data_are_refused_unless_told(make, change, message):
    batches = make()
    next(batches)
    state = through_json(batches.get_state())
    other = make(**change)
    with pytest.raises(ValueError, match=message) as caught:
        other.set_state(state)
    assert "--allow_config_change" in str(caught.value)
    state.pop("of")
    other.set_state(state)
    next(other)


@pytest.mark.parametrize(("make", "size"), [(texts_pipeline, 8)])
def test_an_order_of_whole_epochs_begins_the_next_one(make, size):
    batches = make()
    next(batches)
    state = through_json(batches.get_state())
    state.pop("of")
    other, fresh = make(size), make(size)
    other.set_state(state)
    for _ in range(60 // size):
        next(fresh)
    np.testing.assert_array_equal(next(other)["input_ids"], next(fresh)["input_ids"])


def test_floats_of_another_machine_are_the_same_data():
    batches = rows_pipeline()
    state = batches.get_state()
    rows_pipeline(rows={**ROWS, "x": ROWS["x"] * np.float32(1 + 1e-6)}).set_state(state)


def test_large_arrays_are_described_by_some_rows():
    large = np.zeros((2**13, 2**13), np.uint8)
    before = describe({"image": large})
    assert describe({"image": large.copy()}) == before
    assert describe({"image": large + np.uint8(1)}) != before
    assert len(json.dumps(before)) < 200


def test_rows_of_a_process():
    assert process_rows(16, 2, 4) == slice(8, 12)
    for wrong in ((18, 0, 4), (4, 0, 0)):
        with pytest.raises(ValueError, match="needs to be a multiple of the"):
            process_rows(*wrong)
    with pytest.raises(ValueError, match="batch_size is 0"):
        process_rows(0, 0, 1)
    with pytest.raises(ValueError, match="process_index is 2, there are 2 processes"):
        process_rows(4, 2, 2)


@pytest.mark.parametrize("there", [0, 2, 3])
def test_a_last_batch_is_filled_up_with_zeros_that_the_mask_marks(there):
    batch = {"x": np.full((there, 2, 2), 7, np.uint8), "label": np.full(there, 3, np.int32)}
    full = fill_up(batch, slice(6, 9))
    assert full["mask"].tolist() == [1.0] * there + [0.0] * (3 - there)
    assert full["x"].dtype == np.uint8
    np.testing.assert_array_equal(full["x"], 7 * full["mask"][:, None, None] * np.ones((3, 2, 2)))
    assert full["label"].tolist() == [3] * there + [0] * (3 - there)
