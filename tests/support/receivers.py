"""A receiver of webhooks, as another company's program would be."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

Handle = Callable[[web.Request], Awaitable[web.Response]]


@dataclass
class Receiver:
    """Keeps what it is sent; ``answer`` returns the HTTP status for the events of a request.

    ``keeps_refused``: it has stored them before it refuses, as a server that breaks off in between.
    """

    answer: Callable[[list[dict]], int] = lambda _: 204
    requests: list[dict] = field(default_factory=list)
    events: list[dict] = field(default_factory=list)
    delay: float = 0.0
    keeps_refused: bool = False
    url: str = ""

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        content = json.loads(body)
        events = content if isinstance(content, list) else [content]
        headers = dict(request.headers)
        self.requests.append({"headers": headers, "body": body, "path": request.path_qs, "count": len(events)})
        if self.delay:
            await asyncio.sleep(self.delay)
        status = self.answer(events)
        if status < 300 or self.keeps_refused:
            self.events += events
        location = {"Location": "/elsewhere"} if 300 <= status < 400 else {}
        return web.Response(status=status, headers=location)

    def of_type(self, event_type: str) -> list[dict]:
        return [event["data"] for event in self.events if event["data"]["type"] == event_type]

    @property
    def ids(self) -> list[str]:
        return [event["id"] for event in self.events]


@asynccontextmanager
async def receiving(receiver: Receiver, port: int = 0, handle: Handle | None = None) -> AsyncIterator[Receiver]:
    """Serve a receiver, or ``handle`` in its place, on loopback."""
    runner = web.ServerRunner(web.Server(handle or receiver.handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    receiver.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/events?of=node"
    try:
        yield receiver
    finally:
        await runner.cleanup()
