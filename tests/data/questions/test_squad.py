"""`jaxlab.data.questions.squad`, `jaxlab.data.questions.cutting`: files in SQuAD's format, splits,
segments, triples, layouts."""

import collections
import gzip
import json
import time

import numpy as np
import pytest
from squad_files import PASSAGE, squad, write

from jaxlab.data import wordpiece
from jaxlab.data.formats.plain_text import normal_text
from jaxlab.data.questions import cutting, segments
from jaxlab.data.questions import sets as qa_sets
from jaxlab.data.questions import squad as qa
from jaxlab.data.questions.offsets import SILENT, WRONG, find_start
from jaxlab.errors import InputError

pytest.importorskip("tokenizers")


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


TWICE = "Paris is big. The capital of Germany is Berlin. Many visit Paris because of the Seine."


RIGHT = TWICE.rfind("Paris")


@pytest.mark.parametrize(
    "said",
    [RIGHT, RIGHT + 1, RIGHT - 3, RIGHT + 9, f"{RIGHT}", f" {RIGHT}.0", float(RIGHT), RIGHT + 1.0],
)
def test_the_place_that_a_file_means_is_found(tmp_path, said):
    article = squad(context=TWICE, question="Which city?", answers=[("Paris", said)])
    triples, skipped = qa.make_triples(
        qa.read_squad(write(tmp_path / "a.json", article)), max_length=60
    )
    assert triples[0].passage == "Many visit Paris because of the Seine."
    assert not skipped


@pytest.mark.parametrize("unit", ["utf-16-le", "utf-8"])
def test_places_counted_in_utf_16_or_bytes(unit):
    size = 2 if unit == "utf-16-le" else 1
    text = "😀😀 中 是 é " * 20 + "Paris, Paris, 中 Paris"
    starts = [i for i in range(len(text)) if text.startswith("Paris", i)]
    for start in starts:
        assert find_start(text, "Paris", len(text[:start].encode(unit)) // size) == start
        assert find_start(text, "Paris", start) == start


@pytest.mark.parametrize(
    "said", [-1, -300, float("nan"), float("inf"), 17.5, "", "x", [3], {}, True, 10**30, 30]
)
def test_a_place_that_decides_for_none_is_counted(tmp_path, said):
    article = squad(context=TWICE, question="Which city?", answers=[("Paris", said)])
    once = squad(context=TWICE, question="Which river?", answers=[("Seine", said)])
    records = qa.read_squad(write(tmp_path / "a.json", article, once))
    assert [r.starts for r in records] == [(WRONG,), (TWICE.index("Seine"),)]
    triples, skipped = qa.make_triples(records, max_length=60)
    assert [t.answer for t in triples] == ["Seine"]  # which the passage has but once
    assert skipped == {"answer_start is wrong": 1}


def test_answers_without_a_place_or_a_text(tmp_path):
    find = lambda said, answer="Paris": find_start(TWICE, answer, said)
    assert [find(None), find(3, "Rome"), find(3, "")] == [SILENT] * 3
    assert [find(15), find(45)] == [0, RIGHT]
    assert find_start("a a a a a", "a", 5) == WRONG  # as far from two
    answers = [("", 0), ("", 0), ("Rome", 3), (" Berlin ", 39), ("Paris", "?")]
    records = qa.read_squad(write(tmp_path / "a.json", squad(context=TWICE, answers=answers)))
    triples, skipped = qa.make_triples(records, max_length=60)
    assert [t.answer for t in triples] == ["Berlin"]  # the first that can be placed
    only = [squad(context=TWICE, answers=[(text, 0)]) for text in ("", "Rome")]
    triples, skipped = qa.make_triples(
        qa.read_squad(write(tmp_path / "b.json", *only)), max_length=60
    )
    assert not triples
    assert skipped == {"empty passage, question or answer": 1, "answer not in passage": 1}


def test_questions_that_nobody_answers_are_counted(tmp_path):
    articles = [squad(f"{i}") for i in range(6)]
    for article, value in zip(articles, (True, "true", False, "False", None, 0), strict=True):
        article["paragraphs"][0]["qas"][0]["is_impossible"] = value
    articles[2]["paragraphs"][0]["qas"][0]["answers"] = []
    skipped = collections.Counter()
    records = qa.read_squad(write(tmp_path / "a.json", *articles), skipped=skipped)
    assert [r.article for r in records] == ["3", "4", "5"]
    assert skipped == {"impossible question": 2, "no answer given": 1}
    write(tmp_path / "a.json", *articles[:3])
    with pytest.raises(InputError, match=r"a\.json: no question has an answer .*impossible"):
        qa_sets.load_records(["a.json"], tmp_path, skipped=collections.Counter())


def test_one_article_cannot_be_split_and_says_what_can(tmp_path):
    write(tmp_path / "a.json", squad(), squad(question="When?", answers=[("1815", 52)]))
    for shares in ((0.1, 0.1), (0.5, 0.4), (0.0, 0.0)):
        with pytest.raises(InputError, match=r"no article is left for .*at least 3"):
            qa_sets.load_records(["a.json"], tmp_path, shares=shares)
    with pytest.raises(InputError, match="shares are"):
        qa_sets.load_records(["a.json"], tmp_path, shares=(float("nan"), 0.1))
    with pytest.raises(InputError, match="must name one file"):
        qa_sets.load_records("a.json", tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_files_with_a_mark(tmp_path, encoding):
    text = json.dumps({"data": [squad("Zoë 😀")]}, ensure_ascii=False)
    (tmp_path / "a.json").write_bytes(text.encode(encoding))
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(text.encode(encoding)))
    for name in ("a.json", "b.json.gz"):
        assert qa.read_squad(tmp_path / name)[0].article == "Zoë 😀"
    (tmp_path / "a.json").write_bytes(text.replace("😀", "").encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.json is not text in UTF-8"):
        qa.read_squad(tmp_path / "a.json")


def test_halves_of_characters_do_not_stop_a_tokenizer(tmp_path, caplog):
    context = "\ud83d Ada 😀 wrote \\ud83d notes. \ude00"
    file = write(tmp_path / "a.json")
    file.write_text(json.dumps({"data": [squad(context=context, answers=[("notes", 21)])]}))
    (record,) = qa.read_squad(file)
    assert record.passage == "\ufffd Ada 😀 wrote \\ud83d notes. \ufffd"
    assert record.starts == (21,)
    assert "a.json: 2 halves of characters" in caplog.text
    tokenizer = wordpiece.train_wordpiece([record.passage] * 3, 200)
    ids = segments.token_ids("ada \ud83d wrote", tokenizer)
    assert segments.detokenize(ids, tokenizer) == "ada wrote"
    assert segments.find_span("\ud83d Ada wrote", ids, tokenizer) == (2, 11)


def test_deep_json_is_one_line(tmp_path):
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"deep\.json is nested too deeply"):
        qa.read_squad(tmp_path / "deep.json")


@pytest.mark.parametrize("unit", ["中", "x", "so it is. ", "a, ", "....", "a\n", "word "])
def test_long_contexts_cost_in_proportion(unit):
    """Characters that are measured, and time where a pattern could start everywhere."""
    text, measured = unit * (60_000 // len(unit)), 0

    def length(part):
        nonlocal measured
        measured += len(part)
        return len(part)

    start = time.perf_counter()
    parts = cutting.segment(text, 70, length=length)
    cutting.paragraphs(text + "a" + " " * 60_000 + "b")
    assert time.perf_counter() - start < 20
    assert measured < 12 * len(text)
    assert sum(len(part) for _, part in parts) >= 0.5 * len(text)


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


def test_sides_by_hand():
    """Test articles are drawn first, and one goes over where more than half of it belongs there."""
    sizes = [1, 4, 2, 7, 3, 1, 5, 2, 6, 3, 4, 2]
    records = [
        qa.Record(f"a{a}", f"p {a}", f"q{i}", ("p",), (0,))
        for i in range(7)
        for a, size in enumerate(sizes)
        if i < size
    ]
    for shares, seed in (((0.1, 0.1), 0), ((0.3, 0.15), 3), ((0.0, 0.5), 1), ((0.25, 0.0), 2)):
        order = [int(i) for i in np.random.default_rng(seed).permutation(len(sizes))]
        names = [r.article for r in records]
        order = [list(dict.fromkeys(names))[i] for i in order]
        want = dict.fromkeys(order, 0)
        for which, share in ((2, shares[1]), (1, shares[0])):
            missing = share * len(records)
            for name in [n for n in order if want[n] == 0]:
                if 2 * missing > names.count(name):
                    want[name] = which
                    missing -= names.count(name)
        options = {} if seed == 0 else {"shares": shares, "seed": seed}
        found = qa.split_records(records, **options)
        assert list(found) == [[r for r in records if want[r.article] == w] for w in range(3)]


def test_articles_that_share_a_passage_are_one():
    make = lambda article, passage: qa.Record(article, passage, "q", ("x",), (0,))
    chain = [make("a", "one"), make("b", "ONE"), make("b", "two"), make("c", " Two "),
             make("d", "three")]  # fmt: skip
    for seed in range(6):
        sides = qa.split_records(chain, shares=(0.0, 0.4), seed=seed)
        assert {frozenset(r.article for r in side) for side in sides if side} in (
            {frozenset("abc"), frozenset("d")}, {frozenset("abcd")},
        )  # fmt: skip


def test_records_of_a_file_by_hand(tmp_path):
    answers = [{"text": " b ", "answer_start": 2}, {"text": "c", "answer_start": 9},
               {"text": "c"}, {"text": "", "answer_start": 0}, {"text": "a", "answer_start": 0},
               {"text": "a", "answer_start": 6}]  # fmt: skip
    qas = [{"question": "q?", "answers": answers}, {"question": "r?", "answers": [{"text": " "}]}]
    paragraph = {"context": "a b c a c", "qas": qas}
    tree = {"data": [{"paragraphs": []}, {"paragraphs": [paragraph], "title": ""}]}
    (tmp_path / "x.json").write_text(json.dumps(tree))
    first, second = qa.read_squad(tmp_path / "x.json")
    # 9 is next to 8; of places that the file gives for one answer the first known one counts.
    where = "x.json:data[1].paragraphs[0].qas[0]"
    want = ("x.json:1", "a b c a c", "q?", ("c", "a", "b"), (8, 0, 2), where)
    assert first == qa.Record(*want)
    assert (second.answers, second.starts) == (("",), (SILENT,))


def test_triples_by_hand():
    passage = "Rome is old. Oslo, Rome and Bonn are not. Rome?"
    record = lambda answers, starts, question=" q ": qa.Record(
        "t", passage, question, answers, starts
    )
    make = lambda *records, **options: qa.make_triples(records, max_length=30, **options)
    second = passage.index("Rome", 5)
    (triple,), skipped = make(record(("Rome", "Bonn", " Oslo ", ""), (second, -1, -1, -1)))
    assert triple == qa.Triple(
        "Oslo, Rome and Bonn are not.", "Rome", "q", ("Rome", "Bonn", "Oslo"), "t"
    )
    assert not skipped
    last = len(passage) - 5
    for start, part in ((-1, "Rome is old."), (0, "Rome is old."), (last, "Rome?")):
        (triple,), _ = make(record(("Rome",), (start,)))
        assert triple.passage == part
    # A space before the answer belongs to the answer's place, not to the answer.
    (triple,), _ = make(record((" Rome",), (last - 1,)))
    assert (triple.passage, triple.answer) == ("Rome?", "Rome")
    wrong = record(("Rome", "Bonn"), (WRONG, -1))
    (triple,), _ = make(wrong)
    assert triple.answer == "Bonn"
    _, skipped = make(record(("Rome",), (WRONG,)), record(("old. Oslo",), (8,)),
                      record(("Rome",), (0,)), record(("Rome",), (0,)),
                      record(("Rome",), (0,), "other"))  # fmt: skip
    assert skipped == {"answer_start is wrong": 1, "answer cut by segmentation": 1, "duplicate": 1}
    joined, apart = (make(record(("Bonn",), (-1,)), join=join)[0][0] for join in (True, False))
    assert joined == apart
    long = lambda **options: qa.make_triples([record(("Rome",), (0,))], max_length=99, **options)
    assert long()[0][0].passage == long(join=True)[0][0].passage == passage
    assert long(join=False)[0][0].passage == "Rome is old."
