"""HTTP bodies: bounded while they are read and decompressed, and JSON in any charset turned into UTF-8."""

from __future__ import annotations

import codecs
import json
import zlib

from p2p_oicp.errors import PeerProtocolError

#: The value of ``Accept-Encoding``.
ACCEPTED_CONTENT_CODINGS = "gzip, deflate"

# zlib's own flag: "deflate" is the zlib format (RFC 9110, 8.4.1.2), and the decompressor tells it from gzip.
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32

# The content types of nearly every message: nothing to look up, nothing to convert.
_UTF8_CONTENT_TYPES = frozenset(
    {"application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8"}
)
_BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class BoundedBody:
    """Collects the chunks of one response, decompressed, and never holds more than ``limit`` bytes of it.

    Args:
        peer: who responds, for errors.
        limit: the most bytes of the body, before and after decompression.
        coding: its ``Content-Encoding``; empty for none.

    Raises:
        PeerProtocolError: the body is too large or damaged, or its coding was not offered.
    """

    def __init__(self, peer: str, *, limit: int, coding: str = "") -> None:
        self._peer = peer
        self._limit = limit
        self._received_size = 0
        self._decoded_size = 0
        self._chunks: list[bytes] = []
        self._decompressor = self._create_decompressor(coding)

    def add(self, chunk: bytes) -> None:
        """Add the next chunk as it was on the wire."""
        self._received_size += len(chunk)
        if self._decompressor is not None:
            chunk = self._decompress(self._decompressor, chunk)
        self._decoded_size += len(chunk)
        # The received size counts too: an endless stream may decompress to nothing.
        if max(self._decoded_size, self._received_size) > self._limit:
            self._chunks.clear()
            raise PeerProtocolError(self._peer, f"the response is larger than {self._limit} bytes")
        self._chunks.append(chunk)

    def finish(self) -> bytes:
        """Return the whole decoded body."""
        if self._decompressor is not None and self._chunks and not self._decompressor.eof:
            raise PeerProtocolError(self._peer, "the compressed response is cut off")
        return b"".join(self._chunks)

    def _decompress(self, decompressor: zlib._Decompress, chunk: bytes) -> bytes:
        try:
            # One byte more than allowed is enough to see that the body is too large; a bomb is never inflated further.
            return decompressor.decompress(chunk, self._limit - self._decoded_size + 1)
        except zlib.error as exc:
            raise PeerProtocolError(self._peer, "the compressed response is damaged") from exc

    def _create_decompressor(self, coding: str) -> zlib._Decompress | None:
        match coding.strip().lower():
            case "" | "identity":
                return None
            case "gzip" | "x-gzip" | "deflate":
                return zlib.decompressobj(_GZIP_OR_ZLIB)
            case _:
                raise PeerProtocolError(self._peer, f"the response is coded as {coding!r}, which was not offered")


def as_utf8(body: bytes, content_type: str) -> bytes:
    """Return JSON text as UTF-8 without a byte order mark; raise ValueError if its charset is unknown or does not fit.

    A byte order mark, or the zero bytes of UTF-16 and UTF-32, override the declared charset: they cannot be a mistake.
    """
    detected = _detect_encoding(body)
    if detected is not None:
        return body.decode(detected).encode()
    if content_type in _UTF8_CONTENT_TYPES:
        return body
    charset = _declared_charset(content_type)
    if charset is None or charset == "utf-8":
        return body
    return body.decode(charset).encode()


def _detect_encoding(body: bytes) -> str | None:
    if b"\x00" in body[:4] or body.startswith(_BYTE_ORDER_MARKS):
        return json.detect_encoding(body)
    return None


def _declared_charset(content_type: str) -> str | None:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return _canonical_charset(value.strip().strip('"'))
    return None


def _canonical_charset(charset: str) -> str:
    try:
        info = codecs.lookup(charset)
    except LookupError as exc:
        raise ValueError(f"unknown charset {charset!r}") from exc
    if not getattr(info, "_is_text_encoding", True):
        raise ValueError(f"unknown charset {charset!r}")
    return info.name
