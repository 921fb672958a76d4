"""`jaxlab.tasks.classification.objectives`: flooding, the gradient penalty, and their numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from three_classes import BATCH, COSINE, COUNTS, LABELS, MODEL

from jaxlab.errors import InputError
from jaxlab.tasks import classification


def run_loss(params, **kwargs):
    loss = classification.make_loss(MODEL, class_counts=COUNTS, **kwargs)
    value, (state, metrics) = loss(params, {}, BATCH, key=jax.random.key(0), step=0)
    assert state == {}
    return value, metrics


def test_flooding_floods_the_mean_the_example_or_its_level(params):
    logits = MODEL.apply({"params": params}, BATCH["x"] / 255)
    each = -jax.nn.log_softmax(logits)[jnp.arange(6), LABELS]
    flood = lambda x, b: np.abs(x - b) + b
    plain, metrics = run_loss(params)
    np.testing.assert_allclose(plain, each.mean(), rtol=1e-5)
    assert "flooded" not in metrics
    value, metrics = run_loss(params, flooding="batch", level=3.0)
    np.testing.assert_allclose(value, flood(each.mean(), 3.0), rtol=1e-5)
    assert metrics["flooded"] == 1
    np.testing.assert_allclose(metrics["objective"], plain, rtol=1e-6)
    value, metrics = run_loss(params, flooding="example", level=1.1)
    np.testing.assert_allclose(value, flood(each, 1.1).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["flooded"], (each < 1.1).mean())
    value, _ = run_loss(params, flooding="adaptive")
    np.testing.assert_allclose(value, flood(each, BATCH["level"]).mean(), rtol=1e-5)


def test_gradient_penalty_adds_the_squared_norm(params):
    plain = lambda p: run_loss(p)[0]
    norm = optax.tree.norm(jax.grad(plain)(params), squared=True)
    value, _ = run_loss(params, gradient_penalty=0.2)
    np.testing.assert_allclose(value, plain(params) + 0.2 * norm, rtol=1e-5)


BAD_OBJECTIVES = [
    ({"name": "focal", "tau": 7.0}, "tau is 7.0, objective 'focal' takes only gamma"),
    ({"name": "inverse_weights", "beta": 0.5}, "takes no numbers"),
    ({"name": "cross_entropy", "gamma": 1.0}, "takes only label_smoothing"),
    ({"label_smothing": 0.1}, "objective has 'label_smothing', must be one of: .*label_smoothing"),
    ({"name": ()}, "objective is (), must be one of"),
    ({"name": "logit_adjusted", "tau": -1.0}, "tau is -1.0, must be at least"),
    ({"name": "logit_adjusted", "tau": "one"}, "tau is 'one', must be a number"),
    ({"name": "equalized", "tau": float("nan")}, "tau is nan, must be finite"),
    ({"name": "focal", "gamma": -2.0}, "gamma is -2.0, must be at least"),
    ({"name": "class_balanced", "beta": 1.0}, "beta is 1.0, must be in"),
    ({"name": "ldam", "scale": 0.0}, "scale is 0.0, must be above"),
    ({"name": "ldam", "max_margin": float("inf")}, "max_margin is inf"),
    ({"label_smoothing": 1.5}, "label_smoothing is 1.5, must be at most"),
    ({"flooding": "batch", "level": -0.1}, "level is -0.1, must be at least"),
    ({"flooding": "none", "level": 0.1}, "level is 0.1, flooding 'none' takes none"),
    ({"flooding": "adaptive", "level": 0.1}, "every example has its own"),
    ({"gradient_penalty": float("nan")}, "gradient_penalty is nan"),
    ({"gradient_penalty": -1.0}, "gradient_penalty is -1.0"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_OBJECTIVES)
def test_numbers_of_a_loss_are_its_own_and_in_range(arguments, message):
    with pytest.raises(InputError, match=message.replace("()", r"\(\)")):
        classification.make_loss(COSINE, class_counts=COUNTS, **arguments)
    with pytest.raises(InputError, match=r"'ldam' needs a model with head='cosine'"):
        classification.make_loss(MODEL, class_counts=COUNTS, name="ldam")


@pytest.mark.parametrize(
    ("objective", "numbers"),
    [
        ("logit_adjusted", {"tau": 0.005}),
        ("equalized", {"tau": 0.005}),
        ("focal", {"gamma": 0.005}),
        ("class_balanced", {"beta": 0.005}),
        ("class_balanced", {"beta": 0.9999}),
        ("ldam", {"max_margin": 0.005, "scale": 0.005}),
        ("cross_entropy", {"label_smoothing": 1.0}),
        ("cross_entropy", {"label_smoothing": 0.005}),
        ("cross_entropy", {"flooding": "batch", "level": 0.005, "gradient_penalty": 0.005}),
    ],
)
def test_numbers_near_their_bounds_are_taken(objective, numbers):
    classification.make_loss(COSINE, class_counts=COUNTS, name=objective, **numbers)


class Fake:
    """A network whose logits are its input; it notes how it is called."""

    head = "linear"

    def apply(self, variables, x, **options):
        self.called = (variables, x, options)
        return x, {"batch_stats": {"mean": x.mean()}}


def test_a_loss_calls_the_network_as_training_does():
    model, x = Fake(), jnp.array([[0, 255], [255, 0], [255, 51]], jnp.uint8)
    loss = classification.make_loss(model, class_counts=jnp.ones(2))
    batch = {"x": x, "label": jnp.array([1, 1, 1])}
    state = {"batch_stats": {"mean": 0.0}}
    value, (updated, metrics) = loss({"w": 1}, state, batch, key=None, step=0)
    variables, given, options = model.called
    assert variables == {"params": {"w": 1}, "batch_stats": {"mean": 0.0}}
    assert options == {"train": True, "mutable": ["batch_stats"]}
    assert (given.dtype, given.tolist()) == (jnp.float32, [[0, 1], [1, 0], [1, pytest.approx(0.2)]])
    assert float(updated["batch_stats"]["mean"]) == pytest.approx(3.2 / 6)
    want = np.mean([np.log(1 + np.exp(d)) for d in (-1, 1, 0.8)])
    assert float(value) == pytest.approx(want)
    assert {k: float(v) for k, v in metrics.items()} == {
        "objective": pytest.approx(want),
        "error": pytest.approx(2 / 3),
    }


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.int32])
def test_other_inputs_than_images_keep_their_values(dtype):
    found = classification.prepare(jnp.array([0, 255], dtype))
    assert (found.dtype, found.tolist()) == (jnp.float32, [0.0, 255.0])


def test_only_flooding_of_the_batch_needs_the_whole_batch():
    make = functools.partial(classification.make_loss, MODEL, class_counts=COUNTS)
    assert "mean loss of the batch" in make(flooding="batch", level=0.5).whole_batch
    for arguments in ({}, {"flooding": "example", "level": 0.5}, {"flooding": "batch"}):
        assert not hasattr(make(**arguments), "whole_batch")


def test_the_share_that_ascends_is_of_losses_below_their_level():
    x = jnp.zeros((2, 3))
    batch = {"x": x, "label": jnp.array([0, 1]), "level": jnp.array([1.0, 2.0])}
    shown = []
    for arguments in (
        {"flooding": "batch", "level": 1.0},
        {"flooding": "batch", "level": 1.2},
        {"flooding": "example", "level": 1.0},
        {"flooding": "adaptive"},
    ):
        loss = classification.make_loss(Fake(), class_counts=COUNTS, **arguments)
        _, (_, metrics) = loss({}, {}, batch, key=None, step=0)
        shown.append(float(metrics["flooded"]))
    assert shown == [0.0, 1.0, 0.0, 0.5]
