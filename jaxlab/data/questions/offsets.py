"""Where answers stand in their passages, from what files say about it in many ways."""

import functools
import math
from typing import Any

import numpy as np

# Instead of a place: the file does not say where; it says what cannot be understood.
SILENT, WRONG = -1, -2


def find_start(passage: str, answer: str, said: Any) -> int:
    """Where an answer starts, in characters, from what a file gives as `answer_start`.

    The number may be text or a float, counted in characters, UTF-16 units (JavaScript, Java) or
    bytes, and off by a little: then the nearest place that has the answer is taken, if every other
    one is more than twice as far.

    Args:
      passage: the text.
      answer: a part of it, without spaces at its ends.
      said: what the file says, of any type; None for nothing.

    Returns:
      The place; SILENT where the file says nothing or the passage has no such answer; WRONG where
      several places have it and what is said decides for none.

    Example:
      >>> text = "😀 Paris is big. Why visit Paris?"
      >>> [find_start(text, "Paris", x) for x in (2, "2", 2.0, 3, 27, 28, 15, -7)]
      [2, 2, 2, 2, 26, 26, -2, -2]
    """
    first = passage.find(answer)
    if said is None or first < 0 or not answer:
        return SILENT
    if first == passage.rfind(answer):
        return first
    number = _whole_number(said)
    if number is None or number < 0:
        return WRONG
    for place in (number, *_other_counts(passage, number)):
        if place is not None and passage.startswith(answer, place):
            return place
    if number > len(passage):
        return WRONG
    # The two nearest places on either side.
    places, end, start = [], number + len(answer), number
    for _ in range(2):
        before = passage.rfind(answer, 0, max(end, 0))
        after = passage.find(answer, start)
        places += [place for place in (before, after) if place >= 0]
        end, start = before + len(answer) - 1, after + 1 if after >= 0 else len(passage) + 1
        if before < 0:
            end = 0
    nearest, second = sorted(set(places), key=lambda place: abs(place - number))[:2]
    return nearest if 2 * abs(nearest - number) < abs(second - number) else WRONG


def _whole_number(said: Any) -> int | None:
    try:
        if isinstance(said, bool):
            return None
        if isinstance(said, int):
            return said
        number = float(said)
        return int(number) if math.isfinite(number) and number.is_integer() else None
    except (TypeError, ValueError, OverflowError):
        return None


def _other_counts(passage: str, number: int) -> tuple[int | None, ...]:
    """The characters that start at a number of UTF-16 units and at one of UTF-8 bytes."""
    found = []
    for ends in _unit_ends(passage):
        place = int(np.searchsorted(ends, number, "right"))
        exact = place > 0 and ends[place - 1] == number
        found.append(place if exact and place < len(passage) else None)
    return tuple(found)


@functools.lru_cache(maxsize=2)
def _unit_ends(passage: str) -> tuple[np.ndarray, np.ndarray]:
    """Where each character ends, in UTF-16 units and in UTF-8 bytes."""
    codes = np.frombuffer(passage.encode("utf-32-le", "surrogatepass"), np.uint32)
    units = 1 + (codes > 0xFFFF)
    return np.cumsum(units), np.cumsum(units + (codes > 0x7F) + (codes > 0x7FF))
