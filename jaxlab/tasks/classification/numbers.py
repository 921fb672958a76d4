"""Numbers that may be traced, so that one compiled program serves a grid of them."""

from typing import Any

import numpy as np

Number = Any  # a float, or a traced scalar


def absent(value: Number) -> bool:
    """Whether a number is None or a plain 0, which leaves its part out of the program.

    Example:
      >>> absent(0.0), absent(None), absent(0.1)
      (True, True, False)
    """
    return value is None or (isinstance(value, int | float | np.number) and value == 0)
