"""An EMP's node as ``p2p-oicp run`` would run it, with a whitelist of 100,000 cards as its backend."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from bench.messages import TOKENS, token
from p2p_oicp.backends import NoEmpBackend
from p2p_oicp.logs import configure_logs
from p2p_oicp.node import Node
from p2p_oicp.oicp import AuthorizationStart, AuthorizationStatus, AuthorizeStart, StatusCode
from p2p_oicp.settings import load_settings

_YES = StatusCode(code="000", description="Success")


class Whitelist(NoEmpBackend):
    """Says yes to the cards it knows."""

    def __init__(self) -> None:
        self._cards = frozenset(token(number) for number in range(TOKENS))

    async def authorize_start(self, request: AuthorizeStart) -> AuthorizationStart:
        """See ``EmpBackend``."""
        uid = request.identification.uid
        if uid is None or uid.key not in self._cards:
            return await super().authorize_start(request)
        return AuthorizationStart(
            authorization_status=AuthorizationStatus.AUTHORIZED, status_code=_YES, session_id=request.session_id
        )


async def _run(config: Path) -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    async with Node(load_settings(config), emp=Whitelist()):
        await told.wait()


if __name__ == "__main__":
    configure_logs("text", "INFO")
    uvloop.run(_run(Path(sys.argv[1])))
