"""Penalties and the scale of layers: closed forms, invariances, conserved quantities, bounds."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxlab import regularizers as reg

RNG = np.random.default_rng(0)
GAINS = np.array([2.0, 0.25, 4.0, 0.5], np.float32)  # product 1


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


def loss_of(weights, biases):
    return jnp.mean((forward(weights, biases, X) - Y) ** 2)


# --- Values and gradients -------------------------------------------------------------------------


def test_values_against_numpy():
    params = {
        "a": RNG.normal(size=(3, 4)),
        "b": RNG.normal(size=7),
        "c": RNG.normal(size=(2, 2, 5)),
    }
    params = {k: v.astype(np.float32) for k, v in params.items()}
    every = sum((np.float64(v) ** 2).sum() for v in params.values())
    np.testing.assert_allclose(reg.l2(params), every / 2, rtol=1e-6)
    np.testing.assert_allclose(
        reg.l2(params, mask=reg.vectors_only), (params["b"] ** 2).sum() / 2, rtol=1e-6
    )
    matrices = [params["a"], params["c"]]
    norms = [np.linalg.norm(np.float64(v)) for v in matrices]
    np.testing.assert_allclose(reg.log_norm_sum(params), np.log(norms).sum(), rtol=1e-6)
    ratios = [np.abs(v).sum() / n for v, n in zip(matrices, norms, strict=True)]
    expected = 0.3 * np.log(norms).sum() + 0.2 * np.sum(ratios)
    np.testing.assert_allclose(reg.weissi(params, log_norm=0.3, direction=0.2), expected, rtol=1e-6)
    for ratio, w in zip(ratios, matrices, strict=True):
        assert 1 <= ratio <= np.sqrt(w.size)


@pytest.mark.parametrize("stacked", [False, True])
def test_the_closed_form_gradient_is_that_of_the_penalty(stacked):
    w = RNG.normal(size=(3, 4, 5)).astype(np.float32)
    strengths = {"log_norm": 0.7, "direction": 0.3, "stacked": stacked}
    expected = jax.jit(jax.grad(lambda w: reg.weissi(w, **strengths)))(w)
    np.testing.assert_allclose(reg.weissi_grad(w, **strengths), expected, atol=1e-6)


def test_the_gradient_is_radial_and_tangential():
    for scale in (1e-3, 1.0, 100.0):
        w = scale * RNG.normal(size=(6, 5)).astype(np.float32)
        radial = reg.weissi_grad(w, log_norm=0.7)
        tangential = reg.weissi_grad(w, log_norm=0.0, direction=0.7)
        np.testing.assert_allclose(np.sum(w * radial), 0.7, rtol=1e-5)
        np.testing.assert_allclose(np.sum(w * tangential), 0, atol=1e-5)


def test_gradients_of_higher_order():
    w = (np.sign(RNG.normal(size=(2, 3))) * RNG.uniform(0.5, 1, size=(2, 3))).astype(np.float32)
    penalty = jax.jit(lambda w: reg.weissi(w, log_norm=0.5, direction=0.5))
    check_grads(penalty, (w,), order=2, modes=["rev"], rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e-12, 1e15])
def test_extremes_are_finite(value):
    w = jnp.full((2, 2), value, jnp.float32)
    penalty = lambda w: reg.weissi(w, direction=1.0)
    out, grad = jax.jit(jax.value_and_grad(penalty))(w)
    assert np.isfinite(out)
    assert np.isfinite(grad).all()
    np.testing.assert_allclose(reg.weissi_grad(w, direction=1.0), grad, rtol=1e-3, atol=1e-15)
    if value == 0:
        assert not grad.any()


def test_half_precision_norms_do_not_overflow():
    w = jnp.full((300, 300), 10.0, jnp.float16)  # the sum of squares is above 65504
    np.testing.assert_allclose(reg.log_norm_sum(w), np.log(3000), rtol=1e-3)
    np.testing.assert_allclose(reg.l2(w), 4.5e6, rtol=1e-3)
    assert reg.weissi_grad(w).dtype == jnp.float16
    assert jax.grad(reg.l2)(w).dtype == jnp.float16


def test_a_stack_of_layers_is_a_norm_per_layer():
    w, b = RNG.normal(size=(3, 4, 5)).astype(np.float32), np.ones((3, 5), np.float32)
    apart = [{"w": w[i], "b": b[i]} for i in range(3)]
    kwargs = {"log_norm": 0.7, "direction": 0.1}
    expected = reg.weissi(apart, **kwargs)
    # The stacked bias has two axes and stays a bias.
    for stacked in (
        True,
        {"w": True, "b": True},
        lambda params: jax.tree.map(bool, {"w": 1, "b": 1}),
    ):
        np.testing.assert_allclose(
            reg.weissi({"w": w, "b": b}, stacked=stacked, **kwargs), expected, rtol=1e-6
        )
    assert abs(reg.weissi({"w": w, "b": b}, **kwargs) - expected) > 0.1


def test_under_vmap():
    w = RNG.normal(size=(3, 4, 5)).astype(np.float32)
    apart = jax.jit(jax.vmap(reg.weissi))(w)
    np.testing.assert_allclose(apart.sum(), reg.weissi(w, stacked=True), rtol=1e-6)


# --- Masks ----------------------------------------------------------------------------------------

TREE = {
    "embed": {"embedding": np.ones((9, 4))},
    "dense": {"kernel": np.ones((4, 4)), "bias": np.ones(4)},
    "norm": [np.ones(4), None],
}


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


# --- The scale of layers --------------------------------------------------------------------------


def test_rescaling_leaves_the_network_as_it_was():
    weights, biases = network(bias=1.0)
    before = forward(weights, biases, X)
    np.testing.assert_array_equal(forward(*reg.rescale_layers(weights, biases, GAINS), X), before)
    gains = np.exp(RNG.normal(size=4))
    gains[3] /= gains.prod()
    after = forward(*reg.rescale_layers(weights, biases, gains), X)
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)
    # The rule without the cumulative product is not the same function.
    wrong = [g * b for g, b in zip(GAINS, biases, strict=True)]
    scaled = reg.rescale_layers(weights, None, GAINS)[0]
    assert np.abs(forward(scaled, wrong, X) - before).max() > 0.1
    # Gains of another product scale the output.
    doubled = forward(*reg.rescale_layers(weights, biases, [1, 1, 2, 1]), X)
    np.testing.assert_allclose(doubled, 2 * before, rtol=1e-6)


def test_the_penalty_is_invariant_and_l2_is_not():
    weights, biases = network(bias=1.0)
    scaled, _ = reg.rescale_layers(weights, biases, GAINS)
    kwargs = {"log_norm": 0.7, "direction": 0.3}
    base = reg.weissi(weights, **kwargs)
    np.testing.assert_allclose(reg.weissi(scaled, **kwargs), base, rtol=1e-5)
    assert reg.l2(scaled) > 1.5 * reg.l2(weights)
    shifted, _ = reg.rescale_layers(weights, biases, [3, 1, 0.5, 2])
    np.testing.assert_allclose(reg.weissi(shifted, **kwargs), base + 0.7 * np.log(3.0), rtol=1e-5)


def test_balanced_gains_make_the_sum_of_squares_smallest():
    weights, _ = network()
    weights = reg.rescale_layers(weights, None, [5, 0.1, 1, 2])[0]
    gains = np.asarray(reg.balanced_gains(weights))
    np.testing.assert_allclose(gains.prod(), 1, rtol=1e-5)
    norms = np.array([np.linalg.norm(w) for w in weights])
    np.testing.assert_allclose(gains * norms, np.full(4, norms.prod() ** 0.25), rtol=1e-5)
    best = ((gains * norms) ** 2).sum()
    others = np.exp(RNG.normal(size=(100, 4)))
    others /= others.prod(1, keepdims=True) ** 0.25
    assert (((others * norms) ** 2).sum(1) >= best).all()
    huge = [np.full((2, 2), 1e12, np.float32)] * 40  # a product would overflow
    np.testing.assert_allclose(reg.balanced_gains(huge), np.ones(40), rtol=1e-5)


def test_layers_share_one_inner_product_without_biases_only():
    grad = jax.jit(jax.grad(loss_of))
    inner = lambda weights, biases: np.array(
        [np.sum(w * g) for w, g in zip(weights, grad(weights, biases), strict=True)]
    )
    plain = inner(*network())
    assert abs(plain[0]) > 0.1
    np.testing.assert_allclose(plain, plain[0], rtol=1e-4)
    assert np.ptp(inner(*network(bias=1.0))) > 0.05


def test_what_the_flows_conserve():
    """Differences of squared norms: kept by WEISSI and by none, exp(-2 lambda t) in L2.

    Over 4 units of time, in which L2 balances nine tenths of them away.
    """
    weights, biases = network()
    weights = reg.rescale_layers(weights, biases, [1.5, 1, 1.2, 0.8])[0]
    strength, time, steps = 0.3, 4.0, 10000
    penalties = {
        "none": lambda w: 0.0,
        "l2": lambda w: strength * reg.l2(w),
        "weissi": lambda w: reg.weissi(w, log_norm=strength),
    }
    loss = lambda w: jnp.mean((forward(w, biases, X) - 4 * Y - 3) ** 2)
    squares = lambda weights: jnp.stack([jnp.sum(w**2) for w in weights])

    def flow(penalty):
        def step(w, _):
            g = jax.grad(lambda w: loss(w) + penalty(w))(w)
            return jax.tree.map(lambda w, g: w - time / steps * g, w, g), None

        return jax.jit(lambda w: squares(jax.lax.scan(step, w, None, length=steps)[0]))(weights)

    ends = {name: np.asarray(flow(penalty)) for name, penalty in penalties.items()}
    start = np.asarray(squares(weights))
    difference = lambda s: s[1:] - s[:-1]
    np.testing.assert_allclose(difference(ends["none"]), difference(start), rtol=2e-3)
    np.testing.assert_allclose(difference(ends["weissi"]), difference(start), rtol=2e-3)
    decayed = np.exp(-2 * strength * time) * difference(start)
    np.testing.assert_allclose(difference(ends["l2"]), decayed, rtol=2e-3)
    for s in ends.values():
        assert np.abs(s - start).max() > 0.3  # the weights did move
    assert ends["weissi"].sum() < ends["none"].sum() - 0.5


def test_the_input_jacobian_is_bounded():
    for seed in range(5):
        weights, biases = network(bias=1.0, seed=seed)
        jacobian = jax.vmap(jax.jacobian(lambda x, w=weights, b=biases: forward(w, b, x)))(X)
        norms = np.linalg.norm(np.asarray(jacobian), ord=2, axis=(1, 2))
        assert norms.max() <= np.exp(reg.log_norm_sum(weights)) * (1 + 1e-5)


def test_the_bound_of_residual_branches():
    blocks = [network((4, 6, 4), seed=seed)[0] for seed in range(3)]

    def apply(blocks, x):
        for first, second in blocks:
            x = x + jax.nn.relu(x @ first) @ second
        return x

    bound = float(reg.residual_log_bound(blocks))
    products = [np.prod([np.linalg.norm(w) for w in block]) for block in blocks]
    np.testing.assert_allclose(bound, np.log1p(products).sum(), rtol=1e-5)
    jacobian = np.asarray(jax.vmap(jax.jacobian(lambda x: apply(blocks, x)))(np.eye(4)))
    assert np.linalg.norm(jacobian, ord=2, axis=(1, 2)).max() <= np.exp(bound)
    # Gains move freely inside a branch, not across branches.
    inside = [[4 * a, b / 4] for a, b in blocks]
    np.testing.assert_allclose(reg.residual_log_bound(inside), bound, rtol=1e-6)
    across = [[4 * a, b] for a, b in blocks[:1]] + [[a / 4, b] for a, b in blocks[1:2]] + blocks[2:]
    assert abs(reg.residual_log_bound(across) - bound) > 1e-2


# --- The squared gradient norm --------------------------------------------------------------------


def test_squared_gradient_norm():
    weights, biases = network()
    loss = lambda w, x: (jnp.mean((forward(w, biases, x) - Y) ** 2), "aux")
    penalty = reg.squared_gradient_norm(loss, has_aux=True)
    grads = jax.grad(lambda w: loss(w, X)[0])(weights)
    expected = sum(np.sum(np.square(g)) for g in grads)
    np.testing.assert_allclose(penalty(weights, X), expected, rtol=1e-5)
    first = reg.squared_gradient_norm(loss, has_aux=True, mask=[True, False, False, False])
    np.testing.assert_allclose(first(weights, X), np.sum(np.square(grads[0])), rtol=1e-5)
    total, aux = reg.gradient_norm_penalty(loss, 0.3, has_aux=True)(weights, X)
    assert aux == "aux"
    np.testing.assert_allclose(total, loss(weights, X)[0] + 0.3 * expected, rtol=1e-5)


def test_its_gradient_is_twice_hessian_times_gradient():
    h = np.diag([1.0, 3.0]).astype(np.float32) + 0.5
    penalized = reg.gradient_norm_penalty(lambda w: 0.5 * w @ h @ w, 0.1)
    w = np.array([1.0, -2.0], np.float32)
    np.testing.assert_allclose(jax.grad(penalized)(w), h @ w + 0.2 * h @ h @ w, rtol=1e-5)


# --- Errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reg.weissi(np.ones((2, 2)), log_norm=-1.0), "log_norm is -1.0"),
        (lambda: reg.weissi(np.ones((2, 2)), direction=np.nan), "direction is nan"),
        (lambda: reg.weissi(np.ones((2, 2)), log_norm=np.ones(2)), "must be a scalar"),
        (lambda: reg.weissi(np.ones((2, 2)), eps=0.0), "eps is 0.0"),
        (lambda: reg.weissi_grad(np.ones((2, 2)), log_norm=-1.0), "log_norm is -1.0"),
        (lambda: reg.weissi({"b": np.ones(2)}), "no leaf with two or more axes"),
        (lambda: reg.weissi({}), "no leaf with two or more axes"),
        (lambda: reg.weissi(TREE, mask=False), "mask selects no leaf"),
        (lambda: reg.weissi(TREE, mask=reg.named("kernle")), "mask selects no leaf"),
        (lambda: reg.l2(TREE, mask=False), "mask selects no leaf"),
        (lambda: reg.l2(TREE, mask={"dense": True}), "mask must be a tree of bools that fits"),
        (lambda: reg.weissi(TREE, stacked={"dense": True}), "stacked must be a tree of bools"),
        (
            lambda: reg.weissi({"s": np.float32(1)}, mask=True, stacked=True),
            r"a stacked leaf has shape \(\)",
        ),
        (lambda: reg.gradient_norm_penalty(jnp.sum, -1.0), "coefficient is -1.0"),
        (lambda: reg.residual_log_bound([]), "blocks is empty"),
        (lambda: reg.rescale_layers([np.ones((1, 1))], None, [1.0, 1.0]), "one each a layer"),
        (lambda: reg.rescale_layers([np.ones((1, 1))], [], [1.0]), "got 1 weights, 0 biases"),
        (
            lambda: reg.rescale_layers([np.ones((1, 1))], None, [-1.0]),
            "must be finite and positive",
        ),
        (lambda: reg.balanced_gains([]), "weights is empty"),
        (
            lambda: reg.balanced_gains([np.ones((1, 1)), np.zeros((1, 1))]),
            r"weights\[1\] is zero",
        ),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
