"""The answers of a role without a backend: 320, the service is not offered; what is only told is kept by the node."""

from __future__ import annotations

from p2p_oicp.oicp import (
    Acknowledgement,
    AuthorizationStart,
    AuthorizationStatus,
    AuthorizationStop,
    AuthorizeRemoteReservationStart,
    AuthorizeRemoteReservationStop,
    AuthorizeRemoteStart,
    AuthorizeRemoteStop,
    AuthorizeStart,
    AuthorizeStop,
    ChargeDetailRecord,
    ChargingNotification,
    StatusCode,
)

_NOT_OFFERED = StatusCode(code="320", description="Service not available")
_TAKEN = StatusCode(code="000", description="Success")


class NoCpoBackend:
    """No CSMS is connected: nothing can be started."""

    async def authorize_remote_start(self, request: AuthorizeRemoteStart) -> Acknowledgement:
        """Refuse with 320."""
        return Acknowledgement(result=False, status_code=_NOT_OFFERED, session_id=request.session_id)

    async def authorize_remote_stop(self, request: AuthorizeRemoteStop) -> Acknowledgement:
        """Refuse with 320."""
        return Acknowledgement(result=False, status_code=_NOT_OFFERED, session_id=request.session_id)

    async def authorize_remote_reservation_start(self, request: AuthorizeRemoteReservationStart) -> Acknowledgement:
        """Refuse with 320."""
        return Acknowledgement(result=False, status_code=_NOT_OFFERED, session_id=request.session_id)

    async def authorize_remote_reservation_stop(self, request: AuthorizeRemoteReservationStop) -> Acknowledgement:
        """Refuse with 320."""
        return Acknowledgement(result=False, status_code=_NOT_OFFERED, session_id=request.session_id)


class NoEmpBackend:
    """No contract system is connected: nobody is authorized, and records stay with the node."""

    async def authorize_start(self, request: AuthorizeStart) -> AuthorizationStart:
        """Refuse with 320."""
        return AuthorizationStart(
            authorization_status=AuthorizationStatus.NOT_AUTHORIZED,
            status_code=_NOT_OFFERED,
            session_id=request.session_id,
        )

    async def authorize_stop(self, request: AuthorizeStop) -> AuthorizationStop:
        """Refuse with 320."""
        return AuthorizationStop(
            authorization_status=AuthorizationStatus.NOT_AUTHORIZED,
            status_code=_NOT_OFFERED,
            session_id=request.session_id,
        )

    async def charging_notifications(self, notification: ChargingNotification) -> Acknowledgement:
        """Take it: the node has stored it."""
        return Acknowledgement(result=True, status_code=_TAKEN, session_id=notification.session_id)

    async def charge_detail_record(self, record: ChargeDetailRecord) -> Acknowledgement:
        """Take it: the node has stored it, and it can be read from the node."""
        return Acknowledgement(result=True, status_code=_TAKEN, session_id=record.session_id)
