"""What a generator's folder says: the layout of its sequences, what is never written, settings."""

import json

import jax
import numpy as np
import pytest

pytest.importorskip("tokenizers")

from jaxlab.data import wordpiece
from jaxlab.data.questions.segments import Limits
from jaxlab.models import bert
from jaxlab.tasks import question_generation
from jaxlab.tasks.question_generation import folder
from jaxlab.tasks.question_generation.folder import (
    Generator,
    load_generator,
    load_reader,
    make_layout,
    model_folder,
    save_generator,
)


@pytest.fixture(scope="module")
def tokenizer():
    return wordpiece.train_wordpiece(["she wrote programs"] * 3, 60)


@pytest.mark.parametrize(
    ("order", "parts", "longest", "names", "targets"),
    [
        # Each part has a separator more than its limit.
        ("answer_first", 1, 5 + 8 + 2, ("answer", "question"), ("answer", "question")),
        ("answer_first", 2, 8 + 1, ("answer", "question"), ("question",)),
        ("question_first", 1, 8 + 5 + 2, ("question", "answer"), ("question", "answer")),
        ("question_first", 2, 5 + 1, ("question", "answer"), ("answer",)),
    ],
)
def test_layouts(tokenizer, order, parts, longest, names, targets):
    limits = Limits(passage=20, answer=5, question=8)
    layout = make_layout(tokenizer, limits, order, parts)
    sep = tokenizer.token_to_id("[SEP]")
    assert layout == question_generation.TargetLayout(sep, longest, names, parts)
    assert layout.targets == targets
    assert Generator(None, None, {}, tokenizer, limits, order, parts, True).layout == layout


def test_unknown_layouts(tokenizer):
    limits = Limits(20, 5, 8)
    with pytest.raises(ValueError, match="order is 'both', known are"):
        make_layout(tokenizer, limits, "both", 1)
    for parts in (0, 3):
        with pytest.raises(ValueError, match=f"prefix_parts is {parts}, must be 1 or 2"):
            make_layout(tokenizer, limits, "answer_first", parts)


def test_special_tokens_are_never_written_but_the_end(tokenizer):
    generator = Generator(None, None, {}, tokenizer, Limits(9, 5, 8), "answer_first", 1, True)
    names = ("[PAD]", "[UNK]", "[CLS]", "[MASK]")
    assert generator.forbid == tuple(map(tokenizer.token_to_id, names))
    assert tokenizer.token_to_id("[SEP]") not in generator.forbid

    class Without:
        token_to_id = staticmethod({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}.get)

    assert generator._replace(tokenizer=Without).forbid == (0, 1, 2)


def test_a_generator_comes_back_as_it_was(tokenizer, tmp_path):
    model = bert.Bert(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=4, num_layers=1, num_heads=2,
        intermediate_size=6, max_positions=26, pooler=False,
    )  # fmt: skip
    params = jax.jit(model.init)(jax.random.key(0), np.ones((1, 2), np.int32))["params"]
    head = bert.MaskedLMHead()
    top = bert.init_head(head, jax.random.key(1), 4, model.vocab_size)
    limits = Limits(passage=9, answer=5, question=8)  # 26 with [CLS] and three [SEP]
    whole = Generator(
        model, head, {"bert": params, "head": top}, tokenizer, limits, "question_first", 2, False
    )
    save_generator(tmp_path, whole, keep_tokens=np.array([0, 7, 5]))
    text = (tmp_path / "generator.json").read_text()
    assert text.endswith("}\n")
    assert json.loads(text) == {
        "order": "question_first", "prefix_parts": 2, "join": False,
        "limits": {"passage": 9, "answer": 5, "question": 8}, "keep_tokens": [0, 7, 5],
    }  # fmt: skip
    again = load_generator(tmp_path)
    assert again[:2] == whole[:2]
    jax.tree.map(np.testing.assert_array_equal, again.params, whole.params)
    assert again.tokenizer.get_vocab() == tokenizer.get_vocab()
    assert again[4:] == whole[4:]
    save_generator(tmp_path, whole._replace(join=True, prefix_parts=1))
    assert json.loads((tmp_path / "generator.json").read_text())["keep_tokens"] is None
    assert load_generator(tmp_path)[4:] == (limits, "question_first", 1, True)
    settings = json.loads((tmp_path / "generator.json").read_text())
    settings["limits"]["answer"] = 6
    (tmp_path / "generator.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="limits of 27 tokens in all, the model takes 26"):
        load_generator(tmp_path)
    (tmp_path / "generator.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"generator\.json is missing: .* was not trained"):
        load_generator(tmp_path)
    bert.save_pretrained(tmp_path, model, params)
    with pytest.raises(ValueError, match="has no head that predicts tokens"):
        load_generator(tmp_path)


def test_the_model_of_a_run_or_the_folder_itself(tmp_path):
    assert model_folder(tmp_path) == tmp_path
    (tmp_path / "data.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="model is missing: its training has not ended"):
        model_folder(tmp_path)
    (tmp_path / "model").mkdir()
    assert model_folder(str(tmp_path)) == tmp_path / "model"


def test_a_reader_is_a_model_that_answers(tokenizer, tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    model = Generator("model", "head", {}, tokenizer, Limits(9, 5, 8), "question_first", 2, True)
    monkeypatch.setattr(folder, "load_generator", {tmp_path / "model": model}.get)
    assert load_reader(tmp_path) is model
    asking = model._replace(order="answer_first", prefix_parts=1)
    monkeypatch.setattr(folder, "load_generator", lambda _: asking)
    with pytest.raises(ValueError, match="writes answer and question, a reader is a run with"):
        load_reader(tmp_path)
