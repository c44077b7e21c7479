"""Time as a story tells it: charging takes half an hour there, and no time here.

The acknowledgements that simulated backends give, and what they understand of the answers they get.

One exchange in a few words, for a person who watches.

Who said what to whom: every OICP exchange that a simulated backend takes part in, in the order of the answers.

The two directions of a backend's line to its own node, both written into the journal.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiohttp import web

from p2p_oicp.client import Endpoint, HttpTransport, OicpClient
from p2p_oicp.clock import Clock, SystemClock, UuidGenerator
from p2p_oicp.crypto import BearerToken
from p2p_oicp.errors import PeerError
from p2p_oicp.oicp import (
    OPERATION_BY_NAME,
    Acknowledgement,
    AuthorizationStart,
    AuthorizationStop,
    ChargeDetailRecord,
    ChargingNotification,
    EvseID,
    EvseStatuses,
    EvseStatusesById,
    InvalidMessage,
    Message,
    Operation,
    PushEvseStatus,
    SessionID,
    StatusCode,
    StatusCodeValue,
    find,
)
from p2p_oicp.simulator.node_files import LOOPBACK


class SimulatedClock:
    """A Clock whose wall time moves only by ``advance``; its monotonic time is the machine's."""

    def __init__(self, start: datetime) -> None:
        self._time = start.timestamp()
        self._zone: tzinfo | None = start.tzinfo

    def time(self) -> float:
        """Seconds since the epoch, in the story."""
        return self._time

    def monotonic(self) -> float:
        """Seconds since an arbitrary start, real."""
        return time.monotonic()

    def now(self) -> datetime:
        """Return the story's time, aware, in the time zone it was started in."""
        return datetime.fromtimestamp(self._time, self._zone)

    def advance(self, seconds: float) -> None:
        """Let time pass in the story."""
        self._time += seconds


def acknowledgement(session_id: SessionID | None = None, **partner_session_ids: str) -> Acknowledgement:
    """Return a yes."""
    return Acknowledgement(
        result=True, status_code=StatusCode.of(StatusCodeValue.SUCCESS), session_id=session_id, **partner_session_ids
    )


def refusal(code: StatusCodeValue, session_id: SessionID | None = None) -> Acknowledgement:
    """Return a no, with its code of OICP."""
    return Acknowledgement(result=False, status_code=StatusCode.of(code), session_id=session_id)


def is_accepted(response: Message) -> bool:
    """Whether an answer is positive."""
    match response:
        case Acknowledgement():
            return response.result
        case AuthorizationStart() | AuthorizationStop():
            return response.authorization_status == "Authorized"
    return False


def is_refused(response: Message) -> bool:
    """Whether an answer is a refusal."""
    return isinstance(response, (Acknowledgement, AuthorizationStart, AuthorizationStop)) and not is_accepted(response)


def status_code_of(response: Message) -> str | None:
    """Return the status code of an answer, where it has one."""
    status = getattr(response, "status_code", None)
    return status.code if isinstance(status, StatusCode) else None


def evse_statuses(response: Message) -> dict[EvseID, str]:
    """Return the status of each EVSE in the answer to a pull; nothing, if it is a refusal."""
    match response:
        case EvseStatuses():
            operators = response.evse_statuses.operator_evse_status
            records = [record for operator in operators for record in operator.evse_status_records]
        case EvseStatusesById():
            records = list(response.evse_status_records.evse_status_record)
        case _:
            records = []
    return {record.evse_id: str(record.evse_status) for record in records}


class ExchangeSummary(NamedTuple):
    """What the answer says, and whether it is a yes."""

    result: str
    good: bool


def summarize_exchange(request: Message, response: Message | PeerError) -> ExchangeSummary:
    """Return what became of one request."""
    if isinstance(response, PeerError):
        return ExchangeSummary(response.reason, good=False)
    subject = _describe_request(request)
    result, good = _summarize_response(response)
    return ExchangeSummary(f"{subject}: {result}" if subject else result, good)


def _describe_request(request: Message) -> str:
    match request:
        case PushEvseStatus():
            count = len(request.operator_evse_status.evse_status_records)
            return f"{request.action_type}, {_format_count(count, 'status')}"
        case ChargingNotification():
            return str(request.type)
        case ChargeDetailRecord():
            return f"{request.consumed_energy} kWh"
    return ""


def _summarize_response(response: Message) -> ExchangeSummary:
    match response:
        case AuthorizationStart() | AuthorizationStop():
            good = response.authorization_status == "Authorized"
            result = (
                f"{response.authorization_status} by {response.provider_id}" if good else response.authorization_status
            )
            return ExchangeSummary(result if good else f"{result}, {_format_status_code(response.status_code)}", good)
        case Acknowledgement():
            return ExchangeSummary(_format_status_code(response.status_code), response.result)
        case EvseStatuses() | EvseStatusesById():
            return ExchangeSummary(_format_count(len(evse_statuses(response)), "status"), good=True)
    return ExchangeSummary(type(response).__name__, good=True)


def _format_status_code(status: StatusCode) -> str:
    return f"{status.code} {status.description or ''}".rstrip()


def _format_count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "es")


@dataclass(frozen=True, slots=True)
class LoggedExchange:
    """One request and its answer. ``at`` and ``took`` are in seconds, ``at`` of a clock that never jumps."""

    at: float
    took: float
    sender: str
    receiver: str
    operation: str
    session_id: str | None
    result: str
    good: bool


@dataclass
class ExchangeLog:
    """Collects exchanges and tells each one to the listeners at once."""

    clock: Clock
    exchanges: list[LoggedExchange] = field(default_factory=list)
    listeners: list[Callable[[LoggedExchange], None]] = field(default_factory=list)

    def add(self, exchange: LoggedExchange) -> None:
        """Keep one exchange."""
        self.exchanges.append(exchange)
        for listener in self.listeners:
            listener(exchange)


# A message type is known to the handler of its operation; a mapping of handlers cannot say so.
MessageHandler = Callable[[Any], Awaitable[Message]]

_MAX_BODY = 64 * 1024 * 1024
_PREFIX = "/api/oicp/"


class BackendConnection:
    """A backend's line to its node: ``ask`` goes out, ``handlers`` (by operation) answer what comes in.

    An async context manager; inside, ``url`` is where the node reaches the backend. ``connect`` says where the node is.
    """

    def __init__(
        self, *, owner: str, handlers: Mapping[str, MessageHandler], exchange_log: ExchangeLog, token: str | None = None
    ) -> None:
        self.url = ""
        self._owner = owner
        self._handlers = handlers
        self._exchange_log = exchange_log
        self._node = Endpoint("(no node)", "")
        self._transport = HttpTransport(user_agent=f"p2p-oicp {owner}", max_body=_MAX_BODY)
        credentials = BearerToken(token) if token else None
        self._client = OicpClient(self._transport, ids=UuidGenerator(), clock=SystemClock(), credentials=credentials)
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_post("/{path:.*}", self._handle_request)
        self._runner = web.AppRunner(app, access_log=None)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, 0).start()
        self.url = f"http://{LOOPBACK}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._transport.__aexit__(exc_type, exc, traceback)

    def connect(self, name: str, url: str) -> None:
        """Say which node to ask, by its backend API's URL."""
        self._node = Endpoint(name, url)

    async def send_request(self, operation: str, party: str, message: Message, *, logged: bool = True) -> Message:
        """Send one message to the node and return the answer; raise PeerError if there is none."""
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
