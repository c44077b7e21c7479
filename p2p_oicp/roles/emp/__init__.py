"""The EMP role: for our own drivers, towards our backend and towards CPO peers."""

from __future__ import annotations

from p2p_oicp.backends import Backend
from p2p_oicp.concurrency import Worker
from p2p_oicp.delivery import SessionStatusClient
from p2p_oicp.oicp.operations import Party
from p2p_oicp.roles.context import HandlerRegistry, Services
from p2p_oicp.roles.datasets.handlers import PullHandlers, PushHandlers
from p2p_oicp.roles.emp.authorization import EmpAuthorizationHandler
from p2p_oicp.roles.emp.reconciliation import CdrReconciler
from p2p_oicp.roles.emp.remote import EmpRemoteHandler, UncertainSessionResolver
from p2p_oicp.roles.sessions import SessionService
from p2p_oicp.roles.settlement import CdrQueryHandler, EmpCdrHandler, RestoredSessionVerifier


class EmpRole(HandlerRegistry):
    """Everything an EMP's node does; the intervals are in seconds."""

    def __init__(
        self,
        services: Services,
        backend: Backend,
        *,
        status_client: SessionStatusClient,
        clarify_interval: float,
        reconcile_interval: float,
    ) -> None:
        session_service = SessionService("emp", services)
        cdr_handler = EmpCdrHandler(services, session_service, RestoredSessionVerifier(services, backend))
        self.uncertain_session_resolver = UncertainSessionResolver(services, status_client, clarify_interval)
        self.cdr_reconciler = CdrReconciler(services, cdr_handler, reconcile_interval)
        super().__init__(
            EmpAuthorizationHandler(services, session_service, backend),
            EmpRemoteHandler(services, session_service, self.uncertain_session_resolver),
            cdr_handler,
            CdrQueryHandler("emp", services),
            PushHandlers(services, Party.EMP),
            PullHandlers(services, Party.EMP),
        )

    def workers(self) -> dict[str, Worker]:
        """Return what works beside the requests, by name."""
        return {"clarifying": self.uncertain_session_resolver, "reconciling": self.cdr_reconciler}
