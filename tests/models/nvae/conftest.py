"""A small NVAE, initialised once for all tests of this folder."""

import jax
import jax.numpy as jnp
import pytest

from jaxlab.models.nvae import NVAE, init_variables

SMALL = {
    "image_size": 8,
    "groups": (2, 1),
    "latents": 3,
    "enc_channels": 4,
    "dec_channels": 4,
    "blocks": 1,
    "pre_cells": 1,
    "post_cells": 1,
    "arch": "res_bnswish",
}


@pytest.fixture(scope="session")
def small():
    """(model, variables, x): three groups, and four binary images."""
    model = NVAE(**SMALL)
    x = (jax.random.uniform(jax.random.key(3), (4, 8, 8, 1)) < 0.5).astype(jnp.float32)
    params, state = jax.jit(lambda key: init_variables(model, key, x))(jax.random.key(0))
    # Running statistics that differ from the initial ones, as after training.
    noisy = jax.tree.map(
        lambda s: s + 0.1 * jnp.arange(s.size).reshape(s.shape) / s.size, state["batch_stats"]
    )
    return model, {"params": params, "batch_stats": noisy, "spectral": state["spectral"]}, x
