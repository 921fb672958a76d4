"""`jaxlab.data.vectors`, `own_classes`: tables and arrays with labels, scaled by what the training
rows say, and the errors that name column and row."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxlab import data
from jaxlab.data.vectors import load_vectors

SPECIES = ("setosa", "versicolor")


def write(path, rows, names=("length", "colour", "species")):
    path.write_text("\n".join(",".join(map(str, row)) for row in (names, *rows)))
    return path


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        (f"{rng.normal(3, 2):.4f}", ("red", "blue")[i % 3 > 0], SPECIES[i % 2]) for i in range(40)
    ]
    return write(tmp_path / "a.csv", rows)


def test_numbers_are_scaled_and_words_one_hot(table, tmp_path):
    found = load_vectors("csv", table, label_column="species", shares=(0.2, 0.1))
    assert found.class_names == SPECIES
    assert found.sizes == "3 features: 1 number, 2 words of colour"
    train, validation, test = (found.splits[s] for s in ("train", "validation", "test"))
    assert [len(x["x"]) for x in (train, validation, test)] == [28, 8, 4]
    assert [np.bincount(x["label"]).tolist() for x in (train, validation)] == [[14, 14], [4, 4]]
    assert train["x"].dtype == np.float32
    np.testing.assert_allclose(train["x"][:, 0].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(train["x"][:, 0].std(), 1, rtol=1e-5)
    every = np.concatenate([x["x"] for x in (train, validation, test)])
    np.testing.assert_array_equal(every[:, 1:].sum(1), 1)
    rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
    assert sorted(every[:, 1].tolist()) == sorted(float(row[1] == "blue") for row in rows)
    # The order of numbers is kept, whatever the split.
    raw = sorted(float(row[0]) for row in rows)
    clipped = np.sort(every[:, 0])
    assert np.all(np.diff(clipped) >= 0)
    assert np.corrcoef(raw, clipped)[0, 1] > 0.99


def test_a_word_of_no_training_row_is_zeros_and_counted(tmp_path):
    write(tmp_path / "train.csv", [(i, "red", i % 2) for i in range(8)])
    write(tmp_path / "dev.csv", [(1, "green", 0), (2, "red", 1)])
    write(tmp_path / "test.csv", [(1, "red", 0), (2, "green", 1)])
    sets = data.load_classification(
        "csv", seed=0, path=str(tmp_path), label_column="species", num_test=None
    )
    assert sets.test["x"][:, 1].tolist() == [1.0, 0.0]
    assert sets.found.lines()[0].endswith(
        "2 features: 1 number, 1 words of colour; left out: 2 words that no training row has (0 in "
        "all columns)"
    )
    assert sets.class_names == ("0", "1")
    write(tmp_path / "test.csv", [(1, "red", 0), ("3 cm", "red", 1)])
    with pytest.raises(ValueError, match=r"test\.csv, row 2: column 'length' is '3 cm', must be a"):
        load_vectors("csv", tmp_path, label_column="species")


def test_every_format_of_vectors_gives_the_same(table, tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(table)
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "a.parquet")
    frame["length"] = [[x, 2 * x] for x in frame.length]
    frame.to_parquet(tmp_path / "lists.parquet")
    load = lambda name, path: load_vectors(name, path, label_column="species").splits["test"]
    one = load("csv", table)
    for name in ("jsonl", "parquet"):
        for key, values in load(name, tmp_path / f"a.{name}").items():
            np.testing.assert_array_equal(values, one[key])
    lists = load("parquet", tmp_path / "lists.parquet")["x"]
    np.testing.assert_allclose(lists[:, [0, 2, 3]], one["x"])
    np.testing.assert_allclose(lists[:, 1], lists[:, 0])
    only = load_vectors("csv", table, label_column="species", feature_columns=("length",))
    np.testing.assert_array_equal(only.splits["test"]["x"], one["x"][:, :1])


def test_npz_of_numbers(tmp_path):
    x = np.random.default_rng(1).normal(size=(30, 4))
    words = np.array(SPECIES)[np.arange(30) % 2]
    np.savez(tmp_path / "a.npz", x=x, y=words)
    np.savez(
        tmp_path / "b.npz", x_train=x[:20], y_train=words[:20], x_test=x[20:], y_test=words[20:]
    )
    one = data.load_classification("npz", tmp_path, seed=0, path="a.npz")
    assert [len(s["x"]) for s in (one.train, one.validation, one.test)] == [24, 3, 3]
    assert one.class_names == SPECIES
    two = data.load_classification("npz", seed=3, path=str(tmp_path / "b.npz"))
    assert [len(s["x"]) for s in (two.train, two.validation, two.test)] == [18, 2, 10]
    assert two.test["label"].tolist() == [0, 1] * 5
    again = data.load_classification("npz", seed=4, path=str(tmp_path / "b.npz"))
    np.testing.assert_array_equal(two.train["x"], again.train["x"])
    x[3, 2] = np.nan
    np.savez(tmp_path / "a.npz", x=x, y=words)
    with pytest.raises(ValueError, match=r"a\.npz, x: row 4, number 3 is nan"):
        data.load_classification("npz", tmp_path, seed=0, path="a.npz")


def test_pictures_with_labels(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["file,kind"]
    for i in range(40):
        place = tmp_path / "folder" / SPECIES[i % 2] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8)).save(place)
        lines.append(f"{place},{SPECIES[i % 2]}")
    (tmp_path / "a.csv").write_text("\n".join(lines))
    sets = data.load_classification("folder", tmp_path / "folder", seed=0, image_size=4, noise=0.5)
    assert sets.train["x"].shape == (32, 4, 4, 3)
    assert sets.class_names == SPECIES
    assert sets.found.splits["test"] == {"examples": 4, "classes": dict.fromkeys(SPECIES, 2)}
    table = data.load_classification(
        "csv",
        seed=0,
        path=str(tmp_path / "a.csv"),
        image_column="file",
        label_column="kind",
        channels=1,
    )
    assert table.test["x"].shape == (4, 5, 5, 1)
    np.savez(tmp_path / "a.npz", images=np.zeros((9, 4, 4), np.uint8) + 9)
    with pytest.raises(ValueError, match="has no labels: needs a folder for each class"):
        data.load_classification("npz", tmp_path, seed=0, path="a.npz")


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({5: "3,,setosa"}, {}, r"a\.csv, row 5: column 'colour' has no value"),
        ({5: "NA,red,setosa"}, {}, r"a\.csv, row 5: column 'length' has no value \('NA'\)"),
        ({5: "inf,red,setosa"}, {}, r"a\.csv, row 5: column 'length' is 'inf', must be a finite"),
        ({5: "3 cm,red,setosa"}, {}, r"row 5: column 'length' is '3 cm' and has 32 different val"),
        ({5: "3,red,"}, {}, r"a\.csv, row 5: column 'species' has no label"),
        ({5: "3,red,other"}, {}, r"row 5: label 'other' is in no training row, which have setosa"),
        (
            dict.fromkeys((1, 2, 3), "3,red,other"),
            {},
            r"the \w+ split has no example of class other",
        ),
        (
            {},
            {"label_column": "kind"},
            "label_column is 'kind', .* columns length, colour, species",
        ),
        ({}, {"label_column": None}, "data.label_column is 'label', .* has the columns length"),
        ({}, {"feature_columns": ("size",)}, "feature_columns is 'size', .* columns length"),
        (
            {},
            {"feature_columns": ("species",)},
            "feature_columns has 'species', which is the label",
        ),
        ({}, {"image_size": 4}, r"data.image_size is 4, csv holds vectors \(pictures need"),
        ({}, {"path": None}, "data.path is None, csv needs a file or a folder"),
        ({}, {"path": "b.csv"}, r"data.path is 'b\.csv': no such file"),
        ({}, {"shares": (0.0, 0.1)}, "no validation examples, data.shares is"),
        ({}, {"num_test": 99}, "num_test is 99, csv has 4 test examples"),
    ],
)
def test_errors_name_column_and_row(change, arguments, message, table):
    lines = table.read_text().splitlines()
    for row, line in change.items():
        lines[row] = line
    table.write_text("\n".join(lines))
    arguments = {"path": str(table), "label_column": "species", **arguments}
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        data.load_classification("csv", seed=0, **arguments)
    assert "\n" not in str(caught.value)


def test_known_sets_take_no_columns():
    with pytest.raises(ValueError, match=r"data\.path is 'a\.csv', sinusoid takes none"):
        data.load_classification("sinusoid", seed=0, path="a.csv")


def test_what_was_found_of_known_sets():
    found = data.load_classification("sinusoid", seed=0, num_train=20, num_test=9).found
    assert found.splits["train"]["examples"] == 20
    assert sum(found.splits["test"]["classes"].values()) == 9
    json.dumps(found.splits)


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_0__"])
def test_the_index_that_pandas_writes_is_no_feature(name, tmp_path):
    """The rows of many sets lie in the order of their classes, which an index would tell."""
    rows = [(i, i * 7 % 5, i // 20) for i in range(40)]
    path = write(tmp_path / "a.csv", rows, (name, "size", "label"))
    found = load_vectors("csv", path)
    assert found.sizes == "1 features: 1 number"
    assert found.left_out["columns without a name (an index)"] == 1
    asked = load_vectors("csv", path, feature_columns=(name, "size"))
    assert asked.sizes == "2 features: 2 numbers"


def test_a_column_of_names_or_dates_is_an_error_not_a_feature_for_each_row(tmp_path):
    path = write(tmp_path / "a.csv", [(f"d{i}", i, i % 2) for i in range(60)], ("d", "n", "label"))
    with pytest.raises(ValueError, match=r"'d' is 'd0' and has 48 different .* at most 24 words"):
        load_vectors("csv", path)


@pytest.mark.parametrize("number", [10**400, 1e300])
def test_numbers_whose_squares_are_none(number, tmp_path):
    rows = [json.dumps({"n": number if i == 3 else i, "label": i % 2}) for i in range(40)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(rows))
    with pytest.raises(ValueError, match=r"'n' is '1[0e+]*.*', must be a finite number, at most 3"):
        load_vectors("jsonl", path, shares=(0.1, 0.1))
    np.savez(tmp_path / "a.npz", x=[[1.0, 1e300]], y=[0])
    with pytest.raises(ValueError, match=r"row 1, number 2 is 1e\+300, must be a finite number"):
        load_vectors("npz", tmp_path / "a.npz")


def test_one_class_is_nothing_to_classify(tmp_path):
    path = write(tmp_path / "a.csv", [(i, "x") for i in range(40)], ("n", "label"))
    with pytest.raises(ValueError, match="all labels are x: a classifier needs two classes"):
        data.load_classification("csv", seed=0, path=str(path))


def test_class_numbers_are_counted_only_up_to_a_bound(tmp_path):
    images = np.arange(64, dtype=np.uint8).reshape(4, 4, 4)
    np.savez(tmp_path / "a.npz", x=images, y=[0, 1, 2, 2 * 10**9])
    with pytest.raises(ValueError, match="class numbers need to be from 0 to 1048575"):
        data.load("npz", path=str(tmp_path / "a.npz"))
