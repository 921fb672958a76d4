"""`jaxlab.studies.cells`: keys, which cells are done, and their records."""

import dataclasses
import hashlib
import json

import ml_collections
import numpy as np
import pytest

from jaxlab.errors import InputTypeError
from jaxlab.studies import cells

GOOD, POOR = {"steps": [0, 1], "loss": 0.5}, {"steps": [0], "loss": 0.75}


def read(folder):
    return cells.read_lines(folder, {"steps": list, "loss": float})


@pytest.fixture
def cell(tmp_path):
    return cells.Cell(tmp_path, 5, {"seed": 0, "data": {"x": {"crc32": 7}}})


def test_a_cell_is_done_once_its_record_has_its_key(cell):
    assert cells.finished(cell) is None
    cells.finish(cell, {"loss": 0.25, "name": "a"})
    want = {"num_steps": 5, "loss": 0.25, "name": "a", "key": cell.key}
    assert cells.finished(cell) == cells.read_result(cell.folder) == want
    assert [path.name for path in cell.folder.iterdir()] == ["result.json"]
    assert json.loads((cell.folder / "result.json").read_text()) == want
    assert (cell.folder / "result.json").read_text().endswith("\n}\n")


def test_the_key_depends_on_all_but_the_folder(cell, tmp_path):
    first = dataclasses.replace(cell, folder=tmp_path / "b", needs=(cell,))
    others = [
        dataclasses.replace(cell, folder=tmp_path / "other"),
        dataclasses.replace(cell, num_steps=6),
        dataclasses.replace(cell, depends={**cell.depends, "seed": 1}),
        dataclasses.replace(cell, depends={**cell.depends, "data": {"x": {"crc32": 8}}}),
        first,
        dataclasses.replace(first, needs=(dataclasses.replace(cell, num_steps=6),)),
    ]
    assert others[0].key == cell.key
    assert len({one.key for one in others}) == len(others)


def test_other_settings_are_an_error_unless_allowed(cell):
    cells.finish(cell, {"loss": 0.25})
    longer = dataclasses.replace(cell, num_steps=6)
    for allow in (False, True):
        with pytest.raises(ValueError, match=r"was trained for 5 steps, the config has 6: choose"):
            cells.finished(longer, allow_change=allow)
    other = dataclasses.replace(cell, depends={"seed": 1})
    with pytest.raises(ValueError, match=r"was trained with other settings: choose another --work"):
        cells.finished(other)
    assert cells.finished(other, allow_change=True)["loss"] == 0.25


def test_a_record_of_an_earlier_version_counts(cell):
    (cell.folder / "result.json").write_text('{"num_steps": 5, "loss": 0.5}')
    assert cells.finished(cell) == {"num_steps": 5, "loss": 0.5}
    with pytest.raises(ValueError, match="5 steps, the config has 6"):
        cells.finished(dataclasses.replace(cell, num_steps=6))


@pytest.mark.parametrize("text", ["", '{"num_steps": 5', "[5]", '{"loss": 1.0}'])
def test_a_damaged_record_is_an_error(cell, text):
    (cell.folder / "result.json").write_text(text)
    with pytest.raises(ValueError, match=r"result.json is damaged: delete it"):
        cells.finished(cell)


def test_what_a_finished_cell_left_can_be_made_again(tmp_path):
    match = r"nowhere.*delete .*, and the same command trains it again"
    with pytest.raises(ValueError, match=match), cells.reading(tmp_path):
        open("/nowhere")  # noqa: SIM115
    with pytest.raises(KeyError), cells.reading(tmp_path):  # an error of ours stays one
        raise KeyError("bug")


def test_a_name_depends_on_every_value_and_on_no_order():
    assert cells.key_of({"a": 1, "b": (2, 3)}) == cells.key_of({"b": [2, 3], "a": 1})
    names = {cells.key_of({"a": a, "b": b}) for a in (1, 2) for b in (1, 2)}
    assert {len(name) for name in names} == {16}
    assert len(names) == 4
    # Of records on people's disks: another name would train them all again.
    text = b'{"a": [2, 3], "b": 1}'
    assert cells.key_of({"b": 1, "a": (2, 3)}) == hashlib.sha256(text).hexdigest()[:16]


def test_records_survive_a_cut_line_and_nothing_else(tmp_path):
    cells.append_record(tmp_path, "a", GOOD)
    cells.append_record(tmp_path, "b", POOR)
    path = tmp_path / "results.jsonl"
    assert read(tmp_path) == {"a": GOOD, "b": POOR}
    whole = path.read_text()
    path.write_text(whole[:-30])
    assert read(tmp_path) == {"a": GOOD}
    cells.append_record(tmp_path, "b", POOR)  # what was cut is gone, so lines stay whole
    assert read(tmp_path) == {"a": GOOD, "b": POOR}
    path.write_text("nonsense\n" + whole)
    with pytest.raises(ValueError, match=r"results.jsonl line 1 is no record"):
        read(tmp_path)
    assert read(tmp_path / "empty") == {}
    assert json.loads(whole.splitlines()[0])["key"] == "a"


def test_a_record_without_its_newline_does_not_swallow_the_next(tmp_path):
    cells.append_record(tmp_path, "a", GOOD)
    path = tmp_path / "results.jsonl"
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    cells.append_record(tmp_path, "b", POOR)
    assert read(tmp_path) == {"a": GOOD, "b": POOR}


@pytest.mark.parametrize(
    "line", [b"\xff", b"[]", b"3", b'{"key": "a"}', b"[" * 9999, b'{"key": [1], "steps": []}']
)
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    (tmp_path / "results.jsonl").write_bytes(line + b"\n")
    with pytest.raises(ValueError, match=r"results\.jsonl line 1 is no record .*remove the line"):
        read(tmp_path)


def test_a_broken_line_in_the_middle_of_records_stays(tmp_path):
    for key in "abc":
        cells.append_record(tmp_path, key, GOOD)
    path = tmp_path / "results.jsonl"
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:-9] + b"\n" + third)
    with pytest.raises(ValueError, match=r"results\.jsonl line 2 is no record"):
        read(tmp_path)
    assert path.read_bytes() == first + second[:-9] + b"\n" + third
    path.write_bytes(first + third[:-9])
    assert set(read(tmp_path)) == {"a"}
    assert path.read_bytes() == first


def test_a_key_is_that_of_the_values():
    key = cells.key_of
    assert key({"a": np.float64(0.5), "b": np.array([1, 2])}) == key({"a": 0.5, "b": (1, 2)})
    sections = [ml_collections.ConfigDict({"base": {"width": width}}) for width in (1, 2)]
    assert key(sections[0].to_dict()) == key({"base": sections[0].base}) != key(dict(sections[1]))
    for wrong in ({1, 2}, object()):  # without an order, without a value
        with pytest.raises(InputTypeError, match=r"a setting has .*, must hold numbers, texts"):
            key({"a": wrong})
