"""The EMP role: for our own drivers, towards our backend and towards CPO peers."""

from __future__ import annotations

from p2p_oicp.backends import EmpBackend
from p2p_oicp.roles.context import RoleContext
from p2p_oicp.roles.emp.authorization import Authorization
from p2p_oicp.roles.emp.clarifying import Clarifying
from p2p_oicp.roles.emp.remote import RemoteControl
from p2p_oicp.roles.emp.settlement import EmpSettlement
from p2p_oicp.roles.emp.statuses import Statuses
from p2p_oicp.roles.role import Role


class EmpRole(Role):
    """Everything an EMP's node does."""

    def __init__(self, context: RoleContext, backend: EmpBackend, clarifying: Clarifying) -> None:
        super().__init__(
            Authorization(context, backend),
            RemoteControl(context, clarifying),
            EmpSettlement(context),
            Statuses(context),
        )
