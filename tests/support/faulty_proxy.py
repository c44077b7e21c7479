"""A reverse proxy on loopback, with TLS, that is broken as a test wants it."""

import asyncio
import ssl
from contextlib import closing, suppress
from pathlib import Path
from typing import Self

_CHUNK = 64 * 1024
HTML = b"<html><h1>It works!</h1></html>"


class FaultyProxy:
    """Passes requests on to ``backend``, one a connection.

    Attributes:
        answer: returns what is answered in place of the server, for path and body (status, type, body); None: pass on.
        holds: says of a path that its requests wait until `release`.
    """

    def __init__(self, backend: int, port: int, context: ssl.SSLContext | None = None) -> None:
        self.backend, self.port, self.context = backend, port, context
        self.answer = lambda _path, _body: None
        self.holds = lambda _path: False
        self._released = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task] = set()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.context)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def release(self) -> None:
        """Pass everything on, also what was held."""
        self.answer, self.holds = lambda _path, _body: None, lambda _path: False
        self._released.set()

    def show(self, folder: Path) -> None:
        """Show the certificate of this folder in the next handshakes."""
        self.context.load_cert_chain(folder / "tls.crt", folder / "tls.key")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(task := asyncio.current_task())
        task.add_done_callback(self._connections.discard)
        with closing(writer), suppress(OSError, asyncio.IncompleteReadError):
            await self._exchange(reader, writer)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        lengths = [int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:")]
        body = await reader.readexactly(lengths[0]) if lengths else b""
        path = lines[0].split()[1]
        if (answer := self.answer(path, body)) is not None:
            status, content_type, content = answer
            writer.write(
                f"HTTP/1.1 {status} Proxy\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}\r\n"
                "Connection: close\r\n\r\n".encode()
                + content
            )
            await writer.drain()
            return
        if self.holds(path):
            await self._released.wait()
        their_reader, their_writer = await asyncio.open_connection("127.0.0.1", self.backend)
        passed = [line for line in lines[:-2] if not line.lower().startswith("connection:")]
        with closing(their_writer):
            their_writer.write("\r\n".join([*passed, "Connection: close", "", ""]).encode() + body)
            while chunk := await their_reader.read(_CHUNK):
                writer.write(chunk)
                await writer.drain()
