"""Config and weights of a folder: what is read, and everything that can be wrong."""

import json
import re

import jax.numpy as jnp
import numpy as np
import pytest
from hf_folder import retyped, same, write
from safetensors.numpy import save_file

from jaxlab.models import bert
from jaxlab.models.bert.folder import (
    DEFAULTS,
    check_shapes,
    from_flat,
    read_config,
    read_weights,
    to_tree,
)


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
        ("num_hidden_layers", 10**12),
        ("vocab_size", 10**13),
        ("intermediate_size", 10**13),
        ("type_vocab_size", 3),
    ):
        with pytest.raises(ValueError, match="do not fit its config"):
            bert.load_pretrained(write(tmp_path, {**config, key: value}, weights))


@pytest.mark.parametrize(
    ("key", "allowed", "refused"),
    [
        ("num_hidden_layers", [1, 24], [0, 1.0, True]),
        ("type_vocab_size", [1], [0]),
        ("num_labels", [1], [0]),
        ("layer_norm_eps", [1e-12, 0.999], [0, 1, 1.5]),
        ("initializer_range", [0, 999], [-0.1, 1000]),
        ("hidden_dropout_prob", [0, 1, 0.5], [-0.1, 1.1, True]),
        ("attention_probs_dropout_prob", [0, 1], [1.01]),
        ("classifier_dropout", [None, 0, 1], [1.01, "x"]),
        ("hidden_act", ["gelu", "relu"], ["tanh", 1]),
        ("is_decoder", [False], [True, 0]),
        ("pruned_heads", [{}, None], [{"0": [1]}]),
        ("classifier_pooling", ["pooler", "cls", "mean"], ["max"]),
        ("problem_type", [None, "regression"], ["ranking"]),
        ("id2label", [{"0": "a"}, {"1": "b", "0": "a"}, {}], [{"1": "a"}, {"0": 1}, {"00": "a"}]),
        ("architectures", [None, [], ["BertModel"]], ["BertModel", [1]]),
        ("tie_word_embeddings", [True, False], [1, None]),
        ("num_attention_heads", [1, 12], [5, 24]),
    ],
)  # fmt: skip
def test_each_key_has_its_range(golden, tmp_path, key, allowed, refused):
    config = {**golden[0], "hidden_size": 12}
    for value in allowed:
        (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
        assert read_config(tmp_path)[key] == value
    for value in refused:
        (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
        with pytest.raises(ValueError, match=rf"config\.json has {key} "):
            read_config(tmp_path)


def test_a_config_may_leave_out_what_has_a_default(golden, tmp_path):
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
             "intermediate_size", "max_position_embeddings")  # fmt: skip
    few = {key: golden[0][key] for key in sizes}
    (tmp_path / "config.json").write_text(json.dumps(few))
    assert read_config(tmp_path) == few
    assert DEFAULTS == {  # those of transformers' BertConfig
        "type_vocab_size": 2,
        "norm_eps": 1e-12,
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "activation": "gelu",
        "init_scale": 0.02,
    }
    for key in sizes:
        less = {name: value for name, value in few.items() if name != key}
        (tmp_path / "config.json").write_text(json.dumps(less))
        with pytest.raises(ValueError, match=f"has no {key}, a BERT needs one"):
            read_config(tmp_path)


def test_long_values_are_shown_in_60_characters(golden, tmp_path):
    for length, shown in ((58, repr("x" * 58)), (59, "'" + "x" * 56 + r"\.\.\.")):
        said = {**golden[0], "hidden_act": "x" * length}
        (tmp_path / "config.json").write_text(json.dumps(said))
        with pytest.raises(ValueError, match=f"has hidden_act {shown}, must be"):
            read_config(tmp_path)


def test_twelve_problems_are_listed_and_the_others_counted():
    for count, end in ((12, "missing k11"), (13, "missing k11; and 1 more")):
        with pytest.raises(ValueError, match=f"params do not fit it: missing k0; .*{end}$"):
            check_shapes("it", {}, {(f"k{i}",): (1,) for i in range(count)})
    check_shapes("it", {"a": {"b": np.zeros((2, 3))}}, {("a", "b"): (2, 3)})
    with pytest.raises(ValueError, match=r"fit it: unexpected c; a/b has shape \(2, 3\), must .*2"):
        check_shapes("it", {"a": {"b": np.zeros((2, 3))}, "c": 1}, {("a", "b"): (3, 2)})


def test_kernels_are_turned_on_the_way_in_and_out():
    names = {"w.weight": ("w", "kernel"), "w.bias": ("w", "bias"), "e.weight": ("e", "embedding")}
    shapes = {("w", "kernel"): (2, 3), ("w", "bias"): (3,), ("e", "embedding"): (4, 2)}
    weights = {
        "w.weight": np.arange(6.0).reshape(3, 2), "w.bias": np.arange(3.0),
        "e.weight": np.arange(8.0).reshape(4, 2),
    }  # fmt: skip
    tree = to_tree("here", weights, names, shapes)
    np.testing.assert_array_equal(tree["w"]["kernel"], [[0, 2, 4], [1, 3, 5]])
    np.testing.assert_array_equal(tree["w"]["bias"], [0, 1, 2])
    np.testing.assert_array_equal(tree["e"]["embedding"], weights["e.weight"])
    assert {x.dtype for x in (tree["w"]["kernel"], tree["e"]["embedding"])} == {
        jnp.dtype("float32")
    }
    flat = {path: jnp.asarray(tree[path[0]][path[1]], jnp.bfloat16) for path in shapes}
    back = from_flat(flat, names, "bert.")
    assert set(back) == {f"bert.{name}" for name in names}
    for name, value in weights.items():
        np.testing.assert_array_equal(back[f"bert.{name}"], value)
        assert back[f"bert.{name}"].dtype == np.float32
        assert back[f"bert.{name}"].flags["C_CONTIGUOUS"]
    with pytest.raises(
        ValueError, match=r"weights in here do not .*: unexpected x; w\.bias has int"
    ):
        to_tree("here", {**weights, "w.bias": np.arange(3)}, names, shapes, ["x"])


def test_names_of_the_first_releases_are_todays(golden, tmp_path):
    config, _ = golden
    word = "a.embeddings.word_embeddings.weight"
    one = np.ones((2, 2), np.float32)
    old = {word: one, "a.LayerNorm.gamma": 2 * one, "a.LayerNorm.beta": 3 * one, "x.beta": 4 * one}
    weights, prefix = read_weights(write(tmp_path, config, old))
    assert prefix == "a."
    assert {name: value[0, 0] for name, value in weights.items()} == {
        word: 1, "a.LayerNorm.weight": 2, "a.LayerNorm.bias": 3, "x.beta": 4,
    }  # fmt: skip
    twice = {**old, "a.LayerNorm.weight": one}
    with pytest.raises(ValueError, match=r"which is there already: a\.LayerNorm\.weight"):
        read_weights(write(tmp_path, config, twice))
    with pytest.raises(ValueError, match="holds 2 keys"):
        read_weights(write(tmp_path, config, {**old, "b." + word[2:]: one}))


def test_the_whole_file_comes_before_an_index(golden, reference, tmp_path):
    write(tmp_path, *golden)
    (tmp_path / "model.safetensors.index.json").write_text("{")
    same(bert.load_pretrained(tmp_path)[1], reference[1])
