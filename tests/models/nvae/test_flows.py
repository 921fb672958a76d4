"""Flows: what their masks hide, their determinant, and a cell against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.models.nvae.flows import FlowCell, FlowPair, autoregressive_mask


@pytest.mark.parametrize("mirror", [False, True])
def test_flow_masks_hide_what_comes_later(mirror):
    mask = autoregressive_mask(5, 2, 6, depthwise=False, strict=True, mirror=mirror)
    mask = mask[::-1, ::-1] if mirror else mask
    assert mask[:2].all()
    assert mask[2, :2].all()
    assert not mask[2, 3:].any()
    assert not mask[3:].any()
    centre = mask[2, 2]  # [in, out]: outputs 0-2 belong to channel 0, 3-5 to channel 1
    np.testing.assert_array_equal(centre, [[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
    back = autoregressive_mask(1, 6, 2, depthwise=False, strict=False, mirror=False)[0, 0]
    np.testing.assert_array_equal(back.T, [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1]])


@pytest.mark.slow
def test_flow_pair_has_determinant_one():
    flow = FlowPair()
    z = jax.random.normal(jax.random.key(0), (1, 3, 3, 2))
    params = flow.init(jax.random.key(1), z)["params"]
    params = jax.tree.map(lambda p: p + 0.2 * jnp.sin(jnp.arange(p.size)).reshape(p.shape), params)
    run = lambda z: flow.apply({"params": params}, z.reshape(1, 3, 3, 2)).reshape(-1)
    jacobian = np.asarray(jax.jacobian(run)(z.reshape(-1)), np.float64)
    assert np.abs(jacobian - np.eye(18)).max() > 1e-3  # it is a flow, not the identity
    np.testing.assert_allclose(np.linalg.det(jacobian), 1, rtol=1e-4)


def test_each_flow_cell_is_triangular_in_its_order():
    z = jax.random.normal(jax.random.key(0), (1, 3, 3, 2))
    position = np.arange(9).repeat(2)  # raster index of every (pixel, channel)
    channel = np.tile(np.arange(2), 9)
    for mirror in (False, True):
        cell = FlowCell(mirror=mirror)
        params = cell.init(jax.random.key(1), z)["params"]
        run = lambda z, cell=cell, params=params: cell.apply(
            {"params": params}, z.reshape(1, 3, 3, 2)
        ).reshape(-1)
        jacobian = np.asarray(jax.jacobian(run)(z.reshape(-1)))
        order = np.lexsort((channel, -position if mirror else position))
        ordered = jacobian[np.ix_(order, order)]
        np.testing.assert_allclose(np.triu(ordered, 1), 0, atol=1e-7)
        np.testing.assert_allclose(np.diag(ordered), 1, rtol=1e-6)


def elu(x):
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


@pytest.mark.parametrize("mirror", [False, True])
def test_a_cell_is_its_formula_in_numpy(mirror):
    """z - m(z), with masked, weight-normalised kernels, two channels on a map of 4x4."""
    z = jax.random.normal(jax.random.key(0), (2, 4, 4, 2))
    cell = FlowCell(mirror=mirror)
    params = jax.tree.map(np.asarray, cell.init(jax.random.key(1), z)["params"])
    last = params["project"]
    norm = np.sqrt((last["kernel"] ** 2).sum((0, 1, 2)))
    assert (last["g"] < np.log(norm + 1e-2)).all()  # the shift starts small

    def convolve(x, name, depthwise=False):
        p = {k: v.astype(np.float64) for k, v in params[name].items()}
        size, features = p["kernel"].shape[0], p["kernel"].shape[-1]
        strict = name == "expand"
        mask = autoregressive_mask(
            size, x.shape[-1], features, depthwise=depthwise, strict=strict, mirror=mirror
        )
        kernel = p["kernel"] * mask
        norms = np.sqrt((kernel**2).sum((0, 1, 2))) + 1e-5
        kernel = np.exp(p["g"]) * kernel / norms
        r = size // 2
        padded = np.pad(x, ((0, 0), (r, r), (r, r), (0, 0)))
        out = 0.0
        for i in range(size):
            for j in range(size):
                part = padded[:, i : i + x.shape[1], j : j + x.shape[2]]
                out += part * kernel[i, j, 0] if depthwise else part @ kernel[i, j]
        return out + p.get("bias", 0.0)

    x = elu(convolve(np.asarray(z, np.float64), "expand"))
    x = elu(elu(convolve(x, "spatial", depthwise=True)))
    want = np.asarray(z) - convolve(x, "project")
    np.testing.assert_allclose(cell.apply({"params": params}, z), want, atol=1e-5)
    assert np.abs(want - np.asarray(z)).max() > 1e-3


def test_channels_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="one must divide the other"):
        autoregressive_mask(3, 2, 3, depthwise=False, strict=True, mirror=False)
