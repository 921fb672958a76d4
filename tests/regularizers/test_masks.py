"""`jaxlab.regularizers.masks`: which leaves a regularizer sees."""

import jax
import numpy as np
import pytest
from network import TREE

from jaxlab import regularizers as reg
from jaxlab.errors import InputError


def test_masks_by_purpose():
    flags = lambda mask: jax.tree.leaves(reg.expand_mask(mask, TREE))  # dense: bias, kernel; ...
    assert flags(reg.matrices_only) == [False, True, True, False]
    assert flags(reg.vectors_only) == [True, False, False, True]
    assert flags(reg.named("embedding", "norm")) == [False, False, True, True]
    assert flags(reg.all_of(reg.matrices_only, reg.none_of(reg.named("embed")))) == [0, 1, 0, 0]
    assert flags({"embed": True, "dense": False, "norm": True}) == [False, False, True, True]


def test_the_default_mask_leaves_biases_alone_and_masks_choose():
    kernel = 4 * np.log(16) / 8  # log of the norm 4
    np.testing.assert_allclose(reg.weissi(TREE["dense"]), kernel, rtol=1e-5)
    mask = reg.all_of(reg.matrices_only, reg.none_of(reg.named("embedding")))
    np.testing.assert_allclose(reg.weissi(TREE, mask=mask), kernel, rtol=1e-5)
    np.testing.assert_allclose(reg.weissi(TREE, mask=reg.named("bias")), np.log(2), rtol=1e-5)


def test_complex_leaves_are_refused():
    params = {"kernel": np.ones((2, 2), np.complex64)}
    for penalty in (reg.l2, reg.weissi, reg.log_norm_sum):
        with pytest.raises(InputError, match="kernel is complex64, must be real"):
            penalty(params)
