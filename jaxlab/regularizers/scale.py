"""The scale of layers: moving it between them, and the bound it puts on a residual network."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxlab.checks import at_least_float32, concrete
from jaxlab.errors import InputError
from jaxlab.regularizers.masks import Mask, Params
from jaxlab.regularizers.norms import log_norm_sum, squared_norm


def residual_log_bound(
    blocks: Sequence[Params], *, eps: float = 1e-8, mask: Mask | None = None
) -> jax.Array:
    r"""Log of a bound on the input Jacobian of a residual stack, and the WEISSI penalty for it.

    .. math:: \sum_k \log\Big( 1 + \prod_{l \in k} \lVert W_l \rVert \Big)
              = \sum_k \mathrm{softplus}\Big( \sum_{l \in k} \log \lVert W_l \rVert \Big)

    for blocks x + F_k(x). It is invariant to gains of product 1 inside a branch, not across
    blocks. Add `log_norm_sum` of the layers outside the blocks.

    Args:
      blocks: a parameter tree for each residual branch.
      eps: floor of the norms, at least 1e-15.
      mask: which leaves of a branch; None for those with two or more axes.

    Returns:
      float32 [].

    Raises:
      ValueError: there are no blocks, or a branch has no leaf to take the norm of.

    Example:
      >>> print(f"{residual_log_bound([[2.0 * jnp.ones((1, 1)), 0.5 * jnp.ones((1, 1))]]):.4f}")
      0.6931
    """
    if not len(blocks):
        raise InputError("blocks is empty, must hold at least one residual branch")
    return sum(
        (jax.nn.softplus(log_norm_sum(block, eps=eps, mask=mask)) for block in blocks),
        jnp.float32(0),
    )


def rescale_layers(
    weights: Sequence[jax.Array], biases: Sequence[jax.Array | None] | None, gains: ArrayLike
) -> tuple[list[jax.Array], list[jax.Array | None]]:
    r"""Moves scale between the layers of a positively homogeneous network.

    .. math:: W_l \leftarrow g_l W_l, \qquad b_l \leftarrow (g_1 \cdots g_l)\, b_l

    With ReLU, leaky ReLU, max or mean pooling in between, the output is multiplied by the product
    of all gains: with product 1 it is unchanged.

    Args:
      weights: the kernels, from first to last.
      biases: as many biases, or None for a layer without; None for no biases at all.
      gains: [L], positive (checked when concrete).

    Returns:
      Lists of new weights and biases, in their dtypes.

    Raises:
      ValueError: lengths differ or a gain is not positive.

    Example:
      >>> weights, biases = [jnp.ones((1, 1))] * 2, [jnp.ones(1)] * 2
      >>> print(rescale_layers(weights, biases, [2.0, 0.5])[1])
      [Array([2.], dtype=float32), Array([1.], dtype=float32)]

    Source: kexue.fm/archives/7681, which scales b_l by g_l alone; that is right only without
    biases.
    """
    count = len(weights)
    biases = [None] * count if biases is None else list(biases)
    if len(biases) != count or np.shape(gains) != (count,):
        raise InputError(
            f"got {count} weights, {len(biases)} biases and gains of shape {np.shape(gains)}, "
            "must be one each a layer"
        )
    values = concrete(gains)
    if values is not None and not (np.isfinite(values) & (values > 0)).all():
        raise InputError(f"gains is {values}, must be finite and positive")
    gains = at_least_float32(gains)
    products = jnp.cumprod(gains)
    times = lambda x, g: (x * g).astype(x.dtype)
    return (
        [times(w, gains[i]) for i, w in enumerate(weights)],
        [None if b is None else times(b, products[i]) for i, b in enumerate(biases)],
    )


def balanced_gains(weights: Sequence[jax.Array]) -> jax.Array:
    r"""Gains of product 1 that make all norms equal, :math:`g_l = (\prod_k r_k)^{1/L} / r_l`.

    Of all gains of product 1 they make the sum of squared norms smallest: it is what L2 can gain
    without any change of the function.

    Args:
      weights: the kernels, none of them zero (checked when concrete).

    Returns:
      float32 [L].

    Raises:
      ValueError: there are no weights or one is zero.

    Example:
      >>> print(balanced_gains([jnp.full((1, 1), 4.0), jnp.full((1, 1), 1.0)]))
      [0.5 2. ]
    """
    if not len(weights):
        raise InputError("weights is empty, must hold at least one layer")
    squares = jnp.stack([squared_norm(w).ravel()[0] for w in weights])
    values = concrete(squares)
    if values is not None and not (values > 0).all():
        raise InputError(f"weights[{int((values <= 0).argmax())}] is zero, has no gain")
    log_norms = 0.5 * jnp.log(squares)
    return jnp.exp(log_norms.mean() - log_norms)
