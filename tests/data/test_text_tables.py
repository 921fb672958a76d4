"""Texts of one's own and of tasks: columns, pairs, labels, splits, and what is refused."""

import csv
import json

import numpy as np
import pytest

from jaxlab.data import text
from jaxlab.data.text_tasks import TASKS, read_task

NAMES = ("train", "validation", "test")


def table(path, rows, kind="csv"):
    """Writes rows as a table whose columns stand in the order of the first row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if kind == "tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return path


def reviews(count=40, words=("bad", "good"), **more):
    return [{"stars": words[i % 2], "id": i, "review": f"film, {i}", **more} for i in range(count)]


COLUMNS = {"text_column": "review", "label_column": "stars"}


def test_a_file_is_split_and_labels_are_words_or_numbers(tmp_path):
    found = {}
    for kind, words in (("csv", ("bad", "good")), ("tsv", (0, 1)), ("jsonl", (7, 11))):
        path = table(tmp_path / f"a.{kind}", reviews(words=words), kind)
        sets, seen = text.load_texts(kind, path=str(path), **COLUMNS)
        assert [len(sets[s]) for s in NAMES] == [32, 4, 4]
        assert sets["train"].label_names == tuple(map(str, words))
        number = [int(t.split()[1]) % 2 for t in sets["test"].texts]
        assert sets["test"].labels.tolist() == number
        assert seen.splits["test"]["classes"] == {str(w): 2 for w in words}  # by class
        found[kind] = [sorted(sets[s].texts) for s in NAMES]
    assert found["csv"] == found["tsv"] == found["jsonl"]
    one = text.load_text("csv", split="test", path=str(tmp_path / "a.csv"), limit=2, **COLUMNS)
    assert len(one) == 2


def test_repeated_texts_of_a_file_are_on_one_side(tmp_path):
    rows = reviews(40) + reviews(40) + [{"stars": "bad", "id": 0, "review": "Film,  1 "}]
    path = str(table(tmp_path / "a.csv", rows))
    sets, seen = text.load_texts("csv", path=path, **COLUMNS)
    texts = [t for s in NAMES for t in sets[s].texts]
    assert len(texts) == len(set(texts)) == 39  # "film, 1" has two labels
    assert sum(seen.left_out.values()) == 42
    assert "42 texts, which are empty, repeated or have two labels" in seen.lines()[0]


def test_files_of_splits_are_taken_as_they_are_and_pairs_stay_together(tmp_path):
    rows = [{"b": f"b {i}", "label": "yn"[i % 2], "a": f"a {i % 3}"} for i in range(8)]
    for name, part in (("train", rows), ("dev", rows[:4] + rows[:2]), ("test", rows[:3])):
        part = [
            {k: v for k, v in r.items() if k != "label"} for r in part if name == "test"
        ] or part
        table(tmp_path / f"{name}.tsv", part, "tsv")
    options = {"path": str(tmp_path), "text_column": "a", "pair_column": "b"}
    sets, seen = text.load_texts("tsv", **options)
    assert [len(sets[s]) for s in NAMES] == [8, 6, 6]  # the test file has no labels
    assert seen.left_out == {"test rows, which have no labels": 3}
    assert seen.sizes.startswith("pairs of 6 to 6 characters")
    for a, b, label in zip(
        sets["test"].texts, sets["test"].pairs, sets["test"].labels, strict=True
    ):
        number = int(b.split()[1])
        assert (a, "ny"[label]) == (f"a {number % 3}", "yn"[number % 2])
    assert len(sets["train"].first(3).pairs) == 3


def test_numbers_to_predict(tmp_path):
    rows = [{"text": f"t {i}", "label": i / 8} for i in range(30)]
    path = str(table(tmp_path / "a.csv", rows))
    sets, _ = text.load_texts("csv", path=path, regression=True)
    part = sets["train"]
    assert (part.label_names, part.labels.dtype) == ((), np.float32)
    assert part.labels.tolist() == [int(t.split()[1]) / 8 for t in part.texts]
    with pytest.raises(ValueError, match=r"labels are numbers such as 0\.\d+: data\.regression"):
        text.load_texts("csv", path=path)
    path = str(table(tmp_path / "b.csv", [*rows, {"text": "t", "label": "many"}]))
    with pytest.raises(ValueError, match=r"b.csv, row 31: label 'many', regression needs numbers"):
        text.load_texts("csv", path=path, regression=True)
    path = str(table(tmp_path / "c.csv", [*rows, {"text": "t", "label": "inf"}]))
    with pytest.raises(ValueError, match=r"c.csv, row 31: label 'inf', regression needs numbers"):
        text.load_texts("csv", path=path, regression=True)


def three(tmp_path, **parts):
    for name, rows in {"train": reviews(8), "dev": reviews(4), **parts}.items():
        table(tmp_path / f"{name}.csv", rows)
    return str(tmp_path)


def test_what_is_wrong_is_one_line(tmp_path, caplog):
    path = three(tmp_path / "a")
    with pytest.raises(
        ValueError, match=r"text_column is 'text', .*train.csv has the columns stars"
    ):
        text.load_texts("csv", path=path, label_column="stars")
    path = three(tmp_path / "b", dev=reviews(4, ("bad", "fine")))
    with pytest.raises(
        ValueError, match=r"dev.csv, row 2: label 'fine' is in no training row, .*bad"
    ):
        text.load_texts("csv", path=path, **COLUMNS)
    path = three(tmp_path / "c", **dict.fromkeys(("train", "dev"), reviews(20, ("bad", "bad"))))
    with pytest.raises(ValueError, match=r"labels are bad, 1 in all, must be classes, at least 2"):
        text.load_texts("csv", path=path, **COLUMNS)
    with pytest.raises(FileNotFoundError, match=r"data.path is 'nowhere': no such file"):
        text.load_texts("csv", path="nowhere", **COLUMNS)
    with pytest.raises(ValueError, match=r"text set is 'glue/sst3', known are .*glue/sst2.*csv"):
        text.load_texts("glue/sst3", path="x", pair_column="b")
    with pytest.raises(ValueError, match=r"data.pair_column is 'b', 'headlines' has its own"):
        text.load_texts("headlines", pair_column="b")
    with pytest.raises(ValueError, match=r"data.path is 'x', 'headlines' is a set of the data"):
        text.load_texts("headlines", path="x")
    path = three(tmp_path / "d", dev=reviews(4, ("bad", "bad")))
    with caplog.at_level("WARNING"):
        text.load_texts("csv", path=path, **COLUMNS)
    assert "the validation rows have none of class good" in caplog.text


FILES = {  # as GLUE and CLUE hand them out
    "glue/cola": ("train.tsv", ["gj04\t1\t\tOur friends won.", "gj04\t0\t*\tThe \"more."]),
    "glue/mrpc": ("msr_paraphrase_train.txt", [
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String", "1\t7\t8\tHe \"said\t\"He\" said",
        "0\t7\t8\tRain\tSun"]),
    "glue/stsb": ("train.tsv", [
        "index\tgenre\tsentence1\tsentence2\tscore", "0\tx\tA plane\tAn air plane\t5.000",
        "1\tx\tA man\tA dog\t0.25"]),
    "glue/mnli": ("train.tsv", [
        "index\tgenre\tsentence1\tsentence2\tlabel1\tgold_label",
        "0\tx\tIt rains\tIt is wet\tneutral\tentailment", "1\tx\tSun\tRain\tneutral\tcontradiction",
        "2\tx\tSun\tRain\tneutral\t-"]),
    "clue/iflytek": ("train.json", [
        '{"label": "11", "label_des": "薅羊毛", "sentence": "一"}',
        '{"label": "2", "label_des": "打车", "sentence": "二"}']),
    "clue/afqmc": ("train.json", ['{"sentence1": "一", "sentence2": "二", "label": "0"}',
                                  '{"sentence1": "一", "sentence2": "三", "label": "1"}']),
}  # fmt: skip
READ = {
    "glue/cola": ([("Our friends won.", None, 1), ('The "more.', None, 0)], TASKS["glue/cola"]),
    "glue/mrpc": ([('He "said', '"He" said', 1), ("Rain", "Sun", 0)], TASKS["glue/mrpc"]),
    "glue/stsb": ([("A plane", "An air plane", 5.0), ("A man", "A dog", 0.25)], None),
    "glue/mnli": ([("It rains", "It is wet", 0), ("Sun", "Rain", 2)], TASKS["glue/mnli"]),
    "clue/iflytek": ([("一", None, 1), ("二", None, 0)], None),
    "clue/afqmc": ([("一", "二", 0), ("一", "三", 1)], TASKS["clue/afqmc"]),
}


@pytest.mark.parametrize("name", FILES)
def test_original_files_of_tasks(tmp_path, name):
    file, lines = FILES[name]
    folder = tmp_path / name  # where the data folder has it
    folder.mkdir(parents=True)
    dev = {"train.json": "dev.json", "train.tsv": "dev.tsv"}.get(file, "dev.tsv")
    for place in (file, dev if name != "glue/mnli" else "dev_matched.tsv"):
        (folder / place).write_text("\n".join(lines) + "\n")
    sets, found = text.load_texts(name, tmp_path)
    wanted, task = READ[name]
    part = sets["test"]  # of the validation set
    pairs = part.pairs or [None] * len(part)
    assert sorted(zip(part.texts, pairs, part.labels.tolist(), strict=True), key=str) == sorted(
        wanted, key=str
    )
    if task is not None:
        assert part.label_names == task.label_names
    assert found.left_out == ({"rows without a label": 2} if name == "glue/mnli" else {})
    if name == "clue/iflytek":
        assert part.label_names == ("打车", "薅羊毛")


def test_a_task_that_cannot_be_had_says_where_it_may_be(tmp_path, monkeypatch):
    from jaxlab.data import text_tasks

    def unreachable(*_):
        raise ValueError("data.path is 'nyu-mll/glue': `datasets` cannot read it (offline)")

    monkeypatch.setattr(text_tasks, "InputError", ValueError)
    monkeypatch.setattr(text_tasks, "read_saved", unreachable)
    with pytest.raises(
        ValueError, match=r"offline\); a folder with the original files of glue/rte"
    ):
        read_task("glue/rte", None, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no train.tsv or train.json of glue/rte"):
        read_task("glue/rte", str(tmp_path / "empty"))


def test_a_saved_set_of_the_hub_is_a_task(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "sentence": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["negative", "positive"]),
        }
    )
    make = lambda labels: datasets.Dataset.from_dict(
        {"sentence": [f"s {i}" for i in range(len(labels))], "label": labels}, features=features
    )
    parts = {"train": make([0, 1, 1]), "validation": make([1, 0]), "test": make([-1, -1])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "sst2")
    sets, _ = text.load_texts("glue/sst2", path=str(tmp_path / "sst2"))
    assert sets["test"].label_names == ("negative", "positive")
    assert dict(zip(sets["test"].texts, sets["test"].labels, strict=True)) == {"s 0": 1, "s 1": 0}


def test_pairs_become_tokens_of_two_types():
    wordpiece = pytest.importorskip("jaxlab.data.wordpiece")
    pytest.importorskip("tokenizers")
    from jaxlab.data.pipelines.buckets import text_eval_batches, text_pipeline

    tokenizer = wordpiece.train_wordpiece(["red sun blue sea"] * 9, 60)
    pairs = text.TextSet(
        ["red", "red sun blue sea"], np.array([0.5, 2], np.float32), (), ["sun", "blue sea"]
    )
    tokens = text.encode(pairs, tokenizer, max_length=9)
    assert [x.tolist() for x in tokens.type_ids] == [[0, 0, 0, 1, 1], [0] * 6 + [1] * 3]
    assert tokenizer.decode(tokens.ids[1]) == "red sun blue sea blue sea"
    cut = text.encode(pairs, tokenizer, max_length=6, truncate=True)
    assert (
        tokenizer.decode(cut.ids[1], skip_special_tokens=False) == "[CLS] red sun [SEP] blue [SEP]"
    )
    assert cut.type_ids[1].tolist() == [0, 0, 0, 0, 1, 1]
    assert tokenizer.truncation is None
    with pytest.raises(ValueError, match="text 1 has 9 tokens"):
        text.encode(pairs, tokenizer, max_length=6)
    assert "types" in tokens.arrays
    (batch,) = text_eval_batches(tokens, 2, buckets=(12,))
    assert batch["token_type_ids"].sum(1).tolist() == [2, 3]
    assert batch["label"].tolist() == [0.5, 2]
    assert set(next(text_pipeline(tokens, 2, buckets=(12,), seed=0))) == {*batch} - {
        "mask",
        "index",
    }
