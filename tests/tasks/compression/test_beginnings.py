"""`jaxlab.tasks.compression.beginnings`: a fine-tuned folder as the predecessor of a study."""

import json

import jax
import numpy as np
import pytest

pytest.importorskip("tokenizers")
pytest.importorskip("safetensors")

from etils import epath

from jaxlab import launch
from jaxlab.data import wordpiece
from jaxlab.data.text import TextSet
from jaxlab.models import bert
from jaxlab.tasks import compression
from jaxlab.tasks.compression import beginnings
from jaxlab.tasks.compression import study as study_lib

WORDS = ["red", "sun", "sea", "moon"]
MODEL = bert.Bert(
    vocab_size=60, hidden_size=8, num_layers=2, num_heads=2, intermediate_size=8, max_positions=16,
    init_scale=0.5,
)  # fmt: skip


def make_texts(count=20):
    rng = np.random.default_rng(0)
    texts, more = ([" ".join(row) for row in rng.choice(WORDS, (count, n))] for n in (3, 4))
    return TextSet(texts, np.arange(count, dtype=np.int32) % 2, ("bad", "good"), more)


@pytest.fixture
def folder(tmp_path):
    """A fine-tuned folder: classes GOOD and Bad, in this order, over the pooler."""
    tokenizer = wordpiece.train_wordpiece([" ".join(WORDS)] * 9, 60)
    model = MODEL.clone(vocab_size=tokenizer.get_vocab_size())
    params = jax.jit(model.init)(jax.random.key(3), np.zeros((1, 2), int))["params"]
    rng = np.random.default_rng(1)
    top = {
        "dense": {"kernel": np.float32(rng.normal(size=(8, 2))), "bias": np.zeros(2, np.float32)}
    }
    head = bert.SequenceClassifier(2, pooling="pooler", label_names=("GOOD", "Bad"))
    bert.save_pretrained(
        tmp_path / "tuned", model, params, heads={"classifier": (head, top)}, tokenizer=tokenizer
    )
    return tmp_path / "tuned"


@pytest.fixture
def config(folder, monkeypatch):
    from configs.theseus import study

    found = study.get_config("headlines,tiny").to_dict()
    texts = make_texts()
    read = dict.fromkeys(("train", "validation", "test"), texts), None
    monkeypatch.setattr(study_lib, "load_texts", lambda **_: read)
    found |= {"pretrained": str(folder), "buckets": (12,), "eval_batch_size": 8}
    found["model"] = dict.fromkeys(found["model"]) | {"dropout": 0.0}
    found["stages"]["predecessor"]["num_steps"] = 0
    return found


def test_a_folder_is_taken_as_it_is(config, folder, tmp_path):
    workdir = epath.Path(tmp_path) / "run"
    study = compression.Study(config, None, workdir=workdir)
    start, _ = study._first(0)
    trained = study.train_stage("predecessor", "predecessor", 2, 0, start)
    result = json.loads((workdir / "predecessor" / "result.json").read_text())
    model, params = bert.load_pretrained(folder)
    head, top = bert.load_heads(folder)["classifier"]
    texts, tokenizer = make_texts(), wordpiece.load_tokenizer(str(folder))
    found = tokenizer.encode_batch(list(zip(texts.texts, texts.pairs, strict=True)))
    ids, types = (np.array([getattr(x, n) for x in found]) for n in ("ids", "type_ids"))
    logits = head.apply({"params": top}, model.apply({"params": params}, ids, None, types), None)
    right = np.array(["Bad", "GOOD"])[texts.labels] == np.array(head.label_names)[logits.argmax(-1)]
    assert 0 < right.mean() < 1
    assert result["test/accuracy"] == pytest.approx(right.mean())
    assert result["num_steps"] == 0
    again, top_again = bert.load_heads(workdir / "predecessor" / "model")["classifier"]
    assert (again.label_names, again.pooling) == (("bad", "good"), "pooler")
    assert np.array_equal(top_again["dense"]["kernel"], top["dense"]["kernel"][:, ::-1])
    card = (workdir / "predecessor" / "model" / "README.md").read_text()
    assert "pairs of texts" in card
    assert jax.tree.all(
        jax.tree.map(
            np.array_equal,
            study.train_stage("predecessor", "predecessor", 2, 0, start).params,
            trained.params,
        )
    )


def test_what_cannot_be_taken_as_it_is_is_said(config, folder, tmp_path, monkeypatch):
    names = lambda *names: monkeypatch.setattr(
        study_lib,
        "load_texts",
        lambda **_: (
            dict.fromkeys(
                ("train", "validation", "test"),
                TextSet(["a"] * 2, np.array([0, 1], np.int32), names),
            ),
            None,
        ),
    )
    names("good", "fine")
    with pytest.raises(ValueError, match=r"has the labels GOOD, Bad, the data have good, fine"):
        compression.Study(config, None)
    config["stages"]["predecessor"]["num_steps"] = 1  # then the head begins anew
    assert compression.Study(config, None)._begun.top is None
    names("good", "bad")
    assert compression.Study(config, None)._begun.top is not None
    (folder / "model.safetensors").rename(folder / "other.bin")
    with pytest.raises(FileNotFoundError, match=r"tuned/model.safetensors is missing"):
        compression.Study(config, None)


def test_the_predecessor_starts_from_weights_of_a_flag(config, folder, tmp_path):
    """A folder, through the function that `launch.start_params` is given."""
    seen = {}

    def start(fresh, read):
        seen["nothing"] = read(epath.Path(tmp_path) / "nothing")
        seen["tree"] = read(epath.Path(folder))
        return jax.tree.map(lambda x: 2 * x, seen["tree"])

    study = compression.Study(config, None, start=start)
    params, more = study._first(0)
    assert seen["nothing"] is None
    doubled = 2 * study.initial(0)["head"]["dense"]["kernel"]
    assert np.allclose(params["head"]["dense"]["kernel"], doubled)
    assert list(more) == ["start"]  # another start is another result
    study = compression.Study(config, None, start=lambda fresh, read: fresh)
    assert study._first(0)[1] == {}
    (tmp_path / "run" / "seed_0" / "predecessor").mkdir(parents=True)
    (tmp_path / "run" / "seed_0" / "predecessor" / "result.json").touch()
    with pytest.raises(ValueError, match=r"holds several models, .*: seed_0/predecessor"):
        beginnings.start_special(study._begun, {})(epath.Path(tmp_path / "run"))


def test_a_folder_without_a_classifier_gets_one_by_the_flag(config, folder, tmp_path):
    model, params = bert.load_pretrained(folder)
    tokenizer = wordpiece.load_tokenizer(str(folder))
    bert.save_pretrained(tmp_path / "plain", model, params, tokenizer=tokenizer)
    config |= {"pretrained": str(tmp_path / "plain")}
    config["head"] = config["head"] | {"pooling": "pooler"}
    with pytest.raises(ValueError, match=r"num_steps is 0, and .*plain has no classifier"):
        compression.Study(config, None)
    study = compression.Study(config, None, start=lambda fresh, read: read(epath.Path(folder)))
    top = bert.load_heads(folder)["classifier"][1]["dense"]["kernel"]
    assert np.array_equal(study._first(0)[0]["head"]["dense"]["kernel"], top[:, ::-1])
    study = compression.Study(config, None, start=lambda fresh, read: fresh)
    with pytest.raises(ValueError, match="--init_from has no classifier"):
        study._first(0)


def test_flags_of_weights_need_a_source(monkeypatch):
    flags = type("F", (), {"init_from": None, "init_skip": "x", "init_weights": "ema"})
    monkeypatch.setattr("jaxlab.launch.starting.flags.FLAGS", flags)
    with pytest.raises(launch.UsageError, match="--init_skip needs --init_from"):
        launch.start_params(epath.Path("."))({"a": np.ones(1)})
    flags.init_skip = None
    assert launch.start_params(epath.Path(".")) is None


@pytest.mark.slow  # transformers and torch load for seconds
@pytest.mark.parametrize("labels", [1, 3])
def test_a_folder_of_transformers_gives_its_logits_for_pairs(tmp_path, labels):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    tokenizer = wordpiece.train_wordpiece([" ".join(WORDS)] * 9, 60)
    wordpiece.save_tokenizer(tmp_path, tokenizer, max_length=16)
    torch.manual_seed(0)
    theirs = transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=tokenizer.get_vocab_size(), hidden_size=8, num_hidden_layers=2,
            num_attention_heads=2, intermediate_size=8, max_position_embeddings=16,
            initializer_range=0.5, num_labels=labels,
        )
    ).eval()  # fmt: skip
    theirs.save_pretrained(tmp_path)
    texts = make_texts(9)
    given = transformers.AutoTokenizer.from_pretrained(tmp_path)(
        texts.texts, texts.pairs, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        want = theirs(**given).logits.numpy()
    logits, names = compression.classify_texts(tmp_path, texts.texts, texts.pairs, max_length=16)
    assert np.ptp(want, axis=0).min() > 0.1
    np.testing.assert_allclose(logits.reshape(want.shape), want, atol=1e-5)
    assert names == tuple(f"LABEL_{i}" for i in range(labels))
    found, _ = bert.load_classifier(tmp_path, ("a", "b", "c")[: labels if labels > 1 else 0])
    assert found.num_labels == labels
    head = bert.load_heads(tmp_path)["classifier"]
    model, params = bert.load_pretrained(tmp_path)
    bert.save_pretrained(
        tmp_path / "again", model, params, heads={"classifier": head}, tokenizer=tokenizer,
        pairs=True,
    )  # fmt: skip
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "again")
    kinds = ("regression", "single_label_classification")
    assert again.config.problem_type == kinds[labels > 1]
    with torch.no_grad():
        np.testing.assert_allclose(again.eval()(**given).logits.numpy(), want, atol=1e-5)
