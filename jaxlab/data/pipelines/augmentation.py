"""Random changes of training pictures; what is drawn depends on (seed, step) alone."""

import numpy as np

# Streams of random numbers that one seed gives, next to those of `arrays`.
_FLIP, _SHIFT = 1, 2


def augment(
    images: np.ndarray,
    rows: slice,
    *,
    seed: int,
    step: int,
    batch_size: int,
    flip: bool = False,
    shift: int = 0,
) -> np.ndarray:
    """Mirrors and moves each picture of a batch at random.

    Args:
      images: [b, H, W, C], a process's rows of the global batch; changed in place by `flip`.
      rows: which rows of the global batch they are.
      seed: >= 0.
      step: of the batch.
      batch_size: of the global batch.
      flip: mirror left to right with probability one half.
      shift: most pixels to move by, up or down and left or right, all moves alike likely; zeros
        come in at the edge. 4 is the "random crop" of 32x32 pictures padded by 4.

    Returns:
      [b, H, W, C], of the same dtype.

    Example:
      >>> images = np.arange(4).reshape(1, 2, 2, 1)
      >>> moved = augment(images, slice(0, 1), seed=0, step=0, batch_size=1, shift=1)
      >>> moved.shape
      (1, 2, 2, 1)
    """
    if flip:
        chosen = np.random.default_rng((seed, _FLIP, step)).random(batch_size)[rows] < 0.5
        images[chosen] = images[chosen, :, ::-1]
    if shift:
        moves = np.random.default_rng((seed, _SHIFT, step)).integers(
            0, 2 * shift + 1, (batch_size, 2)
        )[rows]
        height, width = images.shape[1:3]
        edge = ((0, 0), (shift, shift), (shift, shift), (0, 0))
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(images, edge), (height, width), axis=(1, 2)
        )
        images = windows[np.arange(len(images)), moves[:, 0], moves[:, 1]]  # [b, C, H, W]
        images = np.ascontiguousarray(np.moveaxis(images, 1, -1))
    return images
