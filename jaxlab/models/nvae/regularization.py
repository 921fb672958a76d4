"""Spectral and batch-norm penalties of NVAE, over parameter trees.

The spectral penalty keeps the largest singular value of every convolution small, since a KL is
unbounded and small input changes must not move the posterior far. Singular vectors live in
`model_state`, so a resumed run continues them.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxlab.errors import InputError

Vectors = dict[str, dict[str, jax.Array]]


def stack_matrices(kernels: Any) -> dict[str, jax.Array]:
    """Groups convolution kernels by matrix shape, so that each shape iterates in one batch.

    Args:
      kernels: tree of effective kernels [..., k, k, in, out] (the collection "kernels").

    Returns:
      {"RxC": [count, R, C]}, R = k k in, C = out, in tree order.
    """
    grouped: dict[str, list[jax.Array]] = {}
    for kernel in jax.tree.leaves(kernels):
        rows, columns = math.prod(kernel.shape[-4:-1]), kernel.shape[-1]
        matrices = kernel.astype(jnp.float32).reshape(-1, rows, columns)
        grouped.setdefault(f"{rows}x{columns}", []).append(matrices)
    return {shape: jnp.concatenate(matrices) for shape, matrices in sorted(grouped.items())}


def _normalize(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-3)


def _iterate(matrices: jax.Array, u: jax.Array, v: jax.Array, iterations: int):
    matrices = jax.lax.stop_gradient(matrices)

    def step(_, vectors):
        u, v = vectors
        v = _normalize(jnp.einsum("nrc,nr->nc", matrices, u))
        u = _normalize(jnp.einsum("nrc,nc->nr", matrices, v))
        return u, v

    return jax.lax.fori_loop(0, iterations, step, (u, v))


def init_spectral(kernels: Any, key: jax.Array, *, iterations: int = 40) -> Vectors:
    """Singular vectors after `iterations` power iterations from a random start."""
    stacked = stack_matrices(kernels)
    sizes = {shape: m.shape[0] * (m.shape[1] + m.shape[2]) for shape, m in stacked.items()}
    draws = jax.random.normal(key, (sum(sizes.values()),))  # one draw compiles faster than many
    vectors, start = {}, 0
    for shape, matrices in stacked.items():
        count, rows, _ = matrices.shape
        draw = draws[start : start + sizes[shape]].reshape(count, -1)
        u, v = _normalize(draw[:, :rows]), _normalize(draw[:, rows:])
        u, v = _iterate(matrices, u, v, iterations)
        vectors[shape] = {"u": u, "v": v}
        start += sizes[shape]
    return vectors


def spectral_penalty(
    kernels: Any, vectors: Vectors, *, iterations: int = 4
) -> tuple[jax.Array, Vectors]:
    r"""Sum over convolutions of the largest singular value, ``sum u^T W v``.

    u and v come from power iteration and carry no gradient; the value is differentiated in W.

    Args:
      kernels: tree of effective kernels [..., k, k, in, out], as used in this forward pass.
      vectors: from `init_spectral` or the previous call.
      iterations: power iterations.

    Returns:
      The sum, and the vectors to start from next time.

    Raises:
      ValueError: the vectors belong to other kernels.

    Example:
      >>> import jax
      >>> kernels = {"a": jnp.diag(jnp.array([3.0, 1.0])).reshape(1, 1, 2, 2)}
      >>> vectors = init_spectral(kernels, jax.random.key(0))
      >>> print(spectral_penalty(kernels, vectors)[0])
      3.0
    """
    stacked = stack_matrices(kernels)
    if stacked.keys() != vectors.keys():
        missing = sorted(stacked.keys() ^ vectors.keys())
        raise InputError(f"spectral vectors and kernels differ in the matrix shapes {missing}")
    total = jnp.zeros(())
    updated = {}
    for shape, matrices in stacked.items():
        u, v = _iterate(matrices, vectors[shape]["u"], vectors[shape]["v"], iterations)
        total += jnp.einsum("nr,nrc,nc->", u, matrices, v)
        updated[shape] = {"u": u, "v": v}
    return total, updated


def batch_norm_penalty(params: Any) -> jax.Array:
    """Sum over batch norms of the largest |scale|; at initialisation the number of batch norms.

    Args:
      params: parameter tree in which a batch norm's factor is the leaf "scale", [..., channels].
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    scales = [leaf for path, leaf in leaves if jax.tree_util.keystr(path[-1:]) == "['scale']"]
    return sum((jnp.sum(jnp.max(jnp.abs(s), axis=-1)) for s in scales), jnp.zeros(()))
