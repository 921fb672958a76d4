"""GLUE's and CLUE's tasks of one or two sentences: columns, labels, metrics and files.

A task is read through `datasets`, or from a folder with the original files. Their test sets have no
labels, so the validation set is what figures are of.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from etils import epath

from jaxlab.data.folder import data_folder
from jaxlab.data.formats import SPLIT_NAMES
from jaxlab.data.formats.rows import Rows, read_rows, read_saved
from jaxlab.data.sources import find_path
from jaxlab.errors import InputError

ENTAILMENT = ("entailment", "not_entailment")
NLI = ("entailment", "neutral", "contradiction")


@dataclasses.dataclass(frozen=True)
class Task:
    """How a task is read and scored.

    Attributes:
      text: name of the column with the first sentence; several for what sources call it.
      pair: likewise of the second one; empty for tasks of one.
      label: likewise of the label.
      label_names: names of the classes, in order; None takes those of the training rows.
      metrics: the first is the one to choose by.
      folder: what the folder of the original files is called.
      regression: whether labels are numbers.
      endings: of the names of files, such as "_matched".
      described: column with a name for the label's number.
      head: columns of original files that have no line of names.
    """

    text: tuple[str, ...]
    pair: tuple[str, ...] = ()
    label: tuple[str, ...] = ("label",)
    label_names: tuple[str, ...] | None = None
    metrics: tuple[str, ...] = ("accuracy",)
    folder: str = ""
    regression: bool = False
    endings: tuple[str, ...] = ("",)
    described: str = ""
    head: tuple[str, ...] = ()


_ONE, _A, _B = ("sentence",), ("sentence1",), ("sentence2",)
TASKS: dict[str, Task] = {
    "glue/cola": Task(
        _ONE, label_names=("unacceptable", "acceptable"), metrics=("matthews", "accuracy"),
        folder="CoLA", head=("source", "label", "star", "sentence"),
    ),
    "glue/sst2": Task(_ONE, label_names=("negative", "positive"), folder="SST-2"),
    "glue/mrpc": Task(
        ("sentence1", "#1 String"), ("sentence2", "#2 String"), ("label", "Quality"),
        ("not_equivalent", "equivalent"), ("f1", "accuracy"), "MRPC",
    ),
    "glue/qqp": Task(
        ("question1",), ("question2",), ("label", "is_duplicate"),
        ("not_duplicate", "duplicate"), ("f1", "accuracy"), "QQP",
    ),
    "glue/stsb": Task(
        _A, _B, label=("label", "score"), metrics=("spearman", "pearson"), folder="STS-B",
        regression=True,
    ),
    "glue/mnli": Task(
        ("premise", "sentence1"), ("hypothesis", "sentence2"), ("label", "gold_label"), NLI,
        folder="MNLI", endings=("_matched", ""),
    ),
    "glue/qnli": Task(("question",), ("sentence",), label_names=ENTAILMENT, folder="QNLI"),
    "glue/rte": Task(_A, _B, label_names=ENTAILMENT, folder="RTE"),
    "glue/wnli": Task(_A, _B, label_names=ENTAILMENT[::-1], folder="WNLI"),
    "clue/afqmc": Task(_A, _B, label_names=("0", "1"), folder="afqmc"),
    "clue/tnews": Task(_ONE, folder="tnews", described="label_desc"),
    "clue/iflytek": Task(_ONE, folder="iflytek", described="label_des"),
    "clue/cmnli": Task(
        _A, _B, label_names=("neutral", "entailment", "contradiction"), folder="cmnli"
    ),
    "clue/ocnli": Task(
        _A, _B, label_names=("neutral", "entailment", "contradiction"), folder="ocnli"
    ),
}  # fmt: skip
_HUB = {"glue": "nyu-mll/glue", "clue": "clue/clue"}
_OWN_NAMES = {"train": ("msr_paraphrase_train",), "test": ("msr_paraphrase_test",)}


def read_task(
    name: str, path: str | None = None, data_dir: str | Path | None = None
) -> tuple[dict[str, Rows], str]:
    """The splits of a task: from a folder, else from the hub.

    Args:
      name: of `TASKS`.
      path: a folder with the original files (train.tsv, dev.tsv, test.tsv; of CLUE train.json, ...)
        or a set that `datasets` has saved; None for such a folder in the data folder (`glue/sst2`
        or `SST-2`), else the hub.
      data_dir: the data folder.

    Returns:
      split -> rows, and where they are from.

    Raises:
      FileNotFoundError: there is no such folder, or it has no training rows.
      ValueError: a file is damaged, or the hub cannot be read.
    """
    collection, _, short = name.partition("/")
    folder = find_path(path, data_dir) if path else _found(name, data_dir)
    if folder is None:
        try:
            return _first(read_saved(_HUB[collection], short)), f"{_HUB[collection]}, {short}"
        except InputError as error:
            raise InputError(
                f"{error}; a folder with the original files of {name} will do: data.path=FOLDER"
            ) from error
    if any((folder / mark).exists() for mark in ("dataset_dict.json", "state.json")):
        return _first(read_saved(str(folder))), str(folder)
    files = {split: file for split in SPLIT_NAMES if (file := _file(name, folder, split))}
    if "train" not in files:
        known = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) if folder.is_dir() else ""
        raise FileNotFoundError(f"{folder}: no train.tsv or train.json of {name}, it has {known}")
    return {split: _read(file, TASKS[name]) for split, file in files.items()}, str(folder)


def column(rows: Rows, names: tuple[str, ...]) -> list[Any]:
    """A column under the first of its names that there is."""
    name = next((n for n in names if n in rows.columns), names[0])
    return rows.column(name, key="the task's column")


def _found(name: str, data_dir: str | Path | None) -> epath.Path | None:
    """The task's folder in the data folder."""
    root = epath.Path(str(data_folder(data_dir)))
    places = [root / name, root / TASKS[name].folder, root / name.partition("/")[2]]
    return next((p for p in places if p.is_dir() and _file(name, p, "train")), None)


def _file(name: str, folder: epath.Path, split: str) -> epath.Path | None:
    kinds = [f"{ending}{zipped}" for ending in (".tsv", ".json", ".txt") for zipped in ("", ".gz")]
    stems = [f"{stem}{more}" for stem in SPLIT_NAMES[split] for more in {*TASKS[name].endings, ""}]
    stems += _OWN_NAMES.get(split, ())
    found = [folder / f"{stem}{kind}" for stem in stems for kind in kinds]
    return next((path for path in found if path.exists()), None)


def _read(path: epath.Path, task: Task) -> Rows:
    """A file of the original distribution."""
    if ".json" in path.name:
        return read_rows(path, "jsonl")
    if task.head:
        with_names = read_rows(path, "tsv")
        if set(with_names.columns) & {*task.text}:
            return with_names
        first = list(with_names.columns)  # a row like the others
        if len(first) == len(task.head):
            values = ([a, *b] for a, b in zip(first, with_names.columns.values(), strict=True))
            return Rows(dict(zip(task.head, values, strict=True)), str(path))
    return read_rows(path, "tsv")


def _first(saved: Mapping[str, Rows]) -> dict[str, Rows]:
    """train, validation and test; of matched and mismatched ones the matched."""
    found = {}
    for split in SPLIT_NAMES:
        for key in (split, f"{split}_matched"):
            if key in saved:
                found.setdefault(split, saved[key])
    return found
