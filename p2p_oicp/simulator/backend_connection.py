"""The connection of a simulated backend to its own node, in both directions; every exchange is logged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiohttp import web

from p2p_oicp.client import Endpoint, HttpTransport, OicpClient
from p2p_oicp.clock import SystemClock, UuidGenerator
from p2p_oicp.crypto import BearerToken
from p2p_oicp.errors import ConfigurationError, PeerError
from p2p_oicp.oicp import (
    OPERATION_BY_NAME,
    Acknowledgement,
    InvalidMessage,
    Message,
    Operation,
    SessionID,
    StatusCode,
    StatusCodeValue,
    find,
)
from p2p_oicp.simulator.exchange_log import ExchangeLog, LoggedExchange, summarize_exchange
from p2p_oicp.simulator.node_files import LOOPBACK

# Any: each handler takes the message type of its own operation, which the type of a mapping cannot express.
MessageHandler = Callable[[Any], Awaitable[Message]]

_MAX_BODY_BYTES = 64 * 1024 * 1024
_PREFIX = "/api/oicp/"


class BackendAddress(NamedTuple):
    """Where a simulated backend listens (port 0: any free one), and the bearer token of its node's backend API."""

    host: str = LOOPBACK
    port: int = 0
    token: str | None = None


#: At any free port, for nodes without a token.
DEFAULT_ADDRESS = BackendAddress()


class BackendConnection:
    """Sends requests to the backend's node, and serves the node's requests; an async context manager.

    Args:
        owner: the backend's name in the log.
        handlers: by operation name; any other operation is refused with 320.
        exchange_log: where every exchange is logged.
        address: where it listens, and the token of the node's backend API; a free loopback port by default.

    Attributes:
        url: where the backend listens, set on entering.
    """

    def __init__(
        self,
        *,
        owner: str,
        handlers: Mapping[str, MessageHandler],
        exchange_log: ExchangeLog,
        address: BackendAddress = DEFAULT_ADDRESS,
    ) -> None:
        self.url = ""
        self._owner = owner
        self._handlers = handlers
        self._exchange_log = exchange_log
        self._node = Endpoint("(no node)", "")
        self._transport = HttpTransport(user_agent=f"p2p-oicp {owner}", max_body=_MAX_BODY_BYTES)
        self._address = address
        credentials = BearerToken(address.token) if address.token else None
        self._client = OicpClient(self._transport, ids=UuidGenerator(), clock=SystemClock(), credentials=credentials)
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_post("/{path:.*}", self._handle_request)
        self._runner = web.AppRunner(app, access_log=None)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        await self._runner.setup()
        host, port, _ = self._address
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as exc:
            await self.__aexit__(None, None, None)
            raise ConfigurationError(f"{host}:{port}: cannot listen there: {exc.strerror}") from exc
        self.url = f"http://{host}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._transport.__aexit__(exc_type, exc, traceback)

    def connect(self, name: str, url: str) -> None:
        """Set the node to send to, by the URL of its backend API."""
        self._node = Endpoint(name, url)

    async def send_request(self, operation: str, party: str, message: Message, *, logged: bool = True) -> Message:
        """Send one message to the node and return its response, also a refusal; raise PeerError if there is none."""
        operation_spec = OPERATION_BY_NAME[operation]
        start = self._exchange_log.clock.monotonic()
        try:
            reply = await self._client.call(
                self._node, operation_spec, party, message.to_json(), deadline=operation_spec.deadline
            )
        except PeerError as exc:
            self._log_exchange(start, self._owner, self._node.name, operation_spec, message, exc)
            raise
        if logged:
            self._log_exchange(start, self._owner, self._node.name, operation_spec, message, reply.message)
        return reply.message

    async def _handle_request(self, request: web.Request) -> web.Response:
        body = await request.read()
        route = find(request.path.removeprefix(_PREFIX))
        if route is None:
            return _json_response(refusal(StatusCodeValue.SERVICE_NOT_AVAILABLE), status=404)
        start = self._exchange_log.clock.monotonic()
        operation = route.choose(body)
        try:
            message = operation.request.from_json(body)
        except InvalidMessage:
            return _json_response(refusal(StatusCodeValue.DATA_ERROR), status=400)
        handler = self._handlers.get(operation.name)
        response = await handler(message) if handler else refusal(StatusCodeValue.SERVICE_NOT_AVAILABLE)
        self._log_exchange(start, self._node.name, self._owner, operation, message, response)
        return _json_response(response)

    def _log_exchange(
        self,
        start: float,
        sender: str,
        receiver: str,
        operation: Operation,
        request: Message,
        response: Message | PeerError,
    ) -> None:
        now = self._exchange_log.clock.monotonic()
        result, good = summarize_exchange(request, response)
        session_id = getattr(response, "session_id", None) or getattr(request, "session_id", None)
        self._exchange_log.add(
            LoggedExchange(
                at=now,
                took=now - start,
                sender=sender,
                receiver=receiver,
                operation=operation.name,
                session_id=str(session_id) if session_id else None,
                result=result,
                good=good,
            )
        )


def _json_response(message: Message, *, status: int = 200) -> web.Response:
    return web.Response(body=message.to_json(), status=status, content_type="application/json", charset="utf-8")


def acknowledgement(session_id: SessionID | None = None, **partner_session_ids: str) -> Acknowledgement:
    """Return a positive acknowledgement."""
    return Acknowledgement(
        result=True, status_code=StatusCode.of(StatusCodeValue.SUCCESS), session_id=session_id, **partner_session_ids
    )


def refusal(code: StatusCodeValue, session_id: SessionID | None = None) -> Acknowledgement:
    """Return a negative acknowledgement."""
    return Acknowledgement(result=False, status_code=StatusCode.of(code), session_id=session_id)
