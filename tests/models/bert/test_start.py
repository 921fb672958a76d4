"""`jaxlab.models.bert.start`: labels by name, and weights of a folder with other tokens."""

import jax
import numpy as np
import pytest

pytest.importorskip("tokenizers")
pytest.importorskip("safetensors")

from jaxlab.data import wordpiece
from jaxlab.models import bert

SIZES = {"hidden_size": 4, "num_layers": 1, "num_heads": 2, "intermediate_size": 4}


def make(tokenizer, head, seed=0, **sizes):
    """A model of these tokens and this head, drawn by a seed: (model, {"bert", "head"})."""
    size = {**SIZES, "max_positions": 8, "vocab_size": tokenizer.get_vocab_size(), **sizes}
    model, rng = bert.Bert(**size), np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 2), int))["params"]
    body = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)
    if isinstance(head, bert.MaskedLMHead):
        table = body["embeddings"]["word"]["embedding"]
        shapes = jax.eval_shape(head.init, jax.random.key(0), np.zeros((1, 1, 4)), table)["params"]
        top = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)
    else:
        draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
        top = {"dense": {"kernel": draw(4, head.num_labels), "bias": draw(head.num_labels)}}
    return model, {"bert": body, "head": top}


def save(folder, tokenizer, head, seed=0, **sizes):
    model, params = make(tokenizer, head, seed, **sizes)
    kind = "mlm" if isinstance(head, bert.MaskedLMHead) else "classifier"
    heads = {kind: (head, params["head"])}
    bert.save_pretrained(folder, model, params["bert"], heads=heads, tokenizer=tokenizer)
    return params


@pytest.fixture(scope="module")
def tokenizer():
    return wordpiece.train_wordpiece(["red sun blue sea"] * 9, 40)


@pytest.mark.parametrize(
    ("theirs", "ours", "count", "found"),
    [
        (("a", "B", "c"), ("C", "b"), 3, [2, 1]),
        (("no", "yes"), ("1", "0"), 2, [1, 0]),
        (("1", "0"), ("0", "1"), 2, [1, 0]),  # names, though they are numbers
        ((), ("ham", "spam"), 2, [0, 1]),
        ((), ("ham", "spam"), 3, None),
        (("no", "yes"), ("0", "2"), 2, None),
        (("no", "yes"), ("no", "maybe"), 2, None),
        (("no", "yes"), ("no", "NO "), 2, None),
    ],
)
def test_labels_are_matched_by_name(theirs, ours, count, found):
    assert bert.match_labels(theirs, ours, count) == found


def test_classes_stand_in_the_order_of_ours(tmp_path, tokenizer):
    head = bert.SequenceClassifier(3, pooling="cls", label_names=("x", "Pos", "Neg"))
    dense = save(tmp_path, tokenizer, head)["head"]["dense"]
    found, params = bert.load_classifier(tmp_path, ("neg", "pos"))
    assert (found.label_names, found.pooling) == (("neg", "pos", "x"), "cls")
    np.testing.assert_allclose(params["dense"]["kernel"], dense["kernel"][:, [2, 1, 0]], rtol=1e-6)
    assert params["dense"]["bias"].tolist() == dense["bias"][[2, 1, 0]].tolist()
    with pytest.raises(ValueError, match=r"has the labels x, Pos, Neg, the data have bad, neg"):
        bert.load_classifier(tmp_path, ("bad", "neg"))
    with pytest.raises(ValueError, match=r"classifier of 3 labels, the data have one number"):
        bert.load_classifier(tmp_path, ())


def test_rows_are_those_of_the_same_tokens(tmp_path, tokenizer):
    head = bert.MaskedLMHead()
    theirs = save(tmp_path / "model", tokenizer, head)
    other = wordpiece.train_wordpiece(["sun over the blue hill"] * 9, 60)
    _, fresh = make(other, head, seed=1, pooler=False)
    found = bert.folder_weights(bert.model_folder(tmp_path), fresh, other, head)
    assert jax.tree.map(np.shape, found) == jax.tree.map(np.shape, fresh)
    old, new = tokenizer.get_vocab(), other.get_vocab()
    assert {"sun", "blue"} <= {*old} & {*new}
    word = lambda tree: np.asarray(tree["bert"]["embeddings"]["word"]["embedding"])
    for token, i in new.items():
        source, row = (theirs, old[token]) if token in old else (fresh, i)
        assert word(found)[i].tolist() == word(source)[row].tolist(), token
        assert found["head"]["bias"][i] == source["head"]["bias"][row]
    kernel = found["bert"]["layers_0"]["output"]["kernel"]
    assert kernel.tolist() == theirs["bert"]["layers_0"]["output"]["kernel"].tolist()


def test_a_folder_without_the_head_leaves_it_fresh(tmp_path, tokenizer):
    theirs = save(tmp_path, tokenizer, bert.MaskedLMHead())
    head = bert.SequenceClassifier(2, label_names=("a", "b"))
    _, fresh = make(tokenizer, head, seed=1)
    found = bert.folder_weights(tmp_path, fresh, tokenizer, head)
    assert found["head"] is fresh["head"]
    table = theirs["bert"]["embeddings"]["word"]["embedding"]
    assert found["bert"]["embeddings"]["word"]["embedding"].tolist() == table.tolist()


def test_another_pooling_is_said(tmp_path, tokenizer):
    save(tmp_path, tokenizer, bert.SequenceClassifier(2, pooling="pooler"))
    head = bert.SequenceClassifier(2, pooling="mean", label_names=("a", "b"))
    with pytest.raises(ValueError, match=r"a classifier over 'pooler', head\.pooling is 'mean'"):
        bert.folder_weights(tmp_path, make(tokenizer, head)[1], tokenizer, head)
