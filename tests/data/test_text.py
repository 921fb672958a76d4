"""Text sets, their splits, tokenizers and length-bucketed batches."""

import gzip
import json
import sys

import numpy as np
import pytest

from jaxlab.data import buckets, text
from jaxlab.data.plain_text import normal_text
from jaxlab.errors import InputError

WORDS = ["good film", "bad film", "fine plot", "a dull and long story", "great", "poor", "so so",
         "watch it", "avoid", "no", "yes", "maybe"]  # fmt: skip


def gz(path, content):
    path.write_bytes(gzip.compress(content.encode()))


@pytest.mark.parametrize(
    ("name", "sizes", "classes"),
    [("headlines", (22798, 2850, 2850), 2), ("rotten_tomatoes", (10192, 1273, 1286), 2)],
)
def test_real_sets_are_distinct_and_split(data_dir, name, sizes, classes):
    sets = [text.load_text(name, data_dir, split) for split in text.SPLITS]
    assert tuple(map(len, sets)) == sizes
    assert all(s.num_classes == classes and set(s.labels) == {0, 1} for s in sets)
    everything = [normal_text(t) for s in sets for t in s.texts]
    assert len(set(everything)) == len(everything)
    again = text.load_text(name, data_dir, "test")
    assert again.texts == sets[2].texts
    few = text.load_text(name, data_dir, limit=50)
    assert list(few.texts) == list(sets[0].texts[:50])
    other = text.load_text(name, data_dir, "test", split_seed=1)
    assert len(set(other.texts) & set(again.texts)) < len(again) / 2


def test_films_are_on_one_side(tmp_path):
    lines = ["category,text,movie_name,has_plot_and_reviews"]
    lines += [f"{('fresh', 'rotten')[i % 2]},text {i},film {i % 30},1" for i in range(300)]
    lines += ["plot,what happens,film 1,1", "fresh,twice,film 1,1", "rotten,Twice,film 2,1"]
    gz(tmp_path / "rotten-tomatoes-snippets.csv.gz", "\n".join(lines))
    sets = [text.load_text("rotten_tomatoes", tmp_path, s) for s in text.SPLITS]
    assert [len(s) for s in sets] == [240, 30, 30]  # neither the plot nor the contradiction
    films = [{int(t.split()[1]) % 30 for t in s.texts} for s in sets]
    assert len(films[0] | films[1] | films[2]) == sum(map(len, films))


def test_iflytek_keeps_its_split_and_what_is_in_two_stays_in_test(tmp_path):
    parts = {
        "train-few-all": ["a", "b", "c"],
        "dev-few-all": ["d\u2028d", "A "],
        "test-public": ["c"],
    }
    for part, sentences in parts.items():
        rows = [{"label": str(ord(s[0].lower()) % 3), "label_des": "x", "sentence": s, "id": 0}
                for s in sentences]  # fmt: skip
        content = "\n".join(json.dumps(r, ensure_ascii=False) for r in rows)
        gz(tmp_path / f"iflytek-{part}.jsonl.gz", content)
    sets = {s: sorted(text.load_text("iflytek", tmp_path, s).texts) for s in text.SPLITS}
    assert sets == {"train": ["b"], "validation": ["A ", "d\u2028d"], "test": ["c"]}


def test_wrong_sets_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"headlines-sarcasm\.tsv\.gz is missing"):
        text.load_text("headlines", tmp_path)
    gz(tmp_path / "headlines-sarcasm.tsv.gz", "1\tfine\nno label")
    with pytest.raises(ValueError, match="line 2: 'no label'"):
        text.load_text("headlines", tmp_path)
    (tmp_path / "headlines-sarcasm.tsv.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(ValueError, match="truncated or damaged gzip"):
        text.load_text("headlines", tmp_path)
    for kwargs, message in [
        ({"name": "news"}, "'news', known are"),
        ({"name": "headlines", "split": "dev"}, "'dev', known are"),
        ({"name": "headlines", "limit": 0}, "limit is 0"),
        ({"name": "headlines", "split_seed": -1}, "split_seed is -1"),
    ]:
        with pytest.raises(ValueError, match=message):
            text.load_text(**kwargs)
    with pytest.raises(ValueError, match=r"labels are 0 to 2, must be in \[0, 2\)"):
        text.TextSet(["a", "b"], np.array([0, 2]), ("no", "yes"))
    with pytest.raises(ValueError, match="labels have shape"):
        text.TextSet(["a", "b"], np.array([0]), ("no", "yes"))


def reviews(folder, *rows, head="category,text,movie_name,has"):
    gz(folder / "rotten-tomatoes-snippets.csv.gz", "\n".join([head, *rows]))
    return text.load_text("rotten_tomatoes", folder)


@pytest.mark.parametrize(
    "row",
    ["fresh", "fresh,fine", "fresh,fine,film,1,more", "fre5h,fine,film,1", 'fresh,"fine,film,1'],
)
def test_rows_of_a_table_that_do_not_fit_are_named(tmp_path, row):
    good = [f"{('fresh', 'rotten')[i % 2]},text {i},film {i},1" for i in range(20)]
    assert len(reviews(tmp_path, *good)) > 10
    with pytest.raises(InputError, match=r"snippets\.csv\.gz, line (11|12|22)"):
        reviews(tmp_path, *good[:10], row, *good[10:])


def test_other_tables_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"has columns \['text'\], needs category"):
        reviews(tmp_path, "fine", head="text")
    with pytest.raises(InputError, match="no text is left of 0"):
        reviews(tmp_path)
    with pytest.raises(InputError, match=r"line \d+: no CSV"):
        reviews(tmp_path, f"fresh,{'x' * 200_000},film,1")


def iflytek(folder, line):
    for part in ("train-few-all", "dev-few-all", "test-public"):
        gz(folder / f"iflytek-{part}.jsonl.gz", line)
    return text.load_text("iflytek", folder, "test")


@pytest.mark.parametrize(
    "change",
    [{"label": 2.5}, {"label": -1}, {"label": 10**9}, {"label": True}, {"label": None},
     {"sentence": 3}, {"label_des": None}, {"sentence": None}],
)  # fmt: skip
def test_values_of_a_wrong_type_are_named(tmp_path, change):
    row = {"label": "3", "label_des": "maps", "sentence": "where \ud83d to"}
    found = iflytek(tmp_path, json.dumps(row))
    assert found.texts == ["where \ufffd to"]
    assert found.labels.tolist() == [3]
    with pytest.raises(InputError, match=r"train-few-all\.jsonl\.gz, line 2: .*needs label"):
        iflytek(tmp_path, json.dumps(row) + "\n" + json.dumps(row | change))
    with pytest.raises(InputError, match="line 2 is nested too deeply"):
        iflytek(tmp_path, json.dumps(row) + "\n" + "[" * 100_000)


def test_marks_line_ends_and_accents_of_other_machines(tmp_path, caplog):
    rows = [f"{i % 2}\tTexte {i} é\u2028à" for i in range(20)]
    rows += ["0\tTEXTE 0 e\u0301\u2028a\u0300", "1\t  "]  # as the first, and nothing
    found = []
    for ends, encoding in (("\n", "utf-8"), ("\r\n", "utf-8-sig"), ("\r", "utf-16")):
        raw = (ends.join(rows) + ends).encode(encoding)
        (tmp_path / "headlines-sarcasm.tsv.gz").write_bytes(gzip.compress(raw))
        with caplog.at_level("INFO"):
            found.append([sorted(text.load_text("headlines", tmp_path, s).texts)
                          for s in text.SPLITS])  # fmt: skip
        assert "headlines: 2 of 22 texts left out" in caplog.text
        caplog.clear()
    assert found[0] == found[1] == found[2]
    assert sum(map(len, found[0])) == 20


def test_texts_with_half_a_character_are_encoded(wordpiece):
    tokenizer = wordpiece.train_wordpiece(WORDS * 3, 200)
    texts = text.TextSet(["good \ud83d film"], np.array([0]), ("a",))
    assert text.encode(texts, tokenizer, max_length=6).lengths.tolist() == [4]


# --- Tokenizers -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wordpiece():
    pytest.importorskip("tokenizers")
    from jaxlab.data import wordpiece

    return wordpiece


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


def test_a_trained_vocabulary_is_wordpiece(wordpiece):
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
    with pytest.raises(ValueError, match="vocab_size is 5, must be above 5"):
        wordpiece.train_wordpiece(WORDS, 5)


def test_padding_and_truncation_of_a_file_are_switched_off(wordpiece, tmp_path):
    tokenizer = wordpiece.train_wordpiece(WORDS * 3, 200)
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded = wordpiece.load_tokenizer(tmp_path)
    assert len(loaded.encode("good film good film good film").ids) == 8
    assert len(loaded.encode("good").ids) == 3


def test_vocab_txt_gives_the_same_tokenizer(wordpiece, tmp_path):
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


def test_a_missing_package_is_named_with_what_brings_it(wordpiece, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"tokenizers is missing: pip install -e '\.\[text"
    ):
        wordpiece.train_wordpiece(WORDS, 200)


def test_a_folder_keeps_the_tokenizer_it_has(wordpiece, tmp_path):
    first = wordpiece.own_tokenizer(WORDS * 3, 60, tmp_path / "t")
    again = wordpiece.own_tokenizer(["other words"] * 9, 60, tmp_path / "t")
    assert again.get_vocab() == first.get_vocab()
    with pytest.raises(ValueError, match=r"tokenizer\.json, of an earlier run, has \d+ tokens"):
        wordpiece.own_tokenizer(WORDS, 9, tmp_path / "t")


def test_long_texts_are_cut_only_when_asked(wordpiece):
    tokenizer = wordpiece.train_wordpiece(WORDS * 3, 200)
    texts = text.TextSet(["good film", "good film good film"], np.array([0, 1]), ("a", "b"))
    assert text.encode(texts, tokenizer, max_length=6).lengths.tolist() == [4, 6]
    with pytest.raises(ValueError, match=r"text 1 has 6 tokens, max_length is 5: .*truncate=True"):
        text.encode(texts, tokenizer, max_length=5)
    cut = text.encode(texts, tokenizer, max_length=5, truncate=True).ids[1]
    assert tokenizer.decode(cut.tolist(), skip_special_tokens=False).endswith("good [SEP]")
    assert len(cut) == 5


# --- Batches --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokens():
    """103 texts of 2 to 20 tokens; text i is all i + 1, its label i."""
    lengths = np.random.default_rng(0).integers(2, 21, 103)
    ids = [np.full(n, i + 1, np.int32) for i, n in enumerate(lengths)]
    return text.TokenSet(ids, np.arange(103, dtype=np.int32))


def pipeline(tokens, **kwargs):
    kwargs = {"buckets": (8, 12, 20), "seed": 3, **kwargs}
    return buckets.text_pipeline(tokens, 8, **kwargs)


def test_batches_are_right_and_an_epoch_visits_almost_all(tokens):
    data = pipeline(tokens)
    for _ in range(3):
        seen, shapes, padding = [], set(), 0
        for _ in range(103 // 8):
            batch = next(data)
            ids, mask = batch["input_ids"], batch["attention_mask"]
            assert (mask.sum(1) == tokens.lengths[batch["label"]]).all()
            assert (ids == (batch["label"][:, None] + 1) * mask).all()
            shapes.add(ids.shape)
            padding += ids.size - mask.sum()
            seen += batch["label"].tolist()
        assert len(set(seen)) == len(seen) == 96
        assert shapes == {(8, 8), (8, 12), (8, 20)}
        assert padding < 0.35 * sum(tokens.lengths)  # 0.8 without buckets


def test_order_depends_on_seed_and_resumes_anywhere(tokens):
    first = [next(pipeline(tokens))["label"].tolist() for _ in range(2)]
    assert first[0] == first[1]
    assert next(pipeline(tokens, seed=4))["label"].tolist() != first[0]
    data = pipeline(tokens, num_threads=0)
    for _ in range(14):
        next(data)
    state = data.get_state()
    expected = [next(data)["input_ids"] for _ in range(15)]
    other = pipeline(tokens)
    other.set_state(state)
    for want in expected:
        np.testing.assert_array_equal(next(other)["input_ids"], want)


def test_processes_share_a_batch(tokens):
    whole = pipeline(tokens)
    parts = [pipeline(tokens, process_index=i, process_count=2) for i in range(2)]
    for _ in range(20):
        joined = [np.concatenate(x) for x in zip(*(next(p).values() for p in parts), strict=True)]
        for a, b in zip(next(whole).values(), joined, strict=True):
            np.testing.assert_array_equal(a, b)


def test_evaluation_sees_each_text_once(tokens):
    batches = buckets.text_eval_batches(tokens, 10, buckets=(20, 8))
    assert len(batches) == len(list(batches)) == 11
    real = np.concatenate([b["label"][b["mask"] > 0] for b in batches])
    assert sorted(real) == list(range(103))
    for batch in batches:
        keep = batch["mask"] > 0
        assert (batch["index"][keep] == batch["label"][keep]).all()
        assert (batch["input_ids"][~keep] == 0).all()
        assert batch["input_ids"].shape in ((10, 8), (10, 20))
    halves = [
        buckets.text_eval_batches(tokens, 10, buckets=(8, 20), process_index=i, process_count=2)
        for i in range(2)
    ]
    assert [len(h) for h in halves] == [11, 11]
    for batch, *parts in zip(batches, *halves, strict=True):
        joined = np.concatenate([p["label"] for p in parts])
        np.testing.assert_array_equal(joined, batch["label"])


def test_wrong_batches_are_refused(tokens):
    for kwargs, message in [
        ({"buckets": (8, 16)}, "longest text has 20 tokens"),
        ({"buckets": ()}, "buckets is"),
        ({"buckets": (8, 20.0)}, r"buckets\[1\] is 20\.0, must be a whole number"),
        ({"buckets": (0, 20)}, r"buckets\[0\] is 0"),
        ({"buckets": (20, 20)}, "must be distinct"),
        ({"seed": -1}, "seed is -1"),
        ({"process_count": 3}, "batch_size is 8"),
    ]:
        with pytest.raises(ValueError, match=message):
            pipeline(tokens, **kwargs)
    with pytest.raises(ValueError, match="batch_size is 200, there are only 103"):
        buckets.text_pipeline(tokens, 200, buckets=(20,), seed=0)
