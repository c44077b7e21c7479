"""JSON in any charset becomes UTF-8."""

from __future__ import annotations

import pytest

from p2p_oicp.oicp.message import as_utf8

TEXT = '{"City": "Zürich"}'

READABLE = {
    "no content type": (TEXT.encode(), ""),
    "no charset": (TEXT.encode(), "application/json"),
    "utf-8": (TEXT.encode(), "application/json; charset=utf-8"),
    "utf-8, oddly written": (TEXT.encode(), 'application/json ; profile=x; Charset="UTF8"'),
    "utf-8 with a byte order mark": (TEXT.encode("utf-8-sig"), "application/json"),
    "latin-1": (TEXT.encode("latin-1"), "application/json; charset=ISO-8859-1"),
    "windows-1252": (TEXT.encode("cp1252"), "text/json;charset=windows-1252"),
    "utf-16 declared": (TEXT.encode("utf-16"), "application/json; charset=utf-16"),
    "utf-16 little endian, undeclared": (TEXT.encode("utf-16-le"), "application/json"),
    "utf-16 big endian, undeclared": (TEXT.encode("utf-16-be"), "application/json"),
    "utf-32 with a mark, wrongly declared": (TEXT.encode("utf-32"), "application/json; charset=utf-8"),
    "utf-16 with a mark, wrongly declared": ("\ufeff ü".encode("utf-16-le"), "application/json; charset=latin-1"),
}


@pytest.mark.parametrize(("body", "content_type"), READABLE.values(), ids=READABLE)
def test_any_charset_is_read(body, content_type):
    assert as_utf8(body, content_type).decode().strip() in {TEXT, "ü"}


def test_utf8_is_passed_on_without_a_copy():
    body = TEXT.encode()
    assert as_utf8(body, "application/json; charset=utf-8") is body
    assert as_utf8(b"", "") == b""


UNREADABLE = {
    "unknown charset": (b"{}", "application/json; charset=klingon"),
    "not a charset but a codec": (b"7b7d", "application/json; charset=hex"),
    "bytes outside the charset": (TEXT.encode(), "application/json; charset=us-ascii"),
    "half a utf-16 character": (b"{\x00}\x00 ", "application/json"),
}


@pytest.mark.parametrize(("body", "content_type"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_decoded_is_a_value_error(body, content_type):
    with pytest.raises(ValueError, match=r"charset|codec"):
        as_utf8(body, content_type)
