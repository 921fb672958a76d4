"""The trained models in `pretrained/`: they draw, and repeat the figures that their cards state."""

import json
import re

import jax
import numpy as np
import pytest

from jaxlab import train
from jaxlab.launch import record
from jaxlab.tasks import images

# One is enough for the fast suite, the other compiles programs of its own.
SLOW = [pytest.param("fashion_mnist", marks=pytest.mark.slow)]
FOLDERS = {path.parent.name: path.parent for path in record.ROOT.glob("pretrained/*/config.json")}


def test_there_are_models_and_they_are_small():
    assert {"mnist", "fashion_mnist"} <= set(FOLDERS)
    files = [file for folder in FOLDERS.values() for file in folder.iterdir()]
    assert {file.name for file in files} == {"README.md", "config.json", "model.safetensors"}
    assert sum(file.stat().st_size for file in files) < 8e6


@pytest.mark.parametrize("name", ["mnist", *SLOW])
def test_draws(name):
    run = train.load_run(record.pretrained(name))
    model = run.model
    sample = jax.jit(lambda key: model.apply(run.variables, 16, key=key, method="sample"))
    pictures = np.asarray(model.observation.mean(sample(jax.random.key(0)).parameters))
    assert pictures.shape == (16, 28, 28, 1)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    # Neither grey everywhere nor one picture again and again.
    assert np.ptp(pictures, axis=(1, 2)).min() > 0.4
    if name == "mnist":  # a dark shirt has light parts, and hardly varies
        assert pictures.std(axis=(1, 2)).min() > 0.1
    assert pictures.std(axis=0).mean() > 0.1


def _about(name):
    return json.loads((FOLDERS[name] / "config.json").read_text())


def _stated(name):
    return _about(name)["evaluated"]["test"]


@pytest.mark.parametrize("name", FOLDERS)
def test_the_card_says_what_the_config_says(name):
    about, card = _about(name), (FOLDERS[name] / "README.md").read_text()
    found = about["evaluated"]["test"]
    assert found["images"] == 10_000
    assert found["bound_samples"] >= 100 or "bound" not in found
    row = rf"\| test \| 10,000 \| {found['nelbo']:.2f} \+- {found['nelbo_se']:.2f} \|"
    assert re.search(row, card)
    assert f"--pretrained={name}" in card
    assert re.fullmatch(r"[0-9a-f]{40}", about["git_commit"])
    assert about["data_licence"] in card
    assert about["data_licence"] != "not stated"


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_evaluation_repeats_the_stated_figures(name, data_dir):
    run, stated = train.load_run(record.pretrained(name), data_dir=data_dir), _stated(name)
    found = images.evaluate(run, "test", num_samples=0)
    for key in ("nelbo", "kl", "reconstruction", "nelbo_se"):
        assert found[key] == pytest.approx(stated[key], rel=2e-5), key


@pytest.mark.parametrize("name", ["mnist", *SLOW])
def test_a_part_of_the_test_images_is_as_the_whole(name, data_dir):
    run, stated = train.load_run(record.pretrained(name), data_dir=data_dir), _stated(name)
    found = images.evaluate(run, "test", limit=400, num_samples=0)
    # Both sets are of the same digits' test images: within three standard errors of the smaller.
    assert abs(found["nelbo"] - stated["nelbo"]) < 3 * found["nelbo_se"]
    assert found["active_channels"] == stated["active_channels"]
