"""From tokenised texts to padded batches, texts of like length together.

A batch is padded to the shortest bucket that holds its longest text, so that there are as many
array shapes, and compiled programs, as buckets. As in `arrays.py`, every process computes the
same global batch of indices and gathers its own contiguous rows.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jaxlab.checks import check_count, check_counts
from jaxlab.data.pipelines.endless import Batches, describe, fill_up, process_rows
from jaxlab.data.text import TokenSet
from jaxlab.errors import InputError

Batch = dict[str, np.ndarray]


def text_pipeline(
    token_set: TokenSet,
    batch_size: int,
    *,
    buckets: Sequence[int],
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 1,
    prefetch: int = 4,
) -> Batches:
    """Endless shuffled batches of texts of like length, whose position is one number.

    Epoch e shuffles the texts by (seed, e), fills batches bucket by bucket in that order, and
    shuffles the batches. What does not fill a batch of its bucket goes on into the next longer one;
    what is left at the end, fewer than a batch, sits out this epoch (others will in the next).
    Batch k depends on (token_set, batch_size, buckets, seed, k) alone.

    Args:
      token_set: the texts.
      batch_size: texts of the global batch, divisible by `process_count`, at most all.
      buckets: lengths to pad to, such as (16, 32); the longest must hold every text.
      seed: >= 0.
      process_index: this process.
      process_count: processes that share the batch.
      num_threads: threads that build batches ahead; 0 builds them when asked.
      prefetch: batches built ahead.

    Returns:
      A grain iterator (`get_state`, `set_state`) of `{"input_ids": int32 [b, L], "attention_mask":
      int32 [b, L], "label": int32 [b]}`, L a bucket; of pairs also "token_type_ids" int32 [b, L],
      and of regression "label" is float32.

    Raises:
      ValueError: an argument is out of range, or a text is longer than all buckets.

    Example:
      >>> ids = [np.full(n, 7) for n in (3, 4, 3, 8, 8, 4)]
      >>> batches = text_pipeline(TokenSet(ids, np.arange(6)), 2, buckets=(4, 8), seed=0)
      >>> sorted(next(batches)["input_ids"].shape for _ in range(3))
      [(2, 4), (2, 4), (2, 8)]
    """
    rows = process_rows(batch_size, process_index, process_count)
    bucket_of = _buckets(token_set, buckets)
    size = len(token_set)
    check_count("seed", seed, at_least=0, below=None)
    if batch_size > size:
        raise InputError(f"batch_size is {batch_size}, there are only {size} texts")
    per_epoch = size // batch_size

    @functools.lru_cache(maxsize=4)
    def plan(epoch: int) -> np.ndarray:
        """Indices [batches of an epoch, batch_size]."""
        rng = np.random.default_rng((seed, epoch))
        order = rng.permutation(size)
        batches, left = [], np.empty(0, order.dtype)
        for bucket in range(len(buckets)):
            left = np.concatenate([left, order[bucket_of[order] == bucket]])
            full = len(left) // batch_size * batch_size
            batches.append(left[:full].reshape(-1, batch_size))
            left = left[full:]
        return rng.permutation(np.concatenate(batches))

    def batch(step: int, _: int) -> Batch:
        epoch, place = divmod(int(step), per_epoch)
        indices = plan(epoch)[place]
        length = sorted(buckets)[bucket_of[indices].max()]
        return _gather(token_set, indices[rows], length)

    def of() -> dict[str, Any]:
        order = {"seed": seed, "batch_size": batch_size, "buckets": [int(b) for b in buckets]}
        return {"data": describe(token_set.arrays), **order}

    threads = {"num_threads": num_threads, "prefetch": prefetch}
    return Batches(batch, of=of, per_epoch=per_epoch, **threads)


@dataclasses.dataclass(frozen=True, eq=False)
class TextEvalBatches:
    """The batches of one pass, made by `text_eval_batches`; any number of passes may follow."""

    token_set: TokenSet
    batch_size: int
    buckets: tuple[int, ...]
    rows: slice

    def __len__(self) -> int:
        return -(-len(self.token_set) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        bucket_of = _buckets(self.token_set, self.buckets)
        order = np.argsort(self.token_set.lengths, kind="stable")
        for first in range(0, len(order), self.batch_size):
            indices = order[first : first + self.batch_size]
            length = self.buckets[bucket_of[indices].max()]
            here = indices[self.rows]
            batch = _gather(self.token_set, here, length)
            batch["index"] = here.astype(np.int32)
            yield fill_up(batch, self.rows)


def text_eval_batches(
    token_set: TokenSet,
    batch_size: int,
    *,
    buckets: Sequence[int],
    process_index: int = 0,
    process_count: int = 1,
) -> TextEvalBatches:
    """One pass over a set, shortest texts first, the last batch filled up with rows of zeros.

    Args:
      token_set: the texts.
      batch_size: texts of the global batch; divisible by `process_count`.
      buckets: as in `text_pipeline`.
      process_index: this process.
      process_count: processes that share a batch; all get as many batches.

    Returns:
      An iterable with a length, of batches as `text_pipeline` makes them with "mask" float32 [b],
      1 for texts and 0 for filling, and "index" int32 [b], each text's place in the set.

    Raises:
      ValueError: an argument is out of range, or a text is longer than all buckets.

    Example:
      >>> three = TokenSet([np.array([5, 6]), np.array([5]), np.array([5, 6])], np.arange(3))
      >>> for batch in text_eval_batches(three, 2, buckets=(2,)):
      ...     print(batch["label"], batch["mask"], batch["attention_mask"].tolist())
      [1 0] [1. 1.] [[1, 0], [1, 1]]
      [2 0] [1. 0.] [[1, 1], [0, 0]]
    """
    rows = process_rows(batch_size, process_index, process_count)
    _buckets(token_set, buckets)
    return TextEvalBatches(token_set, batch_size, tuple(sorted(buckets)), rows)


def _buckets(token_set: TokenSet, buckets: Sequence[int]) -> np.ndarray:
    """Which bucket, counted from the shortest, each text belongs to."""
    check_counts("buckets", buckets)
    if len(set(buckets)) != len(buckets):
        raise InputError(f"buckets are {tuple(buckets)}, must be distinct positive lengths")
    lengths = token_set.lengths
    if len(lengths) and lengths.max() > max(buckets):
        raise InputError(
            f"the longest text has {lengths.max()} tokens, the longest of buckets "
            f"{tuple(buckets)} holds {max(buckets)}"
        )
    return np.searchsorted(sorted(buckets), lengths)


def _gather(token_set: TokenSet, indices: np.ndarray, length: int) -> Batch:
    ids = np.zeros((len(indices), length), np.int32)
    mask = np.zeros_like(ids)
    for row, index in enumerate(indices):
        tokens = token_set.ids[index]
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    labels = token_set.labels[indices]
    labels = labels.astype(np.float32 if labels.dtype.kind == "f" else np.int32)
    batch = {"input_ids": ids, "attention_mask": mask, "label": labels}
    if token_set.type_ids is not None:
        batch["token_type_ids"] = np.zeros_like(ids)
        for row, index in enumerate(indices):
            kinds = token_set.type_ids[index]
            batch["token_type_ids"][row, : len(kinds)] = kinds
    return batch
