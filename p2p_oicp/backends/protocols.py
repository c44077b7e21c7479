"""What a Python backend implements: the contract for programs that embed a node.

A method returns an OICP message within the operation's deadline (`oicp.operations`). It may raise a
``p2p_oicp.errors.PeerError`` if its system cannot answer. Notifications and CDRs are then delivered again later, so
handling the same one twice must be harmless.
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
    PushAuthenticationData,
    PushEvseData,
    PushEVSEPricing,
    PushEvseStatus,
    PushPricingProductData,
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
    """A CSMS that takes reservations; without these two methods they are refused with 320."""

    async def authorize_remote_reservation_start(self, request: AuthorizeRemoteReservationStart) -> Acknowledgement:
        """Reserve ``request.evse_id`` for ``request.duration`` minutes; refuse with 601 if it is reserved already."""

    async def authorize_remote_reservation_stop(self, request: AuthorizeRemoteReservationStop) -> Acknowledgement:
        """End the reservation of ``request.session_id``; its CDR follows, also if no energy was charged (CPO-02)."""


@runtime_checkable
class EmpBackend(Protocol):
    """An e-mobility provider's system (contracts, drivers, invoices)."""

    async def authorize_start(self, request: AuthorizeStart) -> AuthorizationStart:
        """Authorize a driver to charge; refuse with 101, 102, 103, 105, 106, 110 or 200 (EMP-02)."""

    async def authorize_stop(self, request: AuthorizeStop) -> AuthorizationStop:
        """Authorize a driver to stop the session."""

    async def charging_notifications(self, notification: ChargingNotification) -> Acknowledgement:
        """Record that charging started, progressed, ended or failed."""

    async def charge_detail_record(self, record: ChargeDetailRecord) -> Acknowledgement:
        """Store the CDR of a session; a refusal makes it a dead letter."""


class DatasetListener(Protocol):
    """What either backend may have besides: it is told how the data of the node's partners change.

    Each method gets a push as OICP has it: a fullLoad with all records of a party at first, then what was inserted,
    updated or deleted, the newest state of each record. The next push of the same dataset comes when the method has
    returned. One that raises gets the same push again later, so handling it twice must be harmless. Only the methods
    that an object has are called.
    """

    async def evse_data_changed(self, push: PushEvseData) -> None:
        """Take over EVSEs of a CPO that came, changed or went."""

    async def evse_status_changed(self, push: PushEvseStatus) -> None:
        """Take over new statuses of a CPO's EVSEs."""

    async def pricing_products_changed(self, push: PushPricingProductData) -> None:
        """Take over products of a CPO."""

    async def evse_prices_changed(self, push: PushEVSEPricing) -> None:
        """Take over which products apply at a CPO's EVSEs."""

    async def authentication_data_changed(self, push: PushAuthenticationData) -> None:
        """Take over authentication data of an EMP; for CPO backends."""
