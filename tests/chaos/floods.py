"""Floods of a peer API, each by one process: ``python -m tests.chaos.floods KIND PORT``, until it is killed.

A flood runs in a process of its own, so that it takes nothing of the time of the client beside it whose requests are
measured, and sends bytes that are made once, as fast as that process can. Each line that it prints is the number of its
connections, or of its requests, so far.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import os
import random
import secrets
import selectors
import socket
import ssl
import sys
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from p2p_oicp.crypto import PrivateKey
from p2p_oicp.crypto.http_signatures import sign_request
from p2p_oicp.crypto.tls import unverified_context
from tests.support import messages

_REPORT_SECONDS = 0.25
_PAUSE_SECONDS, _TICK_SECONDS = 0.05, 0.005


def client_hello(*versions: ssl.TLSVersion) -> bytes:
    """Return the ClientHello of a client that speaks only these versions; by default all that are served."""
    context = unverified_context()
    if versions:
        warnings.simplefilter("ignore", DeprecationWarning)  # old ones are what this is for
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        context.minimum_version, context.maximum_version = versions[0], versions[-1]
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


def _with_odd_content(hello: bytes) -> bytes:
    """Return a ClientHello whose frame is right and whose content is not."""
    return hello[:5] + hello[5:9] + b"\xff" * (len(hello) - 9)


_OLD_VERSION = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)
#: What a handshake that fails begins with, by name; and whether the client waits for an answer before it hangs up.
HANDSHAKES: dict[str, tuple[Callable[[], bytes], bool]] = {
    "garbage": (lambda: b"\x00\xff garbage \x13" * 20, True),
    "http": (lambda: b"GET / HTTP/1.1\r\nHost: b\r\n\r\n", True),
    "broken-hello": (lambda: _with_odd_content(client_hello()), True),
    "half-hello": (lambda: client_hello()[:50], False),
    "wrong-version": (lambda: client_hello(*_OLD_VERSION), True),
    "hello-and-away": (client_hello, False),
    "hello-and-abort": (client_hello, True),
    "nothing": (lambda: b"", False),
}


async def hold_tls_connections(port: int, count: int, certificate: Path | None) -> None:
    """Keep connections open on which a handshake was completed, and nothing is sent; who is cut off connects again."""
    context, made = unverified_context(), 0
    if certificate is not None:
        context.load_cert_chain(certificate / "tls.crt", certificate / "tls.key")

    async def hold() -> None:
        nonlocal made
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
                made += 1
                try:
                    await reader.read()
                finally:
                    writer.transport.abort()
            await asyncio.sleep(_PAUSE_SECONDS)

    holding = [asyncio.create_task(hold()) for _ in range(count)]
    while holding:
        print(made, flush=True)
        await asyncio.sleep(_REPORT_SECONDS)


def fail_handshakes(port: int, kind: str, at_once: int) -> Iterator[int]:
    """Begin handshakes that fail as fast as possible, so many at a time; yield their number every now and then."""
    make, waits = HANDSHAKES[kind]
    data, selector, made = make(), selectors.DefaultSelector(), 0
    for _ in range(at_once):
        _connect(port, selector)
    report_at = 0.0
    while True:
        for key, events in selector.select(_REPORT_SECONDS):
            client = key.fileobj
            assert isinstance(client, socket.socket)
            if events & selectors.EVENT_WRITE and _sent(client, data) and waits:
                selector.modify(client, selectors.EVENT_READ)
                continue
            selector.unregister(client)
            client.close()
            made += 1
            _connect(port, selector)
        if time.monotonic() > report_at:
            report_at = time.monotonic() + _REPORT_SECONDS
            yield made


def _connect(port: int, selector: selectors.BaseSelector) -> None:
    client = socket.socket()
    client.setblocking(False)  # noqa: FBT003 - the standard library's own form
    client.connect_ex(("127.0.0.1", port))
    selector.register(client, selectors.EVENT_WRITE)


def _sent(client: socket.socket, data: bytes) -> bool:
    try:
        return client.send(data) == len(data)
    except OSError:
        return False


def _nearly_a_bomb() -> bytes:
    """Return 32 kB that grow as much as they may, nearly a hundredfold, and are no JSON in the end."""
    odd = random.Random(1)
    parts = (odd.randbytes(100).hex().encode() + b" " * 12_200 for _ in range(245))
    return gzip.compress(b'{"OperatorID":"' + b"".join(parts))


#: By name; 32 kB each.
BOMBS: dict[str, Callable[[], bytes]] = {
    "thousandfold": lambda: gzip.compress(b" " * 33_000_000),
    "hundredfold": _nearly_a_bomb,
}
SIGNATURES = ("none", "forged")


def bomb_requests(shape: str, signature: str, authority: str, key_id: str) -> list[bytes]:
    """Return requests with a compressed body as bytes; a forged signature names the key of a peer."""
    body, requests = BOMBS[shape](), []
    for path in (messages.START, messages.PUSH_STATUS, messages.CDR):
        headers = {"Content-Type": "application/json"}
        if signature == "forged":
            own, nonce = PrivateKey.generate(), secrets.token_urlsafe(16)
            parts = {"method": "POST", "authority": authority, "path": f"/api/oicp/{path}", "query": ""}
            signed = sign_request(own, **parts, body=body, now=time.time(), nonce=nonce)
            headers |= {name: value.replace(own.public.key_id, key_id) for name, value in signed.items()}
        headers |= {"Host": authority, "Content-Encoding": "gzip", "Content-Length": str(len(body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        requests.append(f"POST /api/oicp/{path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
    return requests


async def send_bombs(port: int, rate: float, at_most: int, requests: list[bytes]) -> None:
    """Send so many bombs a second, by a connection each; ``at_most`` of these wait for their answers."""
    sent, loop = 0, asyncio.get_running_loop()
    sending: set[asyncio.Task[None]] = set()
    began = report_at = loop.time()

    async def send(request: bytes) -> None:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            await reader.read(100)
            writer.transport.abort()

    while True:
        while sent < rate * (loop.time() - began) and len(sending) < at_most:
            task = asyncio.create_task(send(requests[sent % len(requests)]))
            sending.add(task)
            task.add_done_callback(sending.discard)
            sent += 1
        if loop.time() >= report_at:
            report_at = loop.time() + _REPORT_SECONDS
            print(sent, flush=True)
        await asyncio.sleep(_TICK_SECONDS)


class Stopwatch:
    """Measures how long a node of this machine takes, as if it, and this process, had a processor for themselves.

    What is left out is the time in which one of them was ready to run and waited for a processor; nothing, where the
    system does not tell it.

    Args:
        pid: the node's process, of which the thread of its event loop counts.
    """

    def __init__(self, pid: int) -> None:
        self._pids = (pid, os.getpid())
        self._began = time.monotonic() - self._waited()

    def _waited(self) -> float:
        with contextlib.suppress(OSError):
            files = (Path(f"/proc/{pid}/task/{pid}/schedstat") for pid in self._pids)
            return sum(int(file.read_text().split()[1]) for file in files) / 1e9
        return 0.0

    def seconds(self) -> float:
        """Return the seconds since it was made."""
        return max(0.0, time.monotonic() - self._waited() - self._began)


class Flood:
    """A flood that runs; ``count`` is what it has done so far."""

    def __init__(self) -> None:
        self.count = 0

    async def follow(self, output: asyncio.StreamReader) -> None:
        async for line in output:
            self.count = int(line)


@asynccontextmanager
async def flood(kind: str, port: int, *options: str) -> AsyncIterator[Flood]:
    """Run a flood in a process of its own until the end of the block; it has begun when the block does."""
    command = (sys.executable, "-m", "tests.chaos.floods", kind, str(port), *options)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    running = Flood()
    await process.stdout.readline()  # the first line: it begins
    following = asyncio.create_task(running.follow(process.stdout))
    try:
        yield running
    finally:
        following.cancel()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A flood of a peer API on this machine.")
    parser.add_argument("kind", choices=["tls", *BOMBS, *HANDSHAKES])
    parser.add_argument("port", type=int)
    parser.add_argument("--count", type=int, default=100, help="connections at a time")
    parser.add_argument("--rate", type=float, default=200.0, help="bombs a second")
    parser.add_argument("--signature", choices=SIGNATURES, default="none", help="of the bombs")
    parser.add_argument("--key-id", default="", help="the key that a forged signature names")
    parser.add_argument("--certificate", type=Path, help="folder of tls.crt and tls.key")
    options = parser.parse_args()
    port: int = options.port
    if options.kind == "tls":
        asyncio.run(hold_tls_connections(port, options.count, options.certificate))
    elif options.kind in BOMBS:
        requests = bomb_requests(options.kind, options.signature, f"127.0.0.1:{port}", options.key_id)
        asyncio.run(send_bombs(port, options.rate, options.count, requests))
    else:
        for made in fail_handshakes(port, options.kind, options.count):
            print(made, flush=True)


if __name__ == "__main__":
    main()
