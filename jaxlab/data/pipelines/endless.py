"""What all pipelines share: endless batches with a position, rows of a process, the last batch."""

import functools
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import grain
import numpy as np

from jaxlab.checks import check_count
from jaxlab.errors import InputError

MAX_STEPS = 2**48  # "endless": grain's range needs an end
_WHOLE_BYTES = 2**25  # larger arrays are summed over some rows
_ROWS, _MEANS = 1024, 16


class Batches(grain.DatasetIterator):
    """Batches `make(step, offset)` for step 0, 1, ..., made ahead in threads.

    Its state names the data, the seed and the order, cheaply: `set_state` refuses one of another
    run. A state without them (under "of"), as earlier versions saved it, is taken as it is.

    Args:
      make: step, offset -> a batch; the offset counts examples, and is 0 unless the batch size
        changed.
      of: called when a state is asked for or set: what the batches depend on, as JSON; "data" is
        from `describe`.
      batch_size: examples of a batch, where batches follow one another through the epochs: another
        batch size then goes on at the next example.
      per_epoch: batches of an epoch, where each has whole ones: with `of` changed and dropped,
        the state goes on at the next epoch.
      num_threads: that make batches; 0 makes them when asked.
      prefetch: batches made ahead.
    """

    def __init__(
        self,
        make: Callable[[int, int], Any],
        *,
        of: Callable[[], dict[str, Any]],
        batch_size: int | None = None,
        per_epoch: int | None = None,
        num_threads: int,
        prefetch: int,
    ):
        super().__init__()
        self._make, self._of = make, functools.cache(of)
        self._batch_size, self._per_epoch = batch_size, per_epoch
        self._options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch)
        self._start(0, 0)

    def _start(self, index: int, offset: int) -> None:
        self._offset = offset
        steps = grain.MapDataset.range(MAX_STEPS).map(lambda step: self._make(step, offset))
        self._batches = iter(steps.to_iter_dataset(self._options))
        if index:
            self._batches.set_state({"next_index": index})

    def __next__(self) -> Any:
        return next(self._batches)

    def get_state(self) -> dict[str, Any]:
        """The position: batches, and examples or epochs begun, with what they are of."""
        index = int(self._batches.get_state()["next_index"])
        state: dict[str, Any] = {"next_index": index}
        if self._batch_size:
            state["examples"] = index * self._batch_size + self._offset
        if self._per_epoch:
            state["epochs"] = -(-index // self._per_epoch)
        return state | {"of": self._of()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from a position.

        Raises:
          ValueError: it is of other data, another seed or another order.
        """
        of, index, offset = state.get("of"), int(state["next_index"]), 0
        if of is not None:
            changes = differences(of, self._of())
            if changes:
                raise InputError(
                    f"the training data are others ({'; '.join(changes)}): choose another "
                    "--workdir, or go on with --allow_config_change"
                )
        if self._batch_size and "examples" in state:
            index, offset = divmod(int(state["examples"]), self._batch_size)
        elif of is None and self._per_epoch and "epochs" in state:
            index = int(state["epochs"]) * self._per_epoch
        if index < 0:
            raise InputError(f"the position is {index}, must be at least 0")
        self._start(index, offset)


def process_rows(batch_size: int, process_index: int = 0, process_count: int = 1) -> slice:
    """The contiguous rows of a global batch that a process gathers and feeds.

    Args:
      batch_size: rows of the global batch.
      process_index: the process.
      process_count: processes that share the batch.

    Raises:
      ValueError: the batch cannot be shared evenly, or there is no such process.

    Example:
      >>> process_rows(8, 1, 2)
      slice(4, 8, None)
    """
    check_count("batch_size", batch_size)
    if process_count < 1 or batch_size % process_count:
        raise InputError(
            f"batch_size is {batch_size}, needs to be a multiple of the {process_count} processes"
        )
    if not 0 <= process_index < process_count:
        raise InputError(f"process_index is {process_index}, there are {process_count} processes")
    rows = batch_size // process_count
    return slice(process_index * rows, (process_index + 1) * rows)


def fill_up(batch: Mapping[str, np.ndarray], rows: slice) -> dict[str, np.ndarray]:
    """Fills a last batch up with rows of zeros, which "mask" marks: 1 for rows that were there.

    Args:
      batch: name -> [n, ...], n at most as many as `rows`.
      rows: from `process_rows`.

    Returns:
      name -> [b, ...], b as many as `rows`, and "mask" float32 [b].

    Example:
      >>> fill_up({"label": np.array([7])}, slice(2, 4))
      {'label': array([7, 0]), 'mask': array([1., 0.], dtype=float32)}
    """
    count = len(next(iter(batch.values())))
    missing = rows.stop - rows.start - count
    pad = lambda values: np.pad(values, [(0, missing)] + [(0, 0)] * (values.ndim - 1))
    found = {**batch, "mask": np.ones(count, np.float32)}
    return {name: pad(values) for name, values in found.items()} if missing else found


def describe(arrays: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What distinguishes data without reading all of them: shapes, and sums of some rows.

    Args:
      arrays: name -> [N, ...]; numbers, or texts.

    Returns:
      JSON; of arrays that are on the disk or read when needed, too. Whole numbers have a checksum,
      over 1,024 rows spread evenly where there are over 32 MiB of them; of floats, which machines
      round differently, the means of 16 rows are compared.

    Example:
      >>> describe({"label": np.arange(4)})
      {'label': {'dtype': 'int64', 'shape': [4], 'crc32': 2432700938}}
    """
    return {name: _described(values) for name, values in arrays.items()}


def _described(given: Any) -> dict[str, Any]:
    if isinstance(given, list | tuple) and given and isinstance(given[0], str):
        # Not as an array: each of its rows would take the room of the longest.
        crc32 = zlib.crc32(repr((*given,)).encode())
        return {"dtype": "str", "shape": [len(given)], "crc32": crc32}
    values: Any = given if hasattr(given, "dtype") else np.asarray(given)
    found = {"dtype": values.dtype.name, "shape": list(values.shape)}
    spread = lambda count: np.linspace(0, len(values) - 1, min(count, len(values))).astype(int)
    if not values.ndim or not values.size:
        return found
    if values.dtype.kind not in "biuf":
        return found | {"crc32": zlib.crc32("\n".join(map(str, values.tolist())).encode())}
    if values.dtype.kind == "f":
        means = [float(np.mean(values[i], dtype=np.float64)) for i in spread(_MEANS)]
        return found | {"means": [x if np.isfinite(x) else None for x in means]}
    rows = values[:] if values.nbytes <= _WHOLE_BYTES else values[spread(_ROWS)]
    rows = np.ascontiguousarray(rows, rows.dtype.newbyteorder("<"))
    return found | {"crc32": zlib.crc32(rows.tobytes())}


def differences(old: Any, new: Any) -> list[str]:
    """Names what differs between two results of `describe`, or of an iterator's `of`.

    Example:
      >>> a, b = describe({"label": np.arange(4)}), describe({"label": np.arange(5)})
      >>> differences(a, b), differences(a, a)
      (['label int64[4] -> int64[5]'], [])
    """
    if not isinstance(old, dict):
        raise InputError("the position is not one of these batches")
    before, now = ({**x, **x.get("data", {})} for x in (old, new))
    found = []
    for name in sorted({*before, *now} - {"data"}):
        a, b = before.get(name), now.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            means = [np.array(x.get("means", []), float) for x in (a, b)]
            rest = [{k: v for k, v in x.items() if k != "means"} for x in (a, b)]
            if len(means[0]) == len(means[1]) and rest[0] == rest[1]:
                if not np.allclose(*means, rtol=1e-3, atol=1e-6, equal_nan=True):
                    found.append(f"{name} has other values")
            else:
                shapes = [f"{x.get('dtype')}{x.get('shape')}" for x in (a, b)]
                same = shapes[0] == shapes[1]
                found.append(f"{name} " + ("has other values" if same else " -> ".join(shapes)))
        elif a != b:
            found.append(f"{name} {a} -> {b}")
    return found
