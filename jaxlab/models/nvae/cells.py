"""Residual cells of NVAE and the architecture table that says which cell stands where."""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax

from jaxlab.errors import InputError
from jaxlab.models.nvae import layers
from jaxlab.models.nvae.layers import Dtype


class Op(NamedTuple):
    """One primitive of a cell's branch.

    kind: "conv" (norm, activation, 3x3 convolution) or "inverted" (inverted residual).
    norm, activation, dilation: of a "conv". expansion, size, groups: of an "inverted" (groups 0
    is depthwise).
    """

    kind: str
    norm: bool = True
    activation: str = "swish"
    dilation: int = 1
    expansion: int = 0
    size: int = 0
    groups: int = 0


_SWISH = Op("conv")
_SWISH_WIDE = Op("conv", dilation=2)
_BN_ELU = Op("conv", activation="elu")
_ELU = Op("conv", norm=False, activation="elu")


def _inverted(expansion: int, size: int = 5, groups: int = 0) -> Op:
    return Op("inverted", expansion=expansion, size=size, groups=groups)


class Arch(NamedTuple):
    """The branches of a named architecture: tuples of `Op` by place in the network."""

    pre: tuple[Op, ...]
    enc: tuple[Op, ...]
    dec: tuple[Op, ...]
    post: tuple[Op, ...]


def _everywhere(*ops: Op) -> Arch:
    return Arch(ops, ops, ops, ops)


def _bottom_up(*ops: Op) -> Arch:
    return Arch(ops, ops, (_inverted(6),), (_inverted(3),))


ARCHS: dict[str, Arch] = {
    "res_mbconv": _bottom_up(_SWISH, _SWISH),
    "res_bnswish": _everywhere(_SWISH, _SWISH),
    "res_bnelu": _everywhere(_BN_ELU, _BN_ELU),
    "res_elu": _everywhere(_ELU, _ELU),
    "mbconv_sep": Arch((_inverted(3),), (_inverted(6),), (_inverted(6),), (_inverted(3),)),
    "mbconv_sep11": Arch(
        (_inverted(3),), (_inverted(6, 11),), (_inverted(6, 11),), (_inverted(3),)
    ),
    "mbconv_res": Arch((_inverted(3),), (_inverted(6),), (_SWISH, _SWISH), (_SWISH, _SWISH)),
    "mbconv_den": Arch(
        (_inverted(3, groups=8),), (_inverted(6),), (_inverted(6),), (_inverted(3, groups=8),)
    ),
    "res53_mbconv": _bottom_up(_SWISH_WIDE, _SWISH),
    "res35_mbconv": _bottom_up(_SWISH, _SWISH_WIDE),
    "res55_mbconv": _bottom_up(_SWISH_WIDE, _SWISH_WIDE),
}


def arch(name: str) -> Arch:
    """Looks an architecture up by name. Raises ValueError with the known names."""
    if name not in ARCHS:
        raise InputError(f"arch is {name!r}, known are {', '.join(ARCHS)}")
    return ARCHS[name]


class ConvOp(nn.Module):
    """Norm, activation, nearest upsampling if asked, 3x3 convolution."""

    op: Op
    features: int
    stride: int
    upsample: bool
    dtype: Dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if self.op.norm:
            x = layers.BatchNorm(name="norm")(x, train)
        x = nn.swish(x) if self.op.activation == "swish" else nn.elu(x)
        if self.upsample:
            x = layers.upsample_nearest(x)
        return layers.Conv(
            self.features,
            stride=self.stride,
            dilation=self.op.dilation,
            data_init=not self.op.norm,
            dtype=self.dtype,
            name="conv",
        )(x)


class InvertedResidual(nn.Module):
    """Norm, expand 1x1, norm-swish, depthwise, norm-swish, project 1x1, norm.

    Convolutions here have neither bias nor weight norm; nothing is activated after the last norm.
    The reference upsamples first. Nearest upsampling commutes with norms, activations and 1x1
    convolutions, so here it waits until the depthwise layer: same values, a quarter of the work.
    """

    op: Op
    features: int
    stride: int
    upsample: bool
    dtype: Dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        hidden = x.shape[-1] * self.op.expansion

        conv = partial(layers.Conv, use_bias=False, weight_norm=False, dtype=self.dtype)

        def norm(name, x, copies=1):
            return layers.BatchNorm(copies=copies, name=name)(x, train)

        copies = 4 if self.upsample else 1
        x = conv(hidden, size=1, name="expand")(norm("norm_in", x, copies))
        x = nn.swish(norm("norm_expand", x, copies))
        if self.upsample:
            x = layers.upsample_nearest(x)
        groups = self.op.groups or hidden
        x = conv(hidden, self.op.size, self.stride, groups=groups, name="spatial")(x)
        x = nn.swish(norm("norm_spatial", x))
        return norm("norm_out", conv(self.features, size=1, name="project")(x))


class Cell(nn.Module):
    """Residual cell: skip(x) + branch_scale * gate(branch(x)).

    kind "normal" keeps shape, "down" halves the resolution and doubles the channels, "up" the
    reverse. Only the first op of the branch changes shape.
    """

    ops: tuple[Op, ...]
    kind: str
    squeeze_excitation: bool
    branch_scale: float
    dtype: Dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        channels = x.shape[-1]
        features = {"normal": channels, "down": 2 * channels, "up": channels // 2}[self.kind]
        if self.kind == "down":
            skip = layers.DownSkip(features, dtype=self.dtype, name="skip")(x)
        elif self.kind == "up":
            skip = layers.UpSkip(features, dtype=self.dtype, name="skip")(x)
        else:
            skip = x
        for i, op in enumerate(self.ops):
            changes = self.kind if i == 0 else "normal"
            module = InvertedResidual if op.kind == "inverted" else ConvOp
            x = module(
                op,
                features,
                stride=2 if changes == "down" else 1,
                upsample=changes == "up",
                dtype=self.dtype,
                name=f"op_{i}",
            )(x, train)
        if self.squeeze_excitation:
            x = layers.SqueezeExcitation(name="gate")(x)
        return skip + self.branch_scale * x


def normal_cells(
    count: int, ops: tuple[Op, ...], squeeze_excitation: bool, branch_scale: float, dtype: Dtype
) -> list[Cell]:
    """The cells of a latent group, in order, as parts of the module whose call makes them."""
    return [
        Cell(ops, "normal", squeeze_excitation, branch_scale, dtype=dtype, name=f"cell_{c}")
        for c in range(count)
    ]
