"""An EMP's node as ``p2p-oicp run`` would run it, with a whitelist of 100,000 cards as its backend."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.messages import TOKENS, token
from p2p_oicp.backends import NoEmpBackend
from p2p_oicp.node import run
from p2p_oicp.oicp import AuthorizationStart, AuthorizationStatus, AuthorizeStart, StatusCode
from p2p_oicp.settings import load_settings

_AUTHORIZED = AuthorizationStart(
    authorization_status=AuthorizationStatus.AUTHORIZED, status_code=StatusCode(code="000", description="Success")
)


class Whitelist(NoEmpBackend):
    """Says yes to the cards it knows."""

    def __init__(self) -> None:
        self._cards = frozenset(token(number) for number in range(TOKENS))

    async def authorize_start(self, request: AuthorizeStart) -> AuthorizationStart:
        """See ``EmpBackend``."""
        uid = request.identification.uid
        if uid is None or uid.key not in self._cards:
            return await super().authorize_start(request)
        return _AUTHORIZED


if __name__ == "__main__":
    sys.exit(run(load_settings(Path(sys.argv[1])), emp=Whitelist()))
