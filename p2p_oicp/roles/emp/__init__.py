"""The EMP role: for our own drivers, towards our backend and towards CPO peers."""

from __future__ import annotations

from p2p_oicp.backends import EmpBackend
from p2p_oicp.oicp.operation import Party
from p2p_oicp.roles.context import EMP_BACKEND, RoleContext
from p2p_oicp.roles.emp.authorization import Authorization
from p2p_oicp.roles.emp.remote import RemoteControl
from p2p_oicp.roles.role import Role
from p2p_oicp.roles.settlement import Settlement
from p2p_oicp.roles.state.parts import Pulls, Pushes

EMP = "emp"


class EmpRole(Role):
    """Everything an EMP's node does."""

    def __init__(self, context: RoleContext, backend: EmpBackend) -> None:
        super().__init__(
            Authorization(context, backend),
            RemoteControl(context),
            Settlement(EMP, context, next_stop=EMP_BACKEND),
            Pushes(context, Party.EMP),
            Pulls(context, Party.EMP),
        )
