"""Times functions against each other."""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import numpy as np

from jaxlab.errors import InputError

Name = TypeVar("Name", bound=Hashable)


def medians(runs: Mapping[Name, Callable[[], object]], repeats: int) -> dict[Name, float]:
    """Median seconds of each function, all called in turns.

    In turns, so that what else the machine does falls on all of them. Each is called once before,
    which compiles it.

    Args:
      runs: functions that return when their work is done (`jax.block_until_ready`), by name.
      repeats: timed calls of each.

    Returns:
      {name: seconds}.

    Raises:
      ValueError: `repeats` is below 1.

    Example:
      >>> found = medians({"sum": lambda: sum(range(1000)), "nothing": lambda: None}, 3)
      >>> found["sum"] > found["nothing"] > 0
      True
    """
    if repeats < 1:
        raise InputError(f"repeats is {repeats}, must be at least 1")
    for run in runs.values():
        run()
    seconds = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return {name: float(np.median(values)) for name, values in seconds.items()}
