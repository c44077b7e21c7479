"""Backends that speak OICP over HTTP, as they would to the clearing house: the same paths below their own base URL."""

from __future__ import annotations

from typing import TypeVar, cast

from p2p_oicp.errors import PeerBroken
from p2p_oicp.oicp import (
    Acknowledgement,
    AuthorizationStart,
    AuthorizationStop,
    AuthorizeRemoteReservationStart,
    AuthorizeRemoteReservationStop,
    AuthorizeRemoteStart,
    AuthorizeRemoteStop,
    AuthorizeStart,
    AuthorizeStop,
    ChargeDetailRecord,
    ChargingNotification,
    Message,
)
from p2p_oicp.oicp.operation import Operation
from p2p_oicp.oicp.operations import OPERATION_BY_NAME, sender_party
from p2p_oicp.transport import Endpoint, OicpClient

M = TypeVar("M", bound=Message)


class _HttpBackend:
    """One backend reached at ``url``; answers within ``deadline`` seconds or raises errors.PeerError."""

    def __init__(self, name: str, url: str, client: OicpClient, *, deadline: float) -> None:
        self._endpoint = Endpoint(name=name, url=url, is_peer=False)
        self._client = client
        self._deadline = deadline

    async def _ask(self, operation: Operation, request: Message, answer: type[M], sender: str | None = None) -> M:
        party = sender_party(operation, request)
        reply = await self._client.call(
            self._endpoint,
            operation,
            sender or (party.text if party else None),
            request.to_json(),
            deadline=min(self._deadline, operation.deadline),
        )
        if isinstance(reply.message, answer):
            return reply.message
        refused = cast("Acknowledgement", reply.message)
        raise PeerBroken(
            self._endpoint.name, f"answered {operation.name} with a general refusal: {refused.status_code}"
        )


class HttpCpoBackend(_HttpBackend):
    """A CSMS reached over HTTP."""

    async def authorize_remote_start(self, request: AuthorizeRemoteStart) -> Acknowledgement:
        """See ``CpoBackend``."""
        return await self._ask(OPERATION_BY_NAME["AuthorizeRemoteStart"], request, Acknowledgement)

    async def authorize_remote_stop(self, request: AuthorizeRemoteStop) -> Acknowledgement:
        """See ``CpoBackend``."""
        return await self._ask(OPERATION_BY_NAME["AuthorizeRemoteStop"], request, Acknowledgement)

    async def authorize_remote_reservation_start(self, request: AuthorizeRemoteReservationStart) -> Acknowledgement:
        """See ``CpoBackend``."""
        return await self._ask(OPERATION_BY_NAME["AuthorizeRemoteReservationStart"], request, Acknowledgement)

    async def authorize_remote_reservation_stop(self, request: AuthorizeRemoteReservationStop) -> Acknowledgement:
        """See ``CpoBackend``."""
        return await self._ask(OPERATION_BY_NAME["AuthorizeRemoteReservationStop"], request, Acknowledgement)


class HttpEmpBackend(_HttpBackend):
    """A contract system reached over HTTP."""

    async def authorize_start(self, request: AuthorizeStart) -> AuthorizationStart:
        """See ``EmpBackend``."""
        return await self._ask(OPERATION_BY_NAME["AuthorizeStart"], request, AuthorizationStart)

    async def authorize_stop(self, request: AuthorizeStop) -> AuthorizationStop:
        """See ``EmpBackend``."""
        return await self._ask(OPERATION_BY_NAME["AuthorizeStop"], request, AuthorizationStop)

    async def forward(self, operation: Operation, party: str | None, message: Message) -> Acknowledgement:
        """See ``Forwarding``: a hub operator's record keeps the hub operator in its path."""
        return await self._ask(operation, message, Acknowledgement, party)

    async def charging_notifications(self, notification: ChargingNotification) -> Acknowledgement:
        """See ``EmpBackend``."""
        return await self._ask(OPERATION_BY_NAME["ChargingNotifications"], notification, Acknowledgement)

    async def charge_detail_record(self, record: ChargeDetailRecord) -> Acknowledgement:
        """See ``EmpBackend``."""
        return await self._ask(OPERATION_BY_NAME["ChargeDetailRecord"], record, Acknowledgement)
