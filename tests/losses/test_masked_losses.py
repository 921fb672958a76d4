"""0 log 0 = 0: masked classes and padded rows add nothing, to values and to gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import distributions, losses
from jaxlab.models.bert import objective
from jaxlab.tasks import compression

LOGITS = np.array([[1.0, -np.inf, 0.5, 2.0], [0.0, 1.0, -np.inf, -np.inf]])
TARGETS = np.array([[0.6, 0.0, 0.1, 0.3], [0.5, 0.5, 0.0, 0.0]])
PRIOR = np.array([0.4, 0.3, 0.2, 0.1])


def numpy_loss(logits, targets):
    """Cross-entropy in float64 over the classes that have a target."""
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return np.array([-(t[t > 0] * row[t > 0]).sum() for row, t in zip(log_p, targets, strict=True)])


def numpy_gradient(logits, targets):
    p = np.exp(logits)
    return p / p.sum(-1, keepdims=True) * targets.sum(-1, keepdims=True) - targets


def test_masked_classes_of_soft_targets():
    for loss, shift in (
        (losses.soft_cross_entropy, 0.0),
        (
            lambda x, t: losses.logit_adjusted_soft_cross_entropy(x, t, class_prior=PRIOR, tau=2.0),
            2 * np.log(PRIOR),
        ),
        (
            lambda x, t: losses.logit_adjusted_soft_cross_entropy(x, t, class_prior=PRIOR, tau=0.0),
            0.0,
        ),
    ):
        each, pull = jax.vjp(lambda x, loss=loss: loss(x, jnp.asarray(TARGETS)), jnp.array(LOGITS))
        np.testing.assert_allclose(each, numpy_loss(LOGITS + shift, TARGETS), rtol=1e-5)
        expected = numpy_gradient(LOGITS + shift, TARGETS)
        np.testing.assert_allclose(pull(jnp.ones(2))[0], expected, atol=1e-6)


def test_a_masked_class_with_a_target_costs_infinity():
    assert losses.soft_cross_entropy(jnp.array(LOGITS[0]), jnp.full(4, 0.25)) == np.inf


@pytest.mark.parametrize("padding", [np.nan, -np.inf, np.inf])
def test_padded_rows_of_soft_targets(padding):
    logits = jnp.array([[1.0, 0.0], [padding, padding]])
    targets = jnp.array([[0.5, 0.5], [0.0, 0.0]])
    loss = lambda x: losses.soft_cross_entropy(x, targets).sum()
    value, gradient = jax.value_and_grad(loss)(logits)
    np.testing.assert_allclose(
        value, numpy_loss(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])), rtol=1e-6
    )
    np.testing.assert_array_equal(gradient[1], [0.0, 0.0])
    np.testing.assert_allclose(gradient[0], [0.231059, -0.231059], rtol=1e-5)


def test_soft_targets_keep_their_gradient_at_zero():
    log_p = jax.nn.log_softmax(jnp.array([1.0, 2.0]))
    slope = jax.grad(lambda t: losses.soft_cross_entropy(jnp.array([1.0, 2.0]), t))
    np.testing.assert_allclose(slope(jnp.array([0.0, 1.0])), -log_p, rtol=1e-6)


@pytest.mark.parametrize("padding", [np.nan, -np.inf])
@pytest.mark.parametrize(
    "loss",
    [
        lambda x, y: losses.logit_adjusted_cross_entropy(x, y, class_prior=PRIOR),
        lambda x, y: losses.pairwise_margin_cross_entropy(
            x, y, weights=jnp.arange(4.0), margins=jnp.ones((4, 4))
        ),
        losses.focal_cross_entropy,
        lambda x, y: losses.ldam_cross_entropy(x, y, class_prior=PRIOR),
        objective.task_loss,
    ],
)
def test_rows_that_are_left_out_have_no_gradient(loss, padding):
    logits = jnp.array([[0.1, 0.2, 0.3, 0.4], [padding] * 4])

    @jax.jit
    def mean(x, labels):
        each = loss(x, labels)
        return jnp.where(labels >= 0, each, 0.0).sum(), each

    (total, each), gradient = jax.value_and_grad(mean, has_aux=True)(logits, jnp.array([2, -1]))
    assert np.isfinite(total)
    assert np.isnan(each[1])  # whoever forgets to leave the row out sees it
    np.testing.assert_array_equal(gradient[1], np.zeros(4))
    assert np.abs(gradient[0]).min() > 0


@pytest.mark.parametrize(
    "loss",
    [
        lambda x, y: losses.logit_adjusted_cross_entropy(x, y, class_prior=PRIOR),
        lambda x, y: losses.pairwise_margin_cross_entropy(x, y, margins=jnp.ones((4, 4))),
        losses.focal_cross_entropy,
        objective.task_loss,
    ],
)
def test_masked_classes_next_to_a_label(loss):
    few = np.isfinite(LOGITS[0])
    far = jnp.asarray(np.where(few, LOGITS[:1], -1e4))  # as good as masked, and finite
    each = lambda x: loss(x, jnp.array([3])).sum()
    masked = jnp.asarray(LOGITS[:1])
    np.testing.assert_allclose(each(masked), each(far), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(each)(masked), jax.grad(each)(far), rtol=1e-5, atol=1e-7)


def test_the_focal_loss_where_one_class_is_left():
    loss = lambda x: losses.focal_cross_entropy(x, jnp.array([1])).sum()
    value, gradient = jax.value_and_grad(loss)(jnp.array([[-jnp.inf, 2.0, -jnp.inf]]))
    assert value == 0.0
    np.testing.assert_array_equal(gradient, np.zeros((1, 3)))
    # A label that is itself masked costs infinity all the same.
    assert loss(jnp.array([[2.0, -jnp.inf, 1.0]])) == np.inf


def test_a_masked_class_without_weight():
    logits = jnp.array([[-jnp.inf, 1.0], [0.0, 0.0]])
    loss = lambda x: losses.pairwise_margin_cross_entropy(
        x, jnp.array([0, 1]), weights=jnp.array([0.0, 2.0])
    )
    np.testing.assert_allclose(loss(logits), [0.0, 2 * np.log(2)], rtol=1e-6)
    assert np.isfinite(jax.grad(lambda x: loss(x).sum())(logits)).all()


def test_distillation_from_a_teacher_with_masked_classes():
    student = np.array([[0.5, -np.inf, 0.0, 1.0]])
    teacher = np.array([[1.0, -np.inf, 0.5, 2.0]])
    p = np.exp(teacher / 2)
    expected = 4 * numpy_loss(student / 2, p / p.sum())
    for soft, labels in ((1.0, [-1]), (1.0, [1]), (0.25, [3])):
        loss = lambda x, soft=soft, labels=labels: compression.distillation_loss(
            x, jnp.array(teacher), jnp.array(labels), temperature=2.0, soft=soft
        ).sum()
        # Under jit, where a label of -1 is not refused.
        value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.array(student))
        hard = (1 - soft) * numpy_loss(student, np.eye(4)[labels])[0] if soft < 1 else 0.0
        np.testing.assert_allclose(value, soft * expected[0] + hard, rtol=1e-5)
        assert np.isfinite(gradient).all()
        assert gradient[0, 1] == 0


def test_label_smoothing_of_zero_and_masked_classes():
    loss = losses.make_objective(
        "cross_entropy", class_counts=jnp.ones(4), label_smoothing=jnp.float32(0.0)
    )
    each = loss(jnp.array(LOGITS), jnp.array([3, 0]))
    np.testing.assert_allclose(each, numpy_loss(LOGITS, np.eye(4)[[3, 0]]), rtol=1e-5)


@pytest.mark.parametrize(("x", "logit"), [(0.0, -np.inf), (1.0, np.inf)])
def test_a_certain_bernoulli(x, logit):
    value, gradient = jax.value_and_grad(lambda l: distributions.bernoulli_log_prob(x, l))(logit)
    assert (value, gradient) == (0.0, 0.0)
    assert distributions.bernoulli_log_prob(1 - x, logit) == -np.inf


def test_a_masked_component_of_a_mixture():
    # Three logits, means and log scales; the second component is masked.
    params = jnp.array([0.3, -jnp.inf, 0.1, 0.2, 0.5, -0.4, 0.0, 0.0, -1.0])
    fewer = jnp.array([0.3, 0.1, 0.2, -0.4, 0.0, -1.0])
    log_p = lambda p, m: distributions.discretized_logistic_mixture_log_prob(
        jnp.array([0.4]), p, num_mixtures=m
    )
    value, gradient = jax.value_and_grad(log_p)(params, 3)
    expected, slope = jax.value_and_grad(log_p)(fewer, 2)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient[np.array([0, 2, 3, 5, 6, 8])], slope, rtol=1e-5)
    np.testing.assert_array_equal(gradient[np.array([1, 4, 7])], np.zeros(3))
