"""`jaxlab.models.skipgram`: losses against NumPy in float64, the fast step against the slow sum."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import embedding_dim as ed
from jaxlab.models import skipgram

N, DIM = 12, 4


@pytest.fixture(scope="module")
def case():
    """Params and shares of pairs, float64 copies of both, and the logits."""
    params = skipgram.init_params(jax.random.key(0), N, DIM, words=1.0, contexts=0.7)
    counts = np.random.default_rng(0).poisson(1.0, (N, N)).astype(np.float64)
    pairs = counts / counts.sum()
    u, v = (np.asarray(params[name], np.float64) for name in ("words", "contexts"))
    return params, jnp.asarray(pairs, jnp.float32), pairs, u @ v.T


def softplus(x):
    return np.logaddexp(0, x)


# --- Full softmaxes -------------------------------------------------------------------------------


def test_joint_softmax(case):
    params, pairs, p, s = case
    q = np.exp(s) / np.exp(s).sum()
    expected = -np.sum(p * np.log(q))
    assert float(skipgram.joint_cross_entropy(params, pairs)) == pytest.approx(expected, rel=1e-5)
    found = float(skipgram.joint_entropy(params))
    assert found == pytest.approx(-np.sum(q * np.log(q)), rel=1e-5)
    grads = jax.grad(skipgram.joint_cross_entropy)(params, pairs)
    u, v = (np.asarray(params[name], np.float64) for name in ("words", "contexts"))
    np.testing.assert_allclose(grads["words"], (q - p) @ v, atol=1e-6)
    np.testing.assert_allclose(grads["contexts"], (q - p).T @ u, atol=1e-6)


def test_row_softmax(case):
    params, pairs, p, s = case
    q = np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)
    expected = -np.sum(p * np.log(q))
    assert float(skipgram.row_cross_entropy(params, pairs)) == pytest.approx(expected, rel=1e-5)
    entropies = -np.sum(q * np.log(q), axis=1)
    np.testing.assert_allclose(skipgram.row_entropies(params), entropies, rtol=1e-5)
    grads = jax.grad(skipgram.row_cross_entropy)(params, pairs)
    v = np.asarray(params["contexts"], np.float64)
    weights = p.sum(axis=1, keepdims=True) * q - p
    np.testing.assert_allclose(grads["words"], weights @ v, atol=1e-6)


def test_cross_entropies_are_bounded_by_entropies_of_the_pairs(case):
    params, pairs, p, _ = case
    assert float(skipgram.joint_cross_entropy(params, pairs)) > ed.empirical_pair_entropy(p)
    conditional = ed.empirical_pair_entropy(p, pairs="conditional")
    assert float(skipgram.row_cross_entropy(params, pairs)) > conditional


def test_norm_ratio_and_entropy_of_random_vectors_are_those_of_the_theory():
    n = 16
    params = skipgram.init_params(jax.random.key(1), 1500, n)
    unit = lambda x: np.sqrt(n) * x / np.linalg.norm(x, axis=1, keepdims=True)
    params = {name: jnp.asarray(unit(np.asarray(x))) for name, x in params.items()}
    assert float(skipgram.norm_ratio(params)) == pytest.approx(1, rel=1e-5)
    expected = ed.skipgram_entropy(1500, n)
    assert float(skipgram.joint_entropy(params)) == pytest.approx(expected, abs=0.08)
    params = skipgram.init_params(jax.random.key(1), 7, 3)
    norms = [np.linalg.norm(np.asarray(x), axis=1) for x in params.values()]
    expected = np.mean(np.outer(*norms)) / 3
    assert float(skipgram.norm_ratio(params)) == pytest.approx(expected, rel=1e-5)


def test_a_full_rank_fit_reaches_the_entropy_of_the_pairs(case):
    _, pairs, p, _ = case
    fit = functools.partial(skipgram.fit_counts, dim=N, num_steps=300)
    keys = jax.vmap(jax.random.key)(jnp.arange(2))
    params, found = jax.jit(jax.vmap(fit, in_axes=(0, None, None)))(keys, pairs, pairs)
    floor = ed.empirical_pair_entropy(p)
    assert found["train"].shape == (2, 30)
    assert (np.asarray(found["train"][:, -1]) < floor + 0.02).all()
    np.testing.assert_array_equal(found["train"], found["held_out"])
    assert not np.array_equal(params["words"][0], params["words"][1])  # seeds differ


def test_wrong_arguments_are_named(case):
    params, pairs, _, _ = case
    with pytest.raises(ValueError, match=r"pairs have shape \(3, 3\)"):
        skipgram.joint_cross_entropy(params, pairs[:3, :3])
    with pytest.raises(ValueError, match="softmax is 'both', must be one of joint, conditional"):
        skipgram.fit_counts(jax.random.key(0), pairs, pairs, dim=2, num_steps=10, softmax="both")
    with pytest.raises(ValueError, match="num_steps is 15, must be a positive multiple of 10"):
        skipgram.fit_counts(jax.random.key(0), pairs, pairs, dim=2, num_steps=15)
    with pytest.raises(ValueError, match="vocab_size is 1, must be a whole number of at least 2"):
        skipgram.init_params(jax.random.key(0), 1, 4)
    with pytest.raises(ValueError, match="words is -1, must be at least 0"):
        skipgram.init_params(jax.random.key(0), 2, 4, words=-1)
    zeros, reach = jnp.zeros((1, 2, 3)), jnp.zeros((1, 2), jnp.int32)
    with pytest.raises(ValueError, match="words, contexts and left have shapes"):
        skipgram.block_loss(zeros, jnp.zeros((1, 5, 3)), zeros, reach, reach)


# --- Negative sampling ----------------------------------------------------------------------------

B, W, M, STRETCHES, STEPS = 6, 2, 3, 2, 2


@pytest.fixture(scope="module")
def blocks():
    """Two blocks of two stretches over few words, so that rows repeat."""
    rng = np.random.default_rng(1)
    shape = (STEPS, STRETCHES)
    return {
        "tokens": rng.integers(0, N, (*shape, B + 2 * W)),
        "left": rng.integers(0, W + 1, (*shape, B)),
        "right": rng.integers(0, W + 1, (*shape, B)),
        "negatives": rng.integers(0, N, (*shape, M)),
    }


def pairs_of(block):
    """(stretch, word, context) of every pair of a block."""
    for i in range(STRETCHES):
        for k in range(B):
            for d in range(-block["left"][i, k], block["right"][i, k] + 1):
                if d:
                    yield i, block["tokens"][i, W + k], block["tokens"][i, W + k + d]


def step_by_hand(u, v, block, rate, num_negatives):
    """One SGD step in float64, pair by pair; also its loss and number of pairs."""
    du, dv, loss, count = np.zeros_like(u), np.zeros_like(v), 0.0, 0
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    for i, word, context in pairs_of(block):
        s = u[word] @ v[context]
        loss, count = loss + softplus(-s), count + 1
        du[word] -= (1 - sigmoid(s)) * v[context]
        dv[context] -= (1 - sigmoid(s)) * u[word]
        for other in block["negatives"][i]:
            s = u[word] @ v[other]
            weight = num_negatives / M
            loss += weight * softplus(s)
            du[word] += weight * sigmoid(s) * v[other]
            dv[other] += weight * sigmoid(s) * u[word]
    return u - rate * du, v - rate * dv, loss, count


def gathered(params, block):
    return (
        params["words"][block["tokens"][:, W:-W]],
        params["contexts"][block["tokens"]],
        params["contexts"][block["negatives"]],
        block["left"],
        block["right"],
    )


def pair_losses(u, v, k):
    """Word pairs against negatives of their own, as in word2vec."""
    return softplus(-np.sum(u * v, -1)) + softplus(np.einsum("bn,bkn->bk", u, k)).sum(-1)


def test_a_block_is_the_sum_over_its_pairs(case, blocks):
    params = case[0]
    block = {name: x[0] for name, x in blocks.items()}
    total, count = skipgram.block_loss(*gathered(params, block), num_negatives=M)
    pairs = list(pairs_of(block))
    stretch, word, context = (np.array(x) for x in zip(*pairs, strict=True))
    losses = pair_losses(
        params["words"][word],
        params["contexts"][context],
        params["contexts"][block["negatives"][stretch]],
    )
    assert float(total) == pytest.approx(float(losses.sum()), rel=1e-5)
    assert float(count) == len(pairs)
    u, v = (np.asarray(params[name], np.float64) for name in ("words", "contexts"))
    expected = step_by_hand(u, v, block, 0.0, 5.0)[2]
    total, _ = skipgram.block_loss(*gathered(params, block), num_negatives=5.0)
    assert float(total) == pytest.approx(expected, rel=1e-5)


def test_fast_steps_are_the_steps_by_hand(case, blocks):
    params, rates, expected = case[0], np.array([0.1, 0.05], np.float32), 0.0
    found, loss = jax.jit(skipgram.sgd_steps)(params, blocks, rates)
    u, v = (np.asarray(params[name], np.float64) for name in ("words", "contexts"))
    for i in range(STEPS):
        block = {name: x[i] for name, x in blocks.items()}
        u, v, total, count = step_by_hand(u, v, block, float(rates[i]), 5.0)
        if i == 0:
            expected = total / count
    np.testing.assert_allclose(found["words"], u, atol=2e-6)
    np.testing.assert_allclose(found["contexts"], v, atol=2e-6)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_fast_step_is_the_gradient_of_the_block_loss(case, blocks):
    params = case[0]
    block = {name: x[:1] for name, x in blocks.items()}
    first = {name: x[0] for name, x in blocks.items()}
    loss = lambda p: skipgram.block_loss(*gathered(p, first), num_negatives=3.0)[0]
    grads = jax.grad(loss)(params)
    found, _ = skipgram.sgd_steps(params, block, jnp.array([0.1]), num_negatives=3.0)
    for name, grad in grads.items():
        np.testing.assert_allclose(found[name], params[name] - 0.1 * grad, atol=2e-6)


def test_places_without_reach_change_nothing(case, blocks):
    params = case[0]
    empty = {**blocks, "left": 0 * blocks["left"], "right": 0 * blocks["right"]}
    found, loss = jax.jit(skipgram.sgd_steps)(params, empty, np.full(STEPS, 0.1, np.float32))
    for name in params:
        np.testing.assert_array_equal(found[name], params[name])
    assert float(loss) == 0


@pytest.mark.parametrize("softmax", ["joint", "conditional"])
def test_a_fit_is_adam_step_by_step(case, softmax):
    """Two stretches of two steps, measured after each on both kinds of text."""
    _, pairs, _, _ = case
    held_out, key = pairs.T, jax.random.key(3)
    options = {"learning_rate": 0.1, "scale": 0.3, "softmax": softmax, "every": 2}
    params, found = skipgram.fit_counts(key, pairs, held_out, dim=3, num_steps=4, **options)
    loss_fn = {"joint": skipgram.joint_cross_entropy, "conditional": skipgram.row_cross_entropy}
    loss_fn = jax.jit(loss_fn[softmax])
    want = skipgram.init_params(key, N, 3, words=0.3, contexts=0.3)
    first = jax.tree.map(jnp.zeros_like, want)
    second, measured = first, []
    for step in range(1, 5):
        slope = jax.grad(loss_fn)(want, pairs)
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, slope)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, second, slope)
        move = lambda p, m, v, step=step: (
            p - 0.1 * (m / (1 - 0.9**step)) / (jnp.sqrt(v / (1 - 0.999**step)) + 1e-8)
        )
        want = jax.tree.map(move, want, first, second)
        if step % 2 == 0:
            measured.append([float(loss_fn(want, p)) for p in (pairs, held_out)])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4), params, want)
    np.testing.assert_allclose(
        np.stack([found["train"], found["held_out"]], 1), measured, rtol=1e-4
    )


def test_defaults_and_the_two_tables():
    defaults = lambda f: {
        name: p.default
        for name, p in inspect.signature(f).parameters.items()
        if p.default is not p.empty
    }
    assert defaults(skipgram.init_params) == {"words": 0.1, "contexts": 0.1}
    fit = {"learning_rate": 0.05, "scale": 0.1, "softmax": "joint", "every": 10}
    fit["tx"] = None
    assert defaults(skipgram.fit_counts) == fit
    assert defaults(skipgram.block_loss) == {"num_negatives": 5.0}
    assert defaults(skipgram.sgd_steps) == {"num_negatives": 5.0, "dtype": None}
    params = skipgram.init_params(jax.random.key(0), 400, 20, words=0.5, contexts=2.0)
    assert float(params["words"].std()) == pytest.approx(0.5, rel=0.05)
    assert float(params["contexts"].std()) == pytest.approx(2.0, rel=0.05)
    assert abs(np.corrcoef(*(np.ravel(p) for p in params.values()))[0, 1]) < 0.05
    skipgram.init_params(jax.random.key(0), 2, 1, words=0, contexts=0)  # the smallest
