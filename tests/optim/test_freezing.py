"""`jaxlab.optim.freezing`: which leaves are trained; no gradient, move or state for the others."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import optim
from jaxlab.errors import InputError

PARAMS = {"head": jnp.ones(2), "head2": jnp.ones(1), "body": {"w": jnp.ones(3), "b": jnp.ones(1)}}


@pytest.mark.parametrize(
    ("trainable", "trained"),
    [
        (["head"], {"head"}),  # and not what only begins like it
        (["body"], {"body/w", "body/b"}),
        (["body/w", "head2"], {"body/w", "head2"}),
        ([], set()),
    ],
)
def test_paths_choose_what_is_below_them(trainable, trained):
    mask = jax.tree.leaves_with_path(optim.trainable_mask(PARAMS, trainable))
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
    assert {name(path) for path, chosen in mask if chosen is True} == trained
    assert {name(path) for path, chosen in mask if chosen is False} == {
        "head", "head2", "body/w", "body/b"} - trained  # fmt: skip


def test_a_path_that_names_nothing_is_an_error():
    with pytest.raises(InputError, match="trainable holds 'bod', no leaf of params is below it"):
        optim.trainable_mask(PARAMS, ["head", "bod"])


def test_frozen_leaves_keep_their_values_and_get_no_gradient():
    mask = optim.trainable_mask(PARAMS, ["body"])
    product = lambda p: sum((2 * leaf**2).sum() for leaf in jax.tree.leaves(optim.freeze(p, mask)))
    value, grads = jax.value_and_grad(product)(PARAMS)
    assert float(value) == 14.0
    assert jax.tree.map(lambda g: float(g[0]), grads) == {
        "head": 0.0,
        "head2": 0.0,
        "body": {"w": 4.0, "b": 4.0},
    }
    assert optim.freeze(PARAMS, None) is PARAMS


def test_only_trained_leaves_move_and_have_state():
    mask = optim.trainable_mask(PARAMS, ["head"])
    tx = optim.train_only(optax.adam(0.5), mask)
    state = tx.init(PARAMS)
    assert sum(np.size(x) for x in jax.tree.leaves(state)) == 2 * 2 + 1  # moments and a count
    updates, _ = tx.update(PARAMS, state, PARAMS)
    np.testing.assert_allclose(updates["head"], [-0.5, -0.5], rtol=1e-5)
    assert all(not leaf.any() for leaf in jax.tree.leaves({**updates, "head": jnp.zeros(1)}))
