"""Cells against a restatement in NumPy, in training and evaluation, and the table of them."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy_layers
import pytest

from jaxlab.models.nvae import cells
from jaxlab.models.nvae.cells import ARCHS, Cell, ConvOp, InvertedResidual, Op

X = np.random.default_rng(0).normal(size=(3, 4, 6, 8)).astype(np.float32) + 0.5
WIDE = Op("conv", dilation=2)
BN_ELU = Op("conv", activation="elu")
ELU = Op("conv", norm=False, activation="elu")
DEPTHWISE = Op("inverted", expansion=2, size=5, groups=0)
GROUPED = Op("inverted", expansion=3, size=3, groups=4)


def residual(kind, ops, gate=True, scale=0.1):
    return Cell(ops, kind, squeeze_excitation=gate, branch_scale=scale, dtype=None)


@pytest.mark.parametrize(
    ("kind", "ops", "gate", "scale"),
    [
        ("normal", (WIDE, BN_ELU), True, 0.1),
        ("down", (BN_ELU, WIDE), False, 1.0),
        ("up", (WIDE, Op("conv")), True, 0.5),
        ("down", (ELU, ELU), True, 0.1),
        ("normal", (GROUPED,), False, 0.3),
        ("down", (DEPTHWISE,), True, 0.1),
        ("up", (DEPTHWISE, GROUPED), False, 1.0),
    ],
)
def test_a_cell_is_its_restatement_in_numpy(kind, ops, gate, scale):
    cell = residual(kind, ops, gate, scale)
    variables = numpy_layers.random_variables(cell, X, True)

    @jax.jit
    def run(variables):
        trained, after = cell.apply(variables, X, True, mutable=["batch_stats"])
        return trained, after.get("batch_stats", {}), cell.apply(variables, X, False)

    trained, after, evaluated = run(variables)
    wide = jax.tree.map(np.float64, variables)
    ours = lambda train: numpy_layers.Net(train).cell(np.float64(X), ops, kind, gate, scale, wide)
    (want, moved), (want_evaluated, _) = ours(True), ours(False)
    np.testing.assert_allclose(trained, want, rtol=1e-4, atol=2e-4)
    np.testing.assert_allclose(evaluated, want_evaluated, rtol=1e-4, atol=2e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), after, moved)


def test_only_without_a_norm_is_the_first_batch_centred():
    """Standard deviation 1/5, as the data-dependent start says; with a norm, parameters as ever."""
    key, x = jax.random.key(0), jnp.asarray(X)
    for op, centred in ((ELU, True), (BN_ELU, False)):
        module = ConvOp(op, 3, stride=1, upsample=False, dtype=None)
        y = jax.jit(lambda m=module: m.apply(m.init(key, x, False), x, False))()
        mean, std = y.mean((0, 1, 2)), y.std((0, 1, 2))
        assert np.allclose(mean, 0, atol=1e-3) == centred
        assert np.allclose(std, 0.2, rtol=1e-2) == centred


def test_arithmetic_has_the_dtype_that_was_asked_for():
    for op, module in ((BN_ELU, ConvOp), (DEPTHWISE, InvertedResidual)):
        for dtype, want in ((jnp.bfloat16, jnp.bfloat16), (None, jnp.float32)):
            made = module(op, 4, stride=1, upsample=False, dtype=dtype)
            found, variables = jax.eval_shape(
                lambda made=made: made.init_with_output(jax.random.key(0), X, True)
            )
            assert found.dtype == want
            assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(variables["params"]))
    for kind in ("normal", "down", "up"):
        cell = Cell((ELU,), kind, True, 0.1, dtype=jnp.bfloat16)
        x = jnp.asarray(X, jnp.bfloat16)
        made = lambda cell=cell, x=x: cell.init_with_output(jax.random.key(0), x, True)[0]
        assert jax.eval_shape(made).dtype == jnp.bfloat16


def test_the_cells_of_a_group_are_named_in_order():
    class Group(cells.nn.Module):
        @cells.nn.compact
        def __call__(self, x):
            for cell in cells.normal_cells(3, (ELU,), False, 0.25, None):
                assert (cell.kind, cell.branch_scale, cell.squeeze_excitation) == (
                    "normal",
                    0.25,
                    False,
                )
                x = cell(x, True)
            return x

    params = jax.eval_shape(Group().init, jax.random.key(0), X)["params"]
    assert list(params) == ["cell_0", "cell_1", "cell_2"]
    assert list(params["cell_0"]) == ["op_0"]


def test_the_table_of_architectures():
    """By name, then before, bottom-up, top-down, after; of a convolution: norm, activation and
    dilation, of an inverted residual: expansion, size and groups (0: depthwise)."""
    swish, wide = (True, "swish", 1), (True, "swish", 2)
    bn_elu, elu = (True, "elu", 1), (False, "elu", 1)
    three, six = (3, 5, 0), (6, 5, 0)
    want = {
        "res_mbconv": ([swish] * 2, [swish] * 2, [six], [three]),
        "res_bnswish": ([swish] * 2,) * 4,
        "res_bnelu": ([bn_elu] * 2,) * 4,
        "res_elu": ([elu] * 2,) * 4,
        "mbconv_sep": ([three], [six], [six], [three]),
        "mbconv_sep11": ([three], [(6, 11, 0)], [(6, 11, 0)], [three]),
        "mbconv_res": ([three], [six], [swish] * 2, [swish] * 2),
        "mbconv_den": ([(3, 5, 8)], [six], [six], [(3, 5, 8)]),
        "res53_mbconv": ([wide, swish], [wide, swish], [six], [three]),
        "res35_mbconv": ([swish, wide], [swish, wide], [six], [three]),
        "res55_mbconv": ([wide] * 2, [wide] * 2, [six], [three]),
    }
    plain = lambda op: {
        "conv": (op.norm, op.activation, op.dilation),
        "inverted": (op.expansion, op.size, op.groups),
    }[op.kind]
    found = {name: tuple([plain(op) for op in ops] for ops in ARCHS[name]) for name in ARCHS}
    assert found == want
    assert cells.arch("res_elu") == ARCHS["res_elu"]
    with pytest.raises(ValueError, match="arch is 'x', known are res_mbconv, res_bnswish"):
        cells.arch("x")
