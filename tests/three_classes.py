"""Six examples of three classes, and networks for them."""

import jax.numpy as jnp
import numpy as np

from jaxlab.models import classifiers

COUNTS = jnp.array([70.0, 20.0, 10.0])
PRIOR = COUNTS / 100
LOGITS = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)), jnp.float32)
LABELS = jnp.array([0, 1, 2, 2, 1, 0])
MODEL = classifiers.MLP(3, (4,))
COSINE = classifiers.MLP(3, (4,), head="cosine")
BATCH = {
    "x": jnp.asarray(np.random.default_rng(1).integers(0, 256, (6, 2, 2)), jnp.uint8),
    "label": LABELS,
    "level": jnp.linspace(0.5, 2.0, 6),
}
