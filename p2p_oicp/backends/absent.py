"""The answers of a CPO without a backend: 320, the service is not offered."""

from __future__ import annotations

from p2p_oicp.oicp import Acknowledgement, AuthorizeRemoteStart, AuthorizeRemoteStop, Code, StatusCode

_NOT_OFFERED = StatusCode.of(Code.SERVICE_NOT_AVAILABLE)


class NoCpoBackend:
    """No CSMS is connected: nothing can be started."""

    async def authorize_remote_start(self, request: AuthorizeRemoteStart) -> Acknowledgement:
        """Refuse with 320."""
        return Acknowledgement(result=False, status_code=_NOT_OFFERED, session_id=request.session_id)

    async def authorize_remote_stop(self, request: AuthorizeRemoteStop) -> Acknowledgement:
        """Refuse with 320."""
        return Acknowledgement(result=False, status_code=_NOT_OFFERED, session_id=request.session_id)
