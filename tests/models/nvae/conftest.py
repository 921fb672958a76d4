"""A small NVAE, initialised once for all tests of this folder."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
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
def small(made_once):
    """(model, variables, x): three groups, and four binary images."""
    model = NVAE(**SMALL)
    x = (jax.random.uniform(jax.random.key(3), (4, 8, 8, 1)) < 0.5).astype(jnp.float32)

    def make(file):
        initial = jax.jit(lambda key: init_variables(model, key, x))(jax.random.key(0))
        file.write_bytes(pickle.dumps(jax.tree.map(np.asarray, initial)))

    params, state = pickle.loads(made_once("small_nvae", make).read_bytes())
    # Running statistics that differ from the initial ones, as after training.
    noisy = jax.tree.map(
        lambda s: s + 0.1 * np.arange(s.size, dtype=s.dtype).reshape(s.shape) / s.size,
        state["batch_stats"],
    )
    variables = {"params": params, "batch_stats": noisy, "spectral": state["spectral"]}
    return model, jax.device_put(variables), x  # `jnp.asarray` compiles a program per shape
