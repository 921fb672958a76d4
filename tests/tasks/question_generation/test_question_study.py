"""`jaxlab.tasks.question_generation.study`: what a config may ask for; stages as cells."""

import json

import jax
import numpy as np
import pytest
from etils import epath

from jaxlab.metrics import read_metrics
from jaxlab.models import bert
from jaxlab.tasks import question_generation

pytest.importorskip("tokenizers")


def config(**changes):
    stage = lambda buckets: {
        "num_steps": 2, "learning_rate": 1e-3, "warmup": 0.1, "buckets": buckets,
    }  # fmt: skip
    return {
        "seed": 0,
        "data": {"files": ("mine.json",), "shares": (0.2, 0.2), "split_seed": 0},
        "limits": {"passage": 16, "answer": 4, "question": 8},
        "join": True,
        "max_train": 0,
        "max_validation": 0,
        "order": "answer_first",
        "prefix_parts": 1,
        "pretrained": "",
        "layers": 0,
        "vocab_size": 90,
        "model": {
            "hidden_size": 8, "num_layers": 1, "num_heads": 2, "intermediate_size": 8,
            "max_positions": 40,
        },
        "frozen": (),
        "stages": {"mlm": stage((18,)), "seq2seq": stage((40,))},
        "mask_rate": 0.15,
        "replace": 0.0,
        "batch_size": 2,
        "optimizer": {"name": "adamw", "schedule": "linear", "weight_decay": 0.01},
        "step": {"clip_norm": 1.0, "accumulate": 1},
        "eval_batch_size": 2,
        "log_every": 1,
        "checkpoint_every": 1,
        **changes,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": {"name": "adamw", "weight_decay": -1.0}}, "weight_decay is -1.0"),
        ({"max_train": -3}, "max_train is -3"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"mask_rate": float("nan")}, "mask_rate is nan"),
        ({"replace": 1.0}, "replace is 1.0"),
        ({"limits": {"passage": 17, "answer": 4, "question": 8}}, r"allow 19 tokens"),
        ({"limits": {"passage": 16, "answer": 40, "question": 8}}, r"seq2seq.buckets are \(40,\)"),
    ],
)
def test_what_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        question_generation.check_study(config(**change))


@pytest.mark.parametrize(("stage", "least"), [("mlm", 0), ("seq2seq", 1)])
def test_the_first_stage_may_be_left_out(stage, least):
    asked = config()
    asked["stages"][stage]["num_steps"] = least
    question_generation.check_study(asked)
    asked["stages"][stage]["num_steps"] = least - 1
    with pytest.raises(ValueError, match=f"stages.{stage}.num_steps is {least - 1}"):
        question_generation.check_study(asked)


def test_numbers_at_their_bounds():
    least = config(vocab_size=1, max_train=0, max_validation=0, layers=0, replace=0.0)
    assert question_generation.check_study(least).total == 32
    least["stages"]["seq2seq"]["buckets"] = (16, 32)
    question_generation.check_study(least)
    least["stages"]["seq2seq"]["buckets"] = (16, 31)
    with pytest.raises(ValueError, match=r"\(16, 31\), the limits allow 32 tokens"):
        question_generation.check_study(least)


def test_a_stage_as_planners_want_it(study, tmp_path):
    asked = study(seed=2**32 - 1, frozen=("bert/embeddings",))
    keys = {}
    for name, longest, columns in (("mlm", 18, 1), ("seq2seq", 40, 3)):
        described = asked.blueprint(name, asked.start)
        assert (described.num_steps, described.batch_size) == (2, 2)
        shapes = {key: x.shape for key, x in described.batch.items()}
        assert shapes.pop("scale") == (2, columns)
        assert shapes == {
            "input_ids": (2, longest), "attention_mask": (2, longest), "label": (2,)
        }  # fmt: skip
        state = described.create_state()
        keys[name] = jax.random.key_data(state.key).tolist()
        # The optimizer keeps moments of what it trains alone.
        moments = {x.shape for x in jax.tree.leaves(state.opt_state)}
        assert asked.start["bert"]["embeddings"]["position"]["embedding"].shape not in moments
    assert keys == {
        "mlm": jax.random.key_data(jax.random.key(2**32 - 1)).tolist(),
        "seq2seq": jax.random.key_data(jax.random.key(0)).tolist(),  # of 32 bits too
    }
    body = jax.jit(asked.model.init)(jax.random.key(2**32 - 1), np.zeros((1, 2), int))["params"]
    jax.tree.map(np.testing.assert_array_equal, asked.start["bert"], body)


@pytest.fixture
def study(tmp_path):
    """Makes studies of ten articles of one's own, on one device."""
    articles = []
    for i in range(10):
        text = f"ada {i} wrote a long letter in {1800 + i}."
        answers = [{"text": str(1800 + i), "answer_start": text.index("18")}]
        qas = [{"question": "when was it?", "answers": answers}]
        articles.append({"title": str(i), "paragraphs": [{"context": text, "qas": qas}]})
    (tmp_path / "mine.json").write_text(json.dumps({"data": articles}))
    (tmp_path / "run").mkdir()

    def make(start=None, **changes):
        asked = config(**changes)
        return question_generation.Study(
            asked, None, data_dir=str(tmp_path), workdir=tmp_path / "run", start=start
        )

    return make


def test_a_study_starts_from_an_earlier_model(study, tmp_path):
    first = study()
    twice = jax.tree.map(lambda x: 2 * x + 1, first.start)
    heads = {"mlm": (first.head, twice["head"])}
    bert.save_pretrained(
        tmp_path / "earlier" / "model", first.model, twice["bert"], heads=heads,
        tokenizer=first.tokenizer,
    )  # fmt: skip
    read = lambda fresh, reader: reader(epath.Path(tmp_path / "earlier"))
    second = study(start=read)
    jax.tree.map(np.testing.assert_array_equal, second.start, twice)
    assert second._same != first._same  # another start is another result
    nothing = lambda fresh, reader: reader(epath.Path(tmp_path / "run")) or fresh
    assert study(start=nothing)._same == first._same


def test_heads_compute_in_the_dtype_of_the_model(study):
    asked = study(model={**config()["model"], "dtype": "bfloat16"})
    assert asked.head.dtype == asked.model.dtype == jax.numpy.bfloat16
    assert {x.dtype.name for x in jax.tree.leaves(asked.start)} == {"float32"}


def drawn(rows, folder, name):
    (folder / "drawn").write_text(f"{name} {len(rows)}")


def test_what_was_read_is_counted(study):
    first = study()
    read = first.read()
    splits = read.splits
    assert (splits["train"]["records"], splits["train"]["articles"]) == (6, 6)
    assert splits["validation"]["examples"] == splits["test"]["examples"] == 2
    size, mean = first.model.vocab_size, splits["train"]["mean_tokens"]
    assert size <= 90
    assert read.lines() == [
        f"data: squad, mine.json: triples of {mean} tokens, a vocabulary of {size}; nothing left "
        "out",
        "data: train 6, validation 2, test 2",
    ]
    assert set(first.arrays) == {"train", "validation", "test"}
    assert study(max_train=2).read().splits["train"]["records"] == 2
    with pytest.raises(ValueError, match=r"mine.json: 6 sequences to train stage seq2seq on"):
        study(batch_size=7)


def test_stages_train_once_and_other_settings_are_refused(study, tmp_path):
    first = study()
    generator = first.run(drawn)
    assert generator.limits.total == 16 + 4 + 8 + 4
    assert (generator.order, generator.prefix_parts, generator.join) == ("answer_first", 1, True)
    records = {
        name: json.loads((tmp_path / "run" / name / "result.json").read_text())
        for name in ("mlm", "seq2seq")
    }
    rows = [r for r in read_metrics(tmp_path / "run" / "seq2seq") if "validation/nll" in r]
    best = min(rows, key=lambda row: row["validation/nll"])
    assert [row["step"] for row in rows] == [1, 2]
    assert records["seq2seq"]["used_step"] == best["step"]
    assert records["seq2seq"]["validation/nll"] == best["validation/nll"]
    held_out = first.sets["validation"].tokens.ids
    ids = np.zeros((len(held_out), 40), np.int32)
    for row, found in zip(ids, held_out, strict=True):
        row[: len(found)] = found
    model, head, params, *_ = generator
    nll = lambda ids: question_generation.target_nll(model, head, params, ids, generator.layout)
    nats, part = jax.jit(nll)(ids)
    for name, chosen in (("nll", part > 0), ("answer_nll", part == 1), ("question_nll", part == 2)):
        want = float(nats[chosen].mean())
        assert records["seq2seq"][f"validation/{name}"] == pytest.approx(want, rel=1e-5)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), generator.params, first.start)
    assert all(jax.tree.leaves(moved["bert"]["layers_0"]["intermediate"]))
    assert records["mlm"]["key"] != records["seq2seq"]["key"]
    assert records["mlm"]["used_step"] == 2
    assert (tmp_path / "run/mlm/drawn").read_text().startswith("mlm ")
    (tmp_path / "run/mlm/drawn").unlink()
    again = first.run(drawn)  # reads what is there
    assert not (tmp_path / "run/mlm/drawn").exists()
    for a, b in zip(*map(jax.tree.leaves, (generator.params, again.params)), strict=True):
        assert (a == b).all()
    # The second stage stands on the first one: its own settings are another record's.
    stages = config()["stages"]
    stages["mlm"]["learning_rate"] = 2e-3
    with pytest.raises(ValueError, match="mlm was trained with other settings: choose another"):
        study(stages=stages).run(drawn)
    stages = config()["stages"]
    stages["seq2seq"]["num_steps"] = 3
    with pytest.raises(ValueError, match="seq2seq was trained for 2 steps, the config has 3"):
        study(stages=stages).run(drawn)
