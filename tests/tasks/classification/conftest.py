import jax
import pytest
from three_classes import BATCH, MODEL

from jaxlab.models import classifiers


@pytest.fixture(scope="module")
def params():
    return classifiers.init_variables(MODEL, jax.random.key(0), BATCH["x"])[0]
