"""`jaxlab.data.fetch.hub`: models of the hub by name: what is asked for, and one line where it
does not come."""

import sys
import types

import pytest

from jaxlab.data import fetch
from jaxlab.data.fetch import hub


def test_any_model_of_the_hub_by_name(tmp_path, monkeypatch):
    asked = {}

    def snapshot_download(name, *, local_dir, allow_patterns):
        if name == "no/model":
            raise OSError("not\nfound")
        asked.update(name=name, folder=local_dir, patterns=allow_patterns)

    library = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", library)
    folder = fetch.fetch("owner/small-bert", tmp_path, say=lambda line: None)
    assert folder == asked["folder"] == tmp_path / "small-bert"
    assert "*.bin" not in asked["patterns"]
    with pytest.raises(fetch.FetchError, match=r"no/model: cannot be downloaded .*not found"):
        fetch.fetch("no/model", tmp_path, say=lambda line: None)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        fetch.FetchError,
        match=r"huggingface_hub is not installed: pip install 'jaxlab-research\[text\]'",
    ):
        fetch.fetch("owner/small-bert", tmp_path, say=lambda line: None)


def test_what_is_asked_for_and_said(tmp_path, monkeypatch):
    asked, said = [], []

    def snapshot_download(name, **options):
        asked.append((name, options))
        if name == "a/b/bad":
            raise OSError("x" * 150 + "\n  " + "y" * 150)

    library = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", library)
    assert hub.fetch_model("o/m", tmp_path, said.append) == tmp_path / "m"
    # No pickled weights, and nothing of other frameworks.
    patterns = ["config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*",
                "vocab.txt"]  # fmt: skip
    assert asked == [("o/m", {"local_dir": tmp_path / "m", "allow_patterns": patterns})]
    assert said == ["o/m: trying the Hugging Face hub", f"o/m: in {tmp_path / 'm'}"]
    with pytest.raises(hub.FetchError) as caught:
        hub.fetch_model("a/b/bad", tmp_path, said.append)
    text = "x" * 150 + " " + "y" * 49
    assert str(caught.value) == f"a/b/bad: cannot be downloaded from the hub ({text})"
    assert asked[-1][1]["local_dir"] == tmp_path / "bad"
