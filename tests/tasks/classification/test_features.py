"""What the head of a classifier sees."""

import jax
import numpy as np
import pytest

from jaxlab import train
from jaxlab.errors import InputError
from jaxlab.models import classifiers
from jaxlab.tasks import classification


@pytest.mark.parametrize(
    ("model", "shape"),
    [(classifiers.MLP(3, (4, 5)), (6,)), (classifiers.ResNet(3, (2,)), (4, 4, 1))],
)
def test_the_head_makes_the_logits_of_the_features(model, shape):
    x = np.random.default_rng(0).integers(0, 256, (5, *shape)).astype(np.uint8)
    params, state = classifiers.init_variables(model, jax.random.key(0), x)
    load = lambda split, limit: {"x": x[:limit]}
    run = train.LoadedRun({}, 0, "raw", model, params, state, load)
    features, logits = classification.features(run, x, batch_size=2)
    head = params["head"]
    np.testing.assert_allclose(features @ head["kernel"] + head["bias"], logits, rtol=1e-5)
    wanted = classification.predict(model, params, state, x)
    np.testing.assert_allclose(logits, wanted, rtol=1e-5)
    with pytest.raises(InputError, match="at least one"):
        classification.features(run, x[:0])
    with pytest.raises(InputError, match="the classifier was trained on"):
        classification.features(run, np.concatenate([x, x], axis=1))
