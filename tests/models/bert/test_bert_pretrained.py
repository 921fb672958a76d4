"""Hugging Face folders: every way they name their keys, and everything wrong with them."""

import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save, save_file

from jaxlab.models import bert

GOLDEN = pathlib.Path(__file__).parent / "golden" / "tiny_bert.npz"


@pytest.fixture(scope="module")
def golden():
    """(config, weights) of the stored model, as a task model's file names them."""
    arrays = np.load(GOLDEN)
    weights = {k.removeprefix("weights/"): v for k, v in arrays.items() if "weights/" in k}
    return json.loads(str(arrays["config"])), weights


def write(folder, config, weights):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(
        {k: np.ascontiguousarray(v) for k, v in weights.items()}, folder / "model.safetensors"
    )
    return folder


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def reference(golden, tmp_path_factory):
    return bert.load_pretrained(write(tmp_path_factory.mktemp("task"), *golden))


def bare(weights):
    """As a bare encoder's file: no prefix, no heads, the old buffer."""
    found = {k.removeprefix("bert."): v for k, v in weights.items() if k.startswith("bert.")}
    return {**found, "embeddings.position_ids": np.arange(14)[None]}


def old(weights):
    """With the LayerNorm names of the first releases."""
    rename = lambda k: re.sub(r"LayerNorm\.weight$", "LayerNorm.gamma", k)
    return {re.sub(r"LayerNorm\.bias$", "LayerNorm.beta", rename(k)): v for k, v in weights.items()}


def test_prefix_or_not_old_names_or_new(golden, reference, tmp_path):
    config, weights = golden
    for i, variant in enumerate((bare(weights), old(weights), old(bare(weights)))):
        model, params = bert.load_pretrained(write(tmp_path / str(i), config, variant))
        assert model == reference[0]
        same(params, reference[1])
    assert bert.load_heads(tmp_path / "0") == {}
    assert set(bert.load_heads(tmp_path / "1")) == {"classifier", "mlm"}
    half = {k: v.astype(np.float16) for k, v in weights.items()}
    _, params = bert.load_pretrained(write(tmp_path / "half", config, half))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}


def test_without_pooler(golden, tmp_path):
    config, weights = golden
    weights = {k: v for k, v in weights.items() if "pooler" not in k}
    model, params = bert.load_pretrained(write(tmp_path, config, weights))
    assert not model.pooler
    out = model.apply({"params": params}, jnp.array([[1, 2]]))
    assert out.pooled is None


def test_several_files(golden, reference, tmp_path):
    config, weights = golden
    write(tmp_path, config, weights)
    (tmp_path / "model.safetensors").unlink()
    names = sorted(weights)
    files = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in files.items():
        save_file({k: weights[k] for k in part}, tmp_path / file)
    index = {"weight_map": {k: file for file, part in files.items() for k in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    same(bert.load_pretrained(tmp_path)[1], reference[1])


def test_attributes_that_change_no_shape_may_be_given(golden, tmp_path):
    model, _ = bert.load_pretrained(write(tmp_path, *golden), dtype=jnp.bfloat16, dropout=0.0)
    assert (model.dtype, model.dropout, model.attention_dropout) == (jnp.bfloat16, 0.0, 0.1)
    with pytest.raises(ValueError, match="num_layers is given"):
        bert.load_pretrained(tmp_path, num_layers=1)


def test_saving_and_loading_gives_the_same_back(golden, reference, tmp_path):
    config, weights = golden
    heads = bert.load_heads(write(tmp_path / "from", config, weights))
    for name, chosen in {"bare": {}, "both": heads, "one": {"mlm": heads["mlm"]}}.items():
        bert.save_pretrained(tmp_path / name, *reference, heads=chosen)
        model, params = bert.load_pretrained(tmp_path / name)
        assert model == reference[0]
        same(params, reference[1])
        again = bert.load_heads(tmp_path / name)
        assert {k: v[0] for k, v in again.items()} == {k: v[0] for k, v in chosen.items()}
        same({k: v[1] for k, v in again.items()}, {k: v[1] for k, v in chosen.items()})
    names = set(load_file(tmp_path / "both" / "model.safetensors"))
    assert names == {k for k in weights if "decoder" not in k}


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


def bare_with_head(weights):
    return {**bare(weights), **{k: v for k, v in weights.items() if k.startswith("classifier.")}}


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


def test_wrong_keys_are_listed(golden, tmp_path):
    config, weights = golden
    wrong = dict(weights)
    del wrong["bert.encoder.layer.1.output.dense.bias"]
    wrong["bert.encoder.layer.2.output.dense.bias"] = np.zeros(12, np.float32)
    wrong["decoder.weight"] = np.zeros(2, np.float32)
    wrong["bert.pooler.dense.bias"] = np.zeros(11, np.float32)
    with pytest.raises(ValueError, match="do not fit its config") as error:
        bert.load_pretrained(write(tmp_path, config, wrong))
    for text in (
        "missing encoder.layer.1.output.dense.bias",
        "unexpected encoder.layer.2.output.dense.bias",
        "unexpected decoder.weight",
        "pooler.dense.bias has shape (11,), must have (12,)",
    ):
        assert text in str(error.value)
    deeper = {**config, "num_hidden_layers": 4}
    with pytest.raises(ValueError, match=r"missing .*; and 20 more"):
        bert.load_pretrained(write(tmp_path / "deep", deeper, weights))
    del wrong["classifier.bias"]
    with pytest.raises(ValueError, match=r"missing classifier\.bias"):
        bert.load_heads(write(tmp_path, config, wrong))


def test_a_folder_that_is_no_bert(golden, tmp_path):
    config, weights = golden
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        bert.load_pretrained(tmp_path)
    for key, value, message in [
        ("model_type", "roberta", "model_type 'roberta', must be 'bert'"),
        ("position_embedding_type", "relative_key", "position_embedding_type 'relative_key'"),
        ("hidden_act", "swiglu", "hidden_act 'swiglu', must be one of"),
        ("is_decoder", True, "is_decoder true"),
    ]:
        with pytest.raises(ValueError, match=message):
            bert.load_pretrained(write(tmp_path / "c", {**config, key: value}, weights))
    with pytest.raises(ValueError, match="has no vocab_size"):
        bert.load_pretrained(write(tmp_path / "c", {"model_type": "bert"}, weights))
    with pytest.raises(ValueError, match="holds 0 keys"):
        bert.load_pretrained(write(tmp_path / "c", config, {"x": np.zeros(1, np.float32)}))
    content = retyped(weights, "F32", "I32")
    (tmp_path / "c" / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors has weights of type I32 \(bert\."):
        bert.load_pretrained(tmp_path / "c")
    (tmp_path / "c" / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ValueError, match="not a safetensors file"):
        bert.load_pretrained(tmp_path / "c")
    (tmp_path / "c" / "model.safetensors").rename(tmp_path / "c" / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"pytorch_model\.bin must be saved as safetensors"):
        bert.load_pretrained(tmp_path / "c")
    for text in ("{", "[]", "{}"):
        (tmp_path / "c" / "model.safetensors.index.json").write_text(text)
        with pytest.raises(ValueError, match=r"is no index of weights|index\.json is not JSON"):
            bert.load_pretrained(tmp_path / "c")
    for place in (3, None, "../a.safetensors", ["a"]):
        index = {"weight_map": {"bert.x": place}}
        (tmp_path / "c" / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(ValueError, match=r"bert\.x is in .*, must be the name of a file"):
            bert.load_pretrained(tmp_path / "c")
    index = {"weight_map": {"bert.x": "a.safetensors"}}
    (tmp_path / "c" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(FileNotFoundError, match=r"a\.safetensors is missing, which model"):
        bert.load_pretrained(tmp_path / "c")
    for text, message in (
        (b"{", "is not JSON"),
        (b"[]", "holds a list, must hold an object"),
        (b'{"a": "\xe9"}', "is not UTF-8"),
        (b"[" * 100_000, "is nested too deeply"),
    ):
        (tmp_path / "c" / "config.json").write_bytes(text)
        with pytest.raises(ValueError, match=message):
            bert.load_pretrained(tmp_path / "c")


def retyped(weights, old, new):
    """Content of a file that says another type of the same width."""
    content = save({k: np.ascontiguousarray(v) for k, v in weights.items()})
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    for value in header.values():
        value["dtype"] = new if value.get("dtype") == old else value.get("dtype")
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def test_bfloat16_and_float64_are_read_and_what_is_not_finite_is_refused(golden, tmp_path):
    config, weights = golden
    half = {k: np.asarray(jnp.asarray(v, jnp.bfloat16)) for k, v in weights.items()}
    content = {k: v.view(np.uint16).view(np.float16) for k, v in half.items()}
    write(tmp_path, config, {})
    (tmp_path / "model.safetensors").write_bytes(retyped(content, "F16", "BF16"))
    _, params = bert.load_pretrained(tmp_path)
    word = "bert.embeddings.word_embeddings.weight"
    np.testing.assert_array_equal(
        params["embeddings"]["word"]["embedding"], half[word].astype(np.float32)
    )
    write(tmp_path, config, {k: v.astype(np.float64) for k, v in weights.items()})
    assert bert.load_pretrained(tmp_path)[1]["pooler"]["kernel"].dtype == jnp.float32
    for value in (np.nan, np.inf):
        bad = {**weights, word: weights[word] * value}
        with pytest.raises(ValueError, match=rf"values in {re.escape(word)} that are not finite"):
            bert.load_pretrained(write(tmp_path, config, bad))
    bad = {**weights, word: weights[word].astype(np.int64)}
    with pytest.raises(ValueError, match=r"word_embeddings\.weight has integers"):
        bert.load_pretrained(write(tmp_path, config, bad))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", "four"), ("hidden_size", -4), ("hidden_size", True),
        ("hidden_size", 12.0), ("num_hidden_layers", 0), ("num_hidden_layers", None),
        ("num_attention_heads", 5), ("vocab_size", [40]), ("type_vocab_size", 0),
        ("layer_norm_eps", "1e-12"), ("layer_norm_eps", -1), ("hidden_dropout_prob", 1.5),
        ("attention_probs_dropout_prob", float("nan")), ("classifier_dropout", "none"),
        ("hidden_act", ["gelu"]), ("is_decoder", 1), ("add_cross_attention", True),
        ("pruned_heads", {"0": [1]}), ("problem_type", "ranking"), ("id2label", {"1": "a"}),
        ("id2label", ["a", "b"]), ("architectures", "BertModel"), ("tie_word_embeddings", "yes"),
    ],
)  # fmt: skip
def test_a_key_that_cannot_be_is_named_with_its_file(golden, tmp_path, key, value):
    config, weights = golden
    with pytest.raises(ValueError, match=rf"config\.json has {key} .*, must be "):
        bert.load_pretrained(write(tmp_path, {**config, key: value}, weights))


def test_sizes_that_are_not_the_weights_are_told_before_anything_is_built(golden, tmp_path):
    config, weights = golden
    for key, value in (
        ("num_hidden_layers", 3000),
        ("vocab_size", 10**13),
        ("intermediate_size", 10**13),
        ("type_vocab_size", 3),
    ):
        with pytest.raises(ValueError, match="do not fit its config"):
            bert.load_pretrained(write(tmp_path, {**config, key: value}, weights))


def test_saving_refuses_what_does_not_fit(reference, tmp_path):
    model, params = reference
    fewer = {k: v for k, v in params.items() if k != "layers_1"}
    with pytest.raises(ValueError, match="missing layers_1/"):
        bert.save_pretrained(tmp_path, model, fewer)
    with pytest.raises(ValueError, match="'spans'"):
        bert.save_pretrained(tmp_path, model, params, heads={"spans": (None, {})})
    head = bert.SequenceClassifier(2)
    top = {"dense": {"kernel": np.zeros((11, 2)), "bias": np.zeros(2)}}
    with pytest.raises(ValueError, match="do not fit the classifier: dense/kernel has shape"):
        bert.save_pretrained(tmp_path, model, params, heads={"classifier": (head, top)})
    head = bert.MaskedLMHead(activation="relu")
    top = head.init(jax.random.key(0), jnp.zeros((1, 12)), jnp.zeros((40, 12)))["params"]
    with pytest.raises(ValueError, match="has activation relu, the model gelu"):
        bert.save_pretrained(tmp_path, model, params, heads={"mlm": (head, top)})
    assert not list(tmp_path.iterdir())


def test_a_card_of_somebody_elses_is_left_alone(reference, tmp_path):
    bert.save_pretrained(tmp_path, *reference)
    assert "An encoder of 2 layers, 12 wide" in (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text("mine")
    bert.save_pretrained(tmp_path, *reference)
    assert (tmp_path / "README.md").read_text() == "mine"
