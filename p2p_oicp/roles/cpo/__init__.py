"""The CPO role: serves our own backend (CSMS), and EMP peers that want something of our EVSEs."""

from __future__ import annotations

from p2p_oicp.backends import BackendRegistry
from p2p_oicp.oicp.operations import Party
from p2p_oicp.roles.context import HandlerRegistry, Services
from p2p_oicp.roles.cpo.authorization import CpoAuthorizationHandler
from p2p_oicp.roles.cpo.remote import CpoRemoteHandler
from p2p_oicp.roles.datasets.handlers import dataset_handlers
from p2p_oicp.roles.lost_sessions import LostSessions
from p2p_oicp.roles.recovery import RoleRecovery
from p2p_oicp.roles.session_export import CdrQueryHandler
from p2p_oicp.roles.sessions import SessionService
from p2p_oicp.roles.settlement import CpoCdrHandler
from p2p_oicp.roles.stops import CpoAuthorizeStopHandler


class CpoRole(HandlerRegistry):
    """The handlers of a CPO's node.

    Args:
        services: of the node.
        backends: carry out remote starts, stops and reservations.
        lost_sessions: rebuilds sessions after a restore.
    """

    def __init__(self, services: Services, backends: BackendRegistry, lost_sessions: LostSessions) -> None:
        # One for all handlers: a remote stop has to wait for an AuthorizeStart whose commit it has overtaken.
        session_service = SessionService("cpo", services, lost_sessions)
        authorization = CpoAuthorizationHandler(services, session_service)
        remote = CpoRemoteHandler(services, session_service, backends)
        self.cdr_handler = cdr_handler = CpoCdrHandler(services, session_service)
        self.recovery = RoleRecovery(lost_sessions, cdr_handler)
        super().__init__(
            {
                "AuthorizeStart": authorization.authorize_start,
                "AuthorizeStop": CpoAuthorizeStopHandler(services, session_service).authorize_stop,
                "AuthorizeRemoteStart": remote.authorize_remote_start,
                "AuthorizeRemoteStop": remote.authorize_remote_stop,
                "AuthorizeRemoteReservationStart": remote.authorize_remote_reservation_start,
                "AuthorizeRemoteReservationStop": remote.authorize_remote_reservation_stop,
                "ChargingNotifications": cdr_handler.charging_notifications,
                "ChargeDetailRecord": cdr_handler.charge_detail_record,
                "GetChargeDetailRecords": CdrQueryHandler("cpo", services).get_charge_detail_records,
                **dataset_handlers(services, Party.CPO),
            }
        )
