"""The table of a model's parts, line by line."""

from jaxlab.models.nvae.model import NVAE
from jaxlab.models.nvae.summary import summary

SMALL = {
    "enc_channels": 4,
    "dec_channels": 4,
    "latents": 2,
    "blocks": 1,
    "pre_cells": 1,
    "post_cells": 1,
    "arch": "res_elu",
    "squeeze_excitation": False,
}


def conv(size, inputs, outputs, *, bias=True):
    """Parameters of a convolution: kernel, gain, bias."""
    return size**2 * inputs * outputs + outputs * (1 + bias)


def cell(channels, kind="normal"):
    """Two convolutions and a skip."""
    features = {"normal": channels, "down": 2 * channels, "up": channels // 2}[kind]
    skips = {
        "normal": 0,
        "down": 4 * conv(1, channels, features // 4),
        "up": conv(1, channels, features, bias=False),
    }
    return conv(3, channels, features) + conv(3, features, features) + skips[kind]


def test_every_part_with_its_number_of_modules_and_parameters():
    """Three groups on the fine scale and two on the coarse one, counted by hand."""
    text = summary(NVAE(8, groups=(3, 2), **SMALL))
    fine, coarse = 8, 16  # channels of the scales

    def group(channels):  # prior, posterior, combine, merge, cell
        return (
            conv(1, channels, 4)
            + conv(3, channels, 4)
            + conv(1, channels, channels)
            + conv(1, channels + 2, channels)
            + cell(channels)
        )

    first = conv(3, coarse, 4) + conv(1, coarse + 2, coarse)
    counts = {
        "bottom-up: first convolution (stem)": (1, conv(3, 1, 4)),
        "bottom-up: pre-processing (pre)": (1, cell(4, "down")),
        "bottom-up: residual cells (enc)": (5, 3 * cell(fine) + 2 * cell(coarse)),
        "bottom-up: to a coarser scale (down)": (1, cell(fine, "down")),
        "bottom-up: feature of z_1 (top)": (1, conv(1, coarse, coarse)),
        "top-down: trainable tensor h (h)": (1, 2 * 2 * coarse),
        "top-down: prior, posterior, merge (group)": (5, first + group(coarse) + 3 * group(fine)),
        "top-down: to a finer scale (up)": (1, cell(coarse, "up")),
        "top-down: post-processing (post)": (1, cell(fine, "up")),
        "likelihood parameters (head)": (1, conv(3, 4, 1)),
    }
    totals = [sum(column) for column in zip(*counts.values(), strict=True)]
    rows = {"part of the paper": ("modules", "parameters"), **counts, "total": totals}
    written = lambda value: value if isinstance(value, str) else f"{value:,}"
    table = [
        f"  {title:38}{written(modules):>8}{written(number):>14}"
        for title, (modules, number) in rows.items()
    ]
    assert text.splitlines() == [
        "NVAE for 8x8x1 images, bernoulli likelihood, arch res_elu",
        "  z_1..z_2       2 groups of 2x2x2, scale 1",
        "  z_3..z_5       3 groups of 4x4x2, scale 0",
        *table,
    ]


def test_a_single_group_has_no_h():
    lines = summary(NVAE(8, groups=(1,), likelihood="normal", channels=3, **SMALL)).splitlines()
    assert lines[0] == "NVAE for 8x8x3 images, normal likelihood, arch res_elu"
    assert lines[1] == "  z_1            1 groups of 4x4x2, scale 0"
    names = [line.rsplit("(", 1)[1].split(")")[0] for line in lines[3:-1]]
    assert names == ["stem", "pre", "top", "group", "post", "head"]
