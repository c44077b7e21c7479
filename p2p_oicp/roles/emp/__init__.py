"""The EMP role: for our own drivers, towards our backend and towards CPO peers."""

from __future__ import annotations

from p2p_oicp.backends import EmpBackend
from p2p_oicp.delivery import Enquirer, Worker
from p2p_oicp.oicp.operation import Party
from p2p_oicp.roles.context import RoleContext
from p2p_oicp.roles.emp.authorization import Authorization
from p2p_oicp.roles.emp.clarifying import Clarifying
from p2p_oicp.roles.emp.former import FormerSessions
from p2p_oicp.roles.emp.reconciling import Reconciling
from p2p_oicp.roles.emp.remote import RemoteControl
from p2p_oicp.roles.emp.settlement import EmpSettlement
from p2p_oicp.roles.records import Records
from p2p_oicp.roles.role import Role
from p2p_oicp.roles.state.parts import Pulls, Pushes


class EmpRole(Role):
    """Everything an EMP's node does; the intervals are in seconds."""

    def __init__(
        self,
        context: RoleContext,
        backend: EmpBackend,
        *,
        enquirer: Enquirer,
        clarify_interval: float,
        reconcile_interval: float,
    ) -> None:
        settlement = EmpSettlement(context, FormerSessions(context, backend))
        self.clarifying = Clarifying(context, enquirer, clarify_interval)
        self.reconciling = Reconciling(context, settlement, reconcile_interval)
        super().__init__(
            Authorization(context, backend),
            RemoteControl(context, self.clarifying),
            settlement,
            Records("emp", context),
            Pushes(context, Party.EMP),
            Pulls(context, Party.EMP),
        )

    def workers(self) -> dict[str, Worker]:
        """Return what works beside the requests, by name."""
        return {"clarifying": self.clarifying, "reconciling": self.reconciling}
