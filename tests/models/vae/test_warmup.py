"""The KL warm-up against its closed form."""

import inspect

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.models.vae import kl_coefficient


@pytest.mark.parametrize("total", [1000, 60000])
def test_kl_warm_up_over_a_whole_run(total):
    steps = np.arange(0, total, 7)
    wanted = np.clip((steps - 1e-4 * total) / (0.3 * total), 1e-4, 1.0)
    np.testing.assert_allclose(kl_coefficient(jnp.asarray(steps), total), wanted, rtol=1e-4)


def test_kl_warm_up_of_no_length_is_one():
    assert float(kl_coefficient(0, 100, portion=0)) == 1


def test_numbers_at_the_edge_and_defaults():
    assert float(kl_coefficient(0, 10, constant=0.0, minimum=0.0)) == 0
    assert float(kl_coefficient(10, 10, constant=1.0, portion=0.5, minimum=1.0)) == 1
    assert float(kl_coefficient(1, 10, constant=0.1, portion=0.5, minimum=0.25)) == 0.25
    found = inspect.signature(kl_coefficient).parameters
    defaults = {name: p.default for name, p in found.items() if p.default is not p.empty}
    assert defaults == {"portion": 0.3, "constant": 1e-4, "minimum": 1e-4}
