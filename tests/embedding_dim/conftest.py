"""Reference values and random vectors that several files of this folder use."""

import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(0)
