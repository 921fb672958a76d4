"""Batches cut into blocks, by devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.models.batch_chunks import by_blocks, from_blocks, largest_divisor


@pytest.mark.parametrize("batch", [1, 7, 8, 24, 48, 80])
@pytest.mark.parametrize("most", [1, 4])
def test_blocks_hold_every_example_once(batch, most):
    x = jnp.arange(batch * 6).reshape(batch, 2, 3)
    blocks = by_blocks(x, most)
    devices = jax.device_count() if batch % jax.device_count() == 0 else 1
    assert blocks.shape[1] <= most * devices
    assert sorted(blocks[:, :, 0, 0].ravel().tolist()) == x[:, 0, 0].tolist()
    np.testing.assert_array_equal(from_blocks(blocks), x)


def test_a_block_has_neighbours_of_each_device():
    devices = jax.device_count()
    each = by_blocks(jnp.arange(6 * devices), 2).reshape(3, devices, 2)
    for device in range(devices):
        np.testing.assert_array_equal(each[:, device].ravel(), 6 * device + np.arange(6))


def test_the_largest_divisor():
    cases = {(12, 4): 4, (7, 4): 1, (6, 6): 6, (10, 4): 2, (1, 5): 1, (6, 9): 6, (9, 8): 3}
    assert {case: largest_divisor(*case) for case in cases} == cases
    count = jax.device_count()
    assert count > 1
    assert by_blocks(jnp.zeros((6 * count, 1)), 3).shape == (2, 3 * count, 1)
