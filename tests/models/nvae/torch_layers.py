"""Layers and cells of the reference NVAE, said again in PyTorch from its description.

Module names follow the reference's state dict. NCHW throughout.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

SWISH, WIDE, BN_ELU, ELU = "bnswish3", "bnswish5", "bnelu3", "elu3"


def _mb(expansion, size=5, groups=0):
    return ("mbconv", expansion, size, groups)


# Branches of encoder, decoder, pre-process and post-process cells.
BRANCHES = {
    "res_mbconv": ([SWISH] * 2, [_mb(6)], [SWISH] * 2, [_mb(3)]),
    "res_bnswish": ([SWISH] * 2,) * 4,
    "res_bnelu": ([BN_ELU] * 2,) * 4,
    "res_elu": ([ELU] * 2,) * 4,
    "mbconv_sep": ([_mb(6)], [_mb(6)], [_mb(3)], [_mb(3)]),
    "mbconv_sep11": ([_mb(6, 11)], [_mb(6, 11)], [_mb(3)], [_mb(3)]),
    "mbconv_res": ([_mb(6)], [SWISH] * 2, [_mb(3)], [SWISH] * 2),
    "mbconv_den": ([_mb(6)], [_mb(6)], [_mb(3, groups=8)], [_mb(3, groups=8)]),
    "res53_mbconv": ([WIDE, SWISH], [_mb(6)], [WIDE, SWISH], [_mb(3)]),
    "res35_mbconv": ([SWISH, WIDE], [_mb(6)], [SWISH, WIDE], [_mb(3)]),
    "res55_mbconv": ([WIDE, WIDE], [_mb(6)], [WIDE, WIDE], [_mb(3)]),
}


class Conv(nn.Conv2d):
    """Convolution with W_eff = exp(g) W / (||W|| + 1e-5), or W itself; mask applied before."""

    def __init__(self, inputs, outputs, size, *, norm=True, mask=None, gain=0.0, **options):
        super().__init__(inputs, outputs, size, **options)
        self.mask, self.effective = mask, None
        if norm:
            length = self.masked().flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
            self.log_weight_norm = nn.Parameter(torch.log(length.detach() + 0.01) + gain)
        else:
            self.log_weight_norm = None
            self.weight_normalized = self.weight  # a second name, as in the reference's state dict

    def masked(self):
        return self.weight if self.mask is None else self.weight * self.mask

    def forward(self, x):
        weight = self.masked()
        if self.log_weight_norm is not None:
            length = (weight**2).sum(dim=(1, 2, 3), keepdim=True).sqrt()
            weight = self.log_weight_norm.exp() * weight / (length + 1e-5)
        self.effective = weight
        return self._conv_forward(x, weight, self.bias)


class Norm(nn.BatchNorm2d):
    def __init__(self, channels):
        super().__init__(channels, eps=1e-5, momentum=0.05)


class NormSwish(Norm):
    def forward(self, x):
        return F.silu(super().forward(x))


class Nearest(nn.Module):
    def forward(self, x):
        return F.interpolate(x, scale_factor=2, mode="nearest")


class Bilinear(nn.Module):
    def forward(self, x):
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class ConvPrimitive(nn.Module):
    """[BN], activation, [nearest], 3x3 convolution of dilation 1 ("3") or 2 ("5")."""

    def __init__(self, kind, inputs, outputs, stride):
        super().__init__()
        self.activation = "elu" if "elu" in kind else "swish"
        if kind == BN_ELU:
            self.bn = Norm(inputs)
        elif kind != ELU:
            self.bn_act = NormSwish(inputs)
        self.upsample = Nearest() if stride == -1 else None
        reach = 2 if kind == WIDE else 1
        self.conv_0 = Conv(inputs, outputs, 3, stride=max(stride, 1), padding=reach, dilation=reach)

    def forward(self, x):
        if self.activation == "swish":
            x = self.bn_act(x)
        else:
            x = F.elu(self.bn(x) if hasattr(self, "bn") else x)
        return self.conv_0(x if self.upsample is None else self.upsample(x))


class ConvNormSwish(nn.Module):
    def __init__(self, inputs, outputs, size, stride=1, groups=1):
        super().__init__()
        options = {"stride": stride, "padding": (size - 1) // 2, "groups": groups}
        conv = Conv(inputs, outputs, size, norm=False, bias=False, **options)
        self.conv = nn.Sequential(conv, NormSwish(outputs))

    def forward(self, x):
        return self.conv(x)


class MBConv(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion, size, groups):
        super().__init__()
        hidden = round(inputs * expansion)
        self.conv = nn.Sequential(
            *([Nearest()] if stride == -1 else []),
            Norm(inputs),
            ConvNormSwish(inputs, hidden, 1),
            ConvNormSwish(hidden, hidden, size, max(stride, 1), groups or hidden),
            Conv(hidden, outputs, 1, norm=False, bias=False),
            Norm(outputs),
        )

    def forward(self, x):
        return self.conv(x)


class DownSkip(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        q = outputs // 4
        self.conv_1, self.conv_2, self.conv_3, self.conv_4 = (
            Conv(inputs, width, 1, stride=2) for width in (q, q, q, outputs - 3 * q)
        )

    def forward(self, x):
        x = F.silu(x)
        parts = [
            self.conv_1(x),
            self.conv_2(x[:, :, 1:, 1:]),
            self.conv_3(x[:, :, :, 1:]),
            self.conv_4(x[:, :, 1:, :]),
        ]
        return torch.cat(parts, dim=1)


class Gate(nn.Module):
    def __init__(self, channels):
        super().__init__()
        hidden = max(channels // 16, 4)
        self.se = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, x):
        return x * self.se(x.mean(dim=(2, 3)))[:, :, None, None]


class Cell(nn.Module):
    def __init__(self, branch, inputs, stride, gate):
        super().__init__()
        outputs = {1: inputs, 2: 2 * inputs, -1: inputs // 2}[stride]
        self.skip = nn.Identity()
        if stride == 2:
            self.skip = DownSkip(inputs, outputs)
        elif stride == -1:
            self.skip = nn.Sequential(Bilinear(), Conv(inputs, outputs, 1, bias=False))
        self._ops = nn.ModuleList()
        for i, primitive in enumerate(branch):
            args = (inputs, outputs, stride) if i == 0 else (outputs, outputs, 1)
            if isinstance(primitive, tuple):
                self._ops.append(MBConv(*args, *primitive[1:]))
            else:
                self._ops.append(ConvPrimitive(primitive, *args))
        self.se = Gate(outputs) if gate else nn.Identity()

    def forward(self, x):
        y = x
        for op in self._ops:
            y = op(y)
        return self.skip(x) + 0.1 * self.se(y)


class Combiner(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = Conv(inputs, outputs, 1)


def causal_mask(size, inputs, outputs, *, strict, mirror):
    """[outputs, inputs, size, size]; a depthwise kernel is inputs = 1 with strict False."""
    mask = torch.zeros(outputs, inputs, size, size)
    middle = size // 2
    for o in range(outputs):
        for i in range(inputs):
            if outputs >= inputs:
                block, other = o // (outputs // inputs), i
            else:
                block, other = o, i // (inputs // outputs)
            for row in range(size):
                for column in range(size):
                    before = (row, column) < (middle, middle)
                    here = (row, column) == (middle, middle)
                    sees = other < block if strict else other <= block
                    mask[o, i, row, column] = float(before or (here and sees))
    return mask.flip(2, 3) if mirror else mask


class FlowCell(nn.Module):
    def __init__(self, channels, mirror):
        super().__init__()
        hidden = 6 * channels
        masks = [
            causal_mask(3, channels, hidden, strict=True, mirror=mirror),
            causal_mask(5, 1, hidden, strict=False, mirror=mirror),
            causal_mask(1, hidden, channels, strict=False, mirror=mirror),
        ]
        wide = Conv(channels, hidden, 3, padding=1, bias=False, mask=masks[0])
        deep = Conv(hidden, hidden, 5, padding=2, bias=False, groups=hidden, mask=masks[1])
        last = Conv(hidden, channels, 1, mask=masks[2], gain=math.log(0.1))
        self.conv = nn.ModuleDict({"convz": nn.Sequential(wide, nn.ELU(), deep, nn.ELU())})
        self.mu = nn.ModuleDict({"conv_0": last})

    def forward(self, z):
        return z - self.mu["conv_0"](F.elu(self.conv["convz"](z)))


class FlowPair(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.cell1, self.cell2 = FlowCell(channels, False), FlowCell(channels, True)

    def forward(self, z):
        return self.cell2(self.cell1(z))
