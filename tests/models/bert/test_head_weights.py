"""Classifiers and token heads in folders, under the names that transformers gives them."""

import json

import numpy as np
import pytest
from hf_folder import bare_with_head, same, write
from safetensors.numpy import load_file

from jaxlab.models import bert
from jaxlab.models.bert.head_weights import load_classifier, load_mlm, save_classifier, save_mlm


@pytest.mark.parametrize("pooler", [True, False])
@pytest.mark.parametrize("pooling", ["pooler", "cls", "mean"])
def test_every_classifier_comes_back_as_it_was(golden, tmp_path, pooling, pooler):
    config, weights = golden
    weights = {k: v for k, v in weights.items() if pooler or "pooler" not in k}
    model, params = bert.load_pretrained(write(tmp_path / "from", config, weights))
    head = bert.SequenceClassifier(2, pooling=pooling, label_names=("no", "yes"), init_scale=0.4)
    top = {"dense": {"kernel": np.full((12, 2), 0.3, np.float32), "bias": np.ones(2, np.float32)}}
    heads = {"classifier": (head, top)}
    if pooling == "pooler" and not pooler:
        with pytest.raises(ValueError, match="pooling is 'pooler', the model has none"):
            bert.save_pretrained(tmp_path, model, params, heads=heads)
        return
    bert.save_pretrained(tmp_path, model, params, heads=heads)
    again, params_again = bert.load_pretrained(tmp_path)
    assert again == model
    same(params_again, params)
    head_again, top_again = bert.load_heads(tmp_path)["classifier"]
    assert head_again == head
    same(top_again, top)
    names = set(load_file(tmp_path / "model.safetensors"))
    assert ("classifier.weight" in names) == (pooling != "mean")
    saved = json.loads((tmp_path / "config.json").read_text())
    expected = "BertModel" if pooling == "mean" else "BertForSequenceClassification"
    assert saved["architectures"] == [expected]
    assert saved["label2id"] == {"no": 0, "yes": 1}


def test_folders_that_were_saved_before_are_read_as_they_were_meant(golden, tmp_path):
    config, weights = golden
    for pooling in ("mean", "cls"):  # the head by its plain name, an encoder by its architecture
        said = {**config, "classifier_pooling": pooling, "architectures": ["BertModel"]}
        head, _ = bert.load_heads(write(tmp_path, said, bare_with_head(weights)))["classifier"]
        assert head.pooling == pooling
    # Somebody trained a head with transformers, which copies config.json's other keys.
    said["architectures"] = ["BertForSequenceClassification"]
    head, _ = bert.load_heads(write(tmp_path, said, weights))["classifier"]
    assert head.pooling == "pooler"


def test_labels_and_problems_of_a_folder_are_kept(golden, reference, tmp_path):
    config, weights = golden
    names = {"2": "c", "0": "a", "1": "b"}
    said = {**config, "id2label": names, "problem_type": "multi_label_classification"}
    head, top = bert.load_heads(write(tmp_path / "from", said, weights))["classifier"]
    assert head.label_names == ("a", "b", "c")
    bert.save_pretrained(tmp_path, *reference, heads={"classifier": (head, top)})
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["id2label"] == names
    assert saved["problem_type"] == "multi_label_classification"
    twice = bert.SequenceClassifier(3, label_names=("x", "y", "x"))
    bert.save_pretrained(tmp_path, *reference, heads={"classifier": (twice, top)})
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["label2id"] == {"x (0)": 0, "y": 1, "x (2)": 2}
    few = bert.SequenceClassifier(3, label_names=("x",))
    with pytest.raises(ValueError, match="label_names are 1, the classifier has 3"):
        bert.save_pretrained(tmp_path, *reference, heads={"classifier": (few, top)})
    for said, key in (({"id2label": {"0": "a"}}, "id2label"), ({"num_labels": 5}, "num_labels")):
        with pytest.raises(ValueError, match=rf"classes \({key}\), classifier\.bias has 3"):
            bert.load_heads(write(tmp_path / "from", {**config, **said}, weights))
    # A classifier of tokens has the same names, and is none of sequences.
    tags = {**config, "architectures": ["BertForTokenClassification"]}
    assert "classifier" not in bert.load_heads(write(tmp_path / "from", tags, weights))


def test_an_output_matrix_of_its_own_is_read_and_written(golden, reference, tmp_path):
    config, weights = golden
    rng = np.random.default_rng(0)
    own = {
        "cls.predictions.decoder.weight": rng.normal(size=(40, 12)).astype(np.float32),
        "cls.predictions.decoder.bias": rng.normal(size=40).astype(np.float32),
    }
    for said in ({}, {"tie_word_embeddings": False}):  # the weights decide
        write(tmp_path / "own", {**config, **said}, {**weights, **own})
        head, top = bert.load_heads(tmp_path / "own")["mlm"]
        assert not head.tied
        np.testing.assert_array_equal(top["decoder"], own["cls.predictions.decoder.weight"])
        np.testing.assert_array_equal(top["bias"], own["cls.predictions.decoder.bias"])
    states, word = rng.normal(size=(2, 12)).astype(np.float32), np.zeros((40, 12), np.float32)
    assert np.abs(head.apply({"params": top}, states, word) - top["bias"]).max() > 0.1
    bert.save_pretrained(tmp_path / "again", *reference, heads={"mlm": (head, top)})
    assert not json.loads((tmp_path / "again" / "config.json").read_text())["tie_word_embeddings"]
    head_again, top_again = bert.load_heads(tmp_path / "again")["mlm"]
    assert head_again == head
    same(top_again, top)
    small, cut = bert.reduce_vocabulary(reference[0], {"bert": reference[1], "head": top}, [3, 5])
    np.testing.assert_array_equal(cut["head"]["decoder"], top["decoder"][np.array([3, 5])])
    assert small.vocab_size == 2
    # The word embedding once more is the tie; a promise of another matrix must be kept.
    word = weights["bert.embeddings.word_embeddings.weight"]
    tied = {**weights, "cls.predictions.decoder.weight": word}
    assert bert.load_heads(write(tmp_path / "own", config, tied))["mlm"][0].tied
    lacks = {k: v for k, v in weights.items() if "decoder.weight" not in k}
    write(tmp_path / "own", {**config, "tie_word_embeddings": False}, lacks)
    with pytest.raises(ValueError, match=r"missing cls\.predictions\.decoder\.weight"):
        bert.load_heads(tmp_path / "own")


@pytest.mark.parametrize("pooler", [True, False])
def test_a_classifier_of_the_first_state_stands_behind_a_pooler(golden, tmp_path, pooler):
    """tanh of the dense layer over the first state, then the classifier: as transformers runs it.

    The factor is part of the format: folders that were written before must be read.
    """
    config, weights = golden
    weights = {k: v for k, v in weights.items() if pooler or "pooler" not in k}
    model, params = bert.load_pretrained(write(tmp_path / "from", config, weights))
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(12, 3)).astype(np.float32), np.arange(3, dtype=np.float32)
    head = bert.SequenceClassifier(3, pooling="cls")
    top = {"dense": {"kernel": kernel, "bias": bias}}
    bert.save_pretrained(tmp_path, model, params, heads={"classifier": (head, top)})
    file = load_file(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(file["bert.pooler.dense.weight"], np.eye(12) * 2.0**-13)
    assert not file["bert.pooler.dense.bias"].any()
    assert ("own_pooler.dense.weight" in file) == pooler
    state = rng.normal(size=(4, 12)) * 5
    pooled = np.tanh(state @ file["bert.pooler.dense.weight"].T.astype(float))
    logits = pooled @ file["classifier.weight"].T.astype(float) + file["classifier.bias"]
    np.testing.assert_allclose(logits, state @ kernel + bias, rtol=1e-4, atol=1e-4)
    same(bert.load_heads(tmp_path)["classifier"][1], top)
    same(bert.load_pretrained(tmp_path)[1], params)
    # A pooler that was trained further is a pooler.
    for part, where in (("weight", (0, 1)), ("bias", 0)):
        changed = {k: v.copy() for k, v in file.items() if "own" not in k}
        changed[f"bert.pooler.dense.{part}"][where] = 0.5
        said = json.loads((tmp_path / "config.json").read_text())
        head, tree = bert.load_heads(write(tmp_path / "on", said, changed))["classifier"]
        assert head.pooling == "pooler"
        np.testing.assert_array_equal(tree["dense"]["kernel"], file["classifier.weight"].T)


def weights_of(start, count, hidden=2):
    kernel = np.arange(count * hidden, dtype=np.float32).reshape(count, hidden)
    return {f"{start}weight": kernel, f"{start}bias": np.arange(count, dtype=np.float32)}


def test_what_a_config_says_about_its_classifier():
    weights = weights_of("classifier.", 12)
    load = lambda pooling="pooler", **said: load_classifier(
        "here", {"hidden_size": 2, **said}, weights, pooling
    )
    head, params = load()
    assert head == bert.SequenceClassifier(12)  # dropout 0.1, scale 0.02, no names, one class of 12
    np.testing.assert_array_equal(params["dense"]["kernel"], weights["classifier.weight"].T)
    np.testing.assert_array_equal(params["dense"]["bias"], np.arange(12))
    drop = lambda **said: load(**said)[0].dropout
    assert drop(hidden_dropout_prob=0.3) == 0.3
    assert drop(hidden_dropout_prob=0.3, classifier_dropout=None) == 0.3
    assert drop(hidden_dropout_prob=0.3, classifier_dropout=0.0) == 0.0
    assert load(initializer_range=0.5)[0].init_scale == 0.5
    names = {str(i): f"n{i}" for i in (10, 11, *range(10))}
    assert load(id2label=names)[0].label_names == tuple(f"n{i}" for i in range(12))
    assert load(id2label={str(i): f"LABEL_{i}" for i in range(12)})[0].label_names == ()
    usual, other = "single_label_classification", "multi_label_classification"
    assert load(problem_type=usual)[0].problem_type is None
    assert load(problem_type=other)[0].problem_type == other
    assert load("mean")[0].pooling == "mean"
    assert load(num_labels=12)[0] == head
    for said in ({"num_labels": 11}, {"id2label": {"0": "a"}}):
        with pytest.raises(ValueError, match=r"classifier\.bias has 12"):
            load(**said)
    assert load(architectures=["BertForMultipleChoice"]) is None
    assert load_classifier("here", {"hidden_size": 2}, {}, "pooler") is None
    one, _ = load_classifier(
        "here",
        {"hidden_size": 2, "problem_type": "regression"},
        weights_of("classifier.", 1),
        "cls",
    )
    assert one == bert.SequenceClassifier(1, pooling="cls")
    # The head of means has a name of its own, and the one next to it is another.
    both = {**weights, **weights_of("mean_classifier.", 3)}
    assert load_classifier("here", {"hidden_size": 2}, both, "mean")[0].num_labels == 3
    assert load_classifier("here", {"hidden_size": 2}, both, "pooler")[0].num_labels == 12


def test_what_is_written_about_a_classifier():
    model = bert.Bert(vocab_size=5, hidden_size=2, num_heads=1)
    top = lambda count: {"dense": {"kernel": np.ones((2, count)), "bias": np.zeros(count)}}
    weights, said = save_classifier(
        model, bert.SequenceClassifier(2, pooling="mean", dropout=0.25), top(2)
    )
    assert set(weights) == {"mean_classifier.weight", "mean_classifier.bias"}
    assert said == {
        "id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1},
        "classifier_dropout": 0.25, "classifier_pooling": "mean",
        "problem_type": "single_label_classification",
    }  # fmt: skip
    weights, said = save_classifier(model, bert.SequenceClassifier(1), top(1))
    assert set(weights) == {"classifier.weight", "classifier.bias"}
    assert said["problem_type"] == "regression"
    kept = bert.SequenceClassifier(2, problem_type="multi_label_classification")
    assert save_classifier(model, kept, top(2))[1]["problem_type"] == kept.problem_type


def test_a_head_of_tokens_as_the_file_names_it():
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    word, start = draw(5, 2), "cls.predictions."
    weights = {
        f"{start}transform.dense.weight": draw(2, 2), f"{start}transform.dense.bias": draw(2),
        f"{start}transform.LayerNorm.weight": draw(2), f"{start}transform.LayerNorm.bias": draw(2),
        f"{start}bias": draw(5),
    }  # fmt: skip
    config = {"hidden_size": 2, "vocab_size": 5}
    head, params = load_mlm("here", config, weights, word)
    assert head == bert.MaskedLMHead()  # gelu, 1e-12, 0.02, tied
    np.testing.assert_array_equal(
        params["dense"]["kernel"], weights[f"{start}transform.dense.weight"].T
    )
    np.testing.assert_array_equal(
        params["norm"]["scale"], weights[f"{start}transform.LayerNorm.weight"]
    )
    odd = {"hidden_act": "relu", "layer_norm_eps": 1e-5, "initializer_range": 0.3}
    head, _ = load_mlm("here", {**config, **odd}, weights, word)
    assert head == bert.MaskedLMHead("relu", 1e-5, 0.3)
    model = bert.Bert(vocab_size=5, hidden_size=2, num_heads=1)
    same(save_mlm(model, bert.MaskedLMHead(), params), weights)
    own = {**weights, f"{start}decoder.weight": draw(5, 2), f"{start}decoder.bias": draw(5)}
    head, params = load_mlm("here", config, own, word)
    assert not head.tied
    np.testing.assert_array_equal(params["bias"], own[f"{start}decoder.bias"])
    written = save_mlm(model, head, params)
    same(written, {**own, f"{start}bias": own[f"{start}decoder.bias"]})
    assert load_mlm("here", config, {}, word) is None


def test_a_classifier_stands_on_a_pooler_and_has_its_shape(golden, tmp_path):
    config, weights = golden
    lacks = {k: v for k, v in weights.items() if "pooler" not in k}
    with pytest.raises(ValueError, match=r"classifier without the bert\.pooler\.dense\.weight"):
        bert.load_heads(write(tmp_path / "a", config, lacks))
    for bias in (None, np.float32(0)):
        found = {k: v for k, v in weights.items() if k != "classifier.bias" or bias is not None}
        found |= {"classifier.bias": bias} if bias is not None else {}
        with pytest.raises(ValueError, match=r"do not fit its config: (missing )?classifier\.bias"):
            load_classifier("a", config, found, "pooler")


def test_constants_of_old_files_are_passed_over(golden, reference, tmp_path):
    config, weights = golden
    buffers = {f"bert.embeddings.{name}": np.zeros((1, 14), np.int64)
               for name in ("position_ids", "token_type_ids")}  # fmt: skip
    model, params = bert.load_pretrained(write(tmp_path / "a", config, {**weights, **buffers}))
    assert model == reference[0]
    same(params, reference[1])
