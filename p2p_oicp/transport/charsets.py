"""JSON in any charset, turned into UTF-8, the only one our models read."""

from __future__ import annotations

import codecs
import json

# The charsets of nearly every message: nothing to look up, nothing to convert.
_UTF8_TYPES = frozenset({"application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8"})
_BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def as_utf8(body: bytes, content_type: str) -> bytes:
    """Return JSON text as UTF-8 without a byte order mark; raise ValueError if its charset is unknown or does not fit.

    A byte order mark, or the zero bytes of UTF-16 and UTF-32, beat the declared charset: they cannot be a mistake.
    """
    detected = _detected(body)
    if detected is not None:
        return body.decode(detected).encode()
    if content_type in _UTF8_TYPES:
        return body
    charset = _declared(content_type)
    if charset is None or charset == "utf-8":
        return body
    return body.decode(charset).encode()


def _detected(body: bytes) -> str | None:
    if b"\x00" in body[:4] or body.startswith(_BYTE_ORDER_MARKS):
        return json.detect_encoding(body)
    return None


def _declared(content_type: str) -> str | None:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return _canonical(value.strip().strip('"'))
    return None


def _canonical(charset: str) -> str:
    try:
        info = codecs.lookup(charset)
    except LookupError as exc:
        raise ValueError(f"unknown charset {charset!r}") from exc
    if not getattr(info, "_is_text_encoding", True):
        raise ValueError(f"unknown charset {charset!r}")
    return info.name
