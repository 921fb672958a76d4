"""Tables as people have them: CSV, TSV, JSON lines, Parquet and saved `datasets`, as columns."""

import csv
import dataclasses
import functools
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from jaxlab.data.formats.pictures import reason
from jaxlab.data.formats.plain_text import read_text, split_lines, whole_json
from jaxlab.errors import InputError, missing

TABLES = ("csv", "tsv", "jsonl", "parquet", "hf")
ENDINGS = {
    "csv": (".csv", ".csv.gz"),
    "tsv": (".tsv", ".tsv.gz", ".txt", ".txt.gz"),
    "jsonl": (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".json", ".json.gz"),
    "parquet": (".parquet", ".pq"),
}
csv.field_size_limit(2**31 - 1)  # a text may be longer than the 128 KiB of Python's default


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a table, by column.

    Attributes:
      columns: name -> N values: texts of CSV and TSV, in others what the file holds; None is
        missing.
      source: where they come from, for messages.
      numbers: of each row in its source, from 1; None: 1, 2, ...
      folder: that of the file, where paths in the table start.

    Example:
      >>> rows = Rows({"text": ["good", "bad"], "label": [1, 0]}, "a.jsonl")
      >>> len(rows), rows.column("label", key="data.label_column")
      (2, [1, 0])
      >>> rows.column("lable", key="data.label_column")
      Traceback (most recent call last):
      jaxlab.errors.ValueError: data.label_column is 'lable', a.jsonl has the columns text, label
    """

    columns: dict[str, list[Any]]
    source: str
    numbers: Sequence[int] | None = None
    folder: str = ""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def column(self, name: str | None, *, key: str) -> list[Any]:
        """The values of a column.

        Args:
          name: of the column.
          key: of the config that names it, for the message.

        Raises:
          ValueError: there is none of that name; the message lists those there are.
        """
        if name is None or name not in self.columns:
            known = ", ".join(map(str, self.columns))
            raise InputError(f"{key} is {name!r}, {self.source} has the columns {known}")
        return self.columns[name]

    def take(self, indices: Iterable[int]) -> "Rows":
        """Some of the rows, in the order of `indices`."""
        indices = list(indices)
        columns = {name: [values[i] for i in indices] for name, values in self.columns.items()}
        numbers = self.numbers or range(1, len(self) + 1)
        return dataclasses.replace(self, columns=columns, numbers=[numbers[i] for i in indices])

    def place(self, index: int) -> str:
        """Source and number of a row, for messages.

        Example:
          >>> Rows({"n": [1, 2, 3]}, "a.csv").take([2]).place(0)
          'a.csv, row 3'
        """
        return f"{self.source}, row {self.numbers[index] if self.numbers else index + 1}"


def join_rows(parts: Sequence[Rows], source: str) -> Rows:
    """One table of several with the same columns.

    Raises:
      ValueError: their columns differ.
    """
    first = parts[0]
    for part in parts[1:]:
        if set(part.columns) != set(first.columns):
            raise InputError(
                f"{part.source} has the columns {', '.join(part.columns)}, {first.source} "
                f"{', '.join(first.columns)}: parts of a table need the same"
            )
    columns = {name: [x for part in parts for x in part.columns[name]] for name in first.columns}
    return Rows(columns, source, folder=first.folder)


def read_rows(path: epath.PathLike, name: str, columns: Sequence[str] | None = None) -> Rows:
    r"""Reads a table of one file.

    CSV and TSV start with a line of names; a CSV may have semicolons for commas. Of a TSV, quotes
    are those of CSV where the whole file can be read so, else characters like all others. JSON
    lines are objects, or the file is one list of them; keys that an object lacks are None.

    Args:
      path: the file; csv, tsv and jsonl may be gzipped, and in UTF-16 with a mark.
      name: "csv", "tsv", "jsonl" or "parquet".
      columns: keep these alone; None keeps all.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no such table; the message names the file and the line.
      ModuleNotFoundError: parquet, without pyarrow.

    Example:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.csv"
      >>> _ = path.write_text('text,label\n"good, really",1\n')
      >>> read_rows(path, "csv").columns
      {'text': ['good, really'], 'label': ['1']}
    """
    if name not in ENDINGS:
        raise InputError(f"format is {name!r}, files of tables are {', '.join(ENDINGS)}")
    path = epath.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.is_dir():
        raise InputError(f"{path}: is a folder, must be a file of {name}")
    found = _READERS[name](path, columns)
    if not len(Rows(found, "")):
        raise InputError(f"{path}: holds no row")
    wanted = found if columns is None else [key for key in found if key in columns]
    kept = {key: found[key] for key in wanted}
    return Rows(kept, os.fspath(path), folder=os.fspath(path.parent))


def read_saved(
    path: str, config_name: str | None = None, columns: Sequence[str] | None = None
) -> dict[str, Rows]:
    """Reads a set through the library `datasets`: a saved folder, or what `load_dataset` takes.

    Classes become their names, where the set has names, and labels of -1, which hide those of
    public test sets, become None; images stay as they are stored (bytes, path).

    Args:
      path: of a folder that `save_to_disk` wrote, of a folder of data files, or a name of the hub.
      config_name: second argument of `load_dataset`, such as "sst2" of "glue".
      columns: keep these alone; None keeps all.

    Returns:
      name of the split -> rows; of a set without splits "train".

    Raises:
      FileNotFoundError: there is no such set.
      ValueError: it cannot be read.
      ModuleNotFoundError: without `datasets`.
    """
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise missing("datasets", "datasets", whose="data.name 'hf'") from error
    marks = ("dataset_dict.json", "state.json")
    try:
        datasets.disable_progress_bars()
        if any((epath.Path(path) / mark).exists() for mark in marks):
            if config_name is not None:
                raise InputError(
                    f"data.config_name is {config_name!r}, {path} is a saved set, which has none"
                )
            found = datasets.load_from_disk(path)
        else:
            found = datasets.load_dataset(path, config_name)
    except InputError:
        raise
    except Exception as error:  # of the hub, of fsspec, of pyarrow, of the set's own script
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else InputError
        raise kind(f"data.path is {path!r}: `datasets` cannot read it ({reason(error)})") from error
    splits = found if isinstance(found, dict) else {"train": found}
    return {
        str(split): _of_dataset(part, f"{path}, {split}", columns) for split, part in splits.items()
    }


def _of_dataset(part: Any, source: str, columns: Sequence[str] | None) -> Rows:
    import datasets  # pyright: ignore[reportMissingImports]

    keep = [n for n in part.column_names if columns is None or n in columns]
    part = part.with_format(None).select_columns(keep)
    features = part.features
    for name, feature in features.items():
        if isinstance(feature, datasets.Image):
            part = part.cast_column(name, datasets.Image(decode=False))
    values = part[:]
    for name, feature in features.items():
        if isinstance(feature, datasets.ClassLabel):
            values[name] = _class_names(values[name], feature.names)
    return Rows({name: list(values[name]) for name in keep}, source)


def _class_names(numbers: Sequence[int | None], names: Sequence[str]) -> list[str | None]:
    return [None if i is None or i < 0 else names[i] for i in numbers]


def _read_csv(path: epath.Path, _: Any) -> dict[str, list[Any]]:
    text = read_text(path)
    head = text.partition("\n")[0]
    return _parsed(path, text, delimiter=";" if ";" in head and "," not in head else ",")


def _read_tsv(path: epath.Path, _: Any) -> dict[str, list[Any]]:
    text = read_text(path)
    lines = functools.partial(_parsed, path, text, delimiter="\t", quoting=csv.QUOTE_NONE)
    if '"' not in text:
        return lines()
    try:
        found = _parsed(path, text, delimiter="\t")
    except InputError:  # quotes that do not end
        return lines()
    if len(Rows(found, "")) == sum(map(bool, split_lines(text))) - 1:
        return found
    try:
        return lines()
    except InputError:  # fields in quotes that hold line ends, as pandas writes them
        return found


def _parsed(path: epath.Path, text: str, **dialect: Any) -> dict[str, list[Any]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, **dialect)
    try:
        names = next(reader, [])
        if len({*names}) < len(names) or not any(names):
            raise InputError(
                f"{path}, line 1: {str(names)[:60]}, needs names of columns that differ"
            )
        columns: list[list[Any]] = [[] for _ in names]
        for row in reader:
            if not row:  # an empty line
                continue
            if len(row) != len(names):
                raise InputError(
                    f"{path}, line {reader.line_num}: {len(row)} fields, {str(row)[:60]}, needs "
                    f"{len(names)}"
                )
            for values, value in zip(columns, row, strict=True):
                values.append(value)
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: no table ({error})") from error
    return dict(zip(names, columns, strict=True))


def _read_jsonl(path: epath.Path, _: Any) -> dict[str, list[Any]]:
    text = read_text(path)
    if text.lstrip().startswith("["):
        rows = whole_json(text, os.fspath(path))
        places = [f"{path}, row {i}" for i in range(1, len(rows) + 1)]
    else:
        lines = [(i, line) for i, line in enumerate(split_lines(text), 1) if line.strip()]
        places = [f"{path}, line {i}" for i, _ in lines]
        rows = [whole_json(line, at) for (_, line), at in zip(lines, places, strict=True)]
    for row, at in zip(rows, places, strict=True):
        if not isinstance(row, dict):
            raise InputError(f"{at}: {str(row)[:40]!r}, needs a JSON object")
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _read_parquet(path: epath.Path, columns: Sequence[str] | None) -> dict[str, list[Any]]:
    try:
        import pyarrow.parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise missing("pyarrow", "datasets", whose=os.fspath(path)) from error
    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(path.read_bytes()))
        names = file.schema_arrow.names
        found = file.read([n for n in names if columns is None or n in columns]).to_pydict()
        # Those that `datasets` wrote say there what their classes are called.
        written = json.loads((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
        features = written.get("info", {}).get("features", {})
        for name in found:
            classes = features.get(name, {})
            if isinstance(classes, dict) and classes.get("_type") == "ClassLabel":
                found[name] = _class_names(found[name], classes["names"])
        return found
    except Exception as error:  # of pyarrow
        raise InputError(f"{path}: not a readable Parquet file ({reason(error)})") from error


_READERS = {
    "csv": _read_csv,
    "tsv": _read_tsv,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
}


def number_labels(
    splits: Mapping[str, Rows], column: str, *, key: str = "data.label_column", hidden: bool = False
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Numbers the labels of a column from 0, by those of the training rows.

    Labels that are all numbers come in the order of numbers, others in that of their texts.

    Args:
      splits: split -> rows, "train" among them.
      column: of the labels: words or numbers.
      key: of the config that names the column, for messages.
      hidden: whether test rows may have no label: -1 then.

    Returns:
      Names of the K classes, and split -> int32 [n].

    Raises:
      ValueError: there is no such column, a label is missing, or the training rows lack it.

    Example:
      >>> train, test = Rows({"y": ["10", "9", "10"]}, "a.csv"), Rows({"y": [9]}, "b.jsonl")
      >>> number_labels({"train": train, "test": test}, "y")
      (('9', '10'), {'train': array([1, 0, 1], dtype=int32), 'test': array([0], dtype=int32)})
    """
    texts = {}
    for split, rows in splits.items():
        texts[split] = [label_text(value) for value in rows.column(column, key=key)]
        for i, text in enumerate(texts[split]):
            if not text and not (hidden and split == "test"):
                raise InputError(f"{rows.place(i)}: column {column!r} has no label")
    distinct = {text for text in texts["train"] if text}
    numbers = as_numbers(list(distinct))
    numeric = numbers is not None and np.isfinite(numbers).all()
    # By the text among equal numbers ("1", "01"): the order of a set differs between processes.
    names = tuple(sorted(distinct, key=lambda name: (float(name), name) if numeric else name))
    number = {name: i for i, name in enumerate(names)} | ({"": -1} if hidden else {})
    for split, rows in splits.items():
        for i, text in enumerate(texts[split]):
            if text not in number:
                known = ", ".join(names[:8]) + (f" and {len(names) - 8} more" * (len(names) > 8))
                raise InputError(
                    f"{rows.place(i)}: label {text!r} is in no training row, which have {known}"
                )
    return names, {
        split: np.array([number[text] for text in found], np.int32)
        for split, found in texts.items()
    }


def label_text(value: Any) -> str:
    """A label as text: 1, 1.0, True and "1" are the same class; missing is ""."""
    if value is None or value != value:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(int(value)) if isinstance(value, bool | np.bool_) else str(value)


def as_numbers(values: Sequence[Any]) -> np.ndarray | None:
    """The values as float64, what is missing ("", None) as NaN; None where one is no number.

    Example:
      >>> as_numbers(["1.5", "", 2]), as_numbers(["1", "red"])
      (array([1.5, nan, 2. ]), None)
    """
    try:
        return np.array([np.nan if v is None or v == "" else float(v) for v in values], np.float64)
    except (TypeError, ValueError, OverflowError):  # of whole numbers beyond 1e308
        return None
