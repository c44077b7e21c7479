"""A CSMS and a contract system that answer as they are told, and write down what they were asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import Code
from p2p_oicp.oicp.operations import find
from p2p_oicp.simulator.loopback_ports import LOOPBACK

Json = dict[str, Any]
Handler = Callable[[Json], Awaitable[Json]]

_PREFIX = "/api/oicp/"


@dataclass(frozen=True, slots=True)
class Heard:
    """One request that an endpoint sent to a backend."""

    operation: str
    message: Json


@dataclass
class Backend:
    """Listens on a loopback port for what an endpoint sends; an async context manager.

    ``answers`` says how, by operation; what is not in it is refused with 320.
    """

    name: str
    port: int
    answers: dict[str, Handler]
    heard: list[Heard] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post(_PREFIX + "{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None)
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
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    def of(self, operation: str, **members: object) -> list[Json]:
        """Return the messages of an operation that came, those with these members."""
        return [
            heard.message
            for heard in self.heard
            if heard.operation == operation
            and all(str(heard.message.get(name)).lower() == str(value).lower() for name, value in members.items())
        ]

    async def _serve(self, request: web.Request) -> web.Response:
        body = await request.read()
        route = find(request.path.removeprefix(_PREFIX))
        if route is None:
            return web.json_response(acknowledged(Code.SERVICE_NOT_AVAILABLE), status=404)
        operation, message = route.choose(body), orjson.loads(body)
        self.heard.append(Heard(operation.name, message))
        handler = self.answers.get(operation.name)
        answer = await handler(message) if handler else acknowledged(Code.SERVICE_NOT_AVAILABLE)
        return web.json_response(answer)


def acknowledged(code: Code = Code.SUCCESS, **members: object) -> Json:
    """Return an eRoamingAcknowledgement."""
    status = {"Code": str(code), "Description": code.description}
    return {"Result": code is Code.SUCCESS, "StatusCode": status, **members}


def authorization(code: Code = Code.SUCCESS, **members: object) -> Json:
    """Return an eRoamingAuthorizationStart or Stop."""
    status = {"Code": str(code), "Description": code.description}
    verdict = "Authorized" if code is Code.SUCCESS else "NotAuthorized"
    return {"AuthorizationStatus": verdict, "StatusCode": status, **members}


def csms(port: int) -> Backend:
    """Return a CSMS that starts, stops and reserves whatever it is asked to."""

    async def obey(message: Json) -> Json:
        return acknowledged(SessionID=message.get("SessionID"), CPOPartnerSessionID="scenario-csms")

    operations = (
        "AuthorizeRemoteStart",
        "AuthorizeRemoteStop",
        "AuthorizeRemoteReservationStart",
        "AuthorizeRemoteReservationStop",
    )
    return Backend("the CSMS", port, dict.fromkeys(operations, obey))


class Contracts:
    """What a contract system decides: a card is good, another is not, one contract is locked."""

    def __init__(self, provider: str, good_uid: str) -> None:
        self._provider = provider
        self._good_uid = good_uid
        self._media: dict[str, Json] = {}
        #: Seconds that an answer to an AuthorizeStart takes.
        self.slowness = 0.0

    def backend(self, port: int) -> Backend:
        """Return the listener of this contract system."""
        return Backend(
            "the contract system",
            port,
            {
                "AuthorizeStart": self._start,
                "AuthorizeStop": self._stop,
                "ChargingNotifications": self._take,
                "ChargeDetailRecord": self._take,
            },
        )

    async def _start(self, message: Json) -> Json:
        await asyncio.sleep(self.slowness)
        identification = message["Identification"]
        session = message.get("SessionID")
        if "PlugAndChargeIdentification" in identification:
            return authorization(Code.EVCO_ID_LOCKED)
        if identification.get("RFIDMifareFamilyIdentification", {}).get("UID", "").upper() != self._good_uid:
            return authorization(Code.RFID_INVALID)
        self._media[str(session).lower()] = identification
        return authorization(SessionID=session, ProviderID=self._provider)

    async def _stop(self, message: Json) -> Json:
        session = message["SessionID"]
        fits = self._media.get(session.lower()) == message["Identification"]
        return authorization(Code.SUCCESS if fits else Code.RFID_INVALID, SessionID=session, ProviderID=self._provider)

    async def _take(self, message: Json) -> Json:
        return acknowledged(SessionID=message["SessionID"])
