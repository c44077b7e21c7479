"""What is compared at the end of a scene: the two backends' own books, as values."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from p2p_oicp.oicp import ChargeDetailRecord, SessionID
from p2p_oicp.simulator.contracts import ContractSystem


def content(cdr: ChargeDetailRecord) -> Any:  # noqa: ANN401 - any JSON
    """Return all members of a CDR as on the wire; numbers are exact decimals, so 12.340 equals 12.34."""
    return json.loads(cdr.to_json(), parse_float=Decimal, parse_int=Decimal)


def received_cdrs(contracts: ContractSystem, session_id: SessionID) -> list[Any]:
    """Return the content of every CDR that arrived for a session."""
    return [content(cdr) for cdr in contracts.cdrs.get(session_id, [])]


def billed_energy(contracts: ContractSystem, session_id: SessionID) -> Decimal:
    """Return the energy of all CDRs that arrived for a session, in kWh."""
    return sum((cdr.consumed_energy for cdr in contracts.cdrs.get(session_id, [])), Decimal(0))


def kinds_of_notifications(
    contracts: ContractSystem, session_id: SessionID, *, without_repetitions: bool = False
) -> list[str]:
    """Return the types of the notifications that arrived for a session, in their order.

    A repetition says, byte for byte, what another one said before.
    """
    arrived = contracts.notifications.get(session_id, [])
    if without_repetitions:
        arrived = list({notification.to_json(): notification for notification in arrived}.values())
    return [str(notification.type) for notification in arrived]
