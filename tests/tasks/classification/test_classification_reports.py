"""`jaxlab.tasks.classification.reports`: counted by hand; of nothing and of what diverged no
number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from three_classes import BATCH, COUNTS, LABELS, LOGITS, MODEL

from jaxlab import losses
from jaxlab.tasks import classification


def test_report_counts_by_class():
    labels = jnp.array([0] * 6 + [1] * 2 + [2] * 2)
    predictions = jnp.array([0, 0, 0, 0, 0, 1, 1, 0, 0, 0])
    logits = jax.nn.one_hot(predictions, 3)
    shown = classification.report(logits, labels, class_counts=COUNTS, taus=(0.0, 50.0))
    assert float(shown["error"]) == pytest.approx(0.4)
    assert float(shown["balanced_error"]) == pytest.approx((1 / 6 + 1 / 2 + 1) / 3)
    assert float(shown["head_error"]) == pytest.approx(1 / 6)
    assert float(shown["tail_error"]) == 1
    assert shown["posthoc_0"] == shown["balanced_error"]
    assert float(shown["posthoc_50"]) == pytest.approx(2 / 3)  # everything is called class 2
    # Classes without an example have no error, and a set without one has none at all.
    shown = classification.report(logits[:6], labels[:6], class_counts=COUNTS)
    assert float(shown["balanced_error"]) == pytest.approx(1 / 6)
    assert np.isnan(shown["tail_error"])
    shown = classification.report(logits[:0], labels[:0], class_counts=COUNTS, taus=(1.0,))
    assert all(np.isnan(value) for value in shown.values()), shown


def test_predict_is_the_same_for_any_batch(params):
    want = MODEL.apply({"params": params}, BATCH["x"] / 255)
    for size in (1, 4, 100):
        ours = classification.predict(MODEL, params, {}, BATCH["x"], batch_size=size)
        np.testing.assert_allclose(ours, want, atol=1e-6)


def test_tau_normalized_logits_are_those_of_the_normalized_kernel(params):
    head = {**params["head"], "bias": jnp.array([1.0, -2.0, 0.5])}
    features = jnp.asarray(np.random.default_rng(2).normal(size=(5, 4)), jnp.float32)
    ours = classification.tau_normalized_logits(features @ head["kernel"] + head["bias"], head, 0.7)
    want = features @ losses.tau_normalized_kernel(head["kernel"], tau=0.7)
    np.testing.assert_allclose(ours, want, atol=1e-5)


def test_a_network_that_diverged_has_no_error():
    """Its argmax is some class, whose error may even be the lowest."""
    labels = jnp.array([0, 0, 0, 1, 2, 2])
    for broken in (LOGITS.at[5, 1].set(jnp.nan), jnp.full((6, 3), jnp.nan)):
        shown = classification.report(broken, labels, class_counts=COUNTS, taus=(1.0,))
        assert all(np.isnan(value) for value in shown.values())
    masked = classification.report(LOGITS.at[:, 1].set(-jnp.inf), labels, class_counts=COUNTS)
    assert np.isfinite(float(masked["error"]))  # a class that is out of the question is none


def test_a_report_of_nothing_is_no_number(params):
    logits = classification.predict(MODEL, params, {}, BATCH["x"][:0])
    assert logits.shape == (0, 3)
    shown = classification.report(logits, LABELS[:0], class_counts=COUNTS, taus=(1.0,))
    assert all(np.isnan(value) for value in shown.values())
    head_only = classification.report(LOGITS[:2], LABELS[:2] * 0, class_counts=COUNTS)
    assert np.isnan(head_only["tail_error"])  # no example of that class
    assert np.isfinite(head_only["head_error"])
