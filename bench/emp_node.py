"""An EMP's node as ``p2p-oicp run`` would run it, with a whitelist of 100,000 cards as its backend."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.messages import TOKENS, token
from p2p_oicp.oicp import (
    Acknowledgement,
    AuthorizationStart,
    AuthorizationStatus,
    AuthorizationStop,
    AuthorizeStart,
    AuthorizeStop,
    ChargeDetailRecord,
    ChargingNotification,
    StatusCode,
)
from p2p_oicp.process import run
from p2p_oicp.settings import load_settings

_OK = StatusCode(code="000", description="Success")
_AUTHORIZED = AuthorizationStart(authorization_status=AuthorizationStatus.AUTHORIZED, status_code=_OK)
_UNKNOWN = AuthorizationStart(
    authorization_status=AuthorizationStatus.NOT_AUTHORIZED, status_code=StatusCode(code="102")
)


class Whitelist:
    """Says yes to the cards it knows, and takes what it is told."""

    def __init__(self) -> None:
        self._cards = frozenset(token(number) for number in range(TOKENS))

    async def authorize_start(self, request: AuthorizeStart) -> AuthorizationStart:
        """See ``EmpBackend``."""
        uid = request.identification.uid
        return _AUTHORIZED if uid is not None and uid.key in self._cards else _UNKNOWN

    async def authorize_stop(self, request: AuthorizeStop) -> AuthorizationStop:
        """See ``EmpBackend``."""
        return AuthorizationStop(
            authorization_status=AuthorizationStatus.AUTHORIZED, status_code=_OK, session_id=request.session_id
        )

    async def charging_notifications(self, notification: ChargingNotification) -> Acknowledgement:
        """See ``EmpBackend``."""
        return Acknowledgement(result=True, status_code=_OK, session_id=notification.session_id)

    async def charge_detail_record(self, record: ChargeDetailRecord) -> Acknowledgement:
        """See ``EmpBackend``."""
        return Acknowledgement(result=True, status_code=_OK, session_id=record.session_id)


if __name__ == "__main__":
    sys.exit(run(load_settings(Path(sys.argv[1])), emp=Whitelist()))
