"""The CPO role: for our own charging points, towards our backend and towards EMP peers."""

from __future__ import annotations

from p2p_oicp.backends import Backend
from p2p_oicp.oicp.operations import Party
from p2p_oicp.roles.context import HandlerRegistry, Services
from p2p_oicp.roles.cpo.authorization import CpoAuthorizationHandler
from p2p_oicp.roles.cpo.remote import CpoRemoteHandler
from p2p_oicp.roles.datasets.handlers import PullHandlers, PushHandlers
from p2p_oicp.roles.sessions import SessionService
from p2p_oicp.roles.settlement import CdrQueryHandler, CpoCdrHandler


class CpoRole(HandlerRegistry):
    """Everything a CPO's node does."""

    def __init__(self, services: Services, backend: Backend) -> None:
        session_service = SessionService("cpo", services)
        super().__init__(
            CpoAuthorizationHandler(services, session_service),
            CpoRemoteHandler(services, session_service, backend),
            CpoCdrHandler(services, session_service),
            CdrQueryHandler("cpo", services),
            PushHandlers(services, Party.CPO),
            PullHandlers(services, Party.CPO),
        )
