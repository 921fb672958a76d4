"""`jaxlab.tasks.classification.numbers`: which numbers leave their part out of a program."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.tasks.classification.numbers import absent


def test_none_and_plain_zeros_are_absent():
    assert all(map(absent, (None, 0, 0.0, -0.0, np.float32(0), np.int64(0), False)))
    assert not any(map(absent, (1, 0.1, -1.0, float("nan"), np.float64(1e-300), jnp.zeros(()))))


def test_a_traced_number_is_there_whatever_its_value():
    seen = []
    jax.jit(lambda x: seen.append(absent(x)) or x)(0.0)
    assert seen == [False]
