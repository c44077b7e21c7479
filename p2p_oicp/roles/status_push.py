"""Taking over a PushEvseStatus: of our own backend (our state), or of a CPO peer (our copy of its state)."""

from __future__ import annotations

from collections import Counter

import structlog

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import EvseID, EvseStatusRecord, PushEvseStatus
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import Incoming, RoleContext
from p2p_oicp.storage import Lane, statuses
from p2p_oicp.storage.statuses import Applied, Push, StatusRecord

log = structlog.get_logger(__name__)

_INCONSISTENT_EVSE_ID = "018"
_DATA_TRANSACTION_ERROR = "009"
_MOST_NAMED = 10


async def take_over(context: RoleContext, incoming: Incoming[PushEvseStatus], owner: Peer, source: str) -> Applied:
    """Apply the push to the state of ``source``; raises Refusal 018 or 009, and changes nothing then (box M4)."""
    group = incoming.message.operator_evse_status
    records = _records(incoming)
    _check_owner(records, owner)
    _check_once(records)
    push = Push(
        source=source,
        operator_key=group.operator_id.key,
        operator_id=group.operator_id.text,
        operator_name=group.operator_name,
        action=str(incoming.message.action_type),
        records=tuple(StatusRecord(record.evse_id.key, str(record.evse_status), raw) for raw, record in records),
    )
    if push.action == "fullLoad" and not records:
        log.warning("statuses.full_load_is_empty", operator=push.operator_id, meaning="all statuses are withdrawn")
    applied = await context.store.write(lambda tx: statuses.apply(tx, push, context.now()), Lane.BULK)
    if applied.contradictions:
        named = ", ".join(applied.contradictions[:_MOST_NAMED])
        exists = "exist already" if push.action == "insert" else "do not exist"
        raise Refusal(_DATA_TRANSACTION_ERROR, f"{len(applied.contradictions)} EVSEs {exists}: {named}")
    return applied


def _records(incoming: Incoming[PushEvseStatus]) -> list[tuple[bytes, EvseStatusRecord]]:
    """Return the readable records; what a peer sent and nobody can read is reported, and costs the others nothing."""
    reading = incoming.records
    if reading is None:
        return []
    readable = []
    for index, (raw, record, findings) in enumerate(reading.records):
        if isinstance(record, EvseStatusRecord):
            readable.append((raw, record))
        else:
            reasons = "; ".join(found.message for found in findings)
            log.warning("statuses.quarantined", index=index, reasons=reasons, record=raw[:200].decode(errors="replace"))
    return readable


def _check_owner(records: list[tuple[bytes, EvseStatusRecord]], owner: Peer) -> None:
    foreign = [record.evse_id.text for _, record in records if not _owns(owner, record.evse_id)]
    if foreign:
        named = ", ".join(foreign[:_MOST_NAMED])
        raise Refusal(_INCONSISTENT_EVSE_ID, f"{len(foreign)} EvseIDs are not of {owner.name}'s operators: {named}")


def _owns(owner: Peer, evse_id: EvseID) -> bool:
    operator = evse_id.operator
    return operator is not None and owner.answers_for(operator)


def _check_once(records: list[tuple[bytes, EvseStatusRecord]]) -> None:
    counted = Counter(record.evse_id.key for _, record in records)
    twice = [record.evse_id.text for _, record in records if counted[record.evse_id.key] > 1]
    if twice:
        raise Refusal(_INCONSISTENT_EVSE_ID, f"duplicate EVSE IDs: {', '.join(twice[:_MOST_NAMED])}")
