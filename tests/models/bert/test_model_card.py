"""What a model folder's README.md says."""

import jax
import numpy as np
import pytest

from jaxlab.models import bert
from jaxlab.models.bert.model_card import CARD_FILE, write_card


def test_a_card_of_somebody_elses_is_left_alone(reference, tmp_path):
    bert.save_pretrained(tmp_path, *reference)
    assert "An encoder of 2 layers, 12 wide" in (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text("mine")
    bert.save_pretrained(tmp_path, *reference)
    assert (tmp_path / "README.md").read_text() == "mine"


MODEL = bert.Bert(
    vocab_size=9, hidden_size=4, num_layers=3, num_heads=2, intermediate_size=6, max_positions=7
)


@pytest.mark.parametrize(
    ("heads", "tag", "theirs", "ours", "head"),
    [
        ({}, "feature-extraction", "AutoModel", "last_hidden_state\n```", None),
        ({"mlm": bert.MaskedLMHead()}, "fill-mask", "AutoModelForMaskedLM",
         'load_heads(folder)["mlm"]', "- Head: predicts masked tokens."),
        ({"classifier": bert.SequenceClassifier(2)}, "text-classification",
         "AutoModelForSequenceClassification", 'load_heads(folder)["classifier"]',
         "- Head: a dense layer over BERT's pooler."),
        ({"classifier": bert.SequenceClassifier(2, pooling="cls"), "mlm": bert.MaskedLMHead()},
         "text-classification", "AutoModelForSequenceClassification",
         'load_heads(folder)["classifier"]', "- Head: a dense layer over the first token's state."),
        ({"classifier": bert.SequenceClassifier(2, pooling="mean")}, "text-classification",
         "AutoModel", 'load_heads(folder)["classifier"]',
         "- Head: a dense layer over the mean of the tokens' states."),
    ],
)  # fmt: skip
def test_each_kind_of_head_has_its_lines(tmp_path, heads, tag, theirs, ours, head):
    write_card(tmp_path, MODEL, heads)
    card = (tmp_path / CARD_FILE).read_text()
    assert card.startswith(f"---\nlibrary_name: transformers\npipeline_tag: {tag}\n")
    assert f"\n# BERT, {tag.replace('-', ' ')}\n" in card
    assert (
        "An encoder of 3 layers, 4 wide, 2 attention heads, 9 tokens, up to 7 at once.\n"
    ) in card
    assert f"model = transformers.{theirs}.from_pretrained(folder)\n" in card
    assert ours in card
    assert head is None or head in card
    assert "tokenizer.enable_truncation(7)" in card
    assert 'padding=True, truncation=True, return_tensors="pt")' in card
    pooled = "mean" in {h.pooling for h in heads.values() if hasattr(h, "pooling")}
    assert ("import safetensors.torch\n" in card) == pooled
    assert ("mean_classifier.weight" in card) == pooled
    assert ("- Labels: " in card) == ("classifier" in heads)


def test_labels_are_named_as_they_are_or_counted(tmp_path):
    head = bert.SequenceClassifier(3, pooling="cls")
    write_card(tmp_path, MODEL, {"classifier": head})
    assert '- Labels: "LABEL_0", "LABEL_1", "LABEL_2".\n' in (tmp_path / CARD_FILE).read_text()
    # A card of ours is written again.
    write_card(tmp_path, MODEL, {"classifier": head.clone(label_names=("né", 'a "b"', "c"))})
    card = (tmp_path / CARD_FILE).read_text(encoding="utf8")
    assert '- Labels: "né", "a \\"b\\"", "c".\n' in card


def test_the_lines_for_jaxlab_run(reference, tmp_path, monkeypatch):
    """Up to the model itself; the tests against transformers run both halves."""
    wordpiece = pytest.importorskip("jaxlab.data.wordpiece")
    pytest.importorskip("tokenizers")
    model, params = reference
    tokenizer = wordpiece.train_wordpiece(["a text another one."] * 3, model.vocab_size)
    head = bert.SequenceClassifier(2, pooling="mean")
    top = {"dense": {"kernel": np.ones((12, 2), np.float32), "bias": np.ones(2, np.float32)}}
    bert.save_pretrained(
        tmp_path, model, params, heads={"classifier": (head, top)}, tokenizer=tokenizer
    )
    card = (tmp_path / CARD_FILE).read_text()
    code = card.split("With jaxlab:")[1].split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(code, scope)
    assert scope["mask"].shape == scope["ids"].shape
    assert scope["ids"].shape[1] <= model.max_positions
    assert scope["logits"].shape == (2, 2)
    np.testing.assert_array_equal(scope["logits"][:, 0], scope["logits"][:, 1])


def test_pairs_and_regression_are_said_and_the_code_runs(tmp_path, monkeypatch):
    wordpiece = pytest.importorskip("jaxlab.data.wordpiece")
    pytest.importorskip("tokenizers")
    tokenizer = wordpiece.train_wordpiece(["A text with it. One. Two."] * 9, 60)
    model = MODEL.clone(vocab_size=tokenizer.get_vocab_size(), max_positions=20)
    ids = np.zeros((1, 2), int)
    params = model.init(jax.random.key(0), ids)["params"]
    top = {"dense": {"kernel": np.ones((4, 1), np.float32), "bias": np.zeros(1, np.float32)}}
    heads = {"classifier": (bert.SequenceClassifier(1), top)}
    bert.save_pretrained(tmp_path, model, params, heads=heads, tokenizer=tokenizer, pairs=True)
    card = (tmp_path / CARD_FILE).read_text()
    assert "- Output: one number, by regression; there are no classes.\n" in card
    assert "- Input: pairs of texts, whose tokens are of types 0 and 1.\n" in card
    assert "tokenizer(*map(list, zip(*texts)), padding=True" in card
    code, found = card.split("```python")[2].split("```")[0], {}
    monkeypatch.chdir(tmp_path)
    exec(code, found)
    tokens = [tokenizer.encode(*pair) for pair in found["texts"]]
    assert found["types"].sum(1).tolist() == [sum(t.type_ids) for t in tokens]
    output = model.apply({"params": params}, found["ids"], found["mask"], found["types"])
    want = heads["classifier"][0].apply({"params": top}, output, found["mask"])
    np.testing.assert_allclose(found["logits"], want, rtol=1e-5)
