"""Model folders with damaged files give a model or a line of ours, never another exception."""

import contextlib
import json
import pathlib
import shutil
import warnings

import jax
import numpy as np
import pytest

pytest.importorskip("tokenizers")

from jaxlab.data import wordpiece
from jaxlab.data.questions.segments import Limits
from jaxlab.errors import UserError
from jaxlab.models import bert
from jaxlab.tasks.question_generation.folder import Generator, load_generator, save_generator

FILES = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "generator.json",
    "model.safetensors", "vocab.txt", "added_tokens.json", "special_tokens_map.json",
    "model.safetensors.index.json",
)  # fmt: skip
ODD = (None, -1, 0, 3, 2**70, 1e308, float("nan"), "x", "", [], {}, True, ["a"], {"a": 1}, "\ud800")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with every file that is looked at."""
    path = tmp_path_factory.mktemp("whole")
    tokenizer = wordpiece.train_wordpiece(["the sun and the moon"] * 3, 40)
    model = bert.Bert(
        vocab_size=tokenizer.get_vocab_size() + 1, hidden_size=4, num_layers=2, num_heads=2,
        intermediate_size=6, max_positions=30,
    )  # fmt: skip
    params = model.init(jax.random.key(0), np.ones((1, 2), np.int32))["params"]
    head = bert.MaskedLMHead(tied=False)
    top = bert.init_head(head, jax.random.key(1), 4, model.vocab_size)
    limits = Limits(12, 5, 8)
    save_generator(
        path,
        Generator(
            model, head, {"bert": params, "head": top}, tokenizer, limits, "answer_first", 1, True
        ),
    )
    settings = json.loads((path / "tokenizer_config.json").read_text())
    del settings["added_tokens_decoder"]
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    size = tokenizer.get_vocab_size()
    (path / "added_tokens.json").write_text(json.dumps({"<new>": size}))
    (path / "special_tokens_map.json").write_text(json.dumps({"cls_token": "[CLS]"}))
    vocab = sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id)
    (path / "vocab.txt").write_text("\n".join(vocab) + "\n")
    weights = path / "model.safetensors"
    index = {"weight_map": {"bert.embeddings.word_embeddings.weight": "a.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    shutil.copy(weights, path / "a.safetensors")
    load_generator(path)
    return path


def bent(tree, rng):
    """A JSON tree with one thing changed, gone or added."""
    if isinstance(tree, dict) and tree and rng.random() < 0.9:
        key = list(tree)[rng.integers(len(tree))]
        if rng.random() < 0.1:
            return {k: v for k, v in tree.items() if k != key}
        return {**tree, key: bent(tree[key], rng)}
    if isinstance(tree, list) and tree and rng.random() < 0.9:
        i = rng.integers(len(tree))
        return [*tree[:i], bent(tree[i], rng), *tree[i + 1 :]]
    return ODD[rng.integers(len(ODD))]


def damaged(content, name, rng):
    """The file with a few bytes changed, a part missing, or a value of its JSON bent."""
    if name.endswith(".json") and rng.random() < 0.6:
        return json.dumps(bent(json.loads(content), rng)).encode("utf8", "surrogatepass")
    data = bytearray(content)
    if rng.random() < 0.3:
        return bytes(data[: rng.integers(len(data))])
    # The header of weights is where most can go wrong.
    stop = min(len(data), 3000) if rng.random() < 0.7 else len(data)
    for _ in range(rng.integers(1, 4)):
        data[rng.integers(stop)] = rng.integers(256)
    return bytes(data)


def read_all(path):
    readers = (
        bert.load_pretrained,
        bert.load_heads,
        lambda path: wordpiece.load_tokenizer(path).encode("the sun <new>"),
        load_generator,
    )
    for read in readers:
        with contextlib.suppress(UserError, FileNotFoundError):
            read(path)


def attack(whole, path, seeds):
    content = {name: (whole / name).read_bytes() for name in (*FILES, "a.safetensors")}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        name = FILES[seed % len(FILES)]
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        gone = {"vocab.txt": "tokenizer.json", "model.safetensors.index.json": "model.safetensors"}
        for file, data in content.items():
            if gone.get(name) != file:
                (path / file).write_bytes(data)
        (path / name).write_bytes(damaged(content[name], name, rng))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                read_all(path)
            except Exception as error:
                kept = pathlib.Path(path).with_name(f"seed_{seed}")
                shutil.copytree(path, kept, dirs_exist_ok=True)
                raise AssertionError(f"seed {seed}, {name}, kept in {kept}") from error


def test_damaged_files_give_a_model_or_a_line(whole, tmp_path):
    attack(whole, tmp_path / "a", range(54))


@pytest.mark.slow
def test_many_damaged_files_give_a_model_or_a_line(whole, tmp_path):
    attack(whole, tmp_path / "a", range(1000, 1900))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": "both"}, r"generator\.json has order 'both', must be one of"),
        ({"prefix_parts": True}, r"generator\.json has prefix_parts True, must be one of"),
        ({"join": "no"}, r"generator\.json has join 'no', must be one of"),
        ({"limits": {"passage": 9, "answer": 9}}, r"generator\.json is damaged"),
        ({"limits": {"passage": 9, "answer": 9.5, "question": 5}}, "limits.answer is 9.5"),
        ({"limits": {"passage": 99, "answer": 5, "question": 5}}, "the model takes 30"),
    ],
)
def test_settings_of_a_generator_are_checked(whole, tmp_path, change, message):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "generator.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ValueError, match=message):
        load_generator(tmp_path)
