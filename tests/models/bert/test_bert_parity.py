"""Equality with transformers, in both directions, on random small models and on MiniLM."""

import os
import pathlib

import jax
import numpy as np
import pytest

from jaxlab.data import data_folder
from jaxlab.models import bert

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[parity]'")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

ATOL = 1e-5
SHAPES = {
    "small": {},
    "one layer, many heads": {"num_hidden_layers": 1, "num_attention_heads": 8},
    "one type": {"type_vocab_size": 1, "hidden_size": 24, "num_attention_heads": 3},
    "tanh gelu": {"hidden_act": "gelu_new", "intermediate_size": 72},
    "relu, big eps": {"hidden_act": "relu", "layer_norm_eps": 1e-3},
}


def config_of(**changes):
    sizes = {
        "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
        "intermediate_size": 48, "max_position_embeddings": 20, "num_labels": 3,
        "initializer_range": 0.2,
    }  # fmt: skip
    return transformers.BertConfig(**{**sizes, **changes}, attn_implementation="eager")


def pairs(vocab, types, lengths=((6, 5), (3, 2), (9, 4)), seed=0):
    """A padded batch of sentence pairs, as NumPy arrays."""
    rng = np.random.default_rng(seed)
    width = max(map(sum, lengths))
    ids = np.zeros((len(lengths), width), np.int32)
    mask, kinds = np.zeros_like(ids), np.zeros_like(ids)
    for row, (a, b) in enumerate(lengths):
        ids[row, : a + b] = rng.integers(1, vocab, a + b)
        mask[row, : a + b] = 1
        kinds[row, a : a + b] = types - 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds}


def theirs(model, inputs, **kwargs):
    with torch.no_grad():
        return model.eval()(**{k: torch.tensor(v).long() for k, v in inputs.items()}, **kwargs)


def ours(model, params, inputs):
    return jax.jit(lambda p: model.apply({"params": p}, **inputs, all_layers=True))(params)


def close(a, b, inputs=None):
    a, b = np.asarray(a), b.numpy()
    if inputs is not None:  # states of padding mean nothing
        a, b = (x[inputs["attention_mask"] > 0] for x in (a, b))
    np.testing.assert_allclose(a, b, atol=ATOL, rtol=0)


def shake(model, scale=0.05):
    """Moves everything that starts at 0 or 1."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(scale * torch.randn_like(p))
    return model


@pytest.mark.parametrize("name", SHAPES)
def test_random_models_agree(name, tmp_path):
    config = config_of(**SHAPES[name])
    inputs = pairs(config.vocab_size, config.type_vocab_size)
    reference = shake(transformers.BertForSequenceClassification(config))
    reference.save_pretrained(tmp_path)
    out = ours(*bert.load_pretrained(tmp_path), inputs)
    expected = theirs(reference, inputs, output_hidden_states=True)
    for a, b in zip(out.hidden_states, expected.hidden_states, strict=True):
        close(a, b, inputs)
    close(out.pooled, theirs(reference.bert, inputs).pooler_output)
    head, params = bert.load_heads(tmp_path)["classifier"]
    close(head.apply({"params": params}, out), expected.logits)


def test_token_prediction_agrees(tmp_path):
    config = config_of()
    inputs = pairs(config.vocab_size, 2)
    reference = shake(transformers.BertForMaskedLM(config))
    reference.tie_weights()
    reference.save_pretrained(tmp_path)
    model, params = bert.load_pretrained(tmp_path)
    out = ours(model, params, inputs)
    head, head_params = bert.load_heads(tmp_path)["mlm"]
    table = params["embeddings"]["word"]["embedding"]
    logits = head.apply({"params": head_params}, out.last_hidden_state, table)
    close(logits, theirs(reference, inputs).logits, inputs)


def test_what_we_save_transformers_loads(tmp_path):
    model = bert.Bert(
        vocab_size=50, hidden_size=16, num_layers=2, num_heads=2, intermediate_size=24,
        max_positions=20, init_scale=0.3,
    )  # fmt: skip
    inputs = pairs(50, 2)
    params = model.init(jax.random.key(0), inputs["input_ids"])["params"]
    out = ours(model, params, inputs)
    table = params["embeddings"]["word"]["embedding"]
    classifier, mlm = bert.SequenceClassifier(4, init_scale=0.3), bert.MaskedLMHead(init_scale=0.3)
    heads = {
        "classifier": (classifier, classifier.init(jax.random.key(1), out)["params"]),
        "mlm": (mlm, mlm.init(jax.random.key(2), out.last_hidden_state, table)["params"]),
    }
    bert.save_pretrained(tmp_path / "bare", model, params)
    loaded = transformers.AutoModel.from_pretrained(tmp_path / "bare")
    assert type(loaded).__name__ == "BertModel"
    assert loaded.config.num_hidden_layers == 2
    expected = theirs(loaded, inputs)
    close(out.last_hidden_state, expected.last_hidden_state, inputs)
    close(out.pooled, expected.pooler_output)
    for name, auto in (
        ("classifier", transformers.AutoModelForSequenceClassification),
        ("mlm", transformers.AutoModelForMaskedLM),
    ):
        head, head_params = heads[name]
        bert.save_pretrained(tmp_path / name, model, params, heads={name: heads[name]})
        loaded, info = auto.from_pretrained(tmp_path / name, output_loading_info=True)
        # Token models have no pooler there.
        assert not info["missing_keys"]
        args = (out,) if name == "classifier" else (out.last_hidden_state, table)
        logits = head.apply({"params": head_params}, *args)
        close(logits, theirs(loaded, inputs).logits, inputs if name == "mlm" else None)


def minilm_folder() -> pathlib.Path:
    folder = pathlib.Path(os.environ.get("JAXLAB_MINILM") or data_folder() / "minilm")
    if not (folder / "model.safetensors").exists():
        pytest.skip(f"no MiniLM in {folder}: python scripts/fetch_data.py minilm")
    return folder


def test_minilm_agrees_on_padded_sentence_pairs(tmp_path):
    folder = minilm_folder()
    reference = transformers.BertModel.from_pretrained(folder, attn_implementation="eager")
    inputs = pairs(30522, 2, lengths=((20, 12), (9, 8), (5, 3)))
    model, params = bert.load_pretrained(folder)
    out = ours(model, params, inputs)
    expected = theirs(reference, inputs, output_hidden_states=True)
    for a, b in zip(out.hidden_states, expected.hidden_states, strict=True):
        close(a, b, inputs)
    close(out.pooled, expected.pooler_output)
    # There and back: what was written is the same model.
    bert.save_pretrained(tmp_path, model, params)
    again = transformers.BertModel.from_pretrained(tmp_path, attn_implementation="eager")
    close(out.last_hidden_state, theirs(again, inputs).last_hidden_state, inputs)
