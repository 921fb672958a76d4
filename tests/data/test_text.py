"""Text sets, their splits, and texts as tokens."""

import copy
import dataclasses
import gzip
import json

import numpy as np
import pytest

from jaxlab.data import text
from jaxlab.data.formats.plain_text import normal_text
from jaxlab.data.text import TextSet
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
        TextSet(["a", "b"], np.array([0, 2]), ("no", "yes"))
    with pytest.raises(ValueError, match="labels have shape"):
        TextSet(["a", "b"], np.array([0]), ("no", "yes"))


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
        reviews(tmp_path, 'fresh,"fine" and more,film,1')


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


@pytest.fixture(scope="module")
def wordpiece():
    pytest.importorskip("tokenizers")
    from jaxlab.data import wordpiece

    return wordpiece


def test_texts_with_half_a_character_are_encoded(wordpiece):
    tokenizer = wordpiece.train_wordpiece(WORDS * 3, 200)
    texts = TextSet(["good \ud83d film"], np.array([0]), ("a",))
    assert text.encode(texts, tokenizer, max_length=6).lengths.tolist() == [4]


def test_long_texts_are_cut_only_when_asked(wordpiece):
    tokenizer = wordpiece.train_wordpiece(WORDS * 3, 200)
    texts = TextSet(["good film", "good film good film"], np.array([0, 1]), ("a", "b"))
    assert text.encode(texts, tokenizer, max_length=6).lengths.tolist() == [4, 6]
    with pytest.raises(ValueError, match=r"text 1 has 6 tokens, max_length is 5: .*truncate=True"):
        text.encode(texts, tokenizer, max_length=5)
    cut = text.encode(texts, tokenizer, max_length=5, truncate=True).ids[1]
    assert tokenizer.decode(cut.tolist(), skip_special_tokens=False).endswith("good [SEP]")
    assert len(cut) == 5


# --- Splits by hand -------------------------------------------------------------------------------


def by_hand(groups, seed):
    """The side of each group: tenths of the texts for test and validation, in random order."""
    distinct, where, taken = list(dict.fromkeys(groups)), {}, 0
    for i in np.random.default_rng((seed, 0)).permutation(len(distinct)):
        tenth = 10 * taken / len(groups)
        where[distinct[i]] = "test" if tenth < 1 else "validation" if tenth < 2 else "train"
        taken += groups.count(distinct[i])
    return [where[group] for group in groups]


@pytest.mark.parametrize("seed", [0, 3])
def test_which_headline_is_where_and_in_which_order(tmp_path, seed):
    texts, wrong = [f"headline {i}" for i in range(57)], ["HEADLINE  3", "both", "Both"]
    lines = [f"{i % 2}\t{t}" for i, t in enumerate(texts)]
    lines += ["1\tHEADLINE  3", "0\tboth", "1\tBoth"]  # as the fourth; with two labels
    gz(tmp_path / "headlines-sarcasm.tsv.gz", "\n".join(lines))
    sides = by_hand(list(range(57)), seed)
    options = {"split_seed": seed} if seed else {}
    for split in text.SPLITS:
        there = [i for i, side in enumerate(sides) if side == split]
        order = np.random.default_rng((seed, 1)).permutation(len(there))
        found = text.load_text("headlines", tmp_path, split, **options)
        assert found.texts == [texts[there[k]] for k in order]
        assert found.labels.tolist() == [there[k] % 2 for k in order]
        assert found.label_names == ("serious", "sarcastic")
        assert (found.labels.dtype, found.num_classes) == (np.int32, 2)
        few = text.load_text("headlines", tmp_path, split, limit=2, **options)
        assert few.texts == found.texts[:2]
        assert not set(wrong) & set(found.texts)
    assert text.load_text("headlines", tmp_path, **options).texts == text.load_text(
        "headlines", tmp_path, "train", **options
    ).texts  # fmt: skip


def test_reviews_go_by_film_and_keep_their_labels(tmp_path):
    films = [i * i % 23 for i in range(80)]
    rows = [f"{('fresh', 'rotten')[i % 2]},text {i},film {film}" for i, film in enumerate(films)]
    gz(tmp_path / "rotten-tomatoes-snippets.csv.gz", "\n".join(["category,text,movie_name", *rows]))
    sides = by_hand(films, 0)
    for split in text.SPLITS:
        there = [i for i, side in enumerate(sides) if side == split]
        found = text.load_text("rotten_tomatoes", tmp_path, split)
        pairs = dict(zip(found.texts, found.labels.tolist(), strict=True))
        assert pairs == {f"text {i}": 1 - i % 2 for i in there}  # fresh is 1
        assert found.label_names == ("rotten", "fresh")


def test_names_of_classes_that_lines_do_not_name(tmp_path):
    line = lambda label, name, words: json.dumps(
        {"label": label, "label_des": name, "sentence": words}
    )
    parts = {"train-few-all": line("3", "maps", "a"), "dev-few-all": line(0, "games", "b"),
             "test-public": line("0", "play", "c")}  # fmt: skip
    for part, content in parts.items():
        gz(tmp_path / f"iflytek-{part}.jsonl.gz", content)
    found = [text.load_text("iflytek", tmp_path, split) for split in text.SPLITS]
    assert found[0].label_names == ("play", "class 1", "class 2", "maps")
    assert [(s.texts, s.labels.tolist()) for s in found] == [
        (["a"], [3]), (["b"], [0]), (["c"], [0]),
    ]  # fmt: skip


def test_cut_texts_keep_their_last_token(wordpiece):
    tokenizer = wordpiece.train_wordpiece(WORDS * 3, 200)
    texts = TextSet(["good film good film", "good"], np.array([1, 0]), ("a", "b"))
    ids = tokenizer.encode(texts.texts[0]).ids
    found = text.encode(texts, tokenizer, max_length=3, truncate=True)
    assert [row.tolist() for row in found.ids] == [[ids[0], ids[1], ids[-1]],
                                                  tokenizer.encode("good").ids]  # fmt: skip
    assert found.labels.tolist() == [1, 0]
    assert found.ids[0].dtype == np.int32
    assert text.encode(texts, tokenizer, max_length=6).lengths.tolist() == [6, 3]
    with pytest.raises(ValueError, match="max_length is 2, must be"):
        text.encode(texts, tokenizer, max_length=2)


def test_a_set_equals_itself_alone_and_does_not_change():
    labels = np.array([0])
    for one in (TextSet(["a"], labels, ("x",)), text.TokenSet([labels], labels)):
        assert one != copy.copy(one)  # arrays have no truth value to compare by
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, dataclasses.fields(one)[0].name, None)


def test_a_split_without_texts_is_named(tmp_path):
    gz(tmp_path / "headlines-sarcasm.tsv.gz", "1\tone\n0\ttwo\n")
    assert len(text.load_text("headlines", tmp_path, "test")) == 1
    with pytest.raises(InputError, match="none of its 2 texts is in split 'validation'"):
        text.load_text("headlines", tmp_path, "validation")
