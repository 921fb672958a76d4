"""Files in SQuAD's format, splits, segments, triples, token layouts and reduced vocabularies."""

import gzip
import json

import numpy as np
import pytest

from jaxlab.data import qa, qa_sets, qa_tokens, wordpiece
from jaxlab.data.plain_text import normal_text

pytest.importorskip("tokenizers")

PASSAGE = "Ada Lovelace wrote notes. She was born in London in 1815; her father was a poet."


def squad(title="Ada", context=PASSAGE, question="Where was she born?", answers=(("London", 42),)):
    answers = [{"text": t, "answer_start": s} for t, s in answers]
    qas = [{"id": "1", "question": question, "answers": answers}]
    return {"title": title, "paragraphs": [{"context": context, "qas": qas}]}


def write(path, *articles):
    text = json.dumps({"data": list(articles)}, ensure_ascii=False).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def test_plain_and_gzipped_files_read_alike(tmp_path):
    article = squad(answers=[("in London", 39), ("London", 42), ("London", 42), ("Rome", 3)])
    found = [qa.read_squad(write(tmp_path / name, article)) for name in ("a.json", "a.json.gz")]
    assert found[0] == found[1]
    (record,) = found[0]
    assert record.answers == ("London", "in London", "Rome")  # the most frequent first
    assert record.starts == (42, 39, -1)  # Rome is not there
    chinese = squad("艾达", "艾达出生于伦敦。", "艾达出生于哪里？", [("伦敦", 5)])
    assert qa.read_squad(write(tmp_path / "z.json", chinese))[0].answers == ("伦敦",)
    nothing = squad(answers=[])
    assert qa.read_squad(write(tmp_path / "n.json", nothing)) == []
    unasked = {"title": "Ada", "paragraphs": [{"context": "She wrote.", "qas": []}]}
    file = write(tmp_path / "u.json", nothing, unasked, nothing)
    assert qa.read_contexts(file) == [PASSAGE, "She wrote."]


def broken(**changes):
    """A file whose innermost object of a kind lacks a key, or holds another value there."""
    article = squad()
    paragraph = article["paragraphs"][0]
    answer = paragraph["qas"][0]["answers"][0]
    for tree in (article, paragraph, paragraph["qas"][0], answer):
        for key, value in changes.items():
            if key in tree and value is None:
                del tree[key]
            elif key in tree:
                tree[key] = value
    return article


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paragraphs": None}, r"data\[0\] has no 'paragraphs'; the format is"),
        ({"context": None}, r"data\[0\]\.paragraphs\[0\] has no 'context'"),
        ({"qas": None}, r"paragraphs\[0\] has no 'qas'"),
        ({"question": None}, r"qas\[0\] has no 'question'"),
        ({"answers": None}, r"qas\[0\] has no 'answers'"),
        ({"text": None}, r"answers\[0\] has no 'text'"),
        ({"context": 3}, r"'context' of data\[0\]\.paragraphs\[0\] is int, must be str"),
        ({"answers": ["London"]}, r"answers\[0\] is str, must be an object"),
    ],
)
def test_an_unknown_shape_names_the_missing_key(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        qa.read_squad(write(tmp_path / "x.json", broken(**changes)))


def test_files_that_are_no_json(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        qa.read_squad(tmp_path / "no.json")
    (tmp_path / "a.json.gz").write_bytes(b"plain")
    with pytest.raises(ValueError, match="is not gzip"):
        qa.read_squad(tmp_path / "a.json.gz")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        qa.read_squad(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('[{"id": 1}]')
    with pytest.raises(ValueError, match="the file is list, must be an object"):
        qa.read_squad(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"version": 1}')
    with pytest.raises(ValueError, match="the file has no 'data'"):
        qa.read_squad(tmp_path / "a.json")


def test_no_article_and_no_passage_is_on_two_sides():
    rng = np.random.default_rng(0)
    # Some passages are in two articles, with other spaces and capitals.
    texts = lambda a: f"Text  {a}" if rng.random() < 0.98 else f"TEXT {a // 2}"
    records = [
        qa.Record(f"article {a}", texts(a), "?", ("T",), (0,)) for a in rng.integers(0, 60, 400)
    ]
    sides = qa.split_records(records, shares=(0.15, 0.2), seed=1)
    assert sum(map(len, sides)) == 400
    assert abs(len(sides[1]) - 60) < 10
    assert abs(len(sides[2]) - 80) < 10
    for get in (lambda r: r.article, lambda r: normal_text(r.passage)):
        names = [{get(r) for r in side} for side in sides]
        assert len(set.union(*names)) == sum(map(len, names))
    assert qa.split_records(records, shares=(0.15, 0.2), seed=1) == sides
    assert qa.split_records(records, shares=(0.15, 0.2), seed=2) != sides
    with pytest.raises(ValueError, match="shares are"):
        qa.split_records(records, shares=(0.6, 0.5))
    with pytest.raises(ValueError, match="no record is left for training"):
        qa.split_records(records[:1], shares=(0.0, 0.9))


TEXTS = [
    PASSAGE * 3,
    "第一句话很短。第二句话，有逗号，也有分号；还有更多！最后一句？",
    "no separator " + "x" * 40,
    "line one\nline two is longer than it\n\nline three",
    "",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("join", [True, False])
def test_segments_are_parts_of_the_text_and_short(text, join):
    for limit in (5, 14, 30, 1000):
        parts = qa.segment(text, limit, join=join)
        for start, part in parts:
            assert text.startswith(part, start)
            assert 0 < len(part) <= limit
            assert part == part.strip()
            assert "\n" not in part
        covered = "".join(part for _, part in parts)
        assert covered.replace(" ", "") == "".join(text.split())


def test_segments_end_where_sentences_end():
    assert [p for _, p in qa.segment(PASSAGE, 60)] == [
        "Ada Lovelace wrote notes.",
        "She was born in London in 1815; her father was a poet.",
    ]
    assert len(qa.segment(PASSAGE, 1000)) == 1
    assert len(qa.segment(PASSAGE, 1000, join=False)) == 2
    assert [p for _, p in qa.segment("他说：“好！”她走了。", 7)] == ["他说：“好！”", "她走了。"]
    with pytest.raises(ValueError, match="max_length is 0"):
        qa.segment(PASSAGE, 0)


def test_triples_keep_the_answer_and_count_what_is_left_out():
    twice = "London is big. London is old. She was born in London."
    records = [
        qa.Record("a", twice, "where?", ("London", "born"), (46, 38)),
        qa.Record("a", twice, "what is old?", ("London",), (-1,)),  # the file does not say where
        qa.Record("a", twice, "where?", ("London",), (46,)),
        qa.Record("a", twice, "where?", ("Paris",), (-1,)),
        qa.Record("a", twice, "where?", ("big. London",), (10,)),
        qa.Record("a", twice, " ", ("London",), (0,)),
    ]
    triples, skipped = qa.make_triples(records, max_length=24)
    assert [t.passage for t in triples] == ["She was born in London.", "London is big."]
    assert triples[0].answers == ("London", "born")
    assert dict(skipped) == {
        "duplicate": 1,
        "answer not in passage": 1,
        "answer cut by segmentation": 1,
        "empty passage, question or answer": 1,
    }
    kept, dropped = qa.without_passages_of(triples, [qa.Triple("london  is BIG.", "", "")])
    assert (len(kept), dropped) == (1, 1)


# --- Tokens ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer():
    text = [PASSAGE, "Where was she born?", "Who wrote notes?", "伦敦在哪里？"] * 3
    return wordpiece.train_wordpiece(text, 400)


@pytest.mark.parametrize("order", qa_tokens.ORDERS)
def test_the_layout(tokenizer, order):
    triple = qa.Triple(PASSAGE + " [SEP]", "London", "Where was she born?")
    limits = qa_tokens.Limits(40, 3, 8)
    tokens, kept, _ = qa_tokens.encode_triples([triple], tokenizer, limits, order=order)
    row = tokenizer.decode(tokens.ids[0].tolist(), skip_special_tokens=False)
    second, third = ("london", "where was she born ?")[:: 1 if order == "answer_first" else -1]
    assert row.startswith("[CLS] ada lovelace wrote notes .")
    assert row.endswith(f"poet . [SEP] {second} [SEP] {third} [SEP]")
    assert kept == [triple]
    assert row.count("[SEP]") == 3  # not the one that the text spells


def test_triples_too_long_are_counted_not_cut(tokenizer):
    rows = [
        qa.Triple(PASSAGE, "London", "Where was she born?"),
        qa.Triple(PASSAGE, "London in 1815", "When?"),
        qa.Triple(PASSAGE, "London", "Where was she born? Where was she born?"),
        qa.Triple(PASSAGE * 2, "London", "Where?"),
    ]
    limits = qa_tokens.Limits(30, 1, 6)
    tokens, kept, skipped = qa_tokens.encode_triples(rows, tokenizer, limits)
    assert kept == rows[:1]
    assert len(tokens) == 1
    assert skipped == {"answer too long": 1, "question too long": 1, "passage too long": 1}
    with pytest.raises(ValueError, match="none of 1 triples is left"):
        qa_tokens.encode_triples(rows[1:2], tokenizer, limits)
    with pytest.raises(ValueError, match="order is 'both'"):
        qa_tokens.encode_triples(rows, tokenizer, limits, order="both")
    with pytest.raises(ValueError, match=r"limits\.answer is 0"):
        qa_tokens.Limits(3, 0, 4)
    with pytest.raises(ValueError, match="has no tokens"):
        qa_tokens.encode_passages(["fine", "  "], tokenizer, 8)


def test_a_reduced_tokenizer_spells_what_it_no_longer_knows(tokenizer):
    texts = ["Where was she born?", "she was born"]
    keep = qa_tokens.keep_tokens(texts, tokenizer, vocab_size=50)
    small = qa_tokens.reduce_tokenizer(tokenizer, keep)
    assert small.get_vocab_size() == len(keep) <= 50
    names = [tokenizer.id_to_token(int(i)) for i in keep]
    assert [small.id_to_token(i) for i in range(len(keep))] == names
    assert small.encode("She was born?").tokens == ["[CLS]", "she", "was", "born", "?", "[SEP]"]
    spelt = small.encode("shore").tokens[1:-1]
    assert "[UNK]" not in spelt
    assert len(spelt) > 1
    assert small.encode("a", "b").type_ids == tokenizer.encode("a", "b").type_ids
    with pytest.raises(ValueError, match="vocab_size is 6, the special tokens and characters"):
        qa_tokens.keep_tokens(texts, tokenizer, vocab_size=6)
    with pytest.raises(ValueError, match=r"\[PAD\] becomes token 1"):
        qa_tokens.reduce_tokenizer(tokenizer, keep[::-1][-2:])


def test_whole_sets_hold_out_passages_and_count(tmp_path, tokenizer):
    articles = [squad(f"article {i}", f"{PASSAGE} {i}.") for i in range(10)]
    write(tmp_path / "a.json", *articles)
    missing = squad("other", "Nothing here.", "Where?", [("London", 0)])
    write(tmp_path / "b.json.gz", missing)
    records = qa_sets.load_records(["a.json", "b.json.gz"], tmp_path, shares=(0.2, 0.2))
    assert sum(map(len, records.values())) == 11
    limits = qa_tokens.Limits(16, 4, 8)
    sets = qa_sets.make_sets(records, tokenizer, limits)
    # All articles have the sentence with the answer: it is held out, and so not trained on.
    assert sum(s.skipped["answer not in passage"] for s in sets.values()) == 1
    assert sets["train"].skipped["passage held out too"] + len(sets["train"]) >= 5
    passages = [{t.passage for t in sets[name].triples} for name in ("train", "validation")]
    assert not passages[0] & passages[1]
    with pytest.raises(FileNotFoundError, match="c\\.json is missing"):
        qa_sets.load_records(["c.json"], tmp_path)
    with pytest.raises(ValueError, match=r"files is \[\], must name one file"):
        qa_sets.load_records([], tmp_path)


def test_answers_are_found_as_written(tokenizer):
    find = lambda answer, passage=PASSAGE: qa_tokens.find_span(
        passage, qa_tokens.token_ids(answer, tokenizer), tokenizer
    )
    assert PASSAGE[slice(*find("ada lovelace"))] == "Ada Lovelace"
    assert find("lovelace ada") is None
    assert "在伦敦"[slice(*find("伦敦", "在伦敦"))] == "伦敦"
    ids = qa_tokens.encode_passages(["Notes"], tokenizer, 8).ids[0][None]
    starts, ends = qa_tokens.span_bounds(np.pad(ids, ((0, 0), (0, 2))), tokenizer)
    assert starts.tolist() == ends.tolist() == [[False, True, False, False, False]]
    text = qa_tokens.detokenize(qa_tokens.token_ids("伦敦在哪里？", tokenizer), tokenizer)
    assert text == "伦敦在哪里？"
