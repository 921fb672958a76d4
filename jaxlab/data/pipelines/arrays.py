"""From an `ImageSet` to batches: endless and resumable for training, one padded pass to evaluate.

Every process computes the same global batch of indices and gathers its own contiguous rows, so the
data of a step does not depend on how many processes share it.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from absl import logging

from jaxlab.checks import check_count
from jaxlab.data.image_sets import ImageSet
from jaxlab.data.pipelines.augmentation import augment
from jaxlab.data.pipelines.endless import Batches, describe, fill_up, process_rows
from jaxlab.errors import InputError

BINARIZE = (None, "fixed", "static")

_ORDER = 0  # stream of random numbers that one seed gives, next to those of `augmentation`
_DECODING = 8  # threads that build batches of pictures which are decoded then


def train_pipeline(
    image_set: ImageSet,
    batch_size: int,
    *,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    flip: bool = False,
    shift: int = 0,
    num_threads: int = 2,
    prefetch: int = 4,
) -> Batches:
    """Endless shuffled batches whose position is one number.

    Epoch e visits the images in the order of a permutation drawn from (seed, e); batches follow one
    another through the epochs, so one may hold the end of an epoch and the start of the next, and
    no image is dropped. Batch k depends on (image_set, batch_size, seed, flip, shift, k) alone. A
    position of another batch size goes on at the same image; one of other images or another seed is
    refused.

    Args:
      image_set: the images.
      batch_size: images of the global batch; divisible by `process_count`. More than there are
        images is a warning.
      seed: >= 0.
      process_index: this process.
      process_count: processes that share the batch; this one gets the rows
        `process_index * b .. (process_index + 1) * b`, b = batch_size / process_count.
      flip: mirror each image left to right with probability one half.
      shift: most pixels to move an image by in each direction, at random; zeros come in. >= 0.
      num_threads: threads that build batches ahead; 0 builds them when asked; at least 8 where
        pictures are decoded for each batch.
      prefetch: batches built ahead.

    Returns:
      A grain iterator (`get_state`, `set_state`) of `{"image": uint8 [b, S, S, C], "label": int32
      [b]}`, S = image_size; without "label" where the set has no labels.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> from jaxlab.data import ImageSpec
      >>> images = np.zeros((6, 2, 2, 1), np.uint8)
      >>> digits = ImageSet(images, np.arange(6, dtype=np.int32), ImageSpec("six", image_size=2))
      >>> batches = train_pipeline(digits, 3, seed=0)
      >>> epoch = np.concatenate([next(batches)["label"], next(batches)["label"]])
      >>> print(np.sort(epoch))
      [0 1 2 3 4 5]
    """
    rows = process_rows(batch_size, process_index, process_count)
    check_count("shift", shift, at_least=0, below=image_set.spec.image_size)

    def batch(step: int, indices: np.ndarray) -> dict[str, np.ndarray]:
        images = image_set.padded(indices)
        images = augment(
            images, rows, seed=seed, step=step, batch_size=batch_size, flip=flip, shift=shift
        )
        return _with_labels(image_set, images, indices)

    arrays = {"images": image_set.images}
    if image_set.labels is not None:
        arrays["labels"] = image_set.labels
    size = len(image_set)
    if image_set.lazy and num_threads:
        num_threads = max(num_threads, _DECODING)
        prefetch = max(prefetch, num_threads)
    return _endless(arrays, size, batch_size, rows, seed, batch, num_threads, prefetch)


def array_pipeline(
    arrays: Mapping[str, np.ndarray],
    batch_size: int,
    *,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 1,
    prefetch: int = 4,
) -> Batches:
    """Endless shuffled batches of rows of arrays, in the order of `train_pipeline`.

    Args:
      arrays: name -> [N, ...], as many rows each.
      batch_size: rows of the global batch; see `train_pipeline`, as for the other arguments.
      seed: >= 0.
      process_index: this process.
      process_count: processes that share the batch.
      num_threads: threads that build batches ahead.
      prefetch: batches built ahead.

    Returns:
      A grain iterator (`get_state`, `set_state`) of `{name: [b, ...]}`.

    Raises:
      ValueError: an argument is out of range, or the arrays differ in length.

    Example:
      >>> batches = array_pipeline({"x": np.arange(4), "label": np.arange(4) * 2}, 2, seed=0)
      >>> batch = next(batches)
      >>> bool((batch["label"] == 2 * batch["x"]).all())
      True
    """
    sizes = {name: len(values) for name, values in arrays.items()}
    if len(set(sizes.values())) != 1:
        raise InputError(f"arrays have {sizes} rows, need to have as many each")
    rows = process_rows(batch_size, process_index, process_count)

    def batch(step: int, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {name: values[indices] for name, values in arrays.items()}

    size = next(iter(sizes.values()))
    return _endless(arrays, size, batch_size, rows, seed, batch, num_threads, prefetch)


def epoch_order(size: int, first: int, count: int, *, seed: int) -> np.ndarray:
    """Indices that `train_pipeline` visits at the positions first .. first + count.

    Position p lies in epoch p // size, whose order is a permutation drawn from (seed, epoch).

    Args:
      size: N, the examples.
      first: position of the first index, >= 0.
      count: number of indices.
      seed: >= 0.

    Returns:
      int64 [count].

    Example:
      >>> np.sort(epoch_order(4, 0, 4, seed=0)).tolist()
      [0, 1, 2, 3]
    """
    position = np.arange(first, first + count)
    epochs = position // size
    parts = [
        _permutation(size, seed, epoch)[position[epochs == epoch] - epoch * size]
        for epoch in range(epochs[0], epochs[-1] + 1)
    ]
    return np.concatenate(parts)


@functools.lru_cache(maxsize=8)
def _permutation(size: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, _ORDER, epoch)).permutation(size)


def _endless(arrays, size, batch_size, rows, seed, batch, num_threads, prefetch) -> Batches:
    """Batches `batch(step, indices)` without end."""
    if batch_size > size:
        logging.warning(
            "batch_size is %d, there are only %d examples: batches hold some of them twice",
            *(batch_size, size),
        )
    check_count("seed", seed, at_least=0, below=None)
    if not size:
        raise InputError("the training set is empty, training needs at least one example")

    def make(step: int, offset: int) -> dict[str, np.ndarray]:
        first = step * batch_size + offset + rows.start
        return batch(step, epoch_order(size, first, rows.stop - rows.start, seed=seed))

    # grain's own shuffle and batch call Python once per image; one call per batch is far cheaper.
    return Batches(
        make,
        of=lambda: {"data": describe(arrays), "seed": seed},
        batch_size=batch_size,
        num_threads=num_threads,
        prefetch=prefetch,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class EvalBatches:
    """The batches of one pass, made by `eval_batches`; can be gone through any number of times."""

    image_set: ImageSet
    batch_size: int
    rows: slice
    binarize: str | None
    seed: int

    def __len__(self) -> int:
        return -(-len(self.image_set) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for first in range(0, len(self.image_set), self.batch_size):
            stop = min(first + self.rows.stop, len(self.image_set))
            indices = np.arange(first + self.rows.start, stop)
            images = self.image_set.padded(indices)
            if self.binarize is not None:
                images = _binarize(
                    images, indices, None if self.binarize == "static" else self.seed
                )
            batch = _with_labels(self.image_set, images, indices)
            yield fill_up(batch, self.rows)


def eval_batches(
    image_set: ImageSet,
    batch_size: int,
    *,
    process_index: int = 0,
    process_count: int = 1,
    binarize: str | None = None,
    seed: int = 0,
) -> EvalBatches:
    """One pass over a set in its order, the last batch filled up with zeros that the mask marks.

    Args:
      image_set: the images.
      batch_size: images of the global batch; divisible by `process_count`.
      process_index: this process.
      process_count: processes that share a batch, as in `train_pipeline`; all get as many batches.
      binarize: "fixed" draws each pixel once, from (seed, index of the image), so that the numbers
        of an evaluation repeat for any batch size and any number of processes; "static" takes
        pixels above one half; None leaves the grey values.
      seed: of the fixed binarisation, >= 0.

    Returns:
      An iterable with a length, of `{"image": uint8 [b, S, S, C], "label": int32 [b], "mask":
      float32 [b]}`, mask 1 for images and 0 for filling; binarised pixels are 0 and 255.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> from jaxlab.data import ImageSpec
      >>> three = ImageSet(np.zeros((3, 2, 2, 1), np.uint8), None, ImageSpec("three", image_size=2))
      >>> [batch["mask"].tolist() for batch in eval_batches(three, 2)]
      [[1.0, 1.0], [1.0, 0.0]]
    """
    if binarize not in BINARIZE:
        raise InputError(f"binarize is {binarize!r}, needs to be one of {BINARIZE}")
    rows = process_rows(batch_size, process_index, process_count)
    return EvalBatches(image_set, batch_size, rows, binarize, seed)


def _with_labels(
    image_set: ImageSet, images: np.ndarray, indices: np.ndarray
) -> dict[str, np.ndarray]:
    if image_set.labels is None:
        return {"image": images}
    return {"image": images, "label": image_set.labels[indices]}


def _binarize(images: np.ndarray, indices: np.ndarray, seed: int | None) -> np.ndarray:
    if seed is None:
        return np.where(images > 127, 255, 0).astype(np.uint8)
    # One generator an image: its pixels depend on nothing but (seed, index).
    draws = np.empty(images.shape, np.float32)
    for row, index in enumerate(indices):
        np.random.default_rng((seed, int(index))).random(out=draws[row], dtype=np.float32)
    return np.where(draws * 255 < images, 255, 0).astype(np.uint8)
