"""Files of questions in other formats than SQuAD's: tables with columns, and WebQA's JSON.

A reader takes a path and returns records as `squad.read_squad` does, and counts what it leaves out.
Adding a format is a function and a row of `READERS`.
"""

import collections
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxlab.checks import check_choice
from jaxlab.data import formats, sources
from jaxlab.data.formats.plain_text import read_text, whole_json
from jaxlab.data.questions.offsets import SILENT, find_start
from jaxlab.data.questions.squad import Record, by_frequency, read_squad
from jaxlab.errors import InputError

WEBQA = '{ID: {"question", "evidences": {ID: {"answer": [TEXT], "evidence": TEXT}}}}'
SOGOUQA = '[{"id", "question", "passages": [{"passage", "answer"}]}]'
NO_ANSWER = "no_answer"  # what WebQA's files say
COLUMNS = ("passage", "answer", "question")

Counts = collections.Counter[str]


def read_webqa(path: str | os.PathLike, *, skipped: Counts | None = None) -> list[Record]:
    """Reads WebQA's JSON, or that of SogouQA, plain or gzipped.

    A question has several passages, each with an answer of its own or none; each with an answer is
    a record, and all of a question stay on one side of a split.

    Args:
      path: the file.
      skipped: to which the number of passages left out is added: "no answer given".

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is not such a file; the message says where.
    """
    skipped = collections.Counter() if skipped is None else skipped
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    tree = whole_json(read_text(Path(path)), str(path))
    records = []
    for name, question, passage, answers, where in _passages(tree, str(path)):
        texts = [a.strip() for a in ([answers] if isinstance(answers, str) else answers or [])]
        texts = [a for a in texts if a and a != NO_ANSWER]
        if not texts:
            skipped["no answer given"] += 1
            continue
        kept, starts = by_frequency([(a, SILENT) for a in texts])
        records.append(Record(str(name), passage, question, kept, starts, where))
    return records


def _passages(tree: Any, path: str):
    """(question's id, question, passage, its answers, its id) of either layout."""
    place = "the file"
    try:
        if isinstance(tree, dict):
            for name, entry in tree.items():
                place = name
                for key, found in entry["evidences"].items():
                    _check_texts(entry["question"], found["evidence"], found["answer"])
                    yield name, entry["question"], found["evidence"], found["answer"], key
        else:
            for i, entry in enumerate(tree):
                place = f"entry {i}"
                name = entry.get("id", i)
                for k, found in enumerate(entry["passages"]):
                    _check_texts(entry["question"], found["passage"], found["answer"])
                    key = f"{name}#{k}"
                    yield name, entry["question"], found["passage"], found["answer"], key
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: {place} is not in WebQA's format ({type(error).__name__}: {error}): {WEBQA}, "
            f"or {SOGOUQA}"
        ) from None


def _check_texts(question: Any, passage: Any, answers: Any) -> None:
    for text in (question, passage, *([answers] if isinstance(answers, str) else answers or ())):
        if not isinstance(text, str):
            raise TypeError(f"{text!r} is {type(text).__name__}, must be text")


def records_of_rows(
    rows: sources.Rows,
    *,
    passage_column: str | None = None,
    answer_column: str | None = None,
    question_column: str | None = None,
    answer_start_column: str | None = None,
    group_column: str | None = None,
    skipped: Counts | None = None,
) -> list[Record]:
    """The records of a table with a row per question.

    Args:
      rows: the table.
      passage_column: its name; None for "passage".
      answer_column: None for "answer". A cell is an answer, a list of answers, or as in the sets of
        the Hugging Face hub {"text": [...], "answer_start": [...]}.
      question_column: None for "question".
      answer_start_column: where the answer starts in the passage; None where no column says.
      group_column: rows with the same value stay on one side of a split; None for the passages.
      skipped: to which rows left out are added by reason: "no answer given", "empty passage,
        question or answer".

    Raises:
      ValueError: there is no such column, or a cell holds something else.

    Example:
      >>> rows = sources.Rows({"text": ["It rains."], "answer": ["rains"], "q": ["what?"]}, "a.csv")
      >>> (record,) = records_of_rows(rows, passage_column="text", question_column="q")
      >>> record.answers, record.id
      (('rains',), 'a.csv:1')
    """
    skipped = collections.Counter() if skipped is None else skipped
    asked = (passage_column, answer_column, question_column)
    named: dict[str, str | None] = dict(zip(COLUMNS, asked, strict=True))
    cells = {k: rows.column(name or k, key=f"data.{k}_column") for k, name in named.items()}
    starts, groups = (
        None if name is None else rows.column(name, key=f"data.{key}")
        for key, name in (
            ("answer_start_column", answer_start_column),
            ("group_column", group_column),
        )
    )
    ids, file = rows.columns.get("id"), os.path.basename(rows.source)
    records = []
    for i, (passage, answer, question) in enumerate(zip(*cells.values(), strict=True)):
        where = f"{rows.source}, row {i + 1}"
        passage, question = (
            _text(value, f"{where}: {named[key] or key}")
            for key, value in (("passage", passage), ("question", question))
        )
        said = None if starts is None else starts[i]
        found = [
            (text, find_start(passage, text, start))
            for text, start in _answers(answer, said, f"{where}: {named['answer'] or 'answer'}")
        ]
        if not found:
            skipped["no answer given"] += 1
        elif not (passage.strip() and question.strip()):
            skipped["empty passage, question or answer"] += 1
        else:
            group = passage if groups is None else str(groups[i])
            name = f"{file}:{i + 1}" if ids is None or ids[i] is None else str(ids[i])
            records.append(Record(group, passage, question, *by_frequency(found), name))
    return records


def _text(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if value is None or value != value:  # NaN of a table
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise InputError(f"{where} is {str(value)[:40]!r} ({type(value).__name__}), must be a text")


def _answers(cell: Any, said: Any, where: str) -> list[tuple[str, Any]]:
    """(answer, where it is said to start) of a cell."""
    if isinstance(cell, Mapping):
        if "text" not in cell:
            raise InputError(f'{where} has {", ".join(cell)}, must have "text"')
        cell, said = cell["text"], cell.get("answer_start")
    if isinstance(cell, list | tuple) and all(isinstance(x, Mapping) for x in cell):
        return [pair for x in cell for pair in _answers(x, None, where)]
    texts = list(cell) if isinstance(cell, list | tuple) else [cell]
    places = list(said) if isinstance(said, list | tuple) else [said] * len(texts)
    places += [None] * (len(texts) - len(places))
    read = [(_text(text, where).strip(), start) for text, start in zip(texts, places, strict=False)]
    return [pair for pair in read if pair[0]]


READERS: dict[str, Callable[..., list[Record]]] = {"squad": read_squad, "webqa": read_webqa}
FORMATS = (*READERS, *sources.TABLES)


def read_files(
    name: str, files: Sequence[str], data_dir: Any = None, *, skipped: Counts, **columns: Any
) -> list[Record]:
    """The records of several files of one format, each in the data folder or a path.

    Args:
      name: one of `FORMATS`.
      files: the files.
      data_dir: the data folder.
      skipped: to which what is left out is added.
      **columns: of `records_of_rows`.
    """
    check_choice("data.name", name, FORMATS)
    records = []
    for file in files:
        path = sources.data_folder(data_dir) / file
        path = path if path.exists() or not Path(file).exists() else Path(file)
        if name in READERS:
            records += READERS[name](path, skipped=skipped)
        else:
            rows = sources.read_rows(path, name)
            records += records_of_rows(rows, **columns, skipped=skipped)
    return records


def read_splits(
    name: str,
    path: sources.Paths,
    data_dir: Any = None,
    *,
    config_name: str | None = None,
    skipped: Counts,
    **columns: Any,
) -> dict[str, list[Record]]:
    """The records of the splits that a path names, "train" among them; nothing is split here.

    Args:
      name: one of `FORMATS`.
      path: a file, a folder with a file for each split, or the three paths; see
        `sources.load_rows`.
      data_dir: the data folder.
      config_name: of "hf", see `sources.load_rows`.
      skipped: to which what is left out is added.
      **columns: of `records_of_rows`.
    """
    check_choice("data.name", name, FORMATS)
    if name in READERS:
        if config_name is not None:
            raise InputError(f"data.config_name is {config_name!r}, {name} has none: it is of hf")
        places = sources.paths_by_split(path, data_dir, folder=_json_files)
        return {split: READERS[name](place, skipped=skipped) for split, place in places.items()}
    whole = {"data_dir": data_dir, "shares": (0, 0), "config_name": config_name}
    found = sources.load_rows(name, path, **whole)
    return {s: records_of_rows(rows, **columns, skipped=skipped) for s, rows in found.items()}


def _json_files(folder: Any) -> dict[str, Any]:
    """The files of a folder by split: dev-v1.1.json, cmrc2018_train.json.gz, ..."""
    names = sorted(p.name for p in folder.iterdir() if re.search(r"\.json(\.gz)?$", p.name))
    found = {}
    for split in sources.SPLITS:
        called = "|".join(formats.split_names(split))
        word = re.compile(rf"(?<![a-z])(?:{called})(?![a-z])", re.IGNORECASE)
        own = [name for name in names if word.search(name)]
        if len(own) > 1:
            raise InputError(
                f"{folder}: {' and '.join(own)} are for the {split} split, name one for each split "
                "in data.path, as ('train.json', 'dev.json', 'test.json')"
            )
        if own:
            found[split] = folder / own[0]
    if "train" not in found:
        listed = ", ".join(names[:8]) or "no JSON file"
        raise FileNotFoundError(f"{folder}: no file has train in its name; there are {listed}")
    return found
