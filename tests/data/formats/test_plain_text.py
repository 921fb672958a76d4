"""`jaxlab.data.formats.plain_text`: texts of files in every encoding, lines, half characters."""

import gzip

import pytest

from jaxlab.data.formats import plain_text
from jaxlab.errors import InputError

TEXT = "é 中 😀\r\nb"
ENCODINGS = {
    "utf-8": b"", "utf-8-sig": b"", "utf-16": b"",
    "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff",
    "utf-32-le": b"\xff\xfe\0\0", "utf-32-be": b"\0\0\xfe\xff",
}  # fmt: skip


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_reads_alike_packed_or_not(tmp_path, encoding):
    raw = ENCODINGS[encoding] + TEXT.encode(encoding)
    for name, content in [("a", raw), ("b", gzip.compress(raw)), ("c.gz", gzip.compress(raw))]:
        (tmp_path / name).write_bytes(content)
        assert plain_text.read_text(tmp_path / name) == TEXT
    (tmp_path / "d.gz").write_bytes(raw)
    with pytest.raises(InputError, match=r"d\.gz is not gzip, as its name says"):
        plain_text.read_text(tmp_path / "d.gz")


def refused(raw, message, **options):
    with pytest.raises(InputError, match=message):
        plain_text.decode_text(raw, "x.txt", **options)


def test_how_much_may_be_damaged(caplog):
    lines = b"0123456789\n" * 909  # 9,999 bytes
    bad = lines[:-2] + b"\xe9\n"
    refused(bad, "x.txt is not text in UTF-8: 1 of its 9999 bytes cannot be read, the first in l")
    refused(bad, r"1 of its 9999 bytes .* in line 909; save", some_damage=True)
    found = plain_text.decode_text(b"x" + bad, "x.txt", some_damage=True)
    assert found == "x" + lines[:-2].decode() + "\ufffd\n"
    assert "x.txt: 1 of its 10000 bytes cannot be read, the first in line 909" in caplog.text
    refused(b"x" + bad, "1 of its 10000 bytes")
    refused(b"\xff" + bad, "2 of its 10000 bytes cannot be read, the first in line 1;",
            some_damage=True)  # fmt: skip
    # What the text itself has as a mark of damage is none.
    whole = b"a\xef\xbf\xbd\n" * 3
    assert plain_text.decode_text(whole, "x.txt") == "a\ufffd\n" * 3
    refused(whole + b"\xff", "1 of its 16 bytes")


def test_zero_bytes_are_damage_too():
    refused(b"a\0b", "x.txt holds 1 zero bytes: it is no text")
    refused(b"a\0" + b"x" * 9997, "holds 1 zero bytes", some_damage=True)
    found = plain_text.decode_text(b"a\0" + b"x" * 9998, "x.txt", some_damage=True)
    assert found == "a\0" + "x" * 9998
    refused(b"a\0\xff" + b"x" * 9998, "holds 1 zero bytes", some_damage=True)


def test_damage_under_a_mark_or_in_gzip():
    refused(b"\xff\xfea", "x.txt is not text in utf-16, as its mark says")
    refused(b"\xef\xbb\xbfa\xff", "x.txt is not text in UTF-8: 1 of its 5 bytes")
    refused(gzip.compress(b"abc")[:-1], "x.txt: truncated or damaged gzip file")
    refused(b"\x1f\x8b", "x.txt: truncated or damaged gzip file")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []), ("\n", [""]), ("a", ["a"]), ("a\n", ["a"]), ("a\n\n", ["a", ""]),
        ("a\r\nb\r\n", ["a", "b"]), ("a\rb\r", ["a", "b"]), ("a\r\r", ["a", ""]),
        ("a\rb\nc", ["a\rb", "c"]), ("a\x0b\x1c\x85\u2028b", ["a\x0b\x1c\x85\u2028b"]),
        ("\n\na", ["", "", "a"]),
    ],
)  # fmt: skip
def test_lines(text, lines):
    assert plain_text.split_lines(text) == lines


def test_half_characters_in_json(caplog):
    read = lambda text: plain_text.whole_json(text, "x.json")
    assert read(r'["\ud83d\ude00", "\\ud83d", "\u00e9"]') == ["😀", r"\ud83d", "é"]
    assert not caplog.text
    assert read(r'["\ud83d", "\uDE00 x", "\ud83d\ud83d\ude00", "\\\udfff"]') == [
        "\ufffd", "\ufffd x", "\ufffd😀", "\\\ufffd",
    ]  # fmt: skip
    assert "x.json: 4 halves of characters (lone surrogates) became U+FFFD" in caplog.text
    assert read(r'{"\udbff\udfff": "\ud800"}') == {"\U0010ffff": "\ufffd"}
    with pytest.raises(InputError, match=r"x\.json is not JSON"):
        read("{")
    assert (
        plain_text.whole_characters("\ud800a\udfff😀\ud7ff\ue000") == "\ufffda\ufffd😀\ud7ff\ue000"
    )


def test_what_equal_texts_have_in_common():
    for same in ("CAFÉ  au\tlait ", "cafe\u0301 AU\u00a0lait", "\u2028Café au lait"):
        assert plain_text.normal_text(same) == "café au lait"
    assert plain_text.normal_text("STRASSE") == plain_text.normal_text("straße")
    assert plain_text.normal_text("a b") != plain_text.normal_text("ab")
    # Case folding may take a character apart; what is left is composed again.
    assert plain_text.normal_text("ǰ") == plain_text.normal_text("J\u030c") == "ǰ"
