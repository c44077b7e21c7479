"""What a node asks of the systems behind it.

An implementation answers with OICP messages. It may raise a ``p2p_oicp.errors.PeerError`` when its system cannot
answer; delivered messages (notifications, CDRs) are then brought again later, so handling the same one twice must be
harmless.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

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
    Operation,
)


@runtime_checkable
class CpoBackend(Protocol):
    """A charge point operator's system (CSMS)."""

    async def authorize_remote_start(self, request: AuthorizeRemoteStart) -> Acknowledgement:
        """Start charging at ``request.evse_id``; refuse with 501, 510, 601, 602 or 700 (OICP 2.3, CPO-02)."""

    async def authorize_remote_stop(self, request: AuthorizeRemoteStop) -> Acknowledgement:
        """Stop the charging process of ``request.session_id``."""


@runtime_checkable
class ReservingCpoBackend(CpoBackend, Protocol):
    """A charge point operator's system that takes reservations; without these two methods they are refused with 320."""

    async def authorize_remote_reservation_start(self, request: AuthorizeRemoteReservationStart) -> Acknowledgement:
        """Reserve ``request.evse_id`` for ``request.duration`` minutes; refuse with 601 if it is reserved already."""

    async def authorize_remote_reservation_stop(self, request: AuthorizeRemoteReservationStop) -> Acknowledgement:
        """End the reservation of ``request.session_id``; its CDR follows, also when nobody charged (CPO-02)."""


@runtime_checkable
class Forwarding(Protocol):
    """A backend that is told under which id a message was sent; ``party`` is the sender's id in the path."""

    async def forward(self, operation: Operation, party: str | None, message: Message) -> Acknowledgement:
        """Pass on what is only told: a notification or a charge detail record."""


@runtime_checkable
class EmpBackend(Protocol):
    """An e-mobility provider's system (contracts, drivers, invoices)."""

    async def authorize_start(self, request: AuthorizeStart) -> AuthorizationStart:
        """Say whether this driver may charge; refuse with 101, 102, 103, 105, 106, 110 or 200 (EMP-02)."""

    async def authorize_stop(self, request: AuthorizeStop) -> AuthorizationStop:
        """Say whether this driver may stop the session."""

    async def charging_notifications(self, notification: ChargingNotification) -> Acknowledgement:
        """Take note that charging started, goes on, ended or failed."""

    async def charge_detail_record(self, record: ChargeDetailRecord) -> Acknowledgement:
        """Take over the record of a session; a refusal makes it a dead letter."""
