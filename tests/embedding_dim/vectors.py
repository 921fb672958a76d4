"""Reference values and random vectors that several files of this folder use."""

import numpy as np


def vectors(rng, count, n, norm):
    x = rng.normal(size=(count, n)).astype(np.float32)
    return norm * x / np.linalg.norm(x, axis=1, keepdims=True)


def entropy(logits, axis=None):
    """Of softmax(logits), in nats."""
    s = logits - logits.max(axis=axis, keepdims=True)
    e = np.exp(s)
    z = e.sum(axis=axis, dtype=np.float64, keepdims=True)
    return np.squeeze(np.log(z) - (e * s).sum(axis=axis, dtype=np.float64, keepdims=True) / z)
