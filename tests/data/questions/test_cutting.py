"""`jaxlab.data.questions.cutting`: where texts are cut, and that parts are short."""

import pytest
from squad_files import PASSAGE

from jaxlab.data.questions import cutting

TEXTS = [
    PASSAGE * 3,
    "第一句话很短。第二句话，有逗号，也有分号；还有更多！最后一句？",
    "no separator " + "x" * 40,
    "line one\nline two is longer than it\n\nline three",
    "",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("join", [True, False])
def test_segments_are_parts_of_the_text_and_short(text, join):
    for limit in (5, 14, 30, 1000):
        parts = cutting.segment(text, limit, join=join)
        for start, part in parts:
            assert text.startswith(part, start)
            assert 0 < len(part) <= limit
            assert part == part.strip()
            assert "\n" not in part
        covered = "".join(part for _, part in parts)
        assert covered.replace(" ", "") == "".join(text.split())


def test_segments_end_where_sentences_end():
    assert [p for _, p in cutting.segment(PASSAGE, 60)] == [
        "Ada Lovelace wrote notes.",
        "She was born in London in 1815; her father was a poet.",
    ]
    assert len(cutting.segment(PASSAGE, 1000)) == 1
    assert len(cutting.segment(PASSAGE, 1000, join=False)) == 2
    assert [p for _, p in cutting.segment("他说：“好！”她走了。", 7)] == [
        "他说：“好！”",
        "她走了。",
    ]
    with pytest.raises(ValueError, match="max_length is 0"):
        cutting.segment(PASSAGE, 0)


@pytest.mark.parametrize(
    ("text", "limit", "parts"),
    [
        ("abcdefghij", 4, ["abc", "def", "ghij"]),  # thirds, rounded down
        ("abcde", 4, ["ab", "cde"]),
        ("abc", 1, ["a", "b", "c"]),
        ("a b c d", 3, ["a", "b", "c d"]),  # the space behind a word counts
        ("a b c d", 7, ["a b c d"]),
        ("One. Two! Three?", 10, ["One. Two!", "Three?"]),
        ("a; b: c", 4, ["a;", "b: c"]),
        ("aa, bb, cc; dd", 7, ["aa,", "bb,", "cc; dd"]),
        ("一二，三四；五", 4, ["一二，", "三四；五"]),
        ("ab\n\ncd", 100, ["ab", "cd"]),
        ("  ab  ", 2, ["ab"]),
        ("a", 1, ["a"]),
        (" \n ", 3, []),
    ],
)
def test_segments_written_down(text, limit, parts):
    found = cutting.segment(text, limit)
    assert [part for _, part in found] == parts
    assert all(text.startswith(part, start) for start, part in found)
    starts = [start for start, _ in found]
    assert starts == sorted(set(starts))


def test_segments_measured_otherwise():
    words = lambda part: len(part.split())
    assert [p for _, p in cutting.segment("a b c. d e f. g", 4, length=words)] == [
        "a b c.",
        "d e f. g",
    ]
    # Where a character is longer than the limit, it stands alone.
    assert cutting.segment("ab", 4, length=lambda part: 3 * len(part)) == [(0, "a"), (1, "b")]


def test_what_is_just_short_enough_is_not_cut():
    assert cutting.segment("One two. Three.", 8) == [(0, "One two."), (9, "Three.")]
    assert cutting.segment("One two. Three.", 7) == [(0, "One"), (4, "two."), (9, "Three.")]
    assert cutting.segment("abcdef", 3) == [(0, "abc"), (3, "def")]
    assert cutting.segment("abcdefg", 3) == [(0, "ab"), (2, "cd"), (4, "efg")]
    assert cutting.segment("ab", 1) == [(0, "a"), (1, "b")]
    assert cutting.segment(" ab  cd ", 6) == [(1, "ab  cd")]
