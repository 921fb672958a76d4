"""`jaxlab.tasks.classification.objectives`: each objective equals the loss that it names."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from three_classes import BATCH, COSINE, COUNTS, LABELS, LOGITS, MODEL, PRIOR

from jaxlab import losses
from jaxlab.errors import InputError
from jaxlab.tasks import classification

WANT = {
    "cross_entropy": lambda: -jax.nn.log_softmax(LOGITS)[jnp.arange(6), LABELS],
    "logit_adjusted": lambda: losses.logit_adjusted_cross_entropy(
        LOGITS, LABELS, class_prior=PRIOR, tau=1.5
    ),
    "inverse_weights": lambda: WANT["cross_entropy"]() / (3 * PRIOR[LABELS]),
    "class_balanced": lambda: (
        WANT["cross_entropy"]() * losses.class_balanced_weights(COUNTS, beta=0.9)[LABELS]
    ),
    "focal": lambda: losses.focal_cross_entropy(LOGITS, LABELS, gamma=1.5),
    "ldam": lambda: losses.ldam_cross_entropy(
        jnp.tanh(LOGITS), LABELS, class_prior=PRIOR, max_margin=0.4, scale=9.0
    ),
    "equalized": lambda: losses.pairwise_margin_cross_entropy(
        LOGITS, LABELS, margins=losses.equalized_margins(PRIOR, tau=1.5)
    ),
}


@pytest.mark.parametrize("name", classification.OBJECTIVES)
def test_objectives_are_the_losses_they_name(name):
    numbers = {
        "logit_adjusted": {"tau": 1.5},
        "class_balanced": {"beta": 0.9},
        "focal": {"gamma": 1.5},
        "ldam": {"max_margin": 0.4, "scale": 9.0},
        "equalized": {"tau": 1.5},
    }.get(name, {})
    logits = jnp.tanh(LOGITS) if name == "ldam" else LOGITS

    @jax.jit  # numbers and counts may be traced
    def ours(counts, numbers):
        return classification.example_losses(name, class_counts=counts, **numbers)(logits, LABELS)

    np.testing.assert_allclose(ours(COUNTS, numbers), WANT[name](), rtol=2e-5)


def test_label_smoothing_is_the_mixed_target():
    loss = classification.example_losses(
        "cross_entropy", class_counts=COUNTS, label_smoothing=jnp.float32(0.3)
    )
    logp = jax.nn.log_softmax(LOGITS)
    want = 0.7 * WANT["cross_entropy"]() - 0.3 * logp.mean(1)
    np.testing.assert_allclose(loss(LOGITS, LABELS), want, rtol=1e-5)


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
    ({"objective": "focal", "tau": 7.0}, "tau is 7.0, objective 'focal' takes none, only gamma"),
    ({"objective": "inverse_weights", "beta": 0.5}, "takes none, only the counts"),
    ({"objective": "cross_entropy", "gamma": 1.0}, "takes none, only label_smoothing"),
    ({"label_smothing": 0.1}, "objective has 'label_smothing', must be one of: .*label_smoothing"),
    ({"objective": ()}, "objective is (), must be one of"),
    ({"objective": "logit_adjusted", "tau": -1.0}, "tau is -1.0, must be at least"),
    ({"objective": "logit_adjusted", "tau": "one"}, "tau is 'one', must be a number"),
    ({"objective": "equalized", "tau": float("nan")}, "tau is nan, must be finite"),
    ({"objective": "focal", "gamma": -2.0}, "gamma is -2.0, must be at least"),
    ({"objective": "class_balanced", "beta": 1.0}, "beta is 1.0, must be in"),
    ({"objective": "ldam", "scale": 0.0}, "scale is 0.0, must be above"),
    ({"objective": "ldam", "max_margin": float("inf")}, "max_margin is inf"),
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
        classification.make_loss(MODEL, class_counts=COUNTS, objective="ldam")


def test_none_and_zero_are_no_numbers():
    """So that a config can hold the numbers of all objectives."""
    none = dict.fromkeys(("tau", "beta", "gamma", "max_margin", "scale"))
    for name in classification.OBJECTIVES:
        loss = classification.example_losses(name, class_counts=COUNTS, label_smoothing=0.0, **none)
        want = classification.example_losses(name, class_counts=COUNTS)
        logits = jnp.tanh(LOGITS)  # cosines, for "ldam"
        np.testing.assert_array_equal(loss(logits, LABELS), want(logits, LABELS))


DEFAULTS = {
    "logit_adjusted": {"tau": 1.0},
    "class_balanced": {"beta": 0.999},
    "focal": {"gamma": 2.0},
    "ldam": {"max_margin": 0.5, "scale": 30.0},
    "equalized": {"tau": 1.0},
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_numbers_that_are_not_given(name):
    make = functools.partial(classification.example_losses, name, class_counts=COUNTS)
    given = [{number: factor * value} for number, value in DEFAULTS[name].items()
             for factor in (1.0, 0.9)]  # fmt: skip
    run = jax.jit(lambda logits: [make(**numbers)(logits, LABELS) for numbers in ({}, *given)])
    plain, *found = np.asarray(run(jnp.tanh(LOGITS)))
    np.testing.assert_allclose(found[::2], [plain] * len(found[::2]), rtol=1e-6)
    assert (np.abs(np.array(found[1::2]) / plain - 1).max(1) > 1e-4).all()


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
    classification.make_loss(COSINE, class_counts=COUNTS, objective=objective, **numbers)


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
