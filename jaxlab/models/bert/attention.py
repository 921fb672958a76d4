"""Attention of BERT: what may be looked at (masks), and equal ways to compute it."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxlab.errors import InputError
from jaxlab.models.batch_chunks import by_blocks, from_blocks
from jaxlab.models.dense import Dense

ATTENTIONS = ("auto", "einsum", "fused")
BLOCK = 2**19  # attention weights at a time on CPU, 2 MiB


def attention_mask(mask: ArrayLike | None, batch: int, length: int) -> jax.Array | None:
    """The mask as bool [batch, 1, 1 or query, key], True where a query may look at a key.

    Args:
      mask: [batch, length], nonzero for the tokens all queries may see (padding is 0), or
        [batch, query, key] with query = key = length; None lets all see all.
      batch: rows of the input.
      length: its positions.

    Raises:
      ValueError: the mask has another shape.

    Example:
      >>> attention_mask(jnp.array([[1, 1, 0]]), 1, 3).shape
      (1, 1, 1, 3)
    """
    if mask is None:
        return None
    shape = np.shape(mask)
    if shape == (batch, length):
        return jnp.asarray(mask)[:, None, None, :] != 0
    if shape == (batch, length, length):
        return jnp.asarray(mask)[:, None, :, :] != 0
    raise InputError(
        f"attention_mask has shape {shape}, input_ids of shape {(batch, length)} need "
        f"{(batch, length)} or {(batch, length, length)}"
    )


def dot_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None,
    *,
    how: str = "auto",
    drop: Callable[[jax.Array], jax.Array] | None = None,
) -> jax.Array:
    """Attention, and the one place that decides how it is computed.

    `jax.nn.dot_product_attention` ("fused") has no dropout of the attention weights, so "einsum"
    serves where that is on. Without it "auto" is `blocked_attention` on CPU, "fused" elsewhere.

    Args:
      query: [batch, length, heads, d].
      key: the same shape.
      value: the same shape.
      mask: bool [batch, 1, 1 or length, length], or None.
      how: "auto", "einsum" or "fused".
      drop: function applied to the weights [batch, heads, length, length], or None.

    Returns:
      [batch, length, heads, d].

    Raises:
      ValueError: `how` is unknown.

    Example:
      >>> x = jnp.ones((1, 2, 1, 4))
      >>> dot_attention(x, x, x, None).shape
      (1, 2, 1, 4)
    """
    if how not in ATTENTIONS:
        raise InputError(f"attention is {how!r}, known are {ATTENTIONS}")
    if how == "einsum" or drop is not None:
        return einsum_attention(query, key, value, mask, drop)
    fused = lambda query, key, value, mask: jax.nn.dot_product_attention(
        query, key, value, mask=mask
    )
    if how == "fused":
        return fused(query, key, value, mask)
    return jax.lax.platform_dependent(query, key, value, mask, cpu=blocked_attention, default=fused)


def blocked_attention(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None
) -> jax.Array:
    """`einsum_attention` over a few rows at a time, whose weights stay in the cache of a CPU.

    For arguments and result see `dot_attention`.
    """
    _, length, heads, _ = query.shape
    most = max(1, BLOCK // (heads * length * key.shape[1]))
    blocks = jax.tree.map(lambda x: by_blocks(x, most), (query, key, value, mask))
    return from_blocks(jax.lax.map(lambda block: _normalised_last(*block), blocks))


def _normalised_last(query, key, value, mask):
    # Weights are divided by their sum after the product with the values, which is smaller.
    logits = _logits(query, key, mask)
    weights = jnp.exp(logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True)))
    total = jnp.sum(weights, axis=-1).swapaxes(1, 2)[..., None]
    out = jnp.einsum("bhqk,bkhd->bqhd", weights.astype(value.dtype), value)
    return (out / total).astype(value.dtype)


def _logits(query, key, mask):
    """Float32 [batch, heads, query, key]."""
    logits = jnp.einsum("bqhd,bkhd->bhqk", query * (query.shape[-1] ** -0.5), key)
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    if mask is None:
        return logits
    # The smallest number, not -inf: a row that may see nothing must not become NaN.
    return jnp.where(mask, logits, jnp.finfo(logits.dtype).min)


def einsum_attention(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None, drop=None
) -> jax.Array:
    r"""Attention written out, with softmax in float32.

    .. math:: \text{softmax}(Q K^T / \sqrt{d} + \text{mask}) V

    Args:
      query: [batch, length, heads, d].
      key: the same shape.
      value: the same shape.
      mask: bool [batch, 1, 1 or length, length], or None.
      drop: function applied to the weights [batch, heads, length, length], or None.

    Returns:
      [batch, length, heads, d].

    Example:
      >>> x = jnp.ones((1, 2, 1, 4))
      >>> einsum_attention(x, x, x, None).shape
      (1, 2, 1, 4)
    """
    weights = jax.nn.softmax(_logits(query, key, mask), axis=-1).astype(value.dtype)
    if drop is not None:
        weights = drop(weights)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, value)


class SelfAttention(nn.Module):
    """Multi-head self-attention, up to the merged heads; the output projection is the layer's.

    Attributes:
      num_heads: heads; divides the hidden size.
      dropout: rate on the attention weights.
      attention: "auto", "einsum" or "fused", see `dot_attention`.
      init_scale: standard deviation of new kernels.
      dtype: of the computation; None for that of the parameters.
    """

    num_heads: int
    dropout: float
    attention: str
    init_scale: float
    dtype: jnp.dtype | None

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None, *, train: bool, attend=None) -> Any:
        """Returns [batch, length, hidden], and with `attend` the memory too.

        `attend` takes (query, key, value) to (heads' outputs, memory).
        """
        batch, length, hidden = x.shape
        heads = (batch, length, self.num_heads, hidden // self.num_heads)
        init = nn.initializers.normal(self.init_scale)
        query, key, value = (
            Dense(hidden, dtype=self.dtype, kernel_init=init, name=name)(x).reshape(heads)
            for name in ("query", "key", "value")
        )
        if attend is not None:
            out, memory = attend(query, key, value)
            return out.reshape(batch, length, hidden), memory
        dropping = train and self.dropout > 0
        drop = nn.Dropout(self.dropout, deterministic=False) if dropping else None
        out = dot_attention(query, key, value, mask, how=self.attention, drop=drop)
        return out.reshape(batch, length, hidden)
