"""`jaxlab.tasks.embeddings.sampling`: what a config may ask for, groups of words, neighbours."""

import collections
import copy
import dataclasses
import json

import numpy as np
import pytest
from etils import epath
from notebook import run_example

from jaxlab import checkpoints, train
from jaxlab.data.skipgram import skipgram_pipeline
from jaxlab.tasks.embeddings import sampling, texts, word_vectors

CONFIG = {
    "seed": 0,
    "min_count": 1,
    "dim": 4,
    "epochs": 2,
    "max_tokens": 0,
    "learning_rate": 0.025,
    "final_learning_rate": 1e-4,
    "num_negatives": 5.0,
    "blocks": {"steps": 2, "stretches": 2, "length": 4, "window": 2},
}


@pytest.fixture
def config(tmp_path):
    (tmp_path / "text.txt").write_text("the sun is red and the sea is blue . " * 20)
    return {**copy.deepcopy(CONFIG), "corpus": str(tmp_path / "text.txt")}


def test_rare_words_and_late_ones_are_left_out(config):
    corpus, total = sampling.load_words({**config, "min_count": 30})
    assert total == 9 * 20
    assert set(corpus.words) == {"the", "is"}
    few = sampling.load_words({**config, "max_words": 3})[0]
    every = sampling.load_words(config)[0]
    order = np.argsort(-every.counts, kind="stable")[:3]
    assert set(few.words) == {every.words[i] for i in order}
    assert sorted(few.counts) == sorted(every.counts[order])
    with pytest.raises(ValueError, match="max_words is 1, must be"):
        sampling.load_words({**config, "max_words": 1})
    corpus, total = sampling.load_words({**config, "max_tokens": 7})
    assert total == 7
    assert set(corpus.words) == {"the", "sun", "is", "red", "and", "sea"}


def test_a_step_moves_all_blocks_at_a_falling_rate(config):
    corpus, _ = sampling.load_words(config)
    blocks, run = sampling.make_run(config, corpus)
    assert run.num_steps == 2 * blocks.batches_per_epoch
    assert run.batch_size == 2 * 2 * 4
    state = run.create_state()
    words = np.asarray(state.params["words"])
    assert words.shape == (len(corpus.words), 4)
    assert not np.asarray(state.params["contexts"]).any()
    state, metrics = run.step(state, blocks[0])
    assert int(state.step) == 1
    assert np.asarray(state.params["contexts"]).any()
    assert 0 < float(metrics["loss"]) <= 6 * np.log(2) * 1.01


def trained(config, **optimizer):
    """The tables after a batch, and its metrics."""
    blocks, run = sampling.make_run({**config, "optimizer": optimizer}, config["words"])
    state, metrics = run.step(run.create_state(), blocks[0])
    assert int(state.step) == 1
    return state.params, metrics


def test_every_optimizer_takes_the_blocks_one_by_one(config):
    """Momentum of 0 moves whole tables as word2vec's SGD moves the rows that occur."""
    config["words"] = sampling.load_words(config)[0]
    config["epochs"] = 1
    start = sampling.make_run(config, config["words"])[1].create_state().params
    start = {name: np.asarray(table) for name, table in start.items()}
    plain, figures = trained(config)
    same, found = trained(config, name="momentum", momentum=0.0)
    for name, table in plain.items():
        assert np.abs(table - start[name]).max() > 1e-3
        np.testing.assert_allclose(same[name], table, rtol=1e-4, atol=1e-6)
    assert float(found["loss"]) == pytest.approx(float(figures["loss"]))
    half, _ = trained(config, schedule="constant", warmup=0.5)
    assert np.abs(half["contexts"] - plain["contexts"]).max() > 1e-4
    # The gradient turned around at a level above the loss.
    away, found = trained(config, flooding=1e9)
    assert float(found["flooded"]) == 1
    moved = [np.vdot(x["contexts"], plain["contexts"]) for x in (away, plain)]
    assert moved[0] < 0 < moved[1]


def test_the_rate_is_that_of_the_schedule(config):
    """A step of Adam in each entry: the sum of the rates of both blocks."""
    config["words"] = sampling.load_words(config)[0]
    config |= {"epochs": 1, "learning_rate": 0.5, "final_learning_rate": 0.1}
    count = sampling.make_run(config, config["words"])[1].num_steps * 2
    config["blocks"]["window"] = 1
    moves = []
    for schedule in ("constant", "floored", "linear"):
        params, _ = trained(config, name="adam", b1=0.0, b2=0.0, schedule=schedule)
        moves.append(np.abs(np.asarray(params["contexts"])).max())
    want = [0.5 * 2, 0.5 + 0.5 * (1 - 1 / count), 0.5 + 0.5 - 0.4 / count]
    np.testing.assert_allclose(moves, want, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": {"name": "sdg"}}, "optimizer is 'sdg', must be one of sgd"),
        ({"optimizer": {"schedule": "line"}}, "schedule is 'line', must be one of constant"),
        ({"optimizer": {"momentum": 0.9}}, "momentum is 0.9, optimizer 'sgd' takes no"),
        ({"dim": 0}, "dim is 0, must be a whole number of at least 1"),
        ({"epochs": 0}, "epochs is 0, must be a whole number of at least 1"),
        ({"max_tokens": -5}, "max_tokens is -5"),
        ({"min_count": 0}, "min_count is 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"final_learning_rate": -1.0}, "final_learning_rate is -1.0"),
        ({"num_negatives": 0.0}, "num_negatives is 0.0, must be above 0"),
        ({"blocks": {"power": float("nan")}}, "power is nan"),
        ({"blocks": {"window": 0}}, "window is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_numbers_without_sense_are_refused(config, change, message):
    changed = {**config, **change}
    changed["blocks"] = {**config["blocks"], **change.get("blocks", {})}

    def start():
        sampling.make_run(changed, sampling.load_words(changed)[0])

    with pytest.raises(ValueError, match=message):
        start()


def test_a_finished_run_opens(config, tmp_path):
    config["blocks"]["subsample"] = 0.0
    corpus = sampling.load_words(config)[0]
    blocks, run = sampling.make_run(config, corpus)
    workdir = tmp_path / "run"
    state = train.run(run, skipgram_pipeline(blocks), workdir, checkpoint_every=1)
    vectors = np.asarray(state.params["words"])
    word_vectors.save_word2vec(workdir / "vectors.txt", corpus.words, vectors)
    record = {"task": "embeddings", "config": {**config, "job": "negative_sampling"}}
    (workdir / "config.json").write_text(json.dumps(record))
    found = run_example("embedding_dim", workdir)
    assert found["words"] == list(corpus.words)
    np.testing.assert_array_equal(found["vectors"], vectors)
    assert len(found["near"]) == 3
    assert found["tokens"] == 180  # all that there are
    opened = train.load_run(workdir, step=run.num_steps - 2)
    assert (opened.step, len(opened.load_data(limit=7))) == (run.num_steps - 2, 7)
    assert np.abs(np.asarray(opened.params["words"]) - vectors).max() > 0
    word_vectors.save_word2vec(workdir / "vectors.txt", corpus.words[:2], vectors[:2])
    with pytest.raises(ValueError, match=f"txt has 2 words, must have {len(vectors)}"):
        train.load_run(workdir)
    record["config"]["job"] = "sweep"
    (workdir / "config.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="holds a sweep, which keeps no vectors"):
        train.load_run(workdir)


def test_groups_of_words_have_places_and_colors():
    vectors = np.eye(4) * [1, 5, 1, 1]  # their lengths do not count
    places, names, groups = sampling.place_groups(vectors, list("abcd"), ["a b", "z", "c"])
    assert (names, groups) == (["a", "b", "c"], [0, 0, 2])
    gaps = [np.linalg.norm(places[i] - places[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(gaps, [2**0.5] * 3)
    places, names, groups = sampling.place_groups(np.eye(50), [str(i) for i in range(50)], ["7 9"])
    assert (len(names), set(groups), places.shape) == (40, {0}, (40, 2))


def test_neighbours_of_known_words():
    vectors = np.array([[1.0, 0], [0.8, 0.6], [0, 1]])
    lines = sampling.neighbour_lines(vectors, ["a", "b", "c"], ["b", "z"], count=2)
    assert lines == ["b: a 0.80, c 0.60"]


def test_vectors_of_a_file_and_of_a_run_are_taken_by_word(config, tmp_path):
    corpus, _ = sampling.load_words(config)
    _, run = sampling.make_run(config, corpus)
    state = run.create_state()
    fresh = {name: np.asarray(x) for name, x in state.params.items()}
    read = sampling.vectors_of(corpus.words, fresh)
    assert read(epath.Path(tmp_path)) is None  # a run without vectors, or a folder of weights
    given = np.arange(12, dtype=np.float32).reshape(3, 4)
    word_vectors.save_word2vec(tmp_path / "a.vec", ["sea", "moon", "sun"], given)
    found = read(epath.Path(tmp_path) / "a.vec")
    at = {word: i for i, word in enumerate(corpus.words)}
    assert found["words"][at["sea"]].tolist() == [0, 1, 2, 3]
    assert found["words"][at["sun"]].tolist() == [8, 9, 10, 11]
    others = [i for word, i in at.items() if word not in ("sea", "sun")]
    assert np.array_equal(found["words"][others], fresh["words"][others])
    assert not found["contexts"].any()
    state = dataclasses.replace(
        state, params={"words": given, "contexts": -given}, step=state.step + 1
    )
    with checkpoints.Checkpointer(tmp_path / "run" / "checkpoints") as saved:
        saved.save(state)
    word_vectors.save_word2vec(tmp_path / "run" / "vectors.txt", ["sea", "moon", "sun"], given)
    again = read(epath.Path(tmp_path) / "run")
    assert np.array_equal(again["words"], found["words"])
    assert again["contexts"][at["sea"]].tolist() == [0, -1, -2, -3]
    word_vectors.save_word2vec(tmp_path / "b.vec", ["sea"], given[:1, :3])
    with pytest.raises(ValueError, match=r"b.vec has vectors of 3 numbers, dim is 4"):
        read(epath.Path(tmp_path) / "b.vec")


def test_products_in_bfloat16_leave_the_tables_in_float32(config):
    corpus, _ = sampling.load_words(config)
    moved = []
    for dtype in (None, "bfloat16"):
        for optimizer in ({"name": "sgd"}, {"name": "momentum"}):
            given = {**config, "dtype": dtype, "optimizer": optimizer}
            blocks, run = sampling.make_run(given, corpus)
            state, _ = run.step(run.create_state(), blocks[0])
            moved.append(np.asarray(state.params["contexts"]))
    assert {x.dtype.name for x in moved} == {"float32"}
    for exact, rough in zip(moved[:2], moved[2:], strict=True):
        assert not np.array_equal(exact, rough)
        np.testing.assert_allclose(exact, rough, atol=0.02 * np.abs(exact).max())


def test_what_was_found_and_left_out(config):
    asked = {**config, "min_count": 30, "max_tokens": 90}
    left_out = collections.Counter()
    corpus, _ = sampling.load_words({**asked, "min_count": 12}, left_out=left_out)
    found = texts.found(asked, corpus, left_out)
    assert found.lines() == [
        f"data: text, {config['corpus']}: tokens of 2 words in 1 paragraphs; left out: 90 tokens "
        "after the first max_tokens, 50 tokens of words seen less than 12 times",
        "data: train 40",
    ]
    path = config.pop("corpus")
    again = {**asked, "corpus": "no.txt", "data": {"path": path, "name": None}}
    assert texts.load(again).ids.tolist() == texts.load({**config, "corpus": path}).ids.tolist()
    assert texts.found(again, corpus, left_out) == found


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("final_learning_rate", "optimizer.final_learning_rate is given, set final_learning_rate"),
        ("warmup_steps", "optimizer.warmup_steps is 3, .* set optimizer.warmup"),
    ],
)
def test_rates_of_the_run_are_its_own(config, key, message):
    corpus, _ = sampling.load_words(config)
    with pytest.raises(ValueError, match=message):
        sampling.make_run({**config, "optimizer": {key: 3}}, corpus)
