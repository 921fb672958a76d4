"""`jaxlab.optim` and `jaxlab.regularizers` on the trees of every framework: the same numbers."""

import equinox as eqx
import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from flax.training.train_state import TrainState

from jaxlab import optim, regularizers
from jaxlab.errors import InputError

KERNEL = np.array([[3.0, -1.0], [0.5, 2.0], [1.0, 4.0]], np.float32)
BIAS = np.array([0.5, -2.0], np.float32)


@flax.struct.dataclass
class Struct:
    kernel: jax.Array
    bias: jax.Array

    def __call__(self, x):
        raise AssertionError("a tree of bools was called")


def equinox_linear():
    layer = eqx.nn.Linear(2, 3, use_bias=False, key=jax.random.key(0))
    layer = eqx.tree_at(lambda l: l.weight, layer, jnp.asarray(KERNEL))
    return eqx.tree_at(lambda l: l.bias, layer, jnp.asarray(BIAS), is_leaf=lambda x: x is None)


def nnx_linear():
    layer = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    layer.kernel[...], layer.bias[...] = KERNEL, BIAS
    return layer


TREES = {
    "plain": lambda: {"kernel": jnp.asarray(KERNEL), "bias": jnp.asarray(BIAS)},
    "NumPy in a list": lambda: [KERNEL, (BIAS,)],
    "None leaf": lambda: {"frozen": None, "layer": (jnp.asarray(KERNEL), None, jnp.asarray(BIAS))},
    "Linen": lambda: flax.core.freeze({"params": {"Dense_0": {"kernel": KERNEL, "bias": BIAS}}}),
    "haiku": lambda: {"mlp/~/linear_0": {"w": jnp.asarray(KERNEL), "b": jnp.asarray(BIAS)}},
    "Equinox": equinox_linear,
    "Equinox in a list": lambda: [equinox_linear(), None],
    "NNX module": nnx_linear,
    "NNX state": lambda: nnx.state(nnx_linear(), nnx.Param),
    "flax.struct": lambda: Struct(jnp.asarray(KERNEL), jnp.asarray(BIAS)),
}
MASKS = {
    "no mask": lambda tree: None,
    "a function": lambda tree: regularizers.vectors_only,
    "a tree of its class": regularizers.vectors_only,
}


def squares(tree):
    return regularizers.l2(tree) ** 2


def spectral(tree, mask):
    mask = mask if mask is None else regularizers.matrices_only(tree)
    vectors = regularizers.init_spectral_vectors(tree, jax.random.key(0), mask=mask)
    return regularizers.spectral_norm_penalty(tree, vectors, mask=mask)[0]


def step(make):
    """What two updates make of the parameters, with the parameters as gradients."""

    def apply(tree, mask):
        tx = optax.with_extra_args_support(make(mask))
        state = tx.init(tree)
        for _ in range(2):
            updates, state = tx.update(tree, state, tree, value=jnp.float32(0.25))
        return updates

    return apply


FUNCTIONS = {
    "weissi": lambda tree, mask: regularizers.weissi(tree, direction=0.5, mask=mask),
    "log_norm_sum": lambda tree, mask: regularizers.log_norm_sum(tree, mask=mask),
    "l2": lambda tree, mask: regularizers.l2(tree, mask=mask),
    "spectral_norm_penalty": spectral,
    "residual_log_bound": lambda tree, mask: regularizers.residual_log_bound([tree], mask=mask),
    "squared_gradient_norm": lambda tree, mask: regularizers.squared_gradient_norm(
        squares, mask=mask
    )(tree),
    "freeze": lambda tree, mask: jax.grad(lambda t: squares(optim.freeze(t, mask)))(tree),
    "train_only": step(lambda mask: optim.train_only(optax.adam(0.1), mask is None or mask)),
    "add_penalty": step(lambda mask: optim.add_penalty(squares, 0.1, mask)),
    "add_weissi": step(lambda mask: optim.add_weissi(0.1, 0.2, mask=mask)),
    "weissi_decay": step(lambda mask: optim.weissi_decay(0.1, learning_rate=0.1, mask=mask)),
    "adamw_weissi": step(
        lambda mask: optim.adamw_weissi(0.1, log_norm=0.1, direction=0.2, mask=mask)
    ),
    "make_optimizer": step(
        lambda mask: optim.make_optimizer(
            "adamw", learning_rate=0.1, num_steps=3, l2=0.1, weissi=0.2, weissi_decay=0.1,
            weissi_mask="all", spectral=0.3 if mask is None else None, flooding=0.5,
            skip_factor=9.0, trainable=mask,
        )
    ),
}  # fmt: skip


def by_axes(result):
    return {np.ndim(x): np.asarray(x) for x in jax.tree.leaves(result)}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("mask", MASKS)
def test_every_tree_gives_what_a_plain_one_gives(function, mask):
    found = {}
    for name, make in TREES.items():
        tree = make()
        found[name] = by_axes(FUNCTIONS[function](tree, MASKS[mask](tree)))
        assert found[name].keys() == found["plain"].keys(), name
        for axes, x in found[name].items():
            np.testing.assert_allclose(x, found["plain"][axes], rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("tree", TREES)
def test_masks_join_and_a_function_may_be_a_tree(tree):
    tree = TREES[tree]()
    none = regularizers.none_of(regularizers.matrices_only(tree), regularizers.vectors_only)
    both = regularizers.any_of(
        none(tree),
        regularizers.all_of(regularizers.vectors_only(tree), True),
        jax.tree_util.Partial(regularizers.matrices_only, stacked=False),
    )
    assert jax.tree.leaves(none(tree)) == [False, False]
    assert jax.tree.leaves(both(tree)) == [True, True]
    assert jax.tree.structure(both(tree)) == jax.tree.structure(tree)


@pytest.mark.parametrize("tree", TREES)
def test_stacked_layers_may_be_a_tree_of_its_class(tree):
    tree = TREES[tree]()
    flags = jax.tree.map(lambda x: x.ndim == 2, tree)
    np.testing.assert_allclose(
        regularizers.weissi(tree, mask=flags, stacked=flags),
        0.5 * np.log((KERNEL**2).sum(1)).sum(),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("tree", "path"),
    [("Linen", "Dense_0"), ("haiku", "linear_0"), ("haiku", "mlp/~/linear_0"),
     ("Equinox", "weight"), ("NNX module", "kernel"), ("NNX state", "kernel"),
     ("flax.struct", "kernel")],
)  # fmt: skip
def test_leaves_have_names(tree, path):
    tree = TREES[tree]()
    both = {"Dense_0", "linear_0", "mlp/~/linear_0"}
    for mask in (regularizers.named(path), regularizers.matching(path)):
        want = {2: True, 1: path in both}
        flags = zip(jax.tree.leaves(tree), jax.tree.leaves(mask(tree)), strict=True)
        assert {leaf.ndim: flag for leaf, flag in flags} == want
    if "linear" not in path and "Dense" not in path:
        updates = step(
            lambda _: optim.train_only(optax.sgd(1.0), optim.trainable_mask(tree, [path]))
        )
        found = by_axes(updates(tree, None))
        np.testing.assert_array_equal(found[2], -KERNEL)
        assert not found[1].any()


class Model(eqx.Module):
    """What is no parameter in it: a function, a rate, a table of integers, a bias that is None."""

    net: eqx.nn.MLP
    drop: eqx.nn.Dropout
    table: jax.Array
    scale: jax.Array
    offset: None = None

    def __call__(self, x):
        raise AssertionError("the model was called")


def test_a_whole_equinox_model():
    model = Model(
        eqx.nn.MLP(2, 2, 2, 1, key=jax.random.key(0)),
        eqx.nn.Dropout(0.5),
        jnp.arange(4).reshape(2, 2),
        jnp.full((2, 2), 3.0),
    )
    params = eqx.filter(model, eqx.is_inexact_array)
    np.testing.assert_array_equal(regularizers.weissi(model), regularizers.weissi(params))
    with pytest.raises(InputError, match=r"net/activation is custom_jvp, must be an array of num"):
        regularizers.l2(model)
    chosen = lambda m: optim.freeze(m, optim.trainable_mask(m, ["scale", "net/layers/0"]))
    slopes = eqx.filter_grad(lambda m: regularizers.weissi(chosen(m)))(model)
    assert slopes.scale.any()
    assert slopes.net.layers[0].weight.any()
    assert not slopes.net.layers[1].weight.any()
    loss = lambda m: regularizers.weissi(m) + jnp.sum(m.scale)
    grads = eqx.filter_grad(loss)(model)
    frozen = eqx.tree_at(lambda m: m.scale, grads, None)
    elsewhere = lambda m, _: eqx.filter_grad(loss)(eqx.combine(m, model))
    extra = {"value": 1.0, "grad_fn": elsewhere}
    options = {"learning_rate": 0.1, "num_steps": 3}
    trained = optim.trainable_mask(params, ["net/layers/0", "scale"])
    for tx in (
        optim.add_penalty(regularizers.log_norm_sum, 0.1),
        optim.adamw_weissi(0.1, log_norm=0.1, direction=0.1),
        optim.make_optimizer(
            "sgd", l2=0.1, weissi=0.1, weight_decay=0.1, weissi_decay=0.1, **options
        ),
        optim.make_optimizer("adamw", flooding=0.1, skip_factor=9.0, trainable=trained, **options),
        optim.make_optimizer("adamw", sharpness=0.1, **options),
    ):
        tx, found = optax.with_extra_args_support(tx), []
        # Equinox's own loops give the arrays, or the whole model.
        for given in (params, eqx.filter(model, eqx.is_array), model):
            updates, _ = tx.update(grads, tx.init(params), given, **extra)
            found.append(jax.tree.leaves(eqx.apply_updates(params, updates)))
        for other in found[1:]:
            jax.tree.map(np.testing.assert_array_equal, found[0], other)
        assert (found[0][0] != jax.tree.leaves(params)[0]).any()
        updates, _ = tx.update(frozen, tx.init(frozen), model, **extra)
        assert updates.scale is None


def test_the_optimizer_of_nnx_passes_the_value_on():
    decay = optim.adamw_weissi(0.1, log_norm=0.2)
    params = {"kernel": KERNEL, "bias": BIAS}
    for value, sign in ((0.75, 1), (0.25, -1)):
        layer = nnx_linear()
        tx = optax.chain(optim.flood_updates(0.5), decay)
        optimizer = nnx.Optimizer(layer, tx, wrt=nnx.Param)
        ones = jax.tree.map(jnp.ones_like, nnx.state(layer, nnx.Param))
        optimizer.update(layer, ones, value=value)
        turned = jax.tree.map(lambda p, s=sign: np.full_like(p, s), params)
        want, _ = decay.update(turned, decay.init(params), params)
        np.testing.assert_allclose(layer.kernel[...], KERNEL + want["kernel"], rtol=1e-6)
        np.testing.assert_allclose(layer.bias[...], BIAS + want["bias"], rtol=1e-6)


def test_the_train_state_of_flax_passes_no_value():
    """What `flood_updates` says to do instead."""
    state = TrainState.create(
        apply_fn=nn.Dense(2).apply,
        params={"kernel": KERNEL, "bias": BIAS},
        tx=optax.chain(optim.flood_updates(0.5), optax.sgd(1.0)),
    )
    grads = jax.tree.map(np.ones_like, state.params)
    with pytest.raises(
        InputError, match=r"TrainState\.apply_gradients cannot: call state\.tx\.upd"
    ):
        state.apply_gradients(grads=grads)

    @jax.jit
    def train(state, loss):
        updates, opt_state = state.tx.update(grads, state.opt_state, state.params, value=loss)
        params = optax.apply_updates(state.params, updates)
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state)

    for loss, sign in ((0.75, -1.0), (0.25, 1.0)):
        moved = train(state, loss)
        np.testing.assert_array_equal(moved.params["bias"], BIAS + sign)
        assert int(moved.step) == 1
