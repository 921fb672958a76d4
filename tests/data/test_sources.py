"""`jaxlab.data.sources`, `jaxlab.data.formats.rows`: tables in every format, splits, one-line
errors. pandas, pyarrow and `datasets` write what is read."""

import gzip
import sys

import numpy as np
import pytest

from jaxlab.data import Found, load_rows, read_rows
from jaxlab.data.sources import Rows, count_classes, number_labels

TEXTS = ['said "yes"', "a, b", "né\u2028x", "plain"]
LABELS = [1, 0, 1, 0]


@pytest.fixture
def frame():
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({"text": TEXTS, "label": LABELS})


def test_every_format_gives_the_same_rows(frame, tmp_path):
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t", encoding="utf-16")
    frame.to_csv(tmp_path / "b.csv", index=False, sep=";")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    frame.to_json(tmp_path / "a.json", orient="records")
    frame.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    for file in ("a.csv", "b.csv", "a.csv.gz", "a.tsv", "a.jsonl", "a.json", "a.parquet"):
        name = {"json": "jsonl"}.get(file.split(".")[1], file.split(".")[1])
        found = read_rows(tmp_path / file, name)
        assert found.columns["text"] == TEXTS, file
        assert [int(x) for x in found.columns["label"]] == LABELS, file
        assert list(read_rows(tmp_path / file, name, ["label"]).columns) == ["label"]


def test_quotes_of_a_tsv_may_be_characters(tmp_path):
    """As in the TSV files of GLUE: a quote that never ends, and two that would join lines."""
    for body in ('"never\t1\nb\t0\n', 'a\t"b\nc\td"\n'):
        (tmp_path / "a.tsv").write_text("x\ty\n" + body)
        found = read_rows(tmp_path / "a.tsv", "tsv")
        assert list(zip(*found.columns.values(), strict=True)) == [
            tuple(line.split("\t")) for line in body.splitlines()
        ]


def test_quoted_line_ends_of_a_tsv(tmp_path):
    (tmp_path / "a.tsv").write_text('x\ty\n1\t"two\nlines, and ""quotes"""\n2\tb\n')
    found = read_rows(tmp_path / "a.tsv", "tsv")
    assert found.columns == {"x": ["1", "2"], "y": ['two\nlines, and "quotes"', "b"]}


def test_saved_sets(tmp_path):
    datasets = pytest.importorskip("datasets")
    label = datasets.ClassLabel(names=["no", "yes"])
    features = datasets.Features({"text": datasets.Value("string"), "label": label})
    part = lambda labels: datasets.Dataset.from_dict(
        {"text": TEXTS, "label": labels}, features=features
    )
    whole = datasets.DatasetDict(
        {"train": part(LABELS), "validation_matched": part(LABELS), "test": part([-1] * 4)}
    )
    whole.save_to_disk(str(tmp_path / "set"))
    found = load_rows("hf", "set", data_dir=tmp_path)
    assert list(found) == ["train", "validation", "test"]
    assert found["train"].columns == {"text": TEXTS, "label": ["yes", "no", "yes", "no"]}
    assert found["test"].columns["label"] == [None] * 4
    whole["train"].to_parquet(str(tmp_path / "a.parquet"))
    assert read_rows(tmp_path / "a.parquet", "parquet").columns == found["train"].columns
    with pytest.raises(ValueError, match=r"config_name is 'a', .* is a saved set"):
        load_rows("hf", tmp_path / "set", config_name="a")
    with pytest.raises((ValueError, FileNotFoundError), match="cannot read it"):
        load_rows("hf", str(tmp_path / "no" / "such" / "set"))


def write(path, rows):
    path.write_text("n,label,g\n" + "".join(f"{n},{label},{g}\n" for n, label, g in rows))


def test_shares_are_exact_stratified_and_disjoint(tmp_path):
    write(tmp_path / "a.csv", [(i, "rare" if i % 10 == 0 else "often", i // 5) for i in range(200)])
    for seed in (0, 1):
        found = load_rows(
            "csv",
            str(tmp_path / "a.csv"),
            shares=(0.2, 0.1),
            label_column="label",
            split_seed=seed,
        )
        counts = {s: (len(r), r.columns["label"].count("rare")) for s, r in found.items()}
        assert counts == {"train": (140, 14), "validation": (40, 4), "test": (20, 2)}
        assert sorted(int(n) for r in found.values() for n in r.columns["n"]) == list(range(200))
    other = load_rows("csv", tmp_path / "a.csv", shares=(0.2, 0.1), label_column="label")
    assert other["test"].columns["n"] != found["test"].columns["n"]
    grouped = load_rows("csv", tmp_path / "a.csv", group_column="g", shares=(0.2, 0.0))
    assert set(grouped) == {"train", "validation"}
    groups = [set(rows.columns["g"]) for rows in grouped.values()]
    assert not groups[0] & groups[1]
    assert len(grouped["validation"]) == 40


def test_files_of_splits(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    write(folder / "train-00000-of-00002.csv", [(i, "a", 0) for i in range(6)])
    write(folder / "train-00001-of-00002.csv", [(i, "b", 0) for i in range(6, 10)])
    write(folder / "Testing.csv", [(99, "a", 0)])
    found = load_rows("csv", "set", data_dir=tmp_path, shares=(0.5, 0.5 - 1e-9))
    assert {split: len(rows) for split, rows in found.items()} == {
        "train": 5,
        "validation": 5,
        "test": 1,
    }
    three = (str(folder / "train-00001-of-00002.csv"), "", str(folder / "Testing.csv"))
    found = load_rows("csv", three, shares=(0.25, 0.1))
    assert {split: len(rows) for split, rows in found.items()} == {
        "train": 3,
        "validation": 1,
        "test": 1,
    }
    named = load_rows("csv", {"train": three[0], "validation": three[2]}, shares=(0.0, 0.25))
    assert [len(rows) for rows in named.values()] == [3, 1, 1]
    (folder / "train.csv").write_text("n\n1\n")
    with pytest.raises(ValueError, match="both hold the train split"):
        load_rows("csv", folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("csv", "a,b\n1,2\n3\n", r"a\.csv, line 3: 1 fields, \['3'\], needs 2"),
        ("csv", 'a,b\n1,"x\n', r"a\.csv, line 2: no table \("),
        ("csv", "a,a\n1,2\n", "line 1: .*names of columns that differ"),
        ("csv", "a,b\n", "holds no row"),
        ("csv", b"a\n\xff\n", "not text in UTF-8"),
        ("jsonl", '{"a": 1}\n{"a": \n', r"line 2 is not JSON"),
        ("jsonl", '{"a": 1}\n3\n', r"line 2: '3', needs a JSON object"),
        ("parquet", "PAR1", "not a readable Parquet file"),
    ],
)
def test_damaged_tables(name, content, message, tmp_path):
    if name == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"a.{name}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        read_rows(path, name)


def test_arguments(tmp_path):
    write(tmp_path / "a.csv", [(i, "a", 0) for i in range(4)])
    load = lambda *args, **kwargs: load_rows(*args, data_dir=tmp_path, **kwargs)
    for error, message, args, kwargs in (
        (ValueError, "data.name is 'xlsx', tables are csv, tsv", ("xlsx", "a.csv"), {}),
        (ValueError, "data.path is None, csv needs", ("csv", None), {}),
        (FileNotFoundError, r"data.path is 'b\.csv': no such file", ("csv", "b.csv"), {}),
        (FileNotFoundError, r"no train\.csv, .* it has a\.csv", ("csv", tmp_path), {}),
        (ValueError, "group_column is 'h', .*columns n, label, g", ("csv", "a.csv"), "h"),
        (ValueError, "none is left for validation", ("csv", "a.csv"), {}),
        (ValueError, "shares is 0.1, must be two", ("csv", "a.csv"), {"shares": 0.1}),
        (ValueError, "leaves no training rows", ("csv", "a.csv"), {"shares": (0.5, 0.5)}),
        (ValueError, "config_name is 'x', csv has none", ("csv", "a.csv"), {"config_name": "x"}),
        (ValueError, "must be one path, or those of", ("csv", {"tset": "a.csv"}), {}),
    ):
        kwargs = {"group_column": kwargs} if isinstance(kwargs, str) else kwargs
        with pytest.raises(error, match=message):
            load(*args, **kwargs)


def test_missing_packages(tmp_path, monkeypatch):
    for package in ("datasets", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "a.parquet").write_text("")
    with pytest.raises(ModuleNotFoundError, match=r"jaxlab-research\[datasets\]"):
        load_rows("hf", "glue", config_name="sst2")
    with pytest.raises(ModuleNotFoundError, match=r"jaxlab-research\[datasets\]"):
        read_rows(tmp_path / "a.parquet", "parquet")


def test_found_says_it_in_two_lines():
    many = {str(i): i + 1 for i in range(12)}
    splits = {
        "train": {"examples": 78, "classes": many},
        "test": {"examples": 1000, "classes": None},
    }
    found = Found("folder", "pics", splits, "28x28x1", {"hidden": 2, "repeated": 0})
    assert found.lines() == [
        "data: folder, pics: 28x28x1; left out: 2 hidden",
        "data: train 78 (12 classes of 1 (0) to 12 (11)), test 1,000",
    ]
    assert count_classes(np.array([1, 1]), ("a", "b", "c")) == {"a": 0, "b": 2, "c": 0}


def test_labels_are_numbered_by_the_training_rows():
    train = Rows({"y": [10.0, 9, True, "9"]}, "a.jsonl")
    test = Rows({"y": ["1", None]}, "b.csv").take([1, 0])
    names, labels = number_labels({"train": train, "test": test}, "y", hidden=True)
    assert names == ("1", "9", "10")
    assert labels["train"].tolist() == [2, 1, 0, 1]
    assert labels["test"].tolist() == [-1, 0]
    with pytest.raises(ValueError, match=r"b\.csv, row 2: column 'y' has no label"):
        number_labels({"train": train, "test": test}, "y")
    with pytest.raises(
        ValueError, match=r"b\.csv, row 1: label '2' is in no training row, .* 9, 10"
    ):
        number_labels({"train": train, "test": Rows({"y": ["2"]}, "b.csv")}, "y")
    words = Rows({"y": ["10", "9", "b"]}, "c.csv")
    assert number_labels({"train": words}, "y")[0] == ("10", "9", "b")


def test_classes_that_are_equal_numbers_are_in_the_order_of_their_texts():
    """The order of a set of texts, which differs between processes, must not show."""
    names = ["1", "01", "1.0", "001", "10", "9"]
    found = number_labels({"train": Rows({"y": names}, "a.csv")}, "y")[0]
    assert found == ("001", "01", "1", "1.0", "9", "10")
    found = number_labels({"train": Rows({"y": ["nan", "2", "10"]}, "a")}, "y")[0]
    assert found == ("10", "2", "nan")
