"""An e-mobility provider's backend: contracts with cards and an app, and its own books.

It behaves as an existing contract system behind a clearing house does: it says which of its drivers may charge, takes
notifications and CDRs, starts and stops sessions from an app, and pulls statuses. No answer at all is a PeerError.
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
    Code,
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
)
from p2p_oicp.simulator.answers import acknowledged, refused, statuses_in
from p2p_oicp.simulator.journal import Journal
from p2p_oicp.simulator.line import Line


@dataclass
class Contract:
    """One driver's contract, with an EvcoID for the app and cards by their UIDs."""

    evco_id: EvcoID
    uids: tuple[UID, ...] = ()
    is_valid: bool = True


@dataclass
class DriverSession:
    """One session in the contract system's books."""

    contract: Contract
    evse_id: EvseID | None
    is_charging: bool = True


class ContractSystem:
    """The backend of one provider; an async context manager.

    Its books: ``sessions``, and by session what came in, in order: ``notifications`` and ``cdrs``.
    """

    def __init__(self, *, name: str, provider: ProviderID, contracts: Iterable[Contract], journal: Journal) -> None:
        self.name = name
        self.provider = provider
        self.contracts = tuple(contracts)
        self.sessions: dict[SessionID, DriverSession] = {}
        self.notifications: defaultdict[SessionID, list[ChargingNotification]] = defaultdict(list)
        self.cdrs: defaultdict[SessionID, list[ChargeDetailRecord]] = defaultdict(list)
        self._news = asyncio.Condition()
        self._line = Line(
            owner=name,
            journal=journal,
            handlers={
                "AuthorizeStart": self._authorize_start,
                "AuthorizeStop": self._authorize_stop,
                "ChargingNotifications": self._take_notification,
                "ChargeDetailRecord": self._take_cdr,
            },
        )

    async def __aenter__(self) -> Self:
        await self._line.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._line.__aexit__(kind, exc, trace)

    @property
    def url(self) -> str:
        """Where the node reaches this backend."""
        return self._line.url

    def connect(self, name: str, url: str) -> None:
        """Say which node to use, by its backend API's URL."""
        self._line.connect(name, url)

    async def wait_until(self, condition: Callable[[], bool], *, within: float) -> bool:
        """Wait until the books fulfil a condition; return whether they did within so many seconds."""
        try:
            async with asyncio.timeout(within), self._news:
                await self._news.wait_for(condition)
        except TimeoutError:
            return False
        return True

    async def start_remotely(self, evco_id: EvcoID, evse_id: EvseID) -> tuple[SessionID | None, Message]:
        """Let a driver start charging from the app; return the SessionID, if there is a session now, and the answer."""
        answer = await self._line.ask(
            "AuthorizeRemoteStart",
            self.provider.text,
            AuthorizeRemoteStart(
                provider_id=self.provider,
                evse_id=evse_id,
                identification=Identification(remote=RemoteIdentification(evco_id=evco_id)),
            ),
        )
        if not isinstance(answer, Acknowledgement) or not answer.result or answer.session_id is None:
            return None, answer
        contract = next(each for each in self.contracts if each.evco_id == evco_id)
        self.sessions[answer.session_id] = DriverSession(contract, evse_id)
        return answer.session_id, answer

    async def stop_remotely(self, session_id: SessionID) -> Message:
        """Let a driver stop charging from the app."""
        session = self.sessions[session_id]
        answer = await self._line.ask(
            "AuthorizeRemoteStop",
            self.provider.text,
            AuthorizeRemoteStop(provider_id=self.provider, session_id=session_id, evse_id=session.evse_id),
        )
        if isinstance(answer, Acknowledgement) and answer.result:
            session.is_charging = False
        return answer

    async def pull_statuses(self, *, journaled: bool = True) -> dict[EvseID, str]:
        """Return the status of every EVSE that the node knows."""
        pull = PullEvseStatus(provider_id=self.provider)
        return statuses_in(await self._line.ask("PullEvseStatus", self.provider.text, pull, journaled=journaled))

    async def pull_statuses_of(self, *evse_ids: EvseID) -> dict[EvseID, str]:
        """Return the status of some EVSEs."""
        pull = PullEvseStatusById(provider_id=self.provider, evse_id=evse_ids)
        return statuses_in(await self._line.ask("PullEvseStatusByID", self.provider.text, pull))

    async def pull_statuses_of_operator(self, operator: OperatorID) -> dict[EvseID, str]:
        """Return the status of every EVSE of one operator."""
        pull = PullEvseStatusByOperatorId(provider_id=self.provider, operator_id=(operator,))
        return statuses_in(await self._line.ask("PullEvseStatusByOperatorID", self.provider.text, pull))

    async def _authorize_start(self, request: AuthorizeStart) -> Message:
        contract = self._contract_of(request.identification)
        if contract is None:
            return _not_authorized(Code.RFID_INVALID)
        if not contract.is_valid:
            return _not_authorized(Code.EVCO_ID_LOCKED)
        if request.session_id is None:
            return _not_authorized(Code.SESSION_INVALID)
        self.sessions[request.session_id] = DriverSession(contract, request.evse_id)
        return AuthorizationStart(
            authorization_status=AuthorizationStatus.AUTHORIZED,
            session_id=request.session_id,
            provider_id=self.provider,
            status_code=StatusCode.of(Code.SUCCESS),
        )

    async def _authorize_stop(self, request: AuthorizeStop) -> Message:
        session = self.sessions.get(request.session_id)
        contract = self._contract_of(request.identification)
        if session is None:
            status, code = AuthorizationStatus.NOT_AUTHORIZED, Code.SESSION_INVALID
        elif contract is not session.contract:
            status, code = AuthorizationStatus.NOT_AUTHORIZED, Code.RFID_INVALID
        else:
            session.is_charging = False
            status, code = AuthorizationStatus.AUTHORIZED, Code.SUCCESS
        return AuthorizationStop(
            authorization_status=status,
            session_id=request.session_id,
            provider_id=self.provider,
            status_code=StatusCode.of(code),
        )

    async def _take_notification(self, notification: ChargingNotification) -> Message:
        if notification.session_id not in self.sessions:
            return refused(Code.SESSION_INVALID, notification.session_id)
        self.notifications[notification.session_id].append(notification)
        return await self._entered(notification.session_id)

    async def _take_cdr(self, cdr: ChargeDetailRecord) -> Message:
        if cdr.session_id not in self.sessions:
            return refused(Code.SESSION_INVALID, cdr.session_id)
        self.cdrs[cdr.session_id].append(cdr)
        return await self._entered(cdr.session_id)

    async def _entered(self, session_id: SessionID) -> Message:
        async with self._news:
            self._news.notify_all()
        return acknowledged(session_id)

    def _contract_of(self, identification: Identification) -> Contract | None:
        card = identification.rfid_mifare_family
        if card is None:
            return None
        return next((contract for contract in self.contracts if card.uid in contract.uids), None)


def _not_authorized(code: Code) -> AuthorizationStart:
    return AuthorizationStart(authorization_status=AuthorizationStatus.NOT_AUTHORIZED, status_code=StatusCode.of(code))
