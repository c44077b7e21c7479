"""Clients of ``GET /events`` and a peer that pushes statuses, in a process of their own; ends with what was received.

``python -m bench.listeners BACKEND_PORT PEER_PORT CLIENTS CHANGES_PER_SECOND``. It prints a line when all clients
listen, and at SIGTERM one of JSON: the changes that were pushed, and the events that each client has received.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time

import orjson

from bench import evses

_PUSHES_PER_SECOND = 10
_EVSES = 500
_STATUSES = ("Available", "Occupied", "Reserved", "OutOfService")
_EVENT = b"event: evse_status"


class Listeners:
    """Counts what each client receives, and what was pushed."""

    def __init__(self, backend_port: int, peer_port: int) -> None:
        self._backend_port = backend_port
        self._peer_port = peer_port
        self.received: list[int] = []
        self.pushed = 0

    async def listen(self, listening: asyncio.Semaphore) -> None:
        """Read the stream, and count its events."""
        number = len(self.received)
        self.received.append(0)
        reader, writer = await asyncio.open_connection("127.0.0.1", self._backend_port)
        writer.write(b"GET /events?type=evse_status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        listening.release()
        rest = b""
        while data := await reader.read(1 << 16):
            data = rest + data
            self.received[number] += data.count(_EVENT)
            # One that is cut is counted with the next part.
            rest = data[-len(_EVENT) + 1 :]

    async def push(self, changes_per_second: int) -> None:
        """Push changes of statuses, a tenth of them every tenth of a second."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._peer_port)
        size, due = changes_per_second // _PUSHES_PER_SECOND, time.monotonic()
        for number in range(sys.maxsize):
            writer.write(evses.statuses_request(self._statuses(number, size), "update" if number else "fullLoad"))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r")[0])
            await reader.readexactly(length)
            self.pushed += size if number else 0
            due += 1 / _PUSHES_PER_SECOND
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    @staticmethod
    def _statuses(number: int, size: int) -> dict[str, str]:
        if not number:
            return {evses.evse_id(each): "Unknown" for each in range(_EVSES)}
        status = _STATUSES[number * size // _EVSES % len(_STATUSES)]
        return {evses.evse_id((number * size + each) % _EVSES): status for each in range(size)}


async def _run(backend_port: int, peer_port: int, clients: int, changes_per_second: int) -> None:
    listeners, listening = Listeners(backend_port, peer_port), asyncio.Semaphore(0)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(listeners.listen(listening)) for _ in range(clients)]
        for _ in range(clients):
            await listening.acquire()
        pushing = group.create_task(listeners.push(changes_per_second)) if changes_per_second else None
        print("listening", flush=True)
        await stopped.wait()
        if pushing is not None:
            pushing.cancel()
        # What is under way still arrives.
        await asyncio.sleep(1.0)
        for task in tasks:
            task.cancel()
    print(orjson.dumps({"pushed": listeners.pushed, "received": listeners.received}).decode(), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(*map(int, sys.argv[1:])))
