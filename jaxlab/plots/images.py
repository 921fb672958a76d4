"""Grids of images."""

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

from jaxlab.errors import InputError
from jaxlab.plots.files import write

INK, PAPER = 40, 255


def image_grid(
    images: ArrayLike,
    path: epath.PathLike,
    *,
    ncols: int | None = None,
    scale: int = 2,
    row_labels: Sequence[str] = (),
    title: str = "",
) -> None:
    """Save images side by side, row after row.

    Args:
      images: [N, H, W, C].
      path: the PNG file.
      ncols: images per row; default the square root of N, rounded up.
      scale: pixels a pixel, >= 1.
      row_labels: text before each row, such as a temperature.
      title: text above.

    Raises:
      ValueError: the images have another shape, or hold values that are not finite.

    Example:
      >>> import tempfile
      >>> path = tempfile.mkdtemp() + "/grid.png"
      >>> image_grid(np.zeros((4, 8, 8, 1)), path, scale=1)
      >>> print(Image.open(path).size)
      (19, 19)
    """
    tiles = _tiles(images, "images")
    ncols = ncols or math.ceil(math.sqrt(len(tiles)))
    rows = [list(tiles[i : i + ncols]) for i in range(0, len(tiles), ncols)]
    _save_tiles(rows, path, scale=scale, row_labels=row_labels, title=title)


def reconstruction_grid(
    originals: ArrayLike,
    reconstructions: ArrayLike | Mapping[str, ArrayLike],
    path: epath.PathLike,
    *,
    ncols: int = 10,
    scale: int = 2,
    title: str = "",
) -> None:
    """Save originals with their reconstructions right below.

    Args:
      originals: [N, H, W, C].
      reconstructions: the same shape, or label -> such images: one row below for each.
      path: the PNG file.
      ncols: images per row.
      scale: pixels a pixel, >= 1.
      title: text above.

    Raises:
      ValueError: shapes differ, or values are not finite.
    """
    if not isinstance(reconstructions, Mapping):
        reconstructions = {"output": reconstructions}
    blocks = {"input": _tiles(originals, "originals")}
    blocks |= {label: _tiles(values, label) for label, values in reconstructions.items()}
    for label, tiles in blocks.items():
        if tiles.shape != blocks["input"].shape:
            raise InputError(
                f"{label} has shape {tiles.shape}, originals have {blocks['input'].shape}"
            )
    rows, labels, gaps = [], [], []
    for start in range(0, len(blocks["input"]), ncols):
        gaps.append(len(rows))
        for label, tiles in blocks.items():
            rows.append(list(tiles[start : start + ncols]))
            labels.append(label)
    _save_tiles(rows, path, scale=scale, row_labels=labels, title=title, gaps_above=gaps[1:])


def neighbours_grid(
    samples: ArrayLike,
    neighbours: ArrayLike,
    path: epath.PathLike,
    *,
    scale: int = 2,
    title: str = "sample | nearest training images",
) -> None:
    """Save each sample next to its nearest training images (the check for memorisation).

    Args:
      samples: [N, H, W, C].
      neighbours: [N, K, H, W, C], nearest first.
      path: the PNG file.
      scale: pixels a pixel, >= 1.
      title: text above.

    Raises:
      ValueError: the shapes do not belong together, or values are not finite.
    """
    tiles, near = _tiles(samples, "samples"), np.asarray(neighbours)
    if near.ndim != 5 or near.shape[0] != len(tiles) or near.shape[2:] != tiles.shape[1:]:
        raise InputError(
            f"neighbours have shape {near.shape}, samples of shape {tiles.shape} need "
            f"({len(tiles)}, K, {', '.join(map(str, tiles.shape[1:]))})"
        )
    near = _tiles(near.reshape(-1, *near.shape[2:]), "neighbours").reshape(near.shape)
    rows = [[sample, *others] for sample, others in zip(tiles, near, strict=True)]
    _save_tiles(rows, path, scale=scale, title=title, gaps_left=[1])


def _tiles(images: ArrayLike, name: str) -> np.ndarray:
    """uint8 [N, H, W, C] of any images that are allowed."""
    tiles = np.asarray(images)
    if tiles.ndim != 4 or tiles.shape[-1] not in (1, 3) or not len(tiles):
        raise InputError(f"{name} have shape {tiles.shape}, [N, H, W, C] with C 1 or 3 is needed")
    if tiles.dtype == np.uint8:
        return tiles
    if not np.isfinite(tiles).all():
        raise InputError(f"{name} hold {np.sum(~np.isfinite(tiles))} values that are not finite")
    return np.round(np.clip(tiles.astype(np.float32), 0, 1) * 255).astype(np.uint8)


def _save_tiles(
    rows: list[list[np.ndarray]],
    path: epath.PathLike,
    *,
    scale: int,
    row_labels: Sequence[str] = (),
    title: str = "",
    gaps_above: Sequence[int] = (),
    gaps_left: Sequence[int] = (),
) -> None:
    """Paste rows of tiles onto paper; a gap sets a row or a column apart."""
    height, width, channels = rows[0][0].shape
    height, width = height * scale, width * scale
    line = max(1, scale)
    gap = 6 * line
    text = min(max(11, height // 4), 28)
    font = ImageFont.load_default(text)
    left = (
        max((math.ceil(font.getlength(label)) for label in row_labels), default=-2 * gap) + 2 * gap
    )
    top = round(1.6 * text) if title else 0
    places_x = [
        left + line + i * (width + line) + gap * sum(i >= g for g in gaps_left)
        for i in range(max(len(row) for row in rows))
    ]
    places_y = [
        top + line + i * (height + line) + gap * sum(i >= g for g in gaps_above)
        for i in range(len(rows))
    ]
    full = (places_x[-1] + width + line, places_y[-1] + height + line)
    full = (max(full[0], math.ceil(font.getlength(title)) + 2 * line), full[1])
    mode, ink, paper = ("L", INK, PAPER) if channels == 1 else ("RGB", (INK,) * 3, (PAPER,) * 3)
    sheet = Image.new(mode, full, paper)
    draw = ImageDraw.Draw(sheet)
    draw.text((line, text // 4), title, ink, font)
    for i, (y, row) in enumerate(zip(places_y, rows, strict=True)):
        if i < len(row_labels):
            draw.text((left - gap, y + height / 2), row_labels[i], ink, font, anchor="rm")
        for x, tile in zip(places_x, row, strict=False):
            picture = Image.fromarray(tile[..., 0] if channels == 1 else tile)
            sheet.paste(picture.resize((width, height), Image.Resampling.NEAREST), (x, y))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    write(path, buffer)
