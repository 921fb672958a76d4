"""A few examples of a batch at a time, so that what lies between stays in the cache of a CPU."""

import jax

from jaxlab.mesh import devices_of


def by_blocks(x: jax.Array, most: int) -> jax.Array:
    """Cuts a batch into blocks for `jax.lax.map` or `scan`: [batch, ...] to [blocks, n d, ...].

    A block has n examples of each of d devices. Devices split a batch in its order; a loop over
    plain blocks would cut across that, and each device would gather the whole batch.

    Args:
      x: [batch, ...].
      most: examples a block and device, at most; n is the largest divisor up to it.

    Example:
      >>> import jax.numpy as jnp
      >>> x = jnp.arange(40.0).reshape(40, 1)
      >>> blocks = by_blocks(x, 2)
      >>> bool((from_blocks(blocks) == x).all())
      True
    """
    devices = devices_of(x.shape[0])
    n = largest_divisor(x.shape[0] // devices, most)
    blocks = x.reshape(devices, -1, n, *x.shape[1:]).swapaxes(0, 1)
    return blocks.reshape(-1, devices * n, *x.shape[1:])


def from_blocks(blocks: jax.Array) -> jax.Array:
    """Undoes `by_blocks`: [blocks, n d, ...] to [batch, ...]."""
    batch = blocks.shape[0] * blocks.shape[1]
    x = blocks.reshape(blocks.shape[0], devices_of(batch), -1, *blocks.shape[2:]).swapaxes(0, 1)
    return x.reshape(batch, *blocks.shape[2:])


def largest_divisor(n: int, most: int) -> int:
    """The largest divisor of n that is not above `most`; n is 1 or more."""
    return max(d for d in range(1, min(n, most) + 1) if n % d == 0)
