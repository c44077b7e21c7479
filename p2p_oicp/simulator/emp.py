"""A simulated e-mobility provider's backend (contract system): contracts, sessions, and what was received for them.

It behaves as an existing contract system behind a clearing house does: it authorizes its drivers, acknowledges
notifications and CDRs, starts and stops sessions from an app, and pulls statuses. No response at all is a PeerError.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from p2p_oicp.oicp import (
    UID,
    Acknowledgement,
    AuthorizationStart,
    AuthorizationStatus,
    AuthorizationStop,
    AuthorizeRemoteStart,
    AuthorizeRemoteStop,
    AuthorizeStart,
    AuthorizeStop,
    ChargeDetailRecord,
    ChargingNotification,
    EvcoID,
    EvseID,
    Identification,
    Message,
    OperatorID,
    ProviderID,
    PullEvseStatus,
    PullEvseStatusById,
    PullEvseStatusByOperatorId,
    RemoteIdentification,
    SessionID,
    StatusCode,
    StatusCodeValue,
)
from p2p_oicp.simulator.backend_connection import (
    DEFAULT_ADDRESS,
    BackendAddress,
    BackendConnection,
    acknowledgement,
    refusal,
)
from p2p_oicp.simulator.exchange_log import ExchangeLog, evse_statuses


@dataclass
class Contract:
    """One driver's contract: an EvcoID for the app, and the UIDs of RFID cards."""

    evco_id: EvcoID
    uids: tuple[UID, ...] = ()
    is_valid: bool = True


@dataclass
class DriverSession:
    """One session of the contract system."""

    contract: Contract
    evse_id: EvseID | None
    is_charging: bool = True


class ContractSystem:
    """The backend of one provider; an async context manager.

    Attributes:
        sessions: by SessionID.
        notifications: those received, in order, by SessionID.
        cdrs: those received, in order, by SessionID; a second one is recorded as well, so that a check can find it.
    """

    def __init__(
        self,
        *,
        name: str,
        provider: ProviderID,
        contracts: Iterable[Contract],
        exchange_log: ExchangeLog,
        address: BackendAddress = DEFAULT_ADDRESS,
    ) -> None:
        self.name = name
        self.provider = provider
        self.contracts = tuple(contracts)
        self.sessions: dict[SessionID, DriverSession] = {}
        self.notifications: defaultdict[SessionID, list[ChargingNotification]] = defaultdict(list)
        self.cdrs: defaultdict[SessionID, list[ChargeDetailRecord]] = defaultdict(list)
        self._received = asyncio.Condition()
        self._connection = BackendConnection(
            owner=name,
            exchange_log=exchange_log,
            address=address,
            handlers={
                "AuthorizeStart": self._authorize_start,
                "AuthorizeStop": self._authorize_stop,
                "ChargingNotifications": self._handle_notification,
                "ChargeDetailRecord": self._handle_cdr,
            },
        )

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._connection.__aexit__(exc_type, exc, traceback)

    @property
    def url(self) -> str:
        """Where the node reaches this backend."""
        return self._connection.url

    def connect(self, name: str, url: str) -> None:
        """Set the node to use, by the URL of its backend API."""
        self._connection.connect(name, url)

    async def wait_until(self, condition: Callable[[], bool], *, timeout_seconds: float) -> bool:
        """Wait until what was received fulfils a condition; return whether it did in time."""
        try:
            async with asyncio.timeout(timeout_seconds), self._received:
                await self._received.wait_for(condition)
        except TimeoutError:
            return False
        return True

    async def start_remotely(self, evco_id: EvcoID, evse_id: EvseID) -> tuple[SessionID | None, Message]:
        """Start charging from the app; return the SessionID, None if it was refused, and the response."""
        response = await self._connection.send_request(
            "AuthorizeRemoteStart",
            self.provider.text,
            AuthorizeRemoteStart(
                provider_id=self.provider,
                evse_id=evse_id,
                identification=Identification(remote=RemoteIdentification(evco_id=evco_id)),
            ),
        )
        if not isinstance(response, Acknowledgement) or not response.result or response.session_id is None:
            return None, response
        contract = next(candidate for candidate in self.contracts if candidate.evco_id == evco_id)
        self.sessions[response.session_id] = DriverSession(contract, evse_id)
        return response.session_id, response

    async def stop_remotely(self, session_id: SessionID) -> Message:
        """Stop charging from the app."""
        session = self.sessions[session_id]
        response = await self._connection.send_request(
            "AuthorizeRemoteStop",
            self.provider.text,
            AuthorizeRemoteStop(provider_id=self.provider, session_id=session_id, evse_id=session.evse_id),
        )
        if isinstance(response, Acknowledgement) and response.result:
            session.is_charging = False
        return response

    async def pull_statuses(self, *, logged: bool = True) -> dict[EvseID, str]:
        """Return the status of every EVSE that the node has."""
        pull = PullEvseStatus(provider_id=self.provider)
        return evse_statuses(
            await self._connection.send_request("PullEvseStatus", self.provider.text, pull, logged=logged)
        )

    async def pull_statuses_by_id(self, *evse_ids: EvseID) -> dict[EvseID, str]:
        """Return the status of some EVSEs."""
        pull = PullEvseStatusById(provider_id=self.provider, evse_id=evse_ids)
        return evse_statuses(await self._connection.send_request("PullEvseStatusByID", self.provider.text, pull))

    async def pull_statuses_by_operator(self, operator: OperatorID) -> dict[EvseID, str]:
        """Return the status of every EVSE of one operator."""
        pull = PullEvseStatusByOperatorId(provider_id=self.provider, operator_id=(operator,))
        return evse_statuses(
            await self._connection.send_request("PullEvseStatusByOperatorID", self.provider.text, pull)
        )

    async def _authorize_start(self, request: AuthorizeStart) -> Message:
        contract = self._find_contract(request.identification)
        if contract is None:
            return _not_authorized(StatusCodeValue.RFID_INVALID)
        if not contract.is_valid:
            return _not_authorized(StatusCodeValue.EVCO_ID_LOCKED)
        if request.session_id is None:
            return _not_authorized(StatusCodeValue.SESSION_INVALID)
        self.sessions[request.session_id] = DriverSession(contract, request.evse_id)
        return AuthorizationStart(
            authorization_status=AuthorizationStatus.AUTHORIZED,
            session_id=request.session_id,
            provider_id=self.provider,
            status_code=StatusCode.of(StatusCodeValue.SUCCESS),
        )

    async def _authorize_stop(self, request: AuthorizeStop) -> Message:
        session = self.sessions.get(request.session_id)
        contract = self._find_contract(request.identification)
        if session is None:
            status, code = AuthorizationStatus.NOT_AUTHORIZED, StatusCodeValue.SESSION_INVALID
        elif contract is not session.contract:
            status, code = AuthorizationStatus.NOT_AUTHORIZED, StatusCodeValue.RFID_INVALID
        else:
            session.is_charging = False
            status, code = AuthorizationStatus.AUTHORIZED, StatusCodeValue.SUCCESS
        return AuthorizationStop(
            authorization_status=status,
            session_id=request.session_id,
            provider_id=self.provider,
            status_code=StatusCode.of(code),
        )

    async def _handle_notification(self, notification: ChargingNotification) -> Message:
        if notification.session_id not in self.sessions:
            return refusal(StatusCodeValue.SESSION_INVALID, notification.session_id)
        self.notifications[notification.session_id].append(notification)
        return await self._acknowledge(notification.session_id)

    async def _handle_cdr(self, cdr: ChargeDetailRecord) -> Message:
        if cdr.session_id not in self.sessions:
            return refusal(StatusCodeValue.SESSION_INVALID, cdr.session_id)
        self.cdrs[cdr.session_id].append(cdr)
        return await self._acknowledge(cdr.session_id)

    async def _acknowledge(self, session_id: SessionID) -> Message:
        async with self._received:
            self._received.notify_all()
        return acknowledgement(session_id)

    def _find_contract(self, identification: Identification) -> Contract | None:
        card = identification.rfid_mifare_family
        if card is None:
            return None
        return next((contract for contract in self.contracts if card.uid in contract.uids), None)


def _not_authorized(code: StatusCodeValue) -> AuthorizationStart:
    return AuthorizationStart(authorization_status=AuthorizationStatus.NOT_AUTHORIZED, status_code=StatusCode.of(code))
