"""`jaxlab.regularizers.scale`: rescaling of layers, and what it leaves as it was."""

import jax
import jax.numpy as jnp
import numpy as np
from network import RNG, X, Y, forward, network

from jaxlab import regularizers as reg

GAINS = np.array([2.0, 0.25, 4.0, 0.5], np.float32)  # product 1


def loss_of(weights, biases):
    return jnp.mean((forward(weights, biases, X) - Y) ** 2)


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


def test_biases_keep_their_dtype():
    weights, biases = [jnp.ones((1, 1), jnp.bfloat16)] * 2, [jnp.ones(1, jnp.bfloat16), None]
    kernels, (bias, nothing) = reg.rescale_layers(weights, biases, [2.0, 0.5])
    assert {x.dtype for x in (*kernels, bias)} == {jnp.dtype(jnp.bfloat16)}
    assert (float(bias[0]), nothing) == (2.0, None)
