"""`jaxlab.losses.traced`: priors and labels that are wrong inside `jit`, found by checkify and let
through without it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

from jaxlab import losses

LOGITS = np.zeros((3, 4), np.float32)
GOOD = np.full(4, 0.25, np.float32)


def loss(prior, labels):
    losses.check_traced_prior(prior, 4)
    losses.check_traced_labels(labels, 4)
    return losses.logit_adjusted_cross_entropy(LOGITS, labels, class_prior=prior).mean()


@pytest.fixture(scope="module")
def checked():
    return jax.jit(checkify.checkify(jax.value_and_grad(loss)))


@pytest.mark.parametrize(
    ("prior", "labels", "message"),
    [
        (GOOD, [0, 1, 3], None),
        ([0.5, 0.5, 0.0, 0.0], [0, 1, 3], "class_prior is 0.0 for class 2, must be positive"),
        ([0.5, 0.6, -0.1, 0.0], [0, 1, 3], "class_prior is -0.1"),
        ([0.5, np.nan, 0.25, 0.25], [0, 1, 3], "class_prior is nan for class 1"),
        ([0.25, 0.25, 0.25, 0.5], [0, 1, 3], "class_prior sums to 1.25, must sum to 1"),
        (GOOD, [0, 4, 1], "labels has value 4, must be in [0, 4)"),
        (GOOD, [0, 1, -1], "labels has value -1, must be in [0, 4)"),
    ],
)
def test_checkify_names_what_is_wrong(checked, prior, labels, message):
    error, _ = checked(jnp.asarray(prior, jnp.float32), jnp.asarray(labels))
    if message is None:
        assert error.get() is None
    else:
        assert message in error.get()


def test_without_checkify_the_loss_is_nan():
    value, _ = jax.jit(jax.value_and_grad(loss))(jnp.array([0.5, 0.5, 0.0, 0.0]), np.arange(3))
    assert np.isnan(value)


def test_concrete_values_and_shapes_raise():
    with pytest.raises(ValueError, match=r"class_prior is 0\.0 for class 1"):
        losses.check_traced_prior(np.array([1.0, 0.0]))
    losses.check_traced_prior(np.array([1.0, 0.0]), zeros=True)
    absent = jax.jit(lambda prior: losses.check_traced_prior(prior, zeros=True))
    for prior, message in (([1.0, 0.0], None), ([1.5, -0.5], "for class 1, must be at least 0")):
        error, _ = checkify.checkify(absent)(jnp.array(prior))
        assert (error.get() or "").find(message or "") >= 0
        assert (error.get() is None) == (message is None)
    with pytest.raises(ValueError, match=r"labels has value 4, must be in \[0, 4\)"):
        losses.check_traced_labels(np.array([4]), 4)
    with pytest.raises(ValueError, match=r"class_prior has shape \(3,\), must have shape \(4,\)"):
        jax.eval_shape(loss, jnp.ones(3), jnp.arange(3))
    losses.check_traced_labels(np.zeros(0, int), 4)


@pytest.mark.parametrize(("dtype", "num_classes"), [(jnp.uint8, 256), (jnp.int8, 1000)])
def test_narrow_labels_are_compared_with_k_itself(dtype, num_classes):
    check = checkify.checkify(jax.jit(lambda y: losses.check_traced_labels(y, num_classes)))
    assert check(jnp.array([0, 127], dtype))[0].get() is None
