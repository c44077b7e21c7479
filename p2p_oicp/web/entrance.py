"""How many connections a listener keeps open, so that nobody can use up the file descriptors by opening many.

Where there are too many, those that were opened first have to go: at once if nothing is asked on them, or else after
the answer. So whoever opens connections and says nothing pushes out his own, and the others come in. Only if those that
have to go do not go, because they are being answered, is a newcomer sent away with 503.
"""

from __future__ import annotations

import asyncio
from functools import partial
from types import TracebackType
from typing import Self, cast
from weakref import WeakSet

from aiohttp import web

from p2p_oicp.web.limits import busy

# So long a newcomer who is sent away is heard out: whoever is cut off while he speaks does not read the answer.
_PATIENCE_SECONDS = 1.0
_LAST_ANSWER_SECONDS = 30.0


class Entrance:
    """Makes the protocol of each new connection of ``server``; keeps ``most`` open, and as many that are leaving.

    An async context manager: who is still leaving at its end is left to whoever ends the server.
    """

    def __init__(self, server: web.Server, most: int) -> None:
        self._server = server
        self._most = most
        self._leaving: dict[web.RequestHandler, asyncio.Task[None]] = {}
        self._sent_away: WeakSet[_SentAway] = WeakSet()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        leaving = list(self._leaving.values())
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)

    def __call__(self) -> asyncio.Protocol:
        """Return what serves the next connection."""
        here = self._server.connections  # in the order in which they were opened
        if len(here) < self._most:
            return self._server()
        if len(self._leaving) >= self._most:
            return self._send_away()
        staying = [connection for connection in here if connection not in self._leaving]
        for connection in staying[: len(staying) - self._most + 1]:
            self._leaving[connection] = task = asyncio.create_task(_end(connection))
            task.add_done_callback(partial(self._gone, connection))
        return self._server()

    def _gone(self, connection: web.RequestHandler, _: asyncio.Task[None]) -> None:
        del self._leaving[connection]

    def _send_away(self) -> asyncio.Protocol:
        patience = _PATIENCE_SECONDS if len(self._sent_away) < self._most else 0.0
        leaving = _SentAway(patience)
        self._sent_away.add(leaving)
        return leaving


async def _end(connection: web.RequestHandler) -> None:
    """End a connection: at once if it is silent, or else after the answer."""
    connection.close()
    await connection.shutdown(_LAST_ANSWER_SECONDS)


class _SentAway(asyncio.Protocol):
    """Answers the first that is said with 503, whatever it is; ends the connection soon, if the caller does not."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._is_answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait a little for a question."""
        self._transport = cast("asyncio.Transport", transport)
        self._end = asyncio.get_running_loop().call_later(self._patience, self._transport.abort)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - nothing of it is read
        """Answer 503, once."""
        if self._is_answered:
            return
        self._is_answered = True
        problem = busy("too many connections are open")
        body = problem.answer().body
        head = ["HTTP/1.1 503 Service Unavailable", "Content-Type: application/json; charset=utf-8"]
        head += [f"{name}: {value}" for name, value in problem.headers.items()]
        head += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
        self._transport.write("\r\n".join(head).encode() + body)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it ended
        """Take note of the end."""
        self._end.cancel()
