"""The CPO role: for our own charging points, towards our backend and towards EMP peers."""

from __future__ import annotations

from p2p_oicp.backends import CpoBackend
from p2p_oicp.oicp.operation import Party
from p2p_oicp.roles.context import RoleContext
from p2p_oicp.roles.cpo.authorization import Authorization
from p2p_oicp.roles.cpo.remote import RemoteControl
from p2p_oicp.roles.cpo.settlement import CpoSettlement
from p2p_oicp.roles.cpo.stopping import Stopping
from p2p_oicp.roles.records import Records
from p2p_oicp.roles.role import Role
from p2p_oicp.roles.state.parts import Pulls, Pushes


class CpoRole(Role):
    """Everything a CPO's node does."""

    def __init__(self, context: RoleContext, backend: CpoBackend) -> None:
        super().__init__(
            Authorization(context),
            Stopping(context),
            RemoteControl(context, backend),
            CpoSettlement(context),
            Records("cpo", context),
            Pushes(context, Party.CPO),
            Pulls(context, Party.CPO),
        )
