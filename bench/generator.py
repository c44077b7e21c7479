"""Our own load generator, for what wrk cannot do (a fixed rate, checks of responses), or where there is no wrk.

Requests are sent as bytes over kept-alive connections. Of a response only the status and the length are read,
and whether the first part of its body contains the expected text.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import ssl
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import orjson
import uvloop

from bench import messages

_HEAD_END = b"\r\n\r\n"
_TIMEOUT_SECONDS = 60.0
_MAX_SAMPLE_BYTES = 1000


class _Connection(asyncio.Protocol):
    """One connection with one request in flight at most."""

    def __init__(self, load: _LoadGenerator) -> None:
        self._load = load
        self._received = b""
        self._remaining = 0
        self._is_expected = True
        self.number = 0
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def send(self, number: int, request: bytes, due: float) -> None:
        """Send; latency counts from ``due``, when the request should have been sent."""
        self.number, self.due = number, due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Collect the response."""
        if self._remaining:
            self._remaining -= len(data)
        else:
            self._received += data
            self._read_head()
        if self._remaining == 0 and not self._received:
            self._load.on_response(self, ok=self._is_expected)

    def _read_head(self) -> None:
        head, end, body = self._received.partition(_HEAD_END)
        fields = head.lower()
        length = int(fields.partition(b"content-length:")[2].partition(b"\r\n")[0]) if end else 0
        if not end or (length and not body):
            return
        self._is_expected = fields.startswith(b"http/1.1 200") and self._load.expected in body
        if not self._is_expected:
            self._load.record_unexpected(self._received)
        self._remaining = length - len(body)
        self._received = b""

    def connection_lost(self, _exc: Exception | None) -> None:
        """Report that the server closed the connection."""
        self._load.on_connection_lost()


class _LoadGenerator:
    """Sends requests until they or the time are used up: ``rate`` a second, or each as soon as one is answered."""

    def __init__(self, requests: Iterable[bytes], *, seconds: float, rate: float | None, expected: bytes) -> None:
        self._requests: Iterator[tuple[int, bytes]] = iter(enumerate(requests))
        self._rate = rate
        self._seconds = seconds
        self._idle: deque[_Connection] = deque()
        self._queued: deque[tuple[int, bytes, float]] = deque()
        self._in_flight = 0
        self._done = asyncio.Event()
        self._started = self._started_at = 0.0
        self._ended = 0.0
        self._latencies: list[float] = []
        self._failed = 0
        self._lost_connections = 0
        self._unexpected_response = b""
        self.expected = expected
        self.successful: list[int] = []

    async def run(self, port: int, connections: int, tls: ssl.SSLContext | None) -> None:
        """Open the connections, send, and wait for the last response."""
        loop = asyncio.get_running_loop()
        opened = [
            await loop.create_connection(lambda: _Connection(self), "127.0.0.1", port, ssl=tls)
            for _ in range(connections)
        ]
        self._idle.extend(protocol for _, protocol in opened)
        self._started, self._started_at = time.perf_counter(), time.time()
        if self._rate is None:
            while self._idle and self._send_next(self._idle[0]):
                self._idle.popleft()
            self._set_done_if_finished()
        else:
            await self._send_at(self._rate)
        async with asyncio.timeout(self._seconds + _TIMEOUT_SECONDS):
            await self._done.wait()
        for transport, _ in opened:
            transport.abort()

    async def _send_at(self, rate: float) -> None:
        for number, request in itertools.islice(self._requests, int(rate * self._seconds)):
            due = self._started + number / rate
            if (pause := due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            self._in_flight += 1
            if self._idle:
                self._idle.popleft().send(number, request, due)
            else:
                self._queued.append((number, request, due))
        self._rate, self._requests = None, iter(())
        self._set_done_if_finished()

    def _send_next(self, connection: _Connection) -> bool:
        """Send a queued request, or, without a rate, the next one; return whether there was one."""
        if self._queued:
            connection.send(*self._queued.popleft())
            return True
        now = time.perf_counter()
        if self._rate is not None or now - self._started >= self._seconds:
            return False
        number, request = next(self._requests, (0, b""))
        if not request:
            return False
        self._in_flight += 1
        connection.send(number, request, now)
        return True

    def on_response(self, connection: _Connection, *, ok: bool) -> None:
        """Record a response, and use its connection for the next request."""
        self._ended = time.perf_counter()
        self._latencies.append(self._ended - connection.due)
        self._failed += not ok
        if ok:
            self.successful.append(connection.number)
        self._in_flight -= 1
        if not self._send_next(connection):
            self._idle.append(connection)
            self._set_done_if_finished()

    def record_unexpected(self, response: bytes) -> None:
        """Keep the first response that was not as expected."""
        self._unexpected_response = self._unexpected_response or response[:_MAX_SAMPLE_BYTES]

    def on_connection_lost(self) -> None:
        """End: the server closed a connection."""
        self._lost_connections += not self._done.is_set()
        self._done.set()

    def _set_done_if_finished(self) -> None:
        if self._in_flight == 0 and self._rate is None:
            self._done.set()

    def report(self) -> dict[str, float | str]:
        """Return the fields of bench.load.Result, times in ms."""
        latencies = sorted(self._latencies) or [0.0]
        return {
            "requests": len(self._latencies),
            "seconds": self._ended - self._started,
            "began": self._started_at,
            "failed": self._failed + self._lost_connections,
            "unexpected": self._unexpected_response.decode(errors="replace"),
            "p50": 1e3 * latencies[len(latencies) // 2],
            "p99": 1e3 * latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))],
            "longest": 1e3 * latencies[-1],
        }


async def _run(options: argparse.Namespace) -> None:
    requests = messages.read_requests(options.file)
    request_source = itertools.cycle(requests) if options.repeat else requests
    load = _LoadGenerator(request_source, seconds=options.seconds, rate=options.rate, expected=options.expect.encode())
    await load.run(options.port, options.connections, _unverified_context() if options.tls else None)
    if options.answered:
        options.answered.write_bytes(orjson.dumps(load.successful))
    print(orjson.dumps(load.report()).decode())


def _unverified_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--repeat", action="store_true", help="send the requests again when they are used up")
    parser.add_argument("--expect", default="", help="a text that the first part of every response's body contains")
    parser.add_argument(
        "--answered", type=Path, help="write the numbers of the requests that were answered as expected"
    )
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(_run(_options()))
