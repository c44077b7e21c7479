"""The EMP role: serves our own backend (contracts, apps), and CPO peers where our drivers charge."""

from __future__ import annotations

from p2p_oicp.backends import BackendRegistry
from p2p_oicp.concurrency import Worker
from p2p_oicp.delivery import NodeClient
from p2p_oicp.oicp.operations import Party
from p2p_oicp.roles.context import HandlerRegistry, Services
from p2p_oicp.roles.datasets.handlers import dataset_handlers
from p2p_oicp.roles.emp.authorization import EmpAuthorizationHandler
from p2p_oicp.roles.emp.reconciliation import CdrReconciler
from p2p_oicp.roles.emp.remote import EmpRemoteHandler
from p2p_oicp.roles.emp.uncertain_sessions import UncertainSessionResolver
from p2p_oicp.roles.lost_sessions import LostSessions
from p2p_oicp.roles.recovery import RoleRecovery
from p2p_oicp.roles.session_export import CdrQueryHandler
from p2p_oicp.roles.sessions import SessionService
from p2p_oicp.roles.settlement import EmpCdrHandler
from p2p_oicp.roles.verdicts import PendingVerdicts


class EmpRole(HandlerRegistry):
    """The handlers of an EMP's node, and its two background workers.

    Args:
        services: of the node.
        backends: authorize drivers, and get notifications and CDRs.
        nodes: asks CPO nodes for the state of a session.
        lost_sessions: rebuilds sessions after a restore.
        clarify_interval: seconds between two questions about an uncertain session.
        reconcile_interval: seconds between two requests for missing CDRs; 0: only on demand.
    """

    def __init__(
        self,
        services: Services,
        backends: BackendRegistry,
        *,
        nodes: NodeClient,
        lost_sessions: LostSessions,
        clarify_interval: float,
        reconcile_interval: float,
    ) -> None:
        session_service = SessionService("emp", services, lost_sessions)
        authorization = EmpAuthorizationHandler(services, session_service, backends)
        self.uncertain_session_resolver = UncertainSessionResolver(services, nodes, clarify_interval)
        remote = EmpRemoteHandler(services, session_service, self.uncertain_session_resolver)
        self.pending_verdicts = PendingVerdicts(services.store, services.deadlines.record_backend)
        self.cdr_handler = cdr_handler = EmpCdrHandler(services, session_service, self.pending_verdicts, backends)
        self.cdr_reconciler = CdrReconciler(services, cdr_handler, reconcile_interval)
        self.recovery = RoleRecovery(lost_sessions, cdr_handler, self.cdr_reconciler.fetch)
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
        workers: dict[str, Worker] = {"uncertain sessions": self.uncertain_session_resolver}
        return workers | {"cdr reconciliation": self.cdr_reconciler} if self.cdr_reconciler.is_periodic else workers
