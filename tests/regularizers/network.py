"""A small network, and the tree of its parameters."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

RNG = np.random.default_rng(0)


def network(widths=(3, 5, 4, 6, 2), bias=0.0, seed=0):
    rng = np.random.default_rng(seed)
    weights = [
        (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)
        for shape in itertools.pairwise(widths)
    ]
    biases = [(bias * rng.normal(size=w.shape[1])).astype(np.float32) for w in weights]
    return [jnp.asarray(w) for w in weights], [jnp.asarray(b) for b in biases]


def forward(weights, biases, x):
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        x = jax.nn.relu(x @ w + b)
    return x @ weights[-1] + biases[-1]


X = RNG.normal(size=(20, 3)).astype(np.float32)


Y = RNG.normal(size=(20, 2)).astype(np.float32)


TREE = {
    "embed": {"embedding": np.ones((9, 4))},
    "dense": {"kernel": np.ones((4, 4)), "bias": np.ones(4)},
    "norm": [np.ones(4), None],
}
