"""`jaxlab.losses.objectives`: each objective equals the loss that it names."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from three_classes import COUNTS, LABELS, LOGITS, PRIOR

from jaxlab import losses
from jaxlab.errors import InputError

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


@pytest.mark.parametrize("name", losses.OBJECTIVES)
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
        return losses.make_objective(name, class_counts=counts, **numbers)(logits, LABELS)

    np.testing.assert_allclose(ours(COUNTS, numbers), WANT[name](), rtol=2e-5)


def test_label_smoothing_is_the_mixed_target():
    loss = losses.make_objective(
        "cross_entropy", class_counts=COUNTS, label_smoothing=jnp.float32(0.3)
    )
    logp = jax.nn.log_softmax(LOGITS)
    want = 0.7 * WANT["cross_entropy"]() - 0.3 * logp.mean(1)
    np.testing.assert_allclose(loss(LOGITS, LABELS), want, rtol=1e-5)


def test_none_is_no_number():
    """So that a config can hold the numbers of all objectives."""
    none = dict.fromkeys(("tau", "beta", "gamma", "max_margin", "scale", "label_smoothing"))
    for name in losses.OBJECTIVES:
        loss = losses.make_objective(name, class_counts=COUNTS, **none)
        want = losses.make_objective(name, class_counts=COUNTS)
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
    make = functools.partial(losses.make_objective, name, class_counts=COUNTS)
    given = [{number: factor * value} for number, value in DEFAULTS[name].items()
             for factor in (1.0, 0.9)]  # fmt: skip
    run = jax.jit(lambda logits: [make(**numbers)(logits, LABELS) for numbers in ({}, *given)])
    plain, *found = np.asarray(run(jnp.tanh(LOGITS)))
    np.testing.assert_allclose(found[::2], [plain] * len(found[::2]), rtol=1e-6)
    assert (np.abs(np.array(found[1::2]) / plain - 1).max(1) > 1e-4).all()


def test_one_objective_more_is_a_function_and_a_row(monkeypatch):
    def margin(counts, /, *, width: float = 1.0):
        return lambda logits, labels: width * logits[jnp.arange(len(labels)), labels]

    monkeypatch.setitem(losses.OBJECTIVES, "margin", margin)
    loss = losses.make_objective("margin", class_counts=COUNTS, width=2.0)
    np.testing.assert_array_equal(loss(LOGITS, LABELS), 2 * LOGITS[jnp.arange(6), LABELS])
    with pytest.raises(InputError, match=r"width is 2\.0, objective 'focal' takes only gamma"):
        losses.make_objective("focal", class_counts=COUNTS, width=2.0)
    with pytest.raises(InputError, match=r"must be one of .*equalized, margin"):
        losses.make_objective(["margin"], class_counts=COUNTS)
