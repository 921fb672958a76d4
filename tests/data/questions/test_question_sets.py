"""`jaxlab.data.questions.sets`: whole sets of questions: which record goes where, counted."""

import collections
import copy
import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("tokenizers")

from jaxlab.data import wordpiece
from jaxlab.data.questions import sets as qa_sets
from jaxlab.data.questions import squad
from jaxlab.data.questions.segments import Limits
from jaxlab.data.text import TokenSet
from jaxlab.errors import InputError


def write(path, articles):
    """(title, passage, question, answer) of articles with one question each."""
    data = []
    for title, passage, question, answer in articles:
        answers = [{"text": answer, "answer_start": passage.find(answer)}]
        qas = [{"question": question, "answers": answers}]
        data.append({"title": title, "paragraphs": [{"context": passage, "qas": qas}]})
    path.write_text(json.dumps({"data": data}))


@pytest.fixture(scope="module")
def tokenizer():
    return wordpiece.train_wordpiece(["the sun is red. the sea is blue? what where"] * 3, 90)


def test_files_are_joined_and_split_by_article(tmp_path):
    articles = [(f"t{i}", f"place {i} x", "what?", "x") for i in range(30)]
    write(tmp_path / "a.json", articles[:20])
    write(tmp_path / "b.json", articles[20:])
    unanswered = {"context": "c", "qas": [{"question": "q", "answers": []}]}
    tree = {"data": [{"title": "u", "paragraphs": [unanswered]}]}
    (tmp_path / "c.json").write_text(json.dumps(tree))
    skipped = collections.Counter()
    found = qa_sets.load_records(["a.json", "b.json", "c.json"], tmp_path, skipped=skipped)
    assert skipped == {"no answer given": 1}
    assert list(found) == list(qa_sets.SPLITS) == ["train", "validation", "test"]
    assert [len(side) for side in found.values()] == [24, 3, 3]
    records = [
        record for name in ("a.json", "b.json") for record in squad.read_squad(tmp_path / name)
    ]
    split = lambda shares, seed: list(squad.split_records(records, shares=shares, seed=seed))
    assert list(found.values()) == split((0.1, 0.1), 0) != split((0.1, 0.1), 1)
    other = qa_sets.load_records([str(tmp_path / "a.json")], shares=(0.3, 0.1), split_seed=1)
    assert [len(side) for side in other.values()] == [12, 6, 2]
    everything = qa_sets.load_records(
        ["a.json", "b.json"], tmp_path, shares=(0.3, 0.1), split_seed=1
    )
    assert list(everything.values()) == split((0.3, 0.1), 1)


def test_what_is_left_out_is_counted_per_split(tokenizer):
    record = lambda passage, answer="red", question="what?": squad.Record(
        passage, passage, question, (answer,), (passage.find(answer),)
    )
    records = {
        "train": [record("the sun is red. the sea is blue."), record("what is red.", "red."),
                  record("the sea", "sun"), record("what is red", "red", "where where where"),
                  record("The sea  is red.")],
        "validation": [record("the sea is red.")],
        "test": [record("where is red."), record("where is red.", "no")],
    }  # fmt: skip
    limits = Limits(passage=5, answer=2, question=2)
    sets = qa_sets.make_sets(records, tokenizer, limits)
    assert {name: [t.passage for t in found.triples] for name, found in sets.items()} == {
        "train": ["the sun is red.", "what is red."],
        "validation": ["the sea is red."],
        "test": ["where is red."],
    }
    assert [dict(sets[name].skipped) for name in ("train", "validation", "test")] == [
        {"answer not in passage": 1, "question too long": 1, "passage held out too": 1},
        {},
        {"answer not in passage": 1},
    ]
    assert [len(found) for found in sets.values()] == [2, 1, 1]
    text = lambda found: tokenizer.decode(found.tokens.ids[0].tolist(), skip_special_tokens=False)
    assert text(sets["train"]) == "[CLS] the sun is red . [SEP] red [SEP] what ? [SEP]"
    swapped = qa_sets.make_sets(records, tokenizer, limits, order="question_first")
    assert text(swapped["train"]) == "[CLS] the sun is red . [SEP] what ? [SEP] red [SEP]"
    wide = Limits(passage=20, answer=2, question=2)
    passages = lambda **options: (
        qa_sets.make_sets(records, tokenizer, wide, **options)["train"].triples[0].passage
    )
    assert passages() == passages(join=True) == "the sun is red. the sea is blue."
    assert passages(join=False) == "the sun is red."


def test_an_empty_split_says_why(tokenizer):
    good = squad.Record("a", "the sun is red", "what?", ("sun",), (4,))
    bad = squad.Record("b", "the sea", "what?", ("sun",), (-1,))
    other = squad.Record("c", "what is red", "what?", ("red",), (8,))
    records = {"train": [good], "validation": [bad], "test": [other]}
    message = "1 records of validation gave 0 triples, left out {'answer not in passage': 1}; none"
    with pytest.raises(InputError, match=message.replace("{", r"\{")):
        qa_sets.make_sets(records, tokenizer, Limits(9, 9, 9))


def test_texts_to_train_a_vocabulary():
    record = lambda passage, question: squad.Record("t", passage, question, ("x",), (0,))
    records = [record("b", "q"), record("a", "r"), record("b", "q")]
    assert qa_sets.training_texts(records) == (["b", "a"], ["q", "r", "q"])


def test_shares_and_files_are_checked(tmp_path):
    write(tmp_path / "a.json", [("t", "x", "what?", "x")])
    for shares in ((0.1,), (0.1, 0.1, 0.1)):
        with pytest.raises(InputError, match=r"shares are \(.*\), must be two"):
            qa_sets.load_records(["a.json"], tmp_path, shares=shares)
    with pytest.raises(InputError, match="split_seed is -1"):
        qa_sets.load_records(["a.json"], tmp_path, split_seed=-1)
    with pytest.raises(InputError, match="1 questions are on 1 articles"):
        qa_sets.load_records(["a.json"], tmp_path)
    skipped = collections.Counter(seen=np.int64(2))
    write(tmp_path / "b.json", [])
    with pytest.raises(InputError, match=r"b\.json: no question has an answer \(\{'seen'"):
        qa_sets.load_records(["b.json"], tmp_path, skipped=skipped)


def test_a_set_equals_itself_alone_and_does_not_change():
    tokens = TokenSet([np.array([1])], np.array([0]))
    for one in (qa_sets.QASet([], tokens, collections.Counter()),):
        assert one != copy.copy(one)  # arrays have no truth value to compare by
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, dataclasses.fields(one)[0].name, None)
