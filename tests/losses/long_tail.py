"""A problem with five unequal classes, and losses in float64 by their definitions."""

import numpy as np

from jaxlab import losses

K = 5
COUNTS = np.array([100, 40, 20, 5, 1])
PRIOR = (COUNTS / COUNTS.sum()).astype(np.float32)
LOGITS = (3 * np.random.default_rng(0).normal(size=(7, K))).astype(np.float32)
LABELS = np.array([0, 1, 2, 3, 4, 0, 4])


def log_softmax(x):
    x = np.float64(x)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def cross_entropy(logits, labels):
    return -np.take_along_axis(log_softmax(logits), labels[..., None], -1)[..., 0]


def adjusted(logits=LOGITS, labels=LABELS, prior=PRIOR, tau=1.0):
    return losses.logit_adjusted_cross_entropy(logits, labels, class_prior=prior, tau=tau)
