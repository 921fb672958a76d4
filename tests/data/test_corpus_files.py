"""`jaxlab.data.corpus_files`: which files a name stands for, and texts in tables."""

import collections
import gzip
import json
import os

import pytest

from jaxlab.data import corpus as corpora
from jaxlab.data import corpus_files
from jaxlab.errors import InputError

COUNTS = {"to": 4, "be": 4, "or": 2, "not": 2}


@pytest.fixture
def folder(tmp_path):
    """Two files with text, one in a folder of its own, and others that are not looked at."""
    (tmp_path / "b.txt").write_text("to be or not to be")
    (tmp_path / "deep").mkdir()
    with gzip.open(tmp_path / "deep" / "a.gz", "wt") as file:
        file.write("to be or not to be\n\nquestion\n")
    (tmp_path / "notes.md").write_text("nothing of it")
    (tmp_path / ".hidden.txt").write_text("nothing of it")
    return tmp_path


def counts(corpus):
    return dict(zip(corpus.words, corpus.counts.tolist(), strict=True))


@pytest.mark.parametrize(
    "name",
    ["{}", "{}/*.txt,{}/deep/a.gz", "{}/**/[ab].*", ("{}/b.txt", "{}/deep"), "{}/b.txt, {}/deep"],
)
def test_files_folders_and_patterns(folder, name):
    names = (
        name.format(folder, folder) if isinstance(name, str) else [n.format(folder) for n in name]
    )
    left_out = collections.Counter()
    corpus = corpora.load_corpus(names, left_out=left_out)
    assert counts(corpus) == COUNTS
    assert left_out == {"paragraphs of one word": 1}
    assert counts(corpora.load_corpus(path=names)) == COUNTS


def test_names_start_in_the_working_folder_or_in_the_data_folder(folder, monkeypatch):
    assert counts(corpora.load_corpus("b.txt,deep", folder)) == COUNTS
    assert counts(corpora.load_corpus("*.txt,d*/a.*", folder)) == COUNTS
    monkeypatch.chdir(folder)
    assert counts(corpora.load_corpus("b.txt,deep", "/nowhere")) == COUNTS
    (folder / "a,b.txt").write_text("one two")  # a name with a comma
    assert corpora.load_corpus("a,b.txt").words == ("one", "two")


def test_the_order_is_that_of_names(folder):
    (folder / "c.txt").write_text("one two")
    names = [os.path.basename(p) for p in corpus_files.text_files(str(folder))]
    assert names == ["b.txt", "c.txt", "a.gz"]
    pattern = corpus_files.text_files(f"{folder}/c.txt,{folder}/[cb]*")
    assert [os.path.basename(p) for p in pattern] == ["c.txt", "b.txt", "c.txt"]


@pytest.mark.parametrize("name", ["jsonl", "csv", "tsv"])
def test_a_column_of_a_table(tmp_path, name):
    texts = ["to be or not to be", "", "to be, or not to be"]
    path = tmp_path / f"train.{name}"
    if name == "jsonl":
        rows = [{"body": text or None, "n": 1} for text in texts]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        mark = {"csv": ",", "tsv": "\t"}[name]
        path.write_text("".join(f'{n}{mark}"{x}"\n' for n, x in [("n", "body"), *enumerate(texts)]))
    (tmp_path / f"dev.{name}").write_text(path.read_text())
    left_out = collections.Counter()
    for place in (path, tmp_path):  # of a folder, the training rows
        corpus = corpora.load_corpus(
            path=str(place), name=name, text_column="body", left_out=left_out
        )
        assert counts(corpus) == COUNTS
    assert left_out == {"rows without a text": 2, "paragraphs of one word": 0}
    with pytest.raises(InputError, match=r"data.text_column is 'text', .* has the columns"):
        corpora.load_corpus(path=str(path), name=name)


def test_wrong_names_are_one_line(folder, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": [1]}\n')
    (tmp_path / "none").mkdir()
    wrong = [
        ({"path": str(tmp_path / "none")}, FileNotFoundError, r"no file whose name ends with .txt"),
        ({"path": f"{tmp_path}/*.doc"}, FileNotFoundError, r"\*.doc: no file has such a name"),
        ({"path": f"{tmp_path}/no.txt"}, FileNotFoundError, "no such text file"),
        ({"name": "xml"}, InputError, "data.name is 'xml', must be one of text, csv, tsv, jsonl"),
        ({"text_column": "body"}, InputError, "data.text_column is 'body', files of text have"),
        ({"config_name": "x"}, InputError, "data.config_name is 'x', files of text have none"),
        ({"name": "csv"}, InputError, "data.path is .*csv needs a file or a folder"),
        ({"name": "jsonl", "path": f"{tmp_path}/rows.jsonl"}, InputError, "row 1: text is .*list"),
        ({"name": "csv", "path": f"{tmp_path}/no.csv"}, FileNotFoundError, "no such file"),
    ]  # fmt: skip
    for options, kind, message in wrong:
        with pytest.raises(kind, match=message):
            corpora.load_corpus(**options)


def test_a_file_of_a_folder_is_read_once_whatever_links_lead_to_it(folder):
    (folder / "deep" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "again.txt").symlink_to(folder / "b.txt")
    assert counts(corpora.load_corpus(str(folder))) == COUNTS
