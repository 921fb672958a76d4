"""Hugging Face folders: every way they name their keys, and what is written comes back."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hf_folder import bare, old, same, write
from safetensors import safe_open
from safetensors.numpy import load_file

from jaxlab.models import bert
from jaxlab.models.bert.pretrained import encoder_names


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


def test_names_of_an_encoder_in_a_file(golden, reference):
    """Each weight of the file lands where its name says, dense ones transposed."""
    _, weights = golden
    model, params = reference
    names = encoder_names(model)
    assert len(names) == 5 + 16 * 2 + 2
    assert {f"bert.{name}" for name in names} == {k for k in weights if k.startswith("bert.")}
    layer = params["layers_1"]
    for theirs, ours in {
        "encoder.layer.1.attention.self.key": layer["attention"]["key"],
        "encoder.layer.1.attention.output.dense": layer["attention_output"],
        "encoder.layer.1.intermediate.dense": layer["intermediate"],
        "encoder.layer.1.output.dense": layer["output"],
        "pooler.dense": params["pooler"],
    }.items():
        np.testing.assert_array_equal(ours["kernel"], weights[f"bert.{theirs}.weight"].T)
        np.testing.assert_array_equal(ours["bias"], weights[f"bert.{theirs}.bias"])
    assert len(encoder_names(model.clone(num_layers=1, pooler=False))) == 5 + 16


def test_what_config_and_weights_of_a_written_folder_say(reference, tmp_path):
    model, params = reference
    folder = tmp_path / "a" / "b"  # made with the folders above it
    bert.save_pretrained(folder, model, params)
    text = (folder / "config.json").read_text()
    said = json.loads(text)
    assert text == json.dumps(said, indent=2, sort_keys=True) + "\n"
    assert said == {
        "architectures": ["BertModel"], "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1, "hidden_size": 12, "initializer_range": model.init_scale,
        "intermediate_size": model.intermediate_size, "layer_norm_eps": 1e-12,
        "max_position_embeddings": model.max_positions, "model_type": "bert",
        "num_attention_heads": model.num_heads, "num_hidden_layers": 2, "pad_token_id": 0,
        "position_embedding_type": "absolute", "type_vocab_size": model.type_vocab_size,
        "vocab_size": 40,
    }  # fmt: skip
    with safe_open(folder / "model.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt"}
        assert set(file.keys()) == set(encoder_names(model))
    bert.save_pretrained(folder, model, params)  # over the old one


def test_attributes_come_from_the_config_or_are_the_usual_ones(golden, tmp_path):
    config, weights = golden
    odd = {
        "layer_norm_eps": 1e-3, "hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.4,
        "hidden_act": "relu", "initializer_range": 0.5,
    }  # fmt: skip
    model, _ = bert.load_pretrained(write(tmp_path, {**config, **odd}, weights))
    assert (model.norm_eps, model.dropout, model.attention_dropout) == (1e-3, 0.3, 0.4)
    assert (model.activation, model.init_scale) == ("relu", 0.5)
    few = {k: v for k, v in config.items() if k not in (*odd, "type_vocab_size")}
    model, _ = bert.load_pretrained(write(tmp_path, few, weights))
    usual = (model.norm_eps, model.dropout, model.attention_dropout, model.init_scale)
    assert usual == (1e-12, 0.1, 0.1, 0.02)
    assert (model.activation, model.type_vocab_size) == ("gelu", 2)
