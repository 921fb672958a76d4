"""The groups of one scale as one block, with parameters stacked along a leading axis.

All groups of a scale have the same shapes. As the body of one loop they are traced and compiled
once, whatever their number; unrolled, the compiler may work across them. Parameters and state are
the same either way, so a run can change from one to the other.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax

from jaxlab import regularizers
from jaxlab.models.nvae.cells import Op, normal_cells
from jaxlab.models.nvae.layers import CONVOLVED, Dtype

# What the backward pass keeps of a group in addition to its input; the rest is computed again.
REMAT = {
    "none": None,
    "convolutions": jax.checkpoint_policies.save_only_these_names(CONVOLVED),
    "full": jax.checkpoint_policies.nothing_saveable,
}

# The mask of leaves with a leading layer axis, for penalties that take a norm per layer.
stacked = regularizers.matching("(enc|group)_[0-9]+")


class EncoderGroup(nn.Module):
    """The bottom-up cells of one latent group; returns its output as carry and as feature."""

    cells: int
    ops: tuple[Op, ...]
    squeeze_excitation: bool
    branch_scale: float
    dtype: Dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool):
        for cell in normal_cells(
            self.cells, self.ops, self.squeeze_excitation, self.branch_scale, self.dtype
        ):
            x = cell(x, train)
        return x, x


def is_loop(length: int, scan: bool) -> bool:
    """Whether this many blocks are a loop on the device; one alone never is."""
    return scan and length > 1


def rematerialised(block: type[nn.Module], remat: str, *, train_at: int, loop: bool = False):
    """`block` under a policy of `REMAT`.

    Args:
      block: module class.
      remat: name of the policy.
      train_at: position of the static argument `train`, counted from self.
      loop: the block is the body of a loop, in which nothing can undo the recomputation.
    """
    if remat == "none":
        return block
    return nn.remat(block, static_argnums=(train_at,), policy=REMAT[remat], prevent_cse=not loop)


def repeated(
    block: type[nn.Module], length: int, *, scan: bool, remat: str, in_axes: Sequence[Any], **kwargs
) -> Any:
    """`length` blocks one after the other: `module(carry, *inputs, train)` -> `(carry, outputs)`.

    Args:
      block: module class whose call takes and returns as above; `train` is its last argument.
      length: number of blocks.
      scan: one loop on the device; otherwise unrolled.
      remat: name in `REMAT`.
      in_axes: of each input and of train: 0 where it is stacked, one entry a block, else
        `flax.linen.broadcast`.
      **kwargs: arguments of the block.
    """
    loop = is_loop(length, scan)
    block = rematerialised(block, remat, train_at=len(in_axes) + 1, loop=loop)
    axes: Any = tuple(in_axes)
    stacked = nn.scan(
        block,
        variable_axes={"params": 0, "batch_stats": 0, "kernels": 0},
        split_rngs={"params": True},
        in_axes=axes,
        length=length,
        # More than the length, since a single block unrolled once would still be a loop, in which
        # XLA's convolutions on CPU are slow.
        unroll=1 if loop else length + 1,
    )
    return stacked(**kwargs)
