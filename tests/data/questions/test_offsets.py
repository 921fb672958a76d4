"""`jaxlab.data.questions.offsets`: where an answer starts, against a search that measures every
place."""

import math

import numpy as np
import pytest

from jaxlab.data.questions import offsets

SILENT, WRONG, find_start = offsets.SILENT, offsets.WRONG, offsets.find_start


def by_hand(passage, answer, number):
    """The rule, written down: exact in some unit, else the nearest if others are twice as far."""
    places = [i for i in range(len(passage)) if passage.startswith(answer, i)]
    if len(places) < 2:
        return places[0] if places else SILENT
    if number < 0:
        return WRONG
    for unit, size in (("utf-32-le", 4), ("utf-16-le", 2), ("utf-8", 1)):
        for place in places:
            if len(passage[:place].encode(unit)) == number * size:
                return place
    if number > len(passage):
        return WRONG
    near = sorted(places, key=lambda place: abs(place - number))
    return near[0] if 2 * abs(near[0] - number) < abs(near[1] - number) else WRONG


@pytest.mark.parametrize("seed", range(6))
def test_every_number_in_random_texts(seed):
    rng = np.random.default_rng(seed)
    letters = ["a", "b", "b", " ", "é", "中", "😀"][: 4 + seed % 4]
    for _ in range(30):
        passage = "".join(rng.choice(letters, 24))
        for answer in ("a", "ab", "aa", "b", " b"):
            for number in range(-2, 75):
                found = find_start(passage, answer, number)
                assert found == by_hand(passage, answer, number), (passage, answer, number)


def test_units_end_where_characters_do():
    text = "a\x7f\x80\u07ff\u0800\uffff\U00010000"
    units, raw = offsets._unit_ends(text)
    assert units.tolist() == [1, 2, 3, 4, 5, 6, 8]
    assert raw.tolist() == [1, 2, 4, 6, 9, 12, 16]
    # The first character that starts at a number; None inside of one and at the text's end.
    assert offsets._other_counts(text, 8) == (None, None)
    assert offsets._other_counts(text, 6) == (6, 4)
    assert offsets._other_counts(text, 7) == (None, None)
    assert offsets._other_counts(text, 12) == (None, 6)
    assert offsets._other_counts(text, 0) == (None, None)


@pytest.mark.parametrize(
    ("said", "number"),
    [
        (3, 3), ("3", 3), (" 3.0 ", 3), (3.0, 3), ("3e1", 30), (-2, -2), (10**30, 10**30),
        (np.int64(4), 4), (True, None), (False, None), (3.5, None), (math.nan, None),
        (math.inf, None), ("x", None), ("", None), ([3], None), ({}, None), ("9" * 400, None),
    ],
)  # fmt: skip
def test_numbers_of_every_type(said, number):
    assert offsets._whole_number(said) == number


def test_silence_and_contradiction():
    assert (SILENT, WRONG) == (-1, -2)
    assert find_start("a b a", "a", None) == find_start("a b a", "c", 0) == SILENT
    assert find_start("a b a", "", 0) == SILENT
    assert find_start("x a", "a", None) == SILENT
    assert find_start("x a", "a", "anything") == 2
    assert find_start("a b a", "a", "anything") == WRONG
    assert find_start("a b a", "a", -1) == WRONG
    assert find_start("a  a", "a", 1) == WRONG  # 1 and 2 away: twice as far is not more
    assert find_start("a   a", "a", 1) == 0
    assert find_start("a   a", "a", 5) == 4  # at the text's end
    assert find_start("a   a", "a", 6) == WRONG  # behind it
