"""A scripted CSMS and a scripted contract system, which record the requests that they receive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import InvalidMessage, StatusCodeValue
from p2p_oicp.oicp.operations import OPERATION_BY_NAME, Operation, find
from p2p_oicp.oicp.validation import read
from p2p_oicp.simulator.node_files import LOOPBACK

Json = dict[str, Any]
ScriptedHandler = Callable[[Json], Awaitable[Json]]

_PREFIX = "/api/oicp/"


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One request that an endpoint sent to a backend; ``fault`` is why it is no message of OICP, None if it is one."""

    operation: str
    path: str
    message: Json
    fault: str | None = None


@dataclass
class ScriptedBackend:
    """Serves an endpoint's requests on a loopback port; an async context manager.

    ``handlers`` are by operation name; any other operation is refused with 320.
    """

    name: str
    port: int
    handlers: dict[str, ScriptedHandler]
    received: list[ReceivedRequest] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post(_PREFIX + "{path:.*}", self._handle_request)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, LOOPBACK, self.port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigurationError(
                f"{self.name}: port {self.port} cannot be listened on: {error.strerror}"
            ) from error
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    def received_messages(self, operation: str, **members: object) -> list[Json]:
        """Return the received messages of an operation that have these members, in any letter case."""
        return [
            request.message
            for request in self.received
            if request.operation == operation
            and all(str(request.message.get(name)).lower() == str(value).lower() for name, value in members.items())
        ]

    def faults(self) -> list[str]:
        """Return what of the received requests is no message of OICP."""
        return [
            f"{request.operation}, POST {request.path} at {self.name}: expected a message of OICP 2.3; came one with "
            f"{request.fault}"
            for request in self.received
            if request.fault
        ]

    def describe(self, operation: str, **members: object) -> str:
        """Return an operation and its path at this backend, for people."""
        condition = "".join(f" with {name} {value}" for name, value in members.items())
        return f"{operation}, POST {_PREFIX}{OPERATION_BY_NAME[operation].path} at {self.name}{condition}"

    def missing(self, operation: str, **members: object) -> str:
        """Return that such a request was expected, and what came in its place."""
        others = len(self.received_messages(operation))
        actual = f"{others} request(s) with other members" if others else "none"
        return f"{self.describe(operation, **members)}: expected a request; came {actual}"

    async def _handle_request(self, request: web.Request) -> web.Response:
        body = await request.read()
        route = find(request.path.removeprefix(_PREFIX))
        if route is None:
            return web.json_response(acknowledgement_json(StatusCodeValue.SERVICE_NOT_AVAILABLE), status=404)
        operation = route.choose(body)
        message, fault = _read_request(operation, body)
        self.received.append(ReceivedRequest(operation.name, request.path, message, fault))
        handler = self.handlers.get(operation.name)
        if fault is not None:
            return web.json_response(acknowledgement_json(StatusCodeValue.DATA_ERROR))
        response = await handler(message) if handler else acknowledgement_json(StatusCodeValue.SERVICE_NOT_AVAILABLE)
        return web.json_response(response)


def _read_request(operation: Operation, body: bytes) -> tuple[Json, str | None]:
    """Return the members of a request, and why it is no message of OICP, if so."""
    fault: str | None = None
    try:
        read(operation.request, body)
    except InvalidMessage as error:
        fault = "; ".join(str(finding) for finding in error.findings)
    try:
        members = orjson.loads(body)
    except orjson.JSONDecodeError:
        members = None
    return members if isinstance(members, dict) else {}, fault


def acknowledgement_json(code: StatusCodeValue = StatusCodeValue.SUCCESS, **members: object) -> Json:
    """Return an eRoamingAcknowledgement."""
    status = {"Code": str(code), "Description": code.description}
    return {"Result": code is StatusCodeValue.SUCCESS, "StatusCode": status, **members}


def authorization_json(code: StatusCodeValue = StatusCodeValue.SUCCESS, **members: object) -> Json:
    """Return an eRoamingAuthorizationStart or Stop."""
    status = {"Code": str(code), "Description": code.description}
    verdict = "Authorized" if code is StatusCodeValue.SUCCESS else "NotAuthorized"
    return {"AuthorizationStatus": verdict, "StatusCode": status, **members}


class ScriptedCsms(ScriptedBackend):
    """A CSMS that accepts every remote start, stop and reservation, late if it is to."""

    def __init__(self, port: int) -> None:
        operations = (
            "AuthorizeRemoteStart",
            "AuthorizeRemoteStop",
            "AuthorizeRemoteReservationStart",
            "AuthorizeRemoteReservationStop",
        )
        super().__init__("the CSMS", port, dict.fromkeys(operations, self._accept))
        self._answer_delay = 0.0
        self._answered = asyncio.Event()

    def delay_answers(self, seconds: float) -> None:
        """Answer only after some seconds; 0: at once."""
        self._answer_delay = seconds
        self._answered.clear()

    def has_answered(self) -> bool:
        """Whether a request was answered since `delay_answers`."""
        return self._answered.is_set()

    async def _accept(self, message: Json) -> Json:
        await asyncio.sleep(self._answer_delay)
        self._answered.set()
        return acknowledgement_json(SessionID=message.get("SessionID"), CPOPartnerSessionID="scenario-csms")


class ScriptedContracts:
    """Decides as a contract system: one card is valid, any other is not, and plug-and-charge contracts are locked."""

    def __init__(self, provider: str, valid_uid: str) -> None:
        self._provider = provider
        self._valid_uid = valid_uid
        self._identification_by_session: dict[str, Json] = {}
        self._response_delay = 0.0

    def delay_responses(self, seconds: float) -> None:
        """Respond to AuthorizeStart only after some seconds, so that the response gets lost."""
        self._response_delay = seconds

    def backend(self, port: int) -> ScriptedBackend:
        """Return the backend that serves this contract system's decisions."""
        return ScriptedBackend(
            "the contract system",
            port,
            {
                "AuthorizeStart": self._authorize_start,
                "AuthorizeStop": self._authorize_stop,
                "ChargingNotifications": self._acknowledge,
                "ChargeDetailRecord": self._acknowledge,
            },
        )

    async def _authorize_start(self, message: Json) -> Json:
        await asyncio.sleep(self._response_delay)
        identification = message["Identification"]
        session_id = message.get("SessionID")
        if "PlugAndChargeIdentification" in identification:
            return authorization_json(StatusCodeValue.EVCO_ID_LOCKED)
        if identification.get("RFIDMifareFamilyIdentification", {}).get("UID", "").upper() != self._valid_uid:
            return authorization_json(StatusCodeValue.RFID_INVALID)
        self._identification_by_session[str(session_id).lower()] = identification
        return authorization_json(SessionID=session_id, ProviderID=self._provider)

    async def _authorize_stop(self, message: Json) -> Json:
        session_id = message["SessionID"]
        same_identification = self._identification_by_session.get(session_id.lower()) == message["Identification"]
        return authorization_json(
            StatusCodeValue.SUCCESS if same_identification else StatusCodeValue.RFID_INVALID,
            SessionID=session_id,
            ProviderID=self._provider,
        )

    async def _acknowledge(self, message: Json) -> Json:
        return acknowledgement_json(SessionID=message["SessionID"])
