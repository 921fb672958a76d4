"""A prefix that all may see, and a target that is read from left to right (UniLM's mask).

Sequences are `[CLS] passage [SEP] second [SEP] third [SEP]` and then padding. Which part a token
belongs to follows from the separators before it, so batches need nothing but their tokens.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxlab.checks import concrete
from jaxlab.errors import InputError

HIDE = (None, "passage", "second")


def parts(input_ids: ArrayLike, sep_id: int) -> jax.Array:
    """The part each token belongs to: 0, 1 or 2, each with the separator that ends it; 3 after.

    Args:
      input_ids: int [batch, length].
      sep_id: the separator.

    Returns:
      int32 [batch, length].

    Example:
      >>> print(parts(jnp.array([[2, 7, 3, 8, 3, 9, 3, 0]]), 3))
      [[0 0 0 1 1 2 2 3]]
    """
    ends = jnp.asarray(input_ids) == sep_id
    return jnp.minimum(jnp.cumsum(ends, axis=1) - ends, 3).astype(jnp.int32)


def prefix_mask(segment_ids: ArrayLike, visible: ArrayLike | None = None) -> jax.Array:
    r"""Who may look at whom: the prefix at all of the prefix, a target at what is before it too.

    .. math:: \text{mask}_{ij} = [c_j \le c_i]\, v_j, \qquad c = \text{cumsum}(\text{segment ids})

    Args:
      segment_ids: int [batch, length]: 0 for the prefix, 1 for targets.
      visible: [batch, length], 0 for keys that nobody may see, such as padding; without it padding
        would be visible to the last target and to itself.

    Returns:
      bool [batch, query, key], for `Bert`.

    Raises:
      ValueError: shapes differ, or a concrete segment id is not 0 or 1.

    Example:
      >>> print(prefix_mask(jnp.array([[0, 0, 1, 1]])).astype(int)[0])
      [[1 1 0 0]
       [1 1 0 0]
       [1 1 1 0]
       [1 1 1 1]]

    Dong et al., `Unified Language Model Pre-training for Natural Language Understanding and
    Generation <https://arxiv.org/abs/1905.03197>`_, 2019. Departure: trained as a causal language
    model (the token after each position), as in bert4keras, not with masked tokens.
    """
    values = concrete(segment_ids)
    if np.ndim(segment_ids) != 2:
        raise InputError(f"segment_ids has shape {np.shape(segment_ids)}, must be [batch, length]")
    if values is not None and values.size and not np.isin(values, (0, 1)).all():
        raise InputError(f"segment_ids holds {values.min()} to {values.max()}, must be 0 or 1")
    if visible is not None and np.shape(visible) != np.shape(segment_ids):
        raise InputError(
            f"visible has shape {np.shape(visible)}, segment_ids has {np.shape(segment_ids)}"
        )
    order = jnp.cumsum(jnp.asarray(segment_ids), axis=1)
    mask = order[:, None, :] <= order[:, :, None]
    return mask if visible is None else mask & (jnp.asarray(visible) != 0)[:, None, :]


def inputs(
    input_ids: ArrayLike, sep_id: int, *, prefix_parts: int = 1, hide: str | None = None
) -> tuple[jax.Array, jax.Array]:
    """The mask and the token types of a batch of such sequences.

    Args:
      input_ids: int [batch, length], padded with 0 after the last separator.
      sep_id: the separator.
      prefix_parts: how many parts are prefix: 1 to generate the second and third, 2 to generate
        the third alone.
      hide: "passage" or "second" hides the tokens of that part, but not [CLS] and the separators,
        from everything: the loss then shows how much that part carried. Positions stay, so that the
        length of a hidden part can still be seen.

    Returns:
      (bool [batch, query, key], int32 [batch, length], 1 for targets).

    Raises:
      ValueError: an argument is unknown or out of range.

    Example:
      >>> mask, types = inputs(jnp.array([[2, 7, 3, 8, 3, 9, 3, 0]]), 3, hide="second")
      >>> print(types[0], mask[0, 5].astype(int))
      [0 0 0 1 1 1 1 0] [1 1 1 0 1 1 0 0]
    """
    if prefix_parts not in (1, 2):
        raise InputError(f"prefix_parts is {prefix_parts}, must be 1 or 2")
    if hide not in HIDE:
        raise InputError(f"hide is {hide!r}, known are {HIDE}")
    input_ids = jnp.asarray(input_ids)
    part = parts(input_ids, sep_id)
    # The first token is seen even where a row is nothing but padding.
    first = jnp.arange(input_ids.shape[1]) == 0
    visible = (part < 3) | first
    if hide is not None:
        visible &= (part != HIDE.index(hide) - 1) | (input_ids == sep_id) | first
    segment = ((part >= prefix_parts) & (part < 3)).astype(jnp.int32)
    return prefix_mask(segment, visible), segment


def target_window(
    input_ids: ArrayLike, sep_id: int, size: int, *, prefix_parts: int = 1
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Where targets are predicted, what they are, and the part each belongs to.

    The token after position t is predicted at t; the first prediction is made at the prefix's last
    separator. Windows have one size, so that logits are computed there and nowhere else.

    Args:
      input_ids: int [batch, length].
      sep_id: the separator.
      size: T, at least the most targets of a row; more are lost.
      prefix_parts: as in `inputs`.

    Returns:
      (positions, targets, part), int32 [batch, T] each; part is 1 or 2, 0 where there is no target.

    Example:
      >>> for x in target_window(jnp.array([[2, 7, 3, 8, 3, 9, 3, 0]]), 3, 5):
      ...     print(x[0])
      [2 3 4 5 6]
      [8 3 9 3 0]
      [1 1 2 2 0]
    """
    input_ids = jnp.asarray(input_ids)
    part = parts(input_ids, sep_id)
    start = jnp.sum(part < prefix_parts, axis=1, keepdims=True) - 1
    positions = start + jnp.arange(size)
    at = jnp.minimum(positions + 1, input_ids.shape[1] - 1)
    found = jnp.take_along_axis(part, at, axis=1)
    real = (positions + 1 < input_ids.shape[1]) & (found >= prefix_parts) & (found < 3)
    targets = jnp.take_along_axis(input_ids, at, axis=1)
    positions = jnp.clip(positions, 0, input_ids.shape[1] - 1)
    return positions, jnp.where(real, targets, 0), jnp.where(real, found, 0)
