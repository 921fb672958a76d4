"""`--pretrained`: the folder of a trained model, by name or by path."""

import json

import pytest

from jaxlab.launch import UsageError, record


def test_a_name_of_the_repository_or_a_folder(tmp_path, monkeypatch):
    for name in ("digits", "shirts"):
        folder = tmp_path / "pretrained" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"config": {}}))
    monkeypatch.setattr(record, "ROOT", tmp_path)
    assert record.pretrained("digits") == tmp_path / "pretrained" / "digits"
    other = tmp_path / "own"
    other.mkdir()
    with pytest.raises(UsageError, match=r"'.*own'.* or one of digits, shirts"):
        record.pretrained(str(other))
    (other / "config.json").write_text("{}")
    assert record.pretrained(str(other)) == other
    with pytest.raises(UsageError, match="'cats', must be"):
        record.pretrained("cats")


def test_without_any_the_message_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "ROOT", tmp_path)
    with pytest.raises(UsageError, match="there is no folder pretrained"):
        record.pretrained("digits")
