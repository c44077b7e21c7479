"""The body of an outgoing request, which knows whether any of it went out."""

from __future__ import annotations

from aiohttp import Payload
from aiohttp.abc import AbstractStreamWriter

from p2p_oicp.identity import JSON_UTF8

# Larger writes would hold the event loop; each one waits until the connection has taken enough of the last.
_CHUNK = 256 * 1024


class Upload(Payload):
    """Bytes to send. ``begun`` turns true before the first byte of the request, headers included, is written.

    aiohttp holds the headers back until the body is written, so this tells, at no cost, what its tracing would tell.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__(body, content_type=JSON_UTF8)
        self._size = len(body)
        self._body = body
        self.begun = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text."""
        return self._body.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the whole body."""
        self.begun = True
        if len(self._body) <= _CHUNK:
            await writer.write(self._body)
            return
        view = memoryview(self._body)
        for start in range(0, len(view), _CHUNK):
            await writer.write(view[start : start + _CHUNK])
