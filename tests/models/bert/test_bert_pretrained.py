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


def test_a_mean_pooling_classifier_is_not_passed_off_as_theirs(reference, tmp_path):
    head = bert.SequenceClassifier(2, pooling="mean", init_scale=0.4)
    params = {"dense": {"kernel": np.ones((12, 2), np.float32), "bias": np.ones(2, np.float32)}}
    bert.save_pretrained(tmp_path, *reference, heads={"classifier": (head, params)})
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["BertModel"]
    again, _ = bert.load_heads(tmp_path)["classifier"]
    assert again == head


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
        ("hidden_act", "swiglu", "hidden_act 'swiglu', known are"),
        ("is_decoder", True, "is_decoder True"),
    ]:
        with pytest.raises(ValueError, match=message):
            bert.load_pretrained(write(tmp_path / "c", {**config, key: value}, weights))
    with pytest.raises(ValueError, match="has no vocab_size"):
        bert.load_pretrained(write(tmp_path / "c", {"model_type": "bert"}, weights))
    with pytest.raises(ValueError, match="holds 0 keys"):
        bert.load_pretrained(write(tmp_path / "c", config, {"x": np.zeros(1, np.float32)}))
    content = save({"x": np.zeros(1, np.float16)}).replace(b'"F16"', b'"BF16"')
    head = int.from_bytes(content[:8], "little") + 1
    content = head.to_bytes(8, "little") + content[8:]
    (tmp_path / "c" / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors has weights of type BF16"):
        bert.load_pretrained(tmp_path / "c")
    (tmp_path / "c" / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ValueError, match="not a safetensors file"):
        bert.load_pretrained(tmp_path / "c")
    (tmp_path / "c" / "model.safetensors").rename(tmp_path / "c" / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"pytorch_model\.bin must be saved as safetensors"):
        bert.load_pretrained(tmp_path / "c")
    for text in ("{", "[]", "{}"):
        (tmp_path / "c" / "model.safetensors.index.json").write_text(text)
        with pytest.raises(ValueError, match="is no index of weights"):
            bert.load_pretrained(tmp_path / "c")
    for text, message in (("{", "is not JSON"), ("[]", "holds a list, must hold an object")):
        (tmp_path / "c" / "config.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            bert.load_pretrained(tmp_path / "c")


def test_saving_refuses_what_does_not_fit(reference, tmp_path):
    model, params = reference
    fewer = {k: v for k, v in params.items() if k != "layers_1"}
    with pytest.raises(ValueError, match="missing layers_1/"):
        bert.save_pretrained(tmp_path, model, fewer)
    with pytest.raises(ValueError, match="'spans'"):
        bert.save_pretrained(tmp_path, model, params, heads={"spans": (None, {})})
