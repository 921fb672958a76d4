"""`jaxlab.losses.reports`: balanced error and errors by frequency."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab import losses


def test_balanced_error():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 4, 50), rng.integers(0, 5, 50)
    where = rng.random(50) < 0.7
    error, per_class, present = jax.jit(lambda p, y, w: losses.balanced_error(p, y, 5, where=w))(
        predictions, labels, where
    )
    expected = [(predictions != y)[where & (labels == y)].mean() for y in range(4)]
    np.testing.assert_allclose(per_class, [*expected, np.nan], rtol=1e-6)
    np.testing.assert_array_equal(present, [True] * 4 + [False])
    np.testing.assert_allclose(error, np.mean(expected), rtol=1e-6)
    nothing = losses.balanced_error(predictions, labels, 5, where=np.zeros(50, bool))
    # No measure of an empty set is a number: an error of 0 % would look perfect.
    assert np.isnan(nothing.error)
    assert np.isnan(nothing.per_class).all()
    assert not nothing.present.any()


def test_error_by_frequency():
    report = losses.BalancedError(
        jnp.float32(0), jnp.array([0.1, 0.2, 0.3, 0.5]), jnp.array([True, True, True, False])
    )
    errors = losses.error_by_frequency(report, [101, 100, 20, 19])
    assert list(errors) == ["many", "medium", "few"]
    np.testing.assert_allclose(list(errors.values()), [0.1, 0.25, np.nan], rtol=1e-6)
