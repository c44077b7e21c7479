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

    Progress that follows Progress is told once: a node may replace one that still waits by a newer one. A repetition
    says, byte for byte, what another one said before; it is marked, or left out.
    """
    kinds: list[str] = []
    seen: set[bytes] = set()
    for notification in contracts.notifications.get(session_id, []):
        text = notification.to_json()
        kind = f"{notification.type} again" if text in seen else str(notification.type)
        if not (text in seen and without_repetitions) and kinds[-1:] != [kind]:
            kinds.append(kind)
        seen.add(text)
    return kinds
