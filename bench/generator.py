"""Our own load generator: what wrk cannot do (a fixed rate, a fixed number), and all else where there is no wrk.

Requests go out as bytes over kept-alive connections; of an answer only the status and the length are read.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import deque
from pathlib import Path
from typing import cast

import orjson
import uvloop

from bench import messages

_HEAD_END = b"\r\n\r\n"
_PATIENCE_SECONDS = 60.0


class _Connection(asyncio.Protocol):
    """One connection with one request in flight at most."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._received = b""
        self._missing = 0
        self._failed = False
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be free for a request."""
        self._transport = cast("asyncio.WriteTransport", transport)
        self._load.opened += 1

    def send(self, request: bytes, due: float) -> None:
        """Send; ``due`` is when it should have gone out, from which its latency counts."""
        self.due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Collect the answer."""
        if self._missing:
            self._missing -= len(data)
        else:
            self._received += data
            self._read_head()
        if self._missing == 0 and not self._received:
            self._load.finished(self, failed=self._failed)

    def _read_head(self) -> None:
        head, end, body = self._received.partition(_HEAD_END)
        if not end:
            return
        fields = head.lower()
        self._failed = not fields.startswith(b"http/1.1 200")
        self._missing = int(fields.partition(b"content-length:")[2].partition(b"\r\n")[0]) - len(body)
        self._received = b""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that the server has closed."""
        self._load.lost(self, exc)


class _Load:
    """Sends requests until they, or the time, are used up; ``rate`` a second, or as fast as they are answered."""

    def __init__(self, requests: list[bytes], *, seconds: float, rate: float | None) -> None:
        self._requests = iter(requests)
        self._rate = rate
        self._seconds = seconds
        self._free: deque[_Connection] = deque()
        self._waiting: deque[tuple[bytes, float]] = deque()
        self._in_flight = 0
        self._sent_all = asyncio.Event()
        self._over = False
        self.latencies: list[float] = []
        self.failed = 0
        self.opened = 0
        self.started = 0.0
        self.ended = 0.0

    async def run(self, host: str, port: int, connections: int) -> None:
        """Open the connections, send, and wait for the last answer."""
        loop = asyncio.get_running_loop()
        made = [await loop.create_connection(lambda: _Connection(self), host, port) for _ in range(connections)]
        self._free.extend(protocol for _, protocol in made)
        self.started = time.perf_counter()
        if self._rate is None:
            for _, protocol in made:
                self._next(protocol)
        else:
            await self._send_at_rate(self._rate)
        async with asyncio.timeout(self._seconds + _PATIENCE_SECONDS):
            await self._sent_all.wait()
        self._over = True
        for transport, _ in made:
            transport.close()

    async def _send_at_rate(self, rate: float) -> None:
        for number, request in enumerate(self._requests):
            due = self.started + number / rate
            if number / rate >= self._seconds:
                break
            if (pause := due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            self._waiting.append((request, due))
            self._in_flight += 1
            if self._free:
                self._next(self._free.popleft())
        self._rate = None
        self._requests = iter(())
        self._end_if_done()

    def _next(self, connection: _Connection) -> None:
        if self._waiting:
            connection.send(*self._waiting.popleft())
            return
        now = time.perf_counter()
        request = next(self._requests, None) if self._rate is None and now - self.started < self._seconds else None
        if request is None:
            self._free.append(connection)
            self._end_if_done()
            return
        self._in_flight += 1
        connection.send(request, now)

    def finished(self, connection: _Connection, *, failed: bool) -> None:
        """Note an answer, and use its connection for the next request."""
        now = self.ended = time.perf_counter()
        self.latencies.append(now - connection.due)
        self.failed += failed
        self._in_flight -= 1
        self._next(connection)

    def lost(self, _connection: _Connection, _exc: Exception | None) -> None:
        """Note that the server closed a connection: the load is over, for what was on the way is not answered."""
        if not self._over:
            self.failed += 1
            self.ended = time.perf_counter()
            self._sent_all.set()

    def _end_if_done(self) -> None:
        if self._in_flight == 0 and self._rate is None:
            self._sent_all.set()


def _report(load: _Load) -> dict[str, float]:
    ordered = sorted(load.latencies) or [0.0]
    return {
        "requests": len(load.latencies),
        "seconds": load.ended - load.started,
        "failed": load.failed,
        "p50": 1e3 * ordered[len(ordered) // 2],
        "p99": 1e3 * ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
        "longest": 1e3 * ordered[-1],
    }


async def _run(options: argparse.Namespace) -> None:
    load = _Load(messages.read(options.file), seconds=options.seconds, rate=options.rate)
    await load.run("127.0.0.1", options.port, options.connections)
    print(orjson.dumps(_report(load)).decode())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rate", type=float)
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(_run(_options()))
