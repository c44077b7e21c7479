"""Responses of a listener as aiohttp sends them: one that is whole at once, and a large one whose head goes first."""

from __future__ import annotations

import gzip
from collections.abc import Mapping

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import HttpVersion11
from multidict import CIMultiDict

from p2p_oicp.concurrency import offload

# Compressing more takes some milliseconds, in which the event loop would serve nothing else.
_MIN_OFFLOADED_COMPRESSION_BYTES = 256 * 1024
_GZIP_LEVEL = 5
_MIN_SEPARATE_HEAD_BYTES = 64 * 1024
_OK = 200


class _OkResponse(web.StreamResponse):
    """A response 200 that is written at once.

    aiohttp prepares a response step by step, in nine coroutines, because its head may still be changed by hooks,
    cookies, compression and chunks. There are none here.
    """

    def __init__(self, headers: CIMultiDict[str], body: bytes) -> None:
        super().__init__(headers=headers)
        self._whole_body = body

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        writer = request.writer
        headers = self.headers
        headers["Content-Length"] = str(len(self._whole_body))
        headers["Date"] = rfc822_formatted_time()
        # Only a request that keeps its connection is answered by this class.
        self._keep_alive = True
        await writer.write_headers("HTTP/1.1 200 OK", headers)
        await writer.write_eof(self._whole_body)
        self._eof_sent = True
        return None


class _SeparateHeadResponse(web.Response):
    """Sends its head by itself."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        writer = await super().prepare(request)
        if writer is not None:
            writer.send_headers()
        return writer


def http_response(request: web.BaseRequest, status: int, headers: Mapping[str, str], body: bytes) -> web.StreamResponse:
    """Return the response to a request."""
    if len(body) >= _MIN_SEPARATE_HEAD_BYTES:
        # The head of a large page goes out by itself: joined with the body, some megabytes would be copied.
        return _SeparateHeadResponse(body=body, status=status, headers=headers)
    if status == _OK and request.method == "POST" and request.version == HttpVersion11 and request.keep_alive:
        return _OkResponse(CIMultiDict(headers), body)
    return web.Response(body=body, status=status, headers=headers)


async def gzip_compress(body: bytes) -> bytes:
    """Return the body as gzip; a large one is compressed in a thread, so that the event loop goes on serving."""
    if len(body) < _MIN_OFFLOADED_COMPRESSION_BYTES:
        return gzip.compress(body, compresslevel=_GZIP_LEVEL, mtime=0)
    return await offload(gzip.compress, body, compresslevel=_GZIP_LEVEL, mtime=0)
