"""What this node's copy of EVSE data says of a charging spot before anybody is asked (box B1)."""

from __future__ import annotations

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import EvseID
from p2p_oicp.roles.context import RoleContext
from p2p_oicp.storage.state import evses

_UNKNOWN_EVSE, _NOT_COMPATIBLE = "603", "604"


async def refuse_unknown_evse(context: RoleContext, evse_id: EvseID) -> None:
    """Raise Refusal 603 for an EVSE that its operator's data does not have, 604 for one that is not compatible.

    An operator that has sent no EVSE data may have any EVSE: its own system knows.
    """
    operator = evse_id.operator
    gone = context.former.names()
    known = evses.known(context.store, evse_id.key, operator.key if operator else "", gone)
    if known.operator_has_data and not known.is_known:
        raise Refusal(_UNKNOWN_EVSE, f"EvseID {evse_id} is not among the EVSE data that {operator} has sent")
    if known.is_known and not known.is_compatible:
        raise Refusal(_NOT_COMPATIBLE, f"EvseID {evse_id} has IsHubjectCompatible false: it takes no remote requests")
