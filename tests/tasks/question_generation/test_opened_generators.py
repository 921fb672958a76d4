"""`jaxlab.tasks.question_generation.opened`: a finished generator, opened in one line."""

import json

import jax
import numpy as np
import optax
import pytest

pytest.importorskip("tokenizers")

from etils import epath
from notebook import run_example

from jaxlab import checkpoints, train
from jaxlab.data import wordpiece
from jaxlab.data.questions.segments import Limits
from jaxlab.errors import InputError
from jaxlab.models import bert
from jaxlab.studies import cells
from jaxlab.tasks.question_generation.folder import Generator, save_generator


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run as the script leaves it, and its parameters."""
    root = epath.Path(tmp_path_factory.mktemp("questions"))
    articles, texts = [], []
    for i in range(10):
        text = f"ada {i} wrote a letter in {1800 + i}."
        answers = [{"text": str(1800 + i), "answer_start": text.index("18")}]
        qas = [{"question": "when was it?", "answers": answers}]
        articles.append({"title": str(i), "paragraphs": [{"context": text, "qas": qas}]})
        texts += [text, "when was it?"]
    (root / "mine.json").write_text(json.dumps({"data": articles}))
    tokenizer = wordpiece.train_wordpiece(texts, 90)
    model = bert.Bert(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=8, num_layers=1, num_heads=2,
        intermediate_size=8, max_positions=40, pooler=False,
    )  # fmt: skip
    body = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 2), np.int32))["params"]
    head = bert.MaskedLMHead()
    top = bert.init_head(head, jax.random.key(1), 8, model.vocab_size)
    params = {"bert": body, "head": top}
    generator = Generator(
        *(model, head, params, tokenizer, Limits(16, 4, 8), "answer_first", 1, True)
    )
    save_generator(root / "run" / "model", generator)
    state = train.state_from_params(params, optax.sgd(0.1), key=jax.random.key(0))
    with checkpoints.Checkpointer(root / "run/seq2seq/checkpoints", best_metric="x") as saved:
        state = state.replace(params=jax.tree.map(lambda x: 2 * x, params))
        saved.save(state.replace(step=state.step + 3), metrics={"validation/nll": 1.0})
        saved.save(state.replace(step=state.step + 4), metrics={"validation/nll": 2.0})
    cells.finish(cells.Cell(root / "run" / "seq2seq", 6, {}), {"used_step": 4})
    data = {"files": ["mine.json"], "shares": [0.2, 0.2], "split_seed": 0}
    record = {"config": {"data": data}, "task": "question_generation", "data_dir": str(root)}
    (root / "run" / "config.json").write_text(json.dumps(record))
    return root / "run", params


def test_a_generator_opens(finished):
    folder, params = finished
    run = train.load_run(folder)
    assert run.step == 4
    kept = jax.tree.map(lambda a, b: np.array_equal(a, b), run.params, params)
    assert all(jax.tree.leaves(kept))
    assert run.parts["generator"].params is run.params
    assert (len(run.load_data("train")), len(run.load_data("test", limit=1))) == (6, 1)
    with pytest.raises(InputError, match="split is 'dev', must be one of train"):
        run.load_data("dev")
    best = train.load_run(folder, step="best")
    assert best.step == 3
    word = lambda tree: np.asarray(tree["bert"]["embeddings"]["word"]["embedding"])
    np.testing.assert_array_equal(word(best.params), 2 * word(params))
    assert best.parts["generator"].params is best.params


def test_the_example_of_the_page(finished):
    found = run_example("qa_generation", finished[0])
    assert len(found["pairs"]) == 2
    assert found["states"].last_hidden_state.shape[-1] == 8
    assert all(isinstance(question, str) for question, _ in found["shown"])


def test_a_run_that_has_not_ended_says_so(finished, tmp_path):
    (tmp_path / "config.json").write_bytes((finished[0] / "config.json").read_bytes())
    (tmp_path / "data.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="its training has not ended"):
        train.load_run(tmp_path)
