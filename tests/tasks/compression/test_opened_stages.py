"""`jaxlab.tasks.compression.opened`: a finished stage of compression, opened in one line."""

import json

import jax
import numpy as np
import optax
import pytest

pytest.importorskip("tokenizers")

from bert_toy import make_small
from etils import epath
from notebook import run_example

from jaxlab import checkpoints, train
from jaxlab.data import text, wordpiece
from jaxlab.errors import InputError
from jaxlab.models import bert
from jaxlab.studies import cells
from jaxlab.tasks import compression
from jaxlab.tasks.compression import kinds

TEXTS = ["red sun", "blue sea", "red sea", "sun", "blue"]
CONFIG = {
    "data": {"name": "headlines", "split_seed": 3},
    "limits": {"train": 0, "validation": 0, "test": 0},
    "buckets": [4],
    "truncate": True,
}


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """The folder of a replacing stage as a study leaves it, its parameters, those of step 2."""
    _, shallow, head, deep_params, params, _ = make_small()
    tokenizer = wordpiece.train_wordpiece(TEXTS * 9, 12)
    shallow = shallow.clone(vocab_size=12)
    folder = epath.Path(tmp_path / "run" / "seed_0" / "depth_1" / "constant" / "replacing")
    heads = {"classifier": (head.clone(label_names=("a", "b", "c")), params["head"])}
    bert.save_pretrained(
        folder / "model", shallow, params["bert"], heads=heads, tokenizer=tokenizer
    )
    both = kinds.stage_params("replacing", params, deep_params)
    both["successor"] = jax.tree.map(lambda x: 2 * x, both["successor"])
    state = train.state_from_params(both, optax.sgd(0.1), key=jax.random.key(0))
    with checkpoints.Checkpointer(folder / "checkpoints") as saved:
        saved.save(state.replace(step=state.step + 2))
    cells.finish(cells.Cell(folder, 4, {}), {"test/accuracy": 0.5})
    record = {"config": CONFIG, "task": "compression", "data_dir": "/data"}
    (tmp_path / "run" / "config.json").write_text(json.dumps(record))

    def load_text(name, data_dir, split, limit, split_seed):
        assert (name, data_dir, split_seed) == ("headlines", "/data", 3)
        texts = TEXTS if split == "test" else TEXTS[:1]
        return text.TextSet(texts[:limit], np.arange(len(texts))[:limit] % 3, ("a", "b", "c"))

    monkeypatch.setattr(text, "load_text", load_text)
    return folder, params


def same(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: np.array_equal(x, y), a, b)))


def test_a_stage_opens(stage):
    folder, params = stage
    run = train.load_run(folder)
    assert (run.step, run.config) == (4, CONFIG)
    assert same(run.params, params)
    assert run.parts["head"].label_names == ("a", "b", "c")
    assert [len(run.load_data(split)) for split in ("test", "train")] == [5, 1]
    assert len(run.load_data("test", limit=2)) == 2
    with pytest.raises(InputError, match="split is 'dev', must be one of train"):
        run.load_data("dev")
    earlier = train.load_run(folder, step=2, params="raw")
    assert (earlier.step, earlier.weights) == (2, "raw")
    assert same(earlier.params["head"], params["head"])
    doubled = jax.tree.map(lambda x: 2 * x, params["bert"]["layers_0"])
    assert same(earlier.params["bert"]["layers_0"], doubled)


def test_the_example_of_the_page(stage):
    found = run_example("theseus", stage[0])
    assert found["logits"].shape == (4, 3)
    assert len(found["tokens"]) == 4
    assert set(found["named"]) <= {"a", "b", "c"}


def test_what_is_no_stage_names_those_that_there_are(stage, tmp_path):
    folder, _ = stage
    there = "there are seed_0/depth_1/constant/replacing"
    with pytest.raises(ValueError, match=f"run is not that of a finished stage: {there}"):
        train.load_run(tmp_path / "run", task="compression")
    with pytest.raises(ValueError, match="step is 'best', must be a number"):
        train.load_run(folder, step="best")
    with pytest.raises(FileNotFoundError, match="no checkpoint 3"):
        train.load_run(folder, step=3)
    with pytest.raises(FileNotFoundError, match="no run was started"):
        train.load_run(tmp_path)
    assert compression.open_run(CONFIG, folder).step == 4
