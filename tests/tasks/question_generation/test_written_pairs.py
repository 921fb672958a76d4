"""`jaxlab.tasks.question_generation.written`: what is kept of pairs, and how it is written."""

import io
import json

import pytest

pytest.importorskip("tokenizers")

from jaxlab.data import wordpiece
from jaxlab.data.questions import segments, squad
from jaxlab.data.questions.segments import Limits
from jaxlab.errors import InputError
from jaxlab.tasks.question_generation import texts, written
from jaxlab.tasks.question_generation.folder import Generator

PASSAGES = [(0, "Ada wrote it in 1801."), (0, "Bob read it."), (1, "It rains.")]


def pair(i, answer, question, score, *, is_span=True, ended=True):
    start = PASSAGES[i][1].find(answer) if is_span else -1
    return texts.QAPair(i, answer, question, score, 3 * score, is_span, ended, start, 4)


FOUND = [
    [pair(0, "Ada", "who wrote it?", -1.0), pair(0, "1801", "when was it?", -2.0)],
    [pair(1, "nobody", "who read it?", -3.0, is_span=False, ended=False), pair(1, "Bob", " ", -1)],
    [],
]


@pytest.fixture(scope="module")
def reader():
    told = [*(text for _, text in PASSAGES), "who wrote it? when was it? who read it? nobody"]
    tokenizer = wordpiece.train_wordpiece(told * 3, 120)
    parts = (tokenizer, Limits(30, 4, 8), "question_first", 2, True)
    return Generator("model", "head", "params", *parts)  # type: ignore[arg-type]


def test_pairs_are_flat_and_say_where_they_are_from():
    pairs = written.as_pairs(PASSAGES, FOUND)
    assert [[p["id"] for p in row] for row in pairs] == [["0-0-0", "0-0-1"], ["0-1-0", "0-1-1"], []]
    assert pairs[0][1] == {
        "id": "0-0-1", "text": 0, "passage": PASSAGES[0][1], "answer": "1801", "answer_start": 16,
        "question": "when was it?", "score": -2.0, "answer_log_prob": -2.0,
        "question_log_prob": -6.0, "is_span": True, "ended": True, "tokens": 4,
    }  # fmt: skip
    assert pairs[1][0]["answer_start"] is None


def test_improbable_pairs_are_left_out_by_the_score_that_is_written():
    pairs = written.as_pairs(PASSAGES, FOUND)
    kept, left_out = written.keep_pairs(pairs, min_score=-2.0)
    assert [[p["score"] for p in row] for row in kept] == [[-1.0, -2.0], [-1.0], []]
    assert left_out == {"score": 1}
    assert written.keep_pairs(pairs) == (pairs, {})
    # What is no number is not kept.
    assert written.keep_pairs([[{"score": float("nan")}]], min_score=-9.0)[0] == [[]]


def test_a_reader_keeps_what_it_answers_alike(reader, monkeypatch):
    ids = lambda text: segments.token_ids(text, reader.tokenizer)
    seen = []

    def answer_texts(given, passages, questions, *, batch_size):
        assert (given, batch_size) == (reader, 7)
        seen.append(list(zip(passages, questions, strict=True)))
        answers = {"who wrote it?": "ada", "when was it?": "in 1801", "who read it?": "it"}
        return [ids(answers[q]) for q in questions]

    monkeypatch.setattr(texts, "answer_texts", answer_texts)
    pairs = written.as_pairs(PASSAGES, FOUND)
    kept, left_out = written.keep_pairs(pairs, reader=reader, f1=0.6, batch_size=7)
    first, second = kept[0]
    assert (first["reader_answer"], first["reader_f1"]) == ("ada", 1.0)  # in whatever case
    assert (second["reader_answer"], second["reader_f1"]) == ("in 1801", pytest.approx(2 / 3))
    assert kept[1:] == [[], []]
    assert left_out == {"no question": 1, "reader disagrees": 1}
    assert seen[0][0] == (PASSAGES[0][1], "who wrote it?")
    assert len(seen[0]) == 3  # no empty question is asked
    exact, left_out = written.keep_pairs(pairs, reader=reader, f1=1.0, batch_size=7)
    assert [p["answer"] for row in exact for p in row] == ["Ada"]
    assert left_out["reader disagrees"] == 2
    # Nothing is asked of pairs that are not kept anyway.
    kept, left_out = written.keep_pairs(pairs, min_score=0.0, reader=reader)
    assert (kept, left_out, len(seen)) == ([[], [], []], {"score": 4}, 2)


def test_a_reader_that_sees_less_than_the_passage_says_so(reader, monkeypatch, caplog):
    give = lambda _, passages, questions, **options: [[] for _ in questions]
    monkeypatch.setattr(texts, "answer_texts", give)
    short = reader._replace(limits=Limits(5, 4, 8))
    written.keep_pairs(written.as_pairs(PASSAGES, FOUND), reader=short)
    assert "the reader takes 5 tokens: of 1 longer passages it sees the start" in caplog.text


@pytest.mark.parametrize("f1", [-0.1, 1.1, float("nan")])
def test_an_agreement_out_of_range(f1):
    with pytest.raises(InputError, match="f1 is"):
        written.keep_pairs([], f1=f1)


def test_lines_of_json_are_one_for_each_pair():
    pairs = written.as_pairs(PASSAGES, FOUND)
    lines = written.write(PASSAGES, pairs, "jsonl").splitlines()
    assert [json.loads(line) for line in lines] == [p for row in pairs for p in row]


def test_a_table_shows_each_passage():
    pairs = written.as_pairs(PASSAGES, FOUND)
    pairs[0][0] |= {"reader_answer": "ada", "reader_f1": 1.0}
    lines = written.write(PASSAGES, pairs).split("\n")
    assert lines[:4] == [
        "Ada wrote it in 1801.",
        "  Q: who wrote it?",
        "  A: Ada  (log p: answer -1.0, question -3.0; score -1.00)",
        "  R: ada  (F1 1.00)",
    ]
    assert "  Q: who read it?  [not in the passage, cut off]" in lines
    assert lines[-4:] == ["", "It rains.", "", ""]


def test_a_file_in_the_format_of_squad_is_read_again(tmp_path, caplog):
    pairs = written.as_pairs(PASSAGES, FOUND)
    (tmp_path / "a.json").write_text(written.write(PASSAGES, pairs, "squad"))
    assert "1 answers that are no spans left out" in caplog.text
    records = squad.read_squad(tmp_path / "a.json")
    assert [(r.article, r.id, r.answers, r.starts) for r in records] == [
        ("0", "0-0-0", ("Ada",), (0,)),
        ("0", "0-0-1", ("1801",), (16,)),
        ("0", "0-1-1", ("Bob",), (0,)),
    ]
    assert [r.passage for r in records] == [PASSAGES[0][1]] * 2 + [PASSAGES[1][1]]
    with pytest.raises(InputError, match="format is 'xml', must be one of table, jsonl, squad"):
        written.write(PASSAGES, pairs, "xml")


def test_passages_of_texts_and_of_files_in_the_format_of_squad(tmp_path, monkeypatch, caplog):
    (tmp_path / "a.txt").write_bytes("One\r\ntwo.\r\n\r\nThree.".encode("utf-16"))
    assert written.read_passages(str(tmp_path / "a.txt"), None) == ["One two.", "Three."]
    stdin = io.TextIOWrapper(io.BytesIO(b"One.\n"))
    monkeypatch.setattr("sys.stdin", stdin)
    assert written.read_passages("-", None) == ["One."]
    with pytest.raises(InputError, match="standard input is empty: it holds no passage"):
        written.read_passages("-", None)
    parts = [{"context": text, "qas": []} for text in ("a b", " ", "c", "c")]
    (tmp_path / "a.json").write_text(json.dumps({"data": [{"paragraphs": parts}]}))
    assert written.read_passages(None, str(tmp_path / "a.json")) == ["a b", "c"]
    assert "1 empty contexts left out" in caplog.text
    for text, squad_file in ((None, None), ("a", "b")):
        with pytest.raises(InputError, match="name one of --text=FILE"):
            written.read_passages(text, squad_file)
