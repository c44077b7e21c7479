"""Answers with a maximum size, before and after decompression."""

from __future__ import annotations

import zlib

from p2p_oicp.errors import PeerBroken

OFFERED_CODINGS = "gzip, deflate"

_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class BoundedBody:
    """Collects the chunks of one answer, decompressed, and never holds more than ``limit`` bytes of it."""

    def __init__(self, peer: str, *, limit: int, coding: str = "") -> None:
        self._peer = peer
        self._limit = limit
        self._received = 0
        self._size = 0
        self._chunks: list[bytes] = []
        self._inflate = self._inflater(coding)

    def add(self, chunk: bytes) -> None:
        """Take the next chunk from the wire; raise PeerBroken when it is too much, or damaged."""
        self._received += len(chunk)
        if self._inflate is not None:
            chunk = self._inflated(self._inflate, chunk)
        self._size += len(chunk)
        # What was received counts too: an endless stream may decompress to nothing.
        if max(self._size, self._received) > self._limit:
            self._chunks.clear()
            raise PeerBroken(self._peer, f"the answer is larger than {self._limit} bytes")
        self._chunks.append(chunk)

    def finish(self) -> bytes:
        """Return the whole answer; raise PeerBroken if its compressed form was cut off."""
        if self._inflate is not None and self._chunks and not self._inflate.eof:
            raise PeerBroken(self._peer, "the compressed answer is cut off")
        return b"".join(self._chunks)

    def _inflated(self, inflate: zlib._Decompress, chunk: bytes) -> bytes:
        try:
            # One byte more than allowed is enough to know that it is too much.
            return inflate.decompress(chunk, self._limit - self._size + 1)
        except zlib.error as exc:
            raise PeerBroken(self._peer, "the compressed answer is damaged") from exc

    def _inflater(self, coding: str) -> zlib._Decompress | None:
        match coding.strip().lower():
            case "" | "identity":
                return None
            case "gzip" | "x-gzip" | "deflate":
                return zlib.decompressobj(_GZIP_OR_ZLIB)
            case _:
                raise PeerBroken(self._peer, f"the answer is coded as {coding!r}, which was not offered")
