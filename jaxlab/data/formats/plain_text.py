"""Text files as people have them: compressed or not, in UTF-8 or UTF-16, with marks, odd line ends.

Every reader of text goes through `read_text`, so that all take the same files and refuse the same.
"""

import codecs
import gzip
import re
import unicodedata
import zlib
from typing import Any

from absl import logging
from etils import epath

from jaxlab import files
from jaxlab.errors import InputError

# Byte order marks; that of UTF-32 starts with that of UTF-16, so it comes first.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_FEW = 1e-4  # share of a text's bytes that may be damaged where damage is allowed at all
_SURROGATE = re.compile("[\ud800-\udfff]")
# An escape of JSON: of a whole pair of surrogates, of a half without the other, or of anything.
_HEX = "[0-9a-fA-F]{2}"
_ESCAPE = re.compile(
    rf"\\(?:u[dD][89abAB]{_HEX}\\u[dD][c-fC-F]{_HEX}|(?P<half>u[dD][89a-fA-F]{_HEX})|.)", re.DOTALL
)


def read_text(path: epath.PathLike, *, some_damage: bool = False) -> str:
    """The text of a file, plain or gzipped; see `decode_text`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is no text; the message names it.
    """
    return decode_text(read_bytes(path), str(path), some_damage=some_damage)


def read_bytes(path: epath.PathLike) -> bytes:
    """The bytes of a file, plain or gzipped.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no gzip, though its name says so, or a damaged one.
    """
    path = epath.Path(path)
    raw = path.read_bytes()
    if path.name.endswith(".gz") and raw[:2] != b"\x1f\x8b":
        raise InputError(f"{path} is not gzip, as its name says: rename it or fetch it again")
    return _unzipped(raw, str(path))


def _unzipped(raw: bytes, name: str) -> bytes:
    while raw[:2] == b"\x1f\x8b":  # zipped twice, too
        try:
            raw = gzip.decompress(raw)
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(f"{name}: truncated or damaged gzip file ({error})") from error
    return raw


def decode_text(raw: bytes, name: str, *, some_damage: bool = False) -> str:
    r"""Text of bytes: UTF-8, or UTF-16 or UTF-32 with a byte order mark; gzipped or not.

    Args:
      raw: the bytes.
      name: what messages call them.
      some_damage: whether one in 10,000 bytes may be damaged, which is reported; large collections
        of text have such places. Otherwise none may.

    Returns:
      The text without its mark; what is damaged is U+FFFD. Line ends are as they are.

    Raises:
      ValueError: the bytes are no text in these encodings.

    Example:
      >>> decode_text("né\n".encode("utf-16"), "a.txt")
      'né\n'
      >>> decode_text("né".encode("latin-1"), "a.txt")  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      jaxlab.errors.ValueError: a.txt is not text in UTF-8: 1 of its 2 bytes cannot be read, ...
    """
    raw = _unzipped(raw, name)
    encoding = next((found for mark, found in _MARKS.items() if raw.startswith(mark)), "utf-8")
    try:
        text, damaged = raw.decode(encoding), 0
    except UnicodeDecodeError as error:
        if not encoding.startswith("utf-8"):
            raise InputError(
                f"{name} is not text in {encoding}, as its mark says: {error}"
            ) from None
        text = raw.decode(encoding, "replace")
        damaged = text.count("\ufffd") - raw.count("\ufffd".encode())
    zeros = text.count("\0")
    if zeros and zeros + damaged > some_damage * _FEW * len(raw):
        raise InputError(
            f"{name} holds {zeros} zero bytes: it is no text, or UTF-16 without its mark; save it "
            "as UTF-8"
        )
    if damaged:
        line = raw[: len(text[: text.index("\ufffd")].encode())].count(b"\n") + 1
        seen = f"{damaged} of its {len(raw)} bytes cannot be read, the first in line {line}"
        if damaged > some_damage * _FEW * len(raw):
            raise InputError(
                f"{name} is not text in UTF-8: {seen}; save it as UTF-8, with "
                "`iconv -f ENCODING -t UTF-8` where it is LATIN1 or another"
            )
        logging.warning("%s: %s", name, seen)
    return text


def split_lines(text: str) -> list[str]:
    r"""Lines that end with LF, CRLF or, in a text without LF, CR; no empty last one.

    `str.splitlines` would also cut at characters that a line may hold, such as U+2028.

    Example:
      >>> split_lines("a\r\nb\u2028c\n"), split_lines("a\rb")
      (['a', 'b\u2028c'], ['a', 'b'])
    """
    if "\n" not in text:
        text = text.replace("\r", "\n")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if not lines[-1] else lines


def whole_json(text: str, name: str) -> Any:
    r"""The value of a JSON text, whose strings are whole: half of a surrogate pair is U+FFFD.

    Args:
      text: of one value.
      name: what messages call it.

    Raises:
      ValueError: it is no JSON, or nested too deeply.

    Example:
      >>> whole_json('["a \\ud83d", "\\ud83d\\ude00"]', "a.json")
      ['a �', '😀']
    """
    if re.search(r"\\u[dD][89a-fA-F]", text):
        halves = sum(1 for found in _ESCAPE.finditer(text) if found["half"])
        if halves:
            text = _ESCAPE.sub(lambda found: r"\ufffd" if found["half"] else found[0], text)
            logging.warning(
                "%s: %d halves of characters (lone surrogates) became U+FFFD", name, halves
            )
    return files.parse_json(text, name)


def whole_characters(text: str) -> str:
    r"""The text with U+FFFD for lone surrogates, which no encoding and no tokenizer takes.

    Example:
      >>> whole_characters("a \ud83d")
      'a \ufffd'
    """
    return _SURROGATE.sub("\ufffd", text)


def normal_text(text: str) -> str:
    r"""What equal texts have in common: without regard to case, spaces and composed accents.

    Example:
      >>> normal_text("Cafe\u0301  AU lait") == normal_text("CAFÉ au lait")
      True
    """
    return " ".join(
        unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).split()
    )
