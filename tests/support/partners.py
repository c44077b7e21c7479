"""Other systems than nodes as peers: what they receive is recorded, what they answer is configured."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support.waiting import eventually

OK = {"Code": "000", "Description": "Success"}
ACCEPTED = {"Result": True, "StatusCode": OK}
EMPTY_PAGE = {"content": [], "StatusCode": OK}


@dataclass
class ForeignPartner:
    """A system that speaks OICP over HTTP, and is no node.

    Attributes:
        answers: by the end of the path: the JSON, or a function of the request's JSON that returns it. None: the
            connection is closed without an answer.
        requests: the path and the JSON of each request.
    """

    answers: dict[str, Any] = field(default_factory=dict)
    requests: list[tuple[str, Any]] = field(default_factory=list)
    url: str = ""

    def bodies(self, path_end: str) -> list[Any]:
        return [body for path, body in self.requests if path.endswith(path_end)]

    async def until_called(self, path_end: str) -> Any:
        await eventually(lambda: self.bodies(path_end))
        return self.bodies(path_end)[-1]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        self.requests.append((request.path, json.loads(raw) if raw else None))
        ends = [end for end in self.answers if request.path.endswith(end)]
        if not ends:
            return web.json_response({"StatusCode": {"Code": "320"}}, status=404)
        answer = self.answers[max(ends, key=len)]
        if isinstance(answer, Callable):
            answer = answer(self.requests[-1][1])
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer is None:
            request.transport.close()
            return web.Response()
        return web.json_response(answer)

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator["ForeignPartner"]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()
