"""Figures of a run: image grids, training curves, bars. NumPy in, small PNG files out.

Images are uint8, or float in [0, 1]: [N, H, W, C] with one or three channels. Paths may be anything
`etils.epath` opens (also gs://); folders are made.
"""

from jaxlab.plots.comparisons import bands, dots, stacks, tradeoff
from jaxlab.plots.embeddings import dimension_sweep, entropy_lines, words_in_plane
from jaxlab.plots.images import image_grid, neighbours_grid, reconstruction_grid
from jaxlab.plots.lines import bars, curves

__all__ = [
    "bands",
    "bars",
    "curves",
    "dimension_sweep",
    "dots",
    "entropy_lines",
    "image_grid",
    "neighbours_grid",
    "reconstruction_grid",
    "stacks",
    "tradeoff",
    "words_in_plane",
]
