"""The EMP role: serves our own backend (contracts, apps), and CPO peers where our drivers charge."""

from __future__ import annotations

from p2p_oicp.backends import Backend
from p2p_oicp.concurrency import Worker
from p2p_oicp.delivery import SessionStatusClient
from p2p_oicp.oicp.operations import Party
from p2p_oicp.roles.context import HandlerRegistry, Services
from p2p_oicp.roles.datasets.handlers import dataset_handlers
from p2p_oicp.roles.emp.authorization import EmpAuthorizationHandler
from p2p_oicp.roles.emp.reconciliation import CdrReconciler
from p2p_oicp.roles.emp.remote import EmpRemoteHandler, UncertainSessionResolver
from p2p_oicp.roles.sessions import SessionService
from p2p_oicp.roles.settlement import CdrQueryHandler, EmpCdrHandler, RestoredSessionVerifier


class EmpRole(HandlerRegistry):
    """The handlers of an EMP's node, and its two background workers.

    Args:
        services: of the node.
        backend: authorizes drivers, and gets notifications and CDRs.
        status_client: asks CPO nodes for the state of a session.
        clarify_interval: seconds between two questions about an uncertain session.
        reconcile_interval: seconds between two requests for missing CDRs; 0: only on demand.
    """

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
        authorization = EmpAuthorizationHandler(services, session_service, backend)
        self.uncertain_session_resolver = UncertainSessionResolver(services, status_client, clarify_interval)
        remote = EmpRemoteHandler(services, session_service, self.uncertain_session_resolver)
        cdr_handler = EmpCdrHandler(services, session_service, RestoredSessionVerifier(services, backend))
        self.cdr_reconciler = CdrReconciler(services, cdr_handler, reconcile_interval)
        super().__init__(
            {
                "AuthorizeStart": authorization.authorize_start,
                "AuthorizeStop": authorization.authorize_stop,
                "AuthorizeRemoteStart": remote.authorize_remote_start,
                "AuthorizeRemoteStop": remote.authorize_remote_stop,
                "AuthorizeRemoteReservationStart": remote.authorize_remote_reservation_start,
                "AuthorizeRemoteReservationStop": remote.authorize_remote_reservation_stop,
                "ChargingNotifications": cdr_handler.charging_notifications,
                "ChargeDetailRecord": cdr_handler.charge_detail_record,
                "GetChargeDetailRecords": CdrQueryHandler("emp", services).get_charge_detail_records,
                **dataset_handlers(services, Party.EMP),
            }
        )

    def workers(self) -> dict[str, Worker]:
        """Return the background workers of this role, by name."""
        return {"uncertain sessions": self.uncertain_session_resolver, "cdr reconciliation": self.cdr_reconciler}
