"""`jaxlab.data.wordpiece`, `jaxlab.data.added_tokens`: trained, and in model folders as they are
found: transformers' tokens, or why not."""

import json
import re
import sys

import pytest

pytest.importorskip("tokenizers")

from jaxlab.data import wordpiece
from jaxlab.data.questions import segments

VOCAB = [*wordpiece.SPECIAL, "hello", "Hello", "café", "cafe", "Paris", "paris", "日", "本", "日本",
         "a", "##b"]  # fmt: skip
TEXT = "Hello [MASK] café Paris 日本 <new> ab a b hello <NEW>"
SETTINGS, MODEL = "tokenizer_config.json", {"model_type": "bert", "vocab_size": 40}


def folder(path, vocab=VOCAB, *, config=MODEL, **files):
    """A folder with vocab.txt (of tokens, or of bytes) and JSON files by their stems."""
    path.mkdir(exist_ok=True)
    for file in path.iterdir():
        file.unlink()
    if config is not None:
        (path / "config.json").write_text(json.dumps(config))
    if vocab is not None:
        content = vocab if isinstance(vocab, bytes) else ("\n".join(vocab) + "\n").encode()
        (path / "vocab.txt").write_bytes(content)
    for name, value in files.items():
        (path / f"{name}.json").write_text(json.dumps(value))
    return path


def as_json(path, **settings):
    """The content of tokenizer.json of a tokenizer with these settings."""
    made = wordpiece.load_tokenizer(folder(path, tokenizer_config=settings))
    return json.loads(made.to_str())


def added(content, **flags):
    return {"content": content, "lstrip": False, "rstrip": False, "single_word": False, **flags}


NEW = {"16": added("<new>", normalized=False, special=True)}
PLAIN = "\n".join(VOCAB).encode()
FOLDERS = {
    "plain": {},
    "windows": {"vocab": PLAIN.replace(b"\n", b"\r\n")},
    "byte order mark": {"vocab": b"\xef\xbb\xbf" + PLAIN},
    "a token twice": {"vocab": PLAIN + b"\nhello\n"},
    "an empty line": {"vocab": PLAIN.replace(b"hello\n", b"hello\n\n")},
    "cased": {"tokenizer_config": {"do_lower_case": False}},
    "accents go": {"tokenizer_config": {"do_lower_case": False, "strip_accents": True}},
    "accents stay": {"tokenizer_config": {"strip_accents": False}},
    "Chinese words": {"tokenizer_config": {"tokenize_chinese_chars": False}},
    "never split": {"tokenizer_config": {"never_split": ["Hello"]}},
    "class": {"tokenizer_config": {"tokenizer_class": "BertTokenizerFast"}},
    "class of a sibling": {"tokenizer_config": {"tokenizer_class": "DistilBertTokenizer"}},
    "named special tokens": {"tokenizer_config": {"extra_special_tokens": {"foo": "<new>"}}},
    "added_tokens.json": {"added_tokens": {"<new>": 16}},
    "added in order": {"added_tokens": {"ab": 17, "<new>": 16}},
    "added_tokens_decoder": {"tokenizer_config": {"added_tokens_decoder": NEW}},
    "added and lower": {
        "tokenizer_config": {"added_tokens_decoder": {"16": added("<NEW>", normalized=True)}}
    },
    "additional": {"tokenizer_config": {"additional_special_tokens": ["<new>"]}},
    "special map": {"special_tokens_map": {"additional_special_tokens": ["<new>"]}},
    "known already": {"added_tokens": {"Paris": 9}},
    "json": {"vocab": None, "json": {}, "tokenizer_config": {}},
    "json, cased": {
        "vocab": None,
        "json": {"do_lower_case": False},
        "tokenizer_config": {"do_lower_case": False},
    },
    "json, contradicted": {
        "vocab": None,
        "json": {},
        "tokenizer_config": {"do_lower_case": False},
    },
    "json, contradicted in accents and signs": {
        "vocab": None,
        "json": {"strip_accents": False},
        "tokenizer_config": {"strip_accents": True, "tokenize_chinese_chars": False},
    },
    "json before vocab.txt": {
        "vocab": PLAIN.replace(b"hello", b"hallo"),
        "json": {},
        "tokenizer_config": {"do_lower_case": True},
    },
    "json as it is": {
        "vocab": None,
        "json": {"do_lower_case": False},
        "tokenizer_config": {"do_lower_case": True, "tokenizer_class": "PreTrainedTokenizerFast"},
    },
    "json and added tokens": {"vocab": None, "json": {}, "added_tokens": {"<new>": 16}},
    "json and a decoder": {
        "vocab": None,
        "json": {},
        "tokenizer_config": {"added_tokens_decoder": NEW},
    },
}


def made(path, case):
    """The folder of a case of `FOLDERS`."""
    case = dict(case)
    if (settings := case.pop("json", None)) is not None:
        case["tokenizer"] = as_json(path, **settings)
    return folder(path, **case)


@pytest.mark.parametrize("name", FOLDERS)
def test_tokens_are_those_of_transformers(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    made(tmp_path, FOLDERS[name])
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ours = wordpiece.load_tokenizer(tmp_path)
    assert ours.encode(TEXT).ids == theirs(TEXT)["input_ids"]
    pair = theirs("Hello", TEXT)
    assert ours.encode("Hello", TEXT).ids == pair["input_ids"]
    if "token_type_ids" in pair:  # not of every class
        assert ours.encode("Hello", TEXT).type_ids == pair["token_type_ids"]
    # And there and back: what we write, both read as before.
    wordpiece.save_tokenizer(folder(tmp_path, None), ours, max_length=7)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(TEXT)["input_ids"] == ours.encode(TEXT).ids
    assert theirs("a", "b")["token_type_ids"] == ours.encode("a", "b").type_ids
    assert theirs.model_max_length == 7
    assert wordpiece.load_tokenizer(tmp_path).encode(TEXT).ids == ours.encode(TEXT).ids


# The same without transformers: tokens of the cases that were once wrong.
TOKENS = {
    "plain": "hello [MASK] cafe paris 日 本 ? ? ? a ##b a ? hello ? ? ?",
    "json, contradicted": "Hello [MASK] café Paris 日 本 ? ? ? a ##b a ? hello ? ? ?",
    "added_tokens_decoder": "hello [MASK] cafe paris 日 本 <new> a ##b a ? hello ? ? ?",
    "json and added tokens": "hello [MASK] cafe paris 日 本 <new> a ##b a ? hello <new>",
}


@pytest.mark.parametrize("name", TOKENS)
def test_tokens(name, tmp_path):
    tokens = wordpiece.load_tokenizer(made(tmp_path, FOLDERS[name])).encode(TEXT).tokens
    assert " ".join(tokens[1:-1]).replace("[UNK]", "?") == TOKENS[name]


REFUSED = {
    "latin-1": ({"vocab": "café".encode("latin-1")}, "vocab.txt is not UTF-8"),
    "strip_accents": ({"tokenizer_config": {"strip_accents": 5}}, "strip_accents 5, must be one"),
    "do_lower_case": ({"tokenizer_config": {"do_lower_case": "yes"}}, "has do_lower_case 'yes'"),
    "no boolean": ({"tokenizer_config": {"do_lower_case": None}}, "has do_lower_case None"),
    "foreign class": (
        {"tokenizer_config": {"tokenizer_class": "RobertaTokenizer"}},
        "tokenizer_config.json has tokenizer_class 'RobertaTokenizer'",
    ),
    "class in config": (
        {"config": {**MODEL, "tokenizer_class": "MPNetTokenizer"}},
        "config.json has tokenizer_class 'MPNetTokenizer'",
    ),
    "no class": ({"tokenizer_config": {"tokenizer_class": 5}}, "has tokenizer_class 5"),
    "other names": ({"tokenizer_config": {"cls_token": "<s>"}}, "has cls_token '<s>', must be"),
    "in the map": ({"special_tokens_map": {"sep_token": {"content": "a"}}}, "has sep_token 'a'"),
    "a gap": ({"added_tokens": {"<new>": 20}}, "'<new>' with number 20, which the vocabulary"),
    "added wrongly": ({"added_tokens": {"<new>": "x"}}, "has added tokens that cannot be read"),
    "no tokens": (
        {"tokenizer_config": {"added_tokens_decoder": {"16": 3}}},
        "has added tokens that cannot be read",
    ),
    "not said": (
        {"vocab": None, "json": {"do_lower_case": False}, "tokenizer_config": {}},
        "has lowercase false, and .*tokenizer_config.json does not say do_lower_case",
    ),
    "special tokens as text": (
        {"tokenizer_config": {"additional_special_tokens": "<x>"}},
        "additional_special_tokens '<x>', must be a list",
    ),
    "special tokens split": (
        {"tokenizer_config": {"split_special_tokens": True}},
        "has split_special_tokens true, must be false",
    ),
    "too large": ({"config": {**MODEL, "vocab_size": 15}}, "has 16 tokens, the model's embedding"),
    "too large by added ones": (
        {"config": {**MODEL, "vocab_size": 16}, "added_tokens": {"<new>": 16}},
        "has 17 tokens, the model's embedding 16",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_named(name, tmp_path):
    case, message = REFUSED[name]
    made(tmp_path, case)
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        wordpiece.load_tokenizer(tmp_path)


@pytest.mark.parametrize("name", [SETTINGS, "tokenizer.json", "added_tokens.json", "config.json"])
@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe{", b'{"a":' * 9999], ids=repr)
def test_damaged_files_are_named(name, content, tmp_path):
    folder(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(name)):
        wordpiece.load_tokenizer(tmp_path)


def test_another_kind_of_model_is_refused(tmp_path):
    content = as_json(tmp_path)
    content["model"] = {"type": "WordLevel", "vocab": content["model"]["vocab"], "unk_token": "a"}
    folder(tmp_path, None, tokenizer=content)
    with pytest.raises(ValueError, match="model of type WordLevel, a BERT needs WordPiece"):
        wordpiece.load_tokenizer(tmp_path)


def test_an_added_token_may_be_kept(tmp_path):
    tokenizer = wordpiece.load_tokenizer(folder(tmp_path, added_tokens={"<new>": 16}))
    reduced = segments.reduce_tokenizer(tokenizer, [0, 1, 2, 3, 16, 5])
    assert reduced.encode("hello <new>").ids == [2, 5, 4, 3]


@pytest.mark.parametrize("size", [6, 7, 10, 20, 40])
def test_a_vocabulary_to_train_is_never_larger_than_asked_for(size, caplog, tmp_path):
    texts = ["abcdefghijklmnopqrstuvwxyz zyx", "日本語 を 話す aaa aaa aab"] * 3
    tokenizer = wordpiece.own_tokenizer(texts, size, tmp_path / "t")
    assert tokenizer.get_vocab_size() <= size
    # The most frequent character comes first, where there is room for both of its forms.
    assert (tokenizer.token_to_id("##a") is not None) == (size > 6)
    assert "of the training texts' tokens are [UNK]" in caplog.text
    again = wordpiece.own_tokenizer(texts, size, tmp_path / "t")
    assert again.get_vocab() == tokenizer.get_vocab()
    assert wordpiece.train_wordpiece(texts, size).get_vocab() == tokenizer.get_vocab()


def test_a_damaged_tokenizer_of_a_run_says_what_to_do(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"model": ')
    with pytest.raises(ValueError, match=r"tokenizer\.json is not JSON.*; delete .* to train it"):
        wordpiece.own_tokenizer(["a b"], 20, tmp_path)


# --- Trained -------------------------------------------------------------------------------------

WORDS = ["good film", "bad film", "fine plot", "a dull and long story", "great", "poor", "so so",
         "watch it", "avoid", "no", "yes", "maybe"]  # fmt: skip


def greedy(tokenizer, word):
    """WordPiece written down: the longest known piece first, and [UNK] if one is missing."""
    vocab, pieces, start = tokenizer.get_vocab(), [], 0
    while start < len(word):
        prefix = "##" if start else ""
        ends = [e for e in range(len(word), start, -1) if prefix + word[start:e] in vocab]
        if not ends:
            return ["[UNK]"]
        pieces.append(prefix + word[start : ends[0]])
        start = ends[0]
    return pieces


def test_a_trained_vocabulary_is_wordpiece():
    tokenizer = wordpiece.train_wordpiece(WORDS * 3, 200)
    assert [tokenizer.token_to_id(t) for t in wordpiece.SPECIAL] == [0, 1, 2, 3, 4]
    assert tokenizer.get_vocab_size() <= 200
    for sentence in (*WORDS, "unfilmed goods", "film; café Ω"):
        normal = tokenizer.normalizer.normalize_str(sentence)
        words = [w for w, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)]
        pieces = [p for w in words for p in greedy(tokenizer, w)]
        assert tokenizer.encode(sentence).tokens == ["[CLS]", *pieces, "[SEP]"]
    pair = tokenizer.encode("good", "bad film")
    assert pair.type_ids == [0] * (pair.tokens.index("[SEP]") + 1) + [1] * (
        len(pair.tokens) - pair.tokens.index("[SEP]") - 1
    )
    for size in (50, 200, 200, 200):  # with ties at the limit, and without
        a, b = (wordpiece.train_wordpiece(WORDS * 3, size).get_vocab() for _ in range(2))
        assert a == b
    with pytest.raises(ValueError, match="vocab_size is 5, must be a whole number of at least 6"):
        wordpiece.train_wordpiece(WORDS, 5)


def test_padding_and_truncation_of_a_file_are_switched_off(tmp_path):
    tokenizer = wordpiece.train_wordpiece(WORDS * 3, 200)
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded = wordpiece.load_tokenizer(tmp_path)
    assert len(loaded.encode("good film good film good film").ids) == 8
    assert len(loaded.encode("good").ids) == 3


def test_vocab_txt_gives_the_same_tokenizer(tmp_path):
    tokenizer = wordpiece.train_wordpiece(WORDS * 3, 200)
    vocab = sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id)
    (tmp_path / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf8")
    loaded = wordpiece.load_tokenizer(tmp_path)
    for a, b in (("Good FILM", None), ("a dull", "plot, 中文")):
        assert loaded.encode(a, b).ids == tokenizer.encode(a, b).ids
        assert loaded.encode(a, b).type_ids == tokenizer.encode(a, b).type_ids
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert wordpiece.load_tokenizer(tmp_path).encode("Good").tokens[1] == "[UNK]"
    settings = {"do_lower_case": True, "strip_accents": False}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    normalizer = wordpiece.load_tokenizer(tmp_path).normalizer
    assert normalizer.normalize_str("Für Schön") == "für schön"
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"tokenizer_config\.json is not a JSON object"):
        wordpiece.load_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    with pytest.raises(ValueError, match=r"lacks \[CLS\], \[SEP\]"):
        wordpiece.load_tokenizer(tmp_path)
    few = json.loads(tokenizer.to_str())
    few["added_tokens"], few["post_processor"] = [], None
    few["model"]["vocab"] = {"[PAD]": 0, "[UNK]": 1, "good": 2}
    (tmp_path / "tokenizer.json").write_text(json.dumps(few))
    with pytest.raises(ValueError, match=r"lacks \[CLS\], \[SEP\]"):
        wordpiece.load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="cannot be read"):
        wordpiece.load_tokenizer(tmp_path)
    with pytest.raises(FileNotFoundError, match="neither"):
        wordpiece.load_tokenizer(tmp_path / "nowhere")


def test_a_missing_package_is_named_with_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(
        ModuleNotFoundError,
        match=r"^tokenizers is not installed: pip install 'jaxlab-research\[text\]'$",
    ):
        wordpiece.train_wordpiece(WORDS, 200)


def test_a_folder_keeps_the_tokenizer_it_has(tmp_path):
    first = wordpiece.own_tokenizer(WORDS * 3, 60, tmp_path / "t")
    again = wordpiece.own_tokenizer(["other words"] * 9, 60, tmp_path / "t")
    assert again.get_vocab() == first.get_vocab()
    with pytest.raises(ValueError, match=r"tokenizer\.json, of an earlier run, has \d+ tokens"):
        wordpiece.own_tokenizer(WORDS, 9, tmp_path / "t")


def test_characters_that_are_kept_by_hand():
    from collections import Counter

    counts = Counter({"ab": 3, "b": 1, "cab": 1, "d": 4})
    # Begin: a b c d; inside: a b. The trainer adds the inner ones alone too.
    everything = ["##a", "##b", "a", "b", "c", "d"]
    assert wordpiece._alphabet(counts, 6) == (everything, {})
    # b 5, a 4, d 4, c 1 times; with both forms where one is needed.
    kept = lambda room: wordpiece._alphabet(counts, room)
    assert kept(5) == (["##a", "##b", "a", "b", "d"], {"limit_alphabet": 0})
    assert kept(4)[0] == ["##a", "##b", "a", "b"]
    assert kept(3)[0] == ["##b", "b", "d"]
    assert kept(2)[0] == ["##b", "b"]
    assert kept(1)[0] == ["d"]


def test_training_by_its_arguments():
    texts = ["Été été", "xy xy", "zw"]
    tokens = lambda **options: set(wordpiece.train_wordpiece(texts, 60, **options).get_vocab())
    lower, cased = tokens(), tokens(lowercase=False)
    assert "ete" in lower
    assert not {"É", "zw"} & lower
    assert {"É", "é"} <= cased
    assert "xy" in lower
    assert tokens(lowercase=True, min_frequency=2) == lower
    assert "xy" not in tokens(min_frequency=3)
    assert "zw" in tokens(min_frequency=1)
    vocab = wordpiece.train_wordpiece(texts, 60).get_vocab()
    order = sorted(vocab, key=vocab.get)
    assert order == [*wordpiece.SPECIAL, *sorted(set(vocab) - set(wordpiece.SPECIAL))]
    assert wordpiece.train_wordpiece(texts, 60).encode("q xy").tokens == [
        "[CLS]", "[UNK]", "xy", "[SEP]",
    ]  # fmt: skip


def test_settings_that_are_written(tmp_path):
    tokenizer = wordpiece.train_wordpiece(["ab ab"], 30, lowercase=False)
    wordpiece.save_tokenizer(tmp_path, tokenizer, max_length=77)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    added = settings.pop("added_tokens_decoder")
    assert {int(i): token["content"] for i, token in added.items()} == dict(
        enumerate(wordpiece.SPECIAL)
    )
    assert settings == {
        "cls_token": "[CLS]", "mask_token": "[MASK]", "pad_token": "[PAD]", "sep_token": "[SEP]",
        "unk_token": "[UNK]", "do_lower_case": False, "strip_accents": None,
        "tokenize_chinese_chars": True, "tokenizer_class": "BertTokenizer",
        "model_max_length": 77,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [{"vocab_size": "9"}, {"vocab_size": 7.5}, {"min_frequency": -1}])
def test_sizes_of_a_vocabulary_to_train_are_checked(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*, must be a whole number"):
        wordpiece.train_wordpiece(["the cat"], **{"vocab_size": 20, **wrong})


def test_half_a_character_stops_no_training():
    tokenizer = wordpiece.own_tokenizer(["low \ud83d low"], 30)
    assert "low" in tokenizer.encode("low").tokens
