"""The stored model of golden/make_golden.py, for all tests of folders."""

import json
import pathlib

import numpy as np
import pytest
from hf_folder import write

from jaxlab.models import bert

GOLDEN = pathlib.Path(__file__).parent / "golden" / "tiny_bert.npz"


@pytest.fixture(scope="module")
def golden():
    """(config, weights) of the stored model, as a task model's file names them."""
    arrays = np.load(GOLDEN)
    weights = {k.removeprefix("weights/"): v for k, v in arrays.items() if "weights/" in k}
    return json.loads(str(arrays["config"])), weights


@pytest.fixture(scope="module")
def reference(golden, tmp_path_factory):
    return bert.load_pretrained(write(tmp_path_factory.mktemp("task"), *golden))
