"""Older penalties on the scale of layers, to compare others with: path norm and spectral norm."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxlab.checks import at_least_float32
from jaxlab.errors import InputError
from jaxlab.regularizers.masks import Mask, Params, select

SpectralVectors = dict[str, jax.Array]


def path_norm(kernels: Sequence[ArrayLike]) -> jax.Array:
    r"""Squared path norm of a stack: all products of squared weights from an input to an output.

    .. math:: \sum_{i_0, \dots, i_L} \prod_l (W_l)_{i_{l-1} i_l}^2 = 1^\top W_1^{\circ 2} \cdots
              W_L^{\circ 2} \, 1

    Computed as a forward pass of ones through the squared weights. Scaling what enters a unit and
    unscaling what leaves it changes nothing, for each unit on its own, while WEISSI is invariant
    to the scales of whole layers only. Biases do not count.

    Args:
      kernels: the layers' kernels in order, [..., in, out]; the axes before the last two, those
        of a convolution's window, are summed, as if borders did not matter.

    Returns:
      float32 []. It grows like a product of squared norms: it may overflow in deep networks.

    Raises:
      ValueError: there is no kernel, or one does not fit the one before it.

    Example:
      >>> print(path_norm([jnp.array([[1.0, 2.0]]), jnp.array([[3.0], [1.0]])]))
      13.0

    Source: Neyshabur, Salakhutdinov & Srebro, 2015, arXiv:1506.02617, whose norm is the root.
    """
    if not len(kernels):
        raise InputError("kernels is empty, must hold at least one")
    paths = None
    for k, kernel in enumerate(kernels):
        shape = jnp.shape(kernel)
        if len(shape) < 2 or (paths is not None and shape[-2] != paths.size):
            inputs = "in" if paths is None else paths.size
            raise InputError(f"kernel {k} has shape {shape}, must have shape (..., {inputs}, out)")
        squares = jnp.sum(at_least_float32(kernel) ** 2, axis=range(len(shape) - 2))
        paths = squares.sum(0) if paths is None else paths @ squares
    return jnp.sum(paths)  # type: ignore[arg-type]


def init_spectral_vectors(
    params: Params,
    key: jax.Array,
    *,
    iterations: int = 30,
    mask: Mask | None = None,
    stacked: Mask = False,
) -> SpectralVectors:
    """Vectors for `spectral_norm_penalty` to start from: a random draw and power iterations.

    Args:
      params: parameter tree.
      key: of the draw.
      iterations: power iterations, >= 0.
      mask: which leaves; None for those with two or more axes.
      stacked: leaves with a leading layer axis, which get a vector per layer.

    Returns:
      {path of the leaf: float32 [L, out]}, unit vectors; L is 1 if not stacked. Keep it in the
      model state.

    Raises:
      ValueError: a mask does not fit or selects nothing.

    Example:
      >>> vectors = init_spectral_vectors({"w": jnp.ones((3, 2))}, jax.random.key(0))
      >>> print({path: v.shape for path, v in vectors.items()})
      {'w': (1, 2)}
    """
    matrices = _matrices(params, mask, stacked)
    keys = jax.random.split(key, len(matrices))
    vectors = {}
    for k, (path, matrix) in enumerate(matrices.items()):
        draw = jax.random.normal(keys[k], (matrix.shape[0], matrix.shape[2]), matrix.dtype)
        draw /= jnp.linalg.norm(draw, axis=-1, keepdims=True)
        vectors[path] = _iterate(matrix, draw, iterations)
    return vectors


def spectral_norm_penalty(
    params: Params,
    vectors: SpectralVectors,
    *,
    iterations: int = 1,
    mask: Mask | None = None,
    stacked: Mask = False,
) -> tuple[jax.Array, SpectralVectors]:
    r"""Sum of squared largest singular values, :math:`\sum_l \sigma_{\max}(W_l)^2`.

    .. math:: v \leftarrow W^\top W v / \lVert W^\top W v \rVert, \qquad
              \sigma_{\max}^2 \approx \lVert W v \rVert^2

    The vectors carry no gradient; that of the sum, 2 W v v^T, is then exact for converged ones. A
    kernel of a convolution counts as the matrix [kh kw in, out], which bounds the operator up to a
    factor of sqrt(kh kw). The approximation comes from below, and vectors that follow slowly
    moving weights need one iteration a step.

    Args:
      params: parameter tree.
      vectors: from `init_spectral_vectors` with the same mask, or from the previous call.
      iterations: power iterations, >= 0.
      mask: which leaves; None for those with two or more axes.
      stacked: leaves with a leading layer axis, which count as a matrix per layer.

    Returns:
      float32 [], and the vectors to start from next time.

    Raises:
      ValueError: a mask does not fit or selects nothing, or the vectors are of other leaves.

    Example:
      >>> params = {"w": jnp.diag(jnp.array([3.0, 1.0])), "b": jnp.ones(2)}
      >>> vectors = init_spectral_vectors(params, jax.random.key(0))
      >>> print(f"{spectral_norm_penalty(params, vectors)[0]:.4f}")
      9.0000

    Source: Yoshida & Miyato, 2017, arXiv:1705.10941.

    Departures: the paper starts its one iteration from a new random vector each step or keeps u;
    only v is kept here, since W v gives u.
    """
    matrices = _matrices(params, mask, stacked)
    shapes = {path: (m.shape[0], m.shape[2]) for path, m in matrices.items()}
    if (found := {path: jnp.shape(v) for path, v in vectors.items()}) != shapes:
        wrong = sorted(p for p in shapes.keys() | found if shapes.get(p) != found.get(p))
        raise InputError(f"vectors do not fit the leaves {wrong}: make them anew from these params")
    total, moved = jnp.float32(0), {}
    for path, matrix in matrices.items():
        moved[path] = _iterate(matrix, vectors[path], iterations)
        total = total + jnp.sum(jnp.einsum("lrc,lc->lr", matrix, moved[path]) ** 2)
    return total, moved


def _matrices(params: Params, mask: Mask | None, stacked: Mask) -> dict[str, jax.Array]:
    """The chosen leaves as [L, rows, out] by path."""
    chosen, layered = select(mask, params, stacked=stacked)
    matrices = {}
    for (path, p), flag, layer in zip(
        jax.tree_util.tree_leaves_with_path(params),
        *map(jax.tree.leaves, (chosen, layered)),
        strict=True,
    ):
        if flag:
            p = at_least_float32(p)
            layers = p.shape[0] if layer else 1
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            matrices[name] = p.reshape(layers, -1, p.shape[-1] if p.ndim else 1)
    return matrices


def _iterate(matrix: jax.Array, v: jax.Array, iterations: int) -> jax.Array:
    matrix, v = jax.lax.stop_gradient((matrix, v))

    def step(_, v):
        moved = jnp.einsum("lrc,lr->lc", matrix, jnp.einsum("lrc,lc->lr", matrix, v))
        norm = jnp.linalg.norm(moved, axis=-1, keepdims=True)
        # The vector of a zero matrix stays, or it would be zero for good.
        return jnp.where(norm > 0, moved / jnp.where(norm > 0, norm, 1.0), v)

    return step(0, v) if iterations == 1 else jax.lax.fori_loop(0, iterations, step, v)
