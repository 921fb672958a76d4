"""Texts cut into paragraphs, and into parts of bounded length at the best places there are."""

import functools
import itertools
import re
from collections.abc import Callable

from jaxlab.checks import check_count

# Characters of Chinese and Japanese, which stand without spaces, for a class of a pattern.
CJK = "\u2e80-\u303f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef"
_WRAPPED = re.compile(rf"(?<=[{CJK}])[ \t]*\n[ \t]*(?=[{CJK}])")

# Where a text may be cut, best first; the separator stays with what it ends. No list of
# abbreviations: "Dr. Who" may be cut, which costs a little context and no answer.
SEPARATORS = (
    r"\n+",
    r"[。！？]+[”’」』）]*|(?<![.!?])[.!?]++[\"')\]]*+\s+",  # linear in long rows of dots
    r"[；;:：]\s*",
    r"[，、]|,\s+",
    r"\s+",
)


def paragraphs(text: str) -> list[str]:
    r"""The paragraphs of a text, which empty lines part, each on one line.

    Lines are joined by a space, where Chinese or Japanese stands on both sides by nothing.

    Example:
      >>> paragraphs("She wrote the first\nprogram.\n\n她写了\n程序。")
      ['She wrote the first program.', '她写了程序。']
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = lambda part: map(str.strip, _WRAPPED.sub("", part.strip()).split("\n"))
    return [" ".join(lines(part)) for part in re.split(r"\n\s*\n", text) if part.strip()]


def segment(
    text: str,
    max_length: int,
    *,
    length: Callable[[str], int] = len,
    join: bool = True,
) -> list[tuple[int, str]]:
    """Cuts a text into parts of bounded length, at the best places there are.

    A text is cut at its line ends, a line that is too long at the ends of its sentences, then at
    semicolons and colons, at commas, at spaces, and at last anywhere. Neighbours are joined again
    while they fit, but never over a line end: of wrapped text, take `paragraphs` first.

    Args:
      text: any text.
      max_length: longest part, >= 1, as `length` measures it.
      length: of a text; taken to add up over parts, as it does for words, characters and WordPiece.
      join: whether to join sentences; otherwise each is a part of its own.

    Returns:
      (start, part) in order, start in characters; parts have no space at their ends, none is empty.

    Raises:
      ValueError: max_length is below 1.

    Example:
      >>> text = "One two. Three, four five."
      >>> segment(text, 14)
      [(0, 'One two.'), (9, 'Three,'), (16, 'four five.')]

    After `text_segmentate` of bert4keras. Departures: separators of one kind count as one level,
    a text that is short enough is cut at line ends too, and a part without separators is cut all
    the same, where the original leaves it too long.
    """
    check_count("max_length", max_length)

    measure = functools.cache(length)
    whole = 1 if join else 2  # from this level on, what is short enough is not cut

    def cut(start: int, part: str, level: int) -> list[tuple[int, str]]:
        if len(part) < 2 or (level >= whole and measure(part.strip()) <= max_length):
            return [(start, part)]
        if level == len(SEPARATORS):
            count = min(len(part), max(2, -(-measure(part.strip()) // max_length)))
            bounds = [len(part) * i // count for i in range(count + 1)]
            pairs = itertools.pairwise(bounds)
            return [piece for a, b in pairs for piece in cut(start + a, part[a:b], level)]
        bounds = sorted({0, *(m.end() for m in re.finditer(SEPARATORS[level], part)), len(part)})
        parts = []
        for a, b in itertools.pairwise(bounds):
            parts += cut(start + a, part[a:b], level + 1)
        return _join(parts, max_length, measure) if level >= whole else parts

    parts = cut(0, text, 0)
    found = []
    for start, part in parts:
        lead = len(part) - len(part.lstrip())
        if part.strip():
            found.append((start + lead, part.strip()))
    return found


def _join(
    parts: list[tuple[int, str]], max_length: int, length: Callable[[str], int]
) -> list[tuple[int, str]]:
    """Neighbours put together while their lengths add up to no more than the limit."""
    joined: list[tuple[int, str]] = []
    size = 0
    for start, part in parts:
        more = length(part)
        if joined and size + more <= max_length:
            joined[-1] = (joined[-1][0], joined[-1][1] + part)
            size += more
        else:
            joined.append((start, part))
            size = more
    return joined
