"""Equality with transformers, in both directions, on random small models and on MiniLM."""

import os
import pathlib
import re

import jax
import numpy as np
import pytest

from jaxlab.data import data_folder, wordpiece
from jaxlab.models import bert

torch = pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[parity]'")
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


@pytest.mark.parametrize("tied", [True, False])
def test_token_prediction_agrees(tmp_path, tied):
    config = config_of(tie_word_embeddings=tied)
    inputs = pairs(config.vocab_size, 2)
    reference = shake(transformers.BertForMaskedLM(config))
    reference.tie_weights()
    reference.save_pretrained(tmp_path)
    model, params = bert.load_pretrained(tmp_path)
    out = ours(model, params, inputs)
    head, head_params = bert.load_heads(tmp_path)["mlm"]
    table = params["embeddings"]["word"]["embedding"]
    logits = head.apply({"params": head_params}, out.last_hidden_state, table)
    expected = theirs(reference, inputs).logits
    close(logits, expected, inputs)
    bert.save_pretrained(tmp_path / "ours", model, params, heads={"mlm": (head, head_params)})
    again = transformers.BertForMaskedLM.from_pretrained(tmp_path / "ours")
    close(theirs(again, inputs).logits.numpy(), expected, inputs)


@pytest.fixture(scope="module")
def small():
    """(model, params, tokenizer, texts) of a cased BERT with random weights."""
    texts = ["Paris is large", "paris, a Café?", "The The the hello of PARIS is hello a the large"]
    tokenizer = wordpiece.train_wordpiece([" ".join(texts)] * 3, 80, lowercase=False)
    model = bert.Bert(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=16, num_layers=2, num_heads=2,
        intermediate_size=24, max_positions=20, init_scale=0.3,
    )  # fmt: skip
    params = model.init(jax.random.key(0), np.zeros((1, 2), np.int32))["params"]
    return model, params, tokenizer, texts


def encoded(tokenizer, texts):
    tokenizer.enable_padding()
    found = tokenizer.encode_batch(texts)
    tokenizer.no_padding()
    return {
        "input_ids": np.array([x.ids for x in found]),
        "attention_mask": np.array([x.attention_mask for x in found]),
    }


def test_what_we_save_transformers_loads(small, tmp_path):
    model, params, _, _ = small
    inputs = pairs(model.vocab_size, 2)
    out = ours(model, params, inputs)
    table = params["embeddings"]["word"]["embedding"]
    bert.save_pretrained(tmp_path / "bare", model, params)
    loaded = transformers.AutoModel.from_pretrained(tmp_path / "bare")
    assert type(loaded).__name__ == "BertModel"
    assert loaded.config.num_hidden_layers == 2
    expected = theirs(loaded, inputs)
    close(out.last_hidden_state, expected.last_hidden_state, inputs)
    close(out.pooled, expected.pooler_output)
    classifier, mlm = bert.SequenceClassifier(4, init_scale=0.3), bert.MaskedLMHead(init_scale=0.3)
    heads = {
        "classifier": (classifier, classifier.init(jax.random.key(1), out)["params"]),
        "mlm": (mlm, mlm.init(jax.random.key(2), out.last_hidden_state, table)["params"]),
    }
    bert.save_pretrained(tmp_path / "both", model, params, heads=heads)
    for name, auto in (
        ("classifier", transformers.AutoModelForSequenceClassification),
        ("mlm", transformers.AutoModelForMaskedLM),
    ):
        head, top = heads[name]
        loaded, info = auto.from_pretrained(tmp_path / "both", output_loading_info=True)
        assert not info["missing_keys"]
        assert type(loaded).__name__ in loaded.config.architectures
        args = (out,) if name == "classifier" else (out.last_hidden_state, table)
        logits = head.apply({"params": top}, *args)
        close(logits, theirs(loaded, inputs).logits, inputs if name == "mlm" else None)


@pytest.mark.parametrize("pooler", [True, False])
@pytest.mark.parametrize("pooling", ["pooler", "cls", "mean"])
def test_a_classifier_of_ours_classifies_alike_or_is_missed(small, tmp_path, pooling, pooler):
    model, params, tokenizer, texts = small
    if not pooler:
        model = model.clone(pooler=False)
        params = {name: tree for name, tree in params.items() if name != "pooler"}
    if pooling == "pooler" and not pooler:
        return
    head = bert.SequenceClassifier(
        3, pooling=pooling, init_scale=0.4, label_names=("news", "onion", "review")
    )
    inputs = encoded(tokenizer, texts)
    out = model.apply({"params": params}, **inputs)
    top = head.init(jax.random.key(1), out)["params"]
    want = np.asarray(head.apply({"params": top}, out, inputs["attention_mask"]))
    bert.save_pretrained(
        tmp_path, model, params, heads={"classifier": (head, top)}, tokenizer=tokenizer
    )
    auto = transformers.AutoModelForSequenceClassification
    loaded, info = auto.from_pretrained(tmp_path, output_loading_info=True)
    if pooling == "mean":
        assert {"classifier.weight", "classifier.bias"} <= set(info["missing_keys"])
    else:
        assert not info["missing_keys"]
        assert loaded.config.architectures == [type(loaded).__name__]
        pipe = transformers.pipeline("text-classification", str(tmp_path), device="cpu")
        found = pipe(texts, top_k=None, function_to_apply="none")
        for row, scores in zip(want, found, strict=True):
            got = {score["label"]: score["score"] for score in scores}
            np.testing.assert_allclose(
                [got[name] for name in head.label_names], row, atol=ATOL, rtol=ATOL
            )
    bare = transformers.AutoModel.from_pretrained(tmp_path)
    close(out.last_hidden_state, theirs(bare, inputs).last_hidden_state, inputs)


@pytest.mark.parametrize("kind", ["encoder", "mlm", "pooler", "cls", "mean"])
def test_what_the_card_says_gives_the_same_in_both_libraries(small, tmp_path, monkeypatch, kind):
    model, params, tokenizer, _ = small
    out = model.apply({"params": params}, np.ones((1, 2), np.int32))
    if kind == "encoder":
        heads = {}
    elif kind == "mlm":
        head = bert.MaskedLMHead(init_scale=0.3)
        table = params["embeddings"]["word"]["embedding"]
        top = head.init(jax.random.key(2), out.last_hidden_state, table)["params"]
        heads = {"mlm": (head, top)}
    else:
        head = bert.SequenceClassifier(2, pooling=kind, init_scale=0.3)
        heads = {"classifier": (head, head.init(jax.random.key(2), out)["params"])}
    bert.save_pretrained(tmp_path, model, params, heads=heads, tokenizer=tokenizer)
    card = (tmp_path / "README.md").read_text()
    monkeypatch.chdir(tmp_path)
    values = []
    for block in re.findall(r"```python\n(.*?)```", card, re.DOTALL):
        scope = {}
        exec(block, scope)
        found = scope["states"] if kind == "encoder" else scope["logits"]
        values.append(found.detach().numpy() if hasattr(found, "detach") else np.asarray(found))
        mask = np.asarray(scope["mask"]) if "ids" in scope else None
    assert len(values) == 2
    rows = mask > 0 if kind in ("encoder", "mlm") else slice(None)
    np.testing.assert_allclose(values[0][rows], values[1][rows], atol=ATOL, rtol=ATOL)


def test_outliers_of_the_first_state_survive_the_pooler_that_lets_it_pass(small, tmp_path):
    """Some BERTs have states of 20 in a few places."""
    model, params, _, _ = small
    norm = {"scale": np.full(16, 3, np.float32), "bias": np.zeros(16, np.float32)}
    norm["scale"][3] = 25
    params = {**params, "layers_1": {**params["layers_1"], "output_norm": norm}}
    inputs = pairs(model.vocab_size, 2)
    out = model.apply({"params": params}, **inputs)
    assert np.abs(out.last_hidden_state[:, 0]).max() > 20
    head = bert.SequenceClassifier(2, pooling="cls", init_scale=0.1)
    top = head.init(jax.random.key(1), out)["params"]
    bert.save_pretrained(tmp_path, model, params, heads={"classifier": (head, top)})
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    want = np.asarray(head.apply({"params": top}, out))
    scale = np.abs(out.last_hidden_state[:, 0]) @ np.abs(top["dense"]["kernel"])
    error = np.abs(theirs(loaded, inputs).logits.numpy() - want) / np.asarray(scale)
    assert error.max() < 1e-5


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
