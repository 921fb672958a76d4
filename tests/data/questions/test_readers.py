"""`jaxlab.data.questions.readers`: the same questions in other formats, and files of one's own."""

import collections
import gzip
import json

import pytest

from jaxlab.data import sources
from jaxlab.data.questions import readers, sets, squad
from jaxlab.data.questions.offsets import SILENT
from jaxlab.errors import InputError

TEXTS = [f"Ada {i} wrote to Bob in {1800 + i}; Bob, he read it." for i in range(10)]
ROWS = [
    {"id": f"n{i}", "about": text, "reply": str(1800 + i), "ask": "when?", "book": f"b{i // 2}"}
    for i, text in enumerate(TEXTS)
]
COLUMNS = {"passage_column": "about", "answer_column": "reply", "question_column": "ask"}


def write_squad(path, texts=TEXTS, open_file=open):
    articles = []
    for i, text in enumerate(texts):
        answers = [{"text": text[-12:-1], "answer_start": len(text) - 12}]
        qas = [{"id": f"{i}", "question": "what?", "answers": answers}]
        articles.append({"title": f"{i}", "paragraphs": [{"context": text, "qas": qas}]})
    with open_file(path, "wt") as file:
        json.dump({"data": articles}, file)


def write_csv(path, rows=ROWS):
    lines = [",".join(rows[0]), *(",".join(f'"{x}"' for x in row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def test_a_csv_and_lines_of_json_give_the_same(tmp_path):
    write_csv(tmp_path / "a.csv")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    a, b = (
        sets.load_records((f"a.{name}",), tmp_path, name=name, **COLUMNS)
        for name in ("csv", "jsonl")
    )
    assert a == b == sets.load_records(name="csv", path=str(tmp_path / "a.csv"), **COLUMNS)
    assert [len(side) for side in a.values()] == [8, 1, 1]
    first = next(r for side in a.values() for r in side if r.id == "n0")
    text = TEXTS[0]
    assert first == squad.Record(text, text, "when?", ("1800",), (SILENT,), "n0")
    grouped = sets.load_records(name="csv", path=str(tmp_path / "a.csv"), shares=(0.2, 0.2),
                                group_column="book", **COLUMNS)  # fmt: skip
    books = [{r.article for r in side} for side in grouped.values()]
    assert [len(found) for found in books] == [3, 1, 1]
    assert len(set.union(*books)) == 5


def test_cells_hold_answers_in_many_ways():
    text = TEXTS[3]
    second = text.rindex("Bob")
    answers = {
        "one": ("Bob", SILENT),
        "a number": (1803, SILENT),
        "the hub's": ({"text": ["Bob"], "answer_start": [second]}, second),
        "SQuAD's": ([{"text": "Bob", "answer_start": second}], second),
        "several": (["Ada 3", "Bob", "Bob"], SILENT),
        "none": ({"text": [], "answer_start": []}, None),
        "nothing": (None, None),
        "empty": ("  ", None),
    }
    count = len(answers)
    columns = {"passage": [text] * count, "question": ["?"] * count}
    columns["answer"] = [cell for cell, _ in answers.values()]
    skipped = collections.Counter()
    rows = sources.Rows(columns, "x/a.jsonl")
    found = readers.records_of_rows(rows, skipped=skipped)
    assert skipped == {"no answer given": 3}
    wanted = [start for _, start in answers.values() if start is not None]
    assert [r.starts[0] for r in found] == wanted
    assert found[1].answers == ("1803",)
    assert found[4].answers == ("Bob", "Ada 3")  # the most frequent first
    assert [r.id for r in found] == [f"a.jsonl:{i}" for i in range(1, 6)]
    starts = sources.Rows({**columns, "at": [second] * count}, "a.jsonl")
    (first, *_) = readers.records_of_rows(starts, answer_start_column="at")
    assert first.starts == (second,)


def test_rows_without_a_passage_or_a_question_are_counted():
    columns = {"passage": ["", "a b", None], "question": ["?", float("nan"), "?"]}
    columns["answer"] = ["a"] * 3
    skipped = collections.Counter()
    assert readers.records_of_rows(sources.Rows(columns, ""), skipped=skipped) == []
    assert skipped == {"empty passage, question or answer": 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"passage": [["a"]]}, r"a.csv, row 1: passage is .* \(list\), must be a text"),
        ({"answer": [{"txt": "a"}]}, 'a.csv, row 1: answer has txt, must have "text"'),
        ({"question": [True]}, r"question is 'True' \(bool\)"),
        ({"answer": [[[1]]]}, r"answer is .* \(list\)"),
    ],
)
def test_cells_of_another_kind_are_refused(change, message):
    columns = {"passage": ["a"], "question": ["?"], "answer": ["a"], **change}
    with pytest.raises(InputError, match=message):
        readers.records_of_rows(sources.Rows(columns, "a.csv"))


def test_official_files_are_used_as_given(tmp_path):
    write_squad(tmp_path / "train-v1.1.json")
    write_squad(tmp_path / "dev-v1.1.json.gz", ["Eve sang and Bob, he read it."], gzip.open)
    write_squad(tmp_path / "notes.json", ["not read"])
    split = sets.load_records(path=str(tmp_path), shares=(0.1, 0.2))
    assert [len(side) for side in split.values()] == [8, 1, 2]
    assert [r.passage for r in split["validation"]] == ["Eve sang and Bob, he read it."]
    train = squad.read_squad(tmp_path / "train-v1.1.json")
    assert sorted(map(hash, split["train"] + split["test"])) == sorted(map(hash, train))
    names = ("train-v1.1.json", "dev-v1.1.json.gz", "")
    assert sets.load_records(("no.json",), path=str(tmp_path), shares=(0.1, 0.2)) == split
    assert sets.load_records(path=names, data_dir=tmp_path, shares=(0.1, 0.2)) == split
    names = ("train-v1.1.json", "dev-v1.1.json.gz", "dev-v1.1.json.gz")
    whole = sets.load_records(path=names, data_dir=tmp_path)
    assert whole["train"] == train
    assert whole["test"] == whole["validation"] == split["validation"]
    write_squad(tmp_path / "train-v2.0.json")
    with pytest.raises(InputError, match=r"train-v1.1.json and train-v2.0.json are for the train"):
        sets.load_records(path=str(tmp_path))


def test_a_folder_of_tables_by_split(tmp_path):
    write_csv(tmp_path / "train.csv")
    write_csv(tmp_path / "dev.csv", ROWS[:1])
    found = sets.load_records(name="csv", path=str(tmp_path), **COLUMNS)
    assert [len(side) for side in found.values()] == [9, 1, 1]
    assert found["validation"][0].id == "n0"


WEBQA = {
    "Q1": {
        "question": "谁写的？",
        "evidences": {
            "Q1#00": {"answer": ["王小明"], "evidence": "这本书是王小明写的。"},
            "Q1#01": {"answer": ["no_answer"], "evidence": "不知道。"},
            "Q1#02": {"answer": ["小明", "王小明", "王小明"], "evidence": "王小明写了书。"},
        },
    },
    "Q2": {"question": "何时？", "evidences": {"Q2#00": {"answer": "no_answer", "evidence": "嗯"}}},
}


@pytest.mark.parametrize("layout", ["webqa", "sogouqa"])
def test_chinese_questions_with_several_passages(tmp_path, layout):
    tree = WEBQA
    if layout == "sogouqa":  # an answer is a text there
        tree = [
            {"id": name, "question": entry["question"], "passages": [
                {"passage": e["evidence"],
                 "answer": "" if "no_answer" in e["answer"] else e["answer"][-1]}
                for e in entry["evidences"].values()]}
            for name, entry in WEBQA.items()
        ]  # fmt: skip
    (tmp_path / "q.json").write_text(json.dumps(tree))
    skipped = collections.Counter()
    first, second = readers.read_webqa(tmp_path / "q.json", skipped=skipped)
    assert skipped == {"no answer given": 2}
    assert (first.article, first.passage, first.answers) == (
        "Q1",
        "这本书是王小明写的。",
        ("王小明",),
    )
    assert second.answers == (("王小明", "小明") if layout == "webqa" else ("王小明",))
    assert (first.starts, second.article) == ((SILENT,), "Q1")
    assert second.id == ("Q1#02" if layout == "webqa" else "Q1#2")
    (triple, _), left_out = squad.make_triples([first, second], max_length=99)
    assert (triple.answer, triple.question, dict(left_out)) == ("王小明", "谁写的？", {})


@pytest.mark.parametrize(
    "tree", [{"Q1": {}}, {"Q1": {"question": "q", "evidences": {"e": {"answer": [1], "evidence":
        "x"}}}}, [{"question": "q"}], [3], 7, {"data": []}],
)  # fmt: skip
def test_other_json_is_not_webqa(tmp_path, tree):
    (tmp_path / "q.json").write_text(json.dumps(tree))
    with pytest.raises(InputError, match=r"q.json: .* is not in WebQA's format"):
        readers.read_webqa(tmp_path / "q.json")


def test_wrong_data_are_one_line(tmp_path):
    write_csv(tmp_path / "a.csv")
    write_squad(tmp_path / "s.json")
    (tmp_path / "e.json").write_text('{"data": []}')
    (tmp_path / "empty").mkdir()
    at = lambda name: str(tmp_path / name)
    wrong = [
        ({"name": "csv", "path": at("a.csv")}, "data.passage_column is 'passage', .* about, reply"),
        ({"name": "csv", "path": at("a.csv"), **COLUMNS, "answer_column": "no"}, "answer_column"),
        ({"name": "csv", "path": at("a.csv"), **COLUMNS, "group_column": "no"}, "group_column is"),
        ({"name": "xml", "path": at("a.csv")}, "data.name is 'xml', must be one of squad, webqa"),
        ({}, r"files is \(\), must name one file"),
        ({"path": at("s.json"), "answer_column": "x"}, "squad has no columns"),
        ({"path": at("s.json"), "config_name": "x"}, "squad has none: it is of hf"),
        ({"path": (at("s.json"), at("e.json"))}, "validation: no question has an answer"),
        ({"path": ("", at("e.json"))}, "must be one path, or those of"),
        ({"path": at("s.json"), "shares": (0.0, 0.1)}, "no article is left for validation"),
    ]
    for options, message in wrong:
        with pytest.raises(InputError, match=message):
            sets.load_records(**options)
    for options in (
        {"path": at("no.json")}, {"path": at("empty")}, {"name": "webqa", "files": (at("no"),)},
        {"name": "csv", "files": (at("no"),)}, {"files": (at("no"),)},
    ):  # fmt: skip
        with pytest.raises(FileNotFoundError, match=r"no such file|no file has train|is missing"):
            sets.load_records(**options)
