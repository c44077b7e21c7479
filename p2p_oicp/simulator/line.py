"""The two directions of a backend's line to its own node, both written into the journal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from p2p_oicp.clock import RandomMint
from p2p_oicp.errors import PeerError
from p2p_oicp.identity import BearerToken
from p2p_oicp.oicp import OPERATION_BY_NAME, Code, InvalidMessage, Message, Operation, find
from p2p_oicp.simulator.answers import refused
from p2p_oicp.simulator.journal import Exchange, Journal
from p2p_oicp.simulator.loopback_ports import LOOPBACK
from p2p_oicp.simulator.outcome import outcome
from p2p_oicp.transport import Endpoint, OicpClient

# A message type is known to the handler of its operation; a mapping of handlers cannot say so.
Handler = Callable[[Any], Awaitable[Message]]

_MAX_BODY = 64 * 1024 * 1024
_PREFIX = "/api/oicp/"


class Line:
    """A backend's line to its node: ``ask`` goes out, ``handlers`` (by operation) answer what comes in.

    An async context manager; inside, ``url`` is where the node reaches the backend. ``connect`` says where the node is.
    """

    def __init__(
        self, *, owner: str, handlers: Mapping[str, Handler], journal: Journal, token: str | None = None
    ) -> None:
        self.url = ""
        self._owner = owner
        self._handlers = handlers
        self._journal = journal
        self._node = Endpoint("(no node)", "")
        signer = BearerToken(token) if token else None
        self._client = OicpClient(mint=RandomMint(), signer=signer, user_agent=f"p2p-oicp {owner}", max_body=_MAX_BODY)
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_post("/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, 0).start()
        self.url = f"http://{LOOPBACK}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._client.__aexit__(kind, exc, trace)

    def connect(self, name: str, url: str) -> None:
        """Say which node to ask, by its backend API's URL."""
        self._node = Endpoint(name, url)

    async def ask(self, operation: str, party: str, message: Message, *, journaled: bool = True) -> Message:
        """Send one message to the node and return the answer; raise PeerError if there is none."""
        row = OPERATION_BY_NAME[operation]
        start = self._journal.clock.monotonic()
        try:
            reply = await self._client.call(self._node, row, party, message.to_json(), deadline=row.deadline)
        except PeerError as exc:
            self._write(start, self._owner, self._node.name, row, message, exc)
            raise
        if journaled:
            self._write(start, self._owner, self._node.name, row, message, reply.message)
        return reply.message

    async def _serve(self, request: web.Request) -> web.Response:
        body = await request.read()
        route = find(request.path.removeprefix(_PREFIX))
        if route is None:
            return _response(refused(Code.SERVICE_NOT_AVAILABLE), status=404)
        start = self._journal.clock.monotonic()
        operation = route.choose(body)
        try:
            message = operation.request.from_json(body)
        except InvalidMessage:
            return _response(refused(Code.DATA_ERROR), status=400)
        handler = self._handlers.get(operation.name)
        answer = await handler(message) if handler else refused(Code.SERVICE_NOT_AVAILABLE)
        self._write(start, self._node.name, self._owner, operation, message, answer)
        return _response(answer)

    def _write(
        self,
        start: float,
        sender: str,
        receiver: str,
        operation: Operation,
        request: Message,
        answer: Message | PeerError,
    ) -> None:
        now = self._journal.clock.monotonic()
        result, good = outcome(request, answer)
        session = getattr(answer, "session_id", None) or getattr(request, "session_id", None)
        self._journal.add(
            Exchange(
                at=now,
                took=now - start,
                sender=sender,
                receiver=receiver,
                operation=operation.name,
                session_id=str(session) if session else None,
                result=result,
                good=good,
            )
        )


def _response(message: Message, *, status: int = 200) -> web.Response:
    return web.Response(body=message.to_json(), status=status, content_type="application/json", charset="utf-8")
