"""`jaxlab.tasks.classification.reports`: counted by hand; of nothing and of what diverged no
number."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from three_classes import BATCH, COUNTS, LABELS, LOGITS, MODEL, PRIOR

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


@pytest.mark.parametrize(("classes", "third"), [(2, 1), (7, 2)])
def test_head_and_tail_are_a_third_of_the_classes(classes, third):
    """By their counts, not by their numbers; class k has an error of k / 10."""
    labels = np.repeat(np.arange(classes), 10)
    wrong = np.tile(np.arange(10), classes) < labels
    predictions = np.where(wrong, (labels + 1) % classes, labels)
    counts = np.random.default_rng(classes).permutation(classes) + 1.0
    rarest = np.argsort(counts)
    logits = np.eye(classes, dtype=np.float32)[predictions]
    report = jax.jit(lambda *args: classification.report(*args, class_counts=jnp.asarray(counts)))
    shown = report(logits, labels)
    assert float(shown["tail_error"]) == pytest.approx(rarest[:third].mean() / 10, abs=1e-6)
    assert float(shown["head_error"]) == pytest.approx(rarest[-third:].mean() / 10, abs=1e-6)
    assert float(shown["error"]) == pytest.approx(wrong.mean(), abs=1e-6)


def test_the_cross_entropy_is_of_raw_logits_and_taus_have_names():
    report = functools.partial(classification.report, class_counts=COUNTS, taus=(2.0, 0.25))
    shown = jax.jit(report)(LOGITS, LABELS)
    each = -np.asarray(jax.nn.log_softmax(LOGITS))[np.arange(6), LABELS]
    assert float(shown["cross_entropy"]) == pytest.approx(each.mean(), rel=1e-6)
    assert {*shown} >= {"posthoc_2", "posthoc_0.25"}
    for tau in (2.0, 0.25):
        moved = LOGITS - tau * np.log(PRIOR)
        want = np.mean([(moved.argmax(1) != LABELS)[k == LABELS].mean() for k in range(3)])
        assert float(shown[f"posthoc_{tau:g}"]) == pytest.approx(float(want), abs=1e-6)
    names = classification.figure_names((0.25, 2.0))
    assert {*names[-2:]} == {"posthoc_2", "posthoc_0.25"}
    assert {*names} == {*shown}
    assert {*classification.figure_names()} == {*names[:-2]}


def test_norms_are_of_leaves_with_two_axes_or_more():
    params = {
        "a": {"kernel": jnp.array([[3.0, 4.0]]), "bias": jnp.array([9.0, 9.0])},
        "b": {"kernel": 2 * jnp.ones((2, 2, 1, 4)), "scale": jnp.float32(7.0)},
    }
    found = classification.layer_log_norms(params)
    assert {name: float(value) for name, value in found.items()} == {
        "a/kernel": pytest.approx(np.log(5)),
        "b/kernel": pytest.approx(np.log(8)),
    }


def test_a_kernel_is_normalised_by_columns_also_without_a_bias():
    head = {"kernel": jnp.array([[3.0, 0.0], [4.0, 2.0]])}
    found = classification.tau_normalized_logits(jnp.array([[10.0, 6.0]]), head, 0.5)
    np.testing.assert_allclose(found, [[10 / 5**0.5, 6 / 2**0.5]], rtol=1e-6)
