"""Groups of a scale as one block: values, parameters, and the program that is made of them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpy_layers
import pytest

from jaxlab.models.nvae.cells import Op
from jaxlab.models.nvae.scan import REMAT, EncoderGroup, is_loop, rematerialised, repeated

X = np.random.default_rng(0).normal(size=(2, 4, 4, 8)).astype(np.float32)
OPS = (Op("conv"), Op("conv", activation="elu"))
EACH = np.arange(3, dtype=np.float32)


class Block(nn.Module):
    """x -> scale * x + each + both + train, and the product of the inputs as output."""

    start: float

    @nn.compact
    def __call__(self, x, each, both, train):
        draw = lambda key: self.start + jax.random.normal(key)
        scale = self.param("scale", draw)
        count = self.variable("batch_stats", "count", lambda: jnp.zeros(()))
        count.value = count.value + each
        self.sow("kernels", "kernel", scale, init_fn=lambda: None, reduce_fn=lambda _, new: new)
        return scale * x + each + both + train, each * both


def made(length, scan, remat="none"):
    each = EACH[:length]
    blocks = repeated(
        Block, length, scan=scan, remat=remat, in_axes=(0, nn.broadcast, nn.broadcast), start=2.0
    )
    return blocks, (jnp.float32(1.5), each, jnp.float32(10.0))


def test_what_is_a_loop():
    cases = [(1, True), (2, True), (3, True), (2, False), (1, False)]
    assert [is_loop(*case) for case in cases] == [False, True, True, False, False]


@pytest.mark.parametrize("remat", REMAT)
@pytest.mark.parametrize(("length", "scan"), [(3, True), (3, False), (1, True)])
def test_blocks_one_after_the_other(length, scan, remat):
    blocks, inputs = made(length, scan, remat)
    variables = blocks.init(jax.random.key(0), *inputs, True)
    scales = np.asarray(variables["params"]["scale"])
    assert scales.shape == (length,)
    assert len(set(scales.tolist())) == length  # each has a draw of its own
    run = lambda v, train: blocks.apply(v, *inputs, train, mutable=["batch_stats", "kernels"])
    for train in (True, False):
        (x, outputs), after = run(variables, train)
        want = 1.5
        for scale, each in zip(scales, EACH, strict=False):
            want = scale * want + each + 10 + train
        np.testing.assert_allclose(x, want, rtol=1e-5)
        np.testing.assert_allclose(outputs, 10 * EACH[:length])
        np.testing.assert_allclose(after["kernels"]["kernel"], scales)
        before = variables["batch_stats"]["count"]
        np.testing.assert_allclose(after["batch_stats"]["count"] - before, EACH[:length])

    # One loop, never one of a single step; recomputation that the compiler may undo only there.
    trace = jax.make_jaxpr(lambda v: run(v, True))(variables)
    (scan_eqn,) = [e for e in trace.eqns if e.primitive.name == "scan"]
    assert scan_eqn.params["length"] == length
    loop = is_loop(length, scan)
    assert (scan_eqn.params["unroll"] == 1) == loop
    assert loop or scan_eqn.params["unroll"] > length
    inner = [e for e in scan_eqn.params["jaxpr"].eqns if "policy" in e.params]
    assert len(inner) == (remat != "none")
    for equation in inner:
        assert equation.params["policy"] is REMAT[remat]
        assert equation.params["prevent_cse"] == (not loop)


def test_a_policy_of_none_leaves_the_block_alone():
    assert rematerialised(Block, "none", train_at=3) is Block
    assert rematerialised(Block, "full", train_at=3) is not Block
    assert list(REMAT) == ["none", "convolutions", "full"]


def test_an_encoder_group_is_its_cells_and_its_output_is_the_feature():
    group = EncoderGroup(2, OPS, squeeze_excitation=True, branch_scale=0.3, dtype=None)
    variables = numpy_layers.random_variables(group, X, False)
    x, feature = jax.jit(lambda v: group.apply(v, X, False))(variables)
    np.testing.assert_array_equal(x, feature)
    wide = jax.tree.map(np.float64, variables)
    want = np.float64(X)
    for name in ("cell_0", "cell_1"):
        own = {kind: tree[name] for kind, tree in wide.items()}
        want, _ = numpy_layers.Net(False).cell(want, OPS, "normal", True, 0.3, own)
    np.testing.assert_allclose(x, want, rtol=1e-4, atol=1e-4)
