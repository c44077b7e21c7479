"""Taking over a push: of our own backend (our state), or of a peer (our copy of its state).

The records are read one by one, and the event loop gets its turn between a few of them: a push of 10,000 records never
holds up an authorization. Our own backend's push is all or nothing. Of a peer's push, records that cannot be used are
set aside in the quarantine, with the reason, and the others are taken.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import structlog

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import Finding, InvalidMessage, Message, ReadRecord, RecordReading, Severity
from p2p_oicp.oicp.operation import Party
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import Incoming, RoleContext
from p2p_oicp.roles.state.kinds import StateKind
from p2p_oicp.roles.state.pins import redacted, without_pins
from p2p_oicp.storage.state import quarantine
from p2p_oicp.storage.state.model import OWN, Applied, Group, Kind, Must, Push, Record, Replaces
from p2p_oicp.storage.state.quarantine import SetAside

log = structlog.get_logger(__name__)

_DATA_TRANSACTION_ERROR = "009"
_DATA_ERROR = "022"
_MOST_NAMED = 10
_MOST_FINDINGS = 100
_BETWEEN_TURNS = 20
_MUST = {"insert": Must.BE_NEW, "update": Must.BE_KNOWN}


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a push: changed records, and those set aside."""

    changed: int
    set_aside: int = 0
    reason: str | None = None


@dataclass(slots=True)
class _Sorted:
    """The records of a push, usable and not."""

    usable: list[tuple[bytes, Message]] = field(default_factory=list)
    unusable: list[SetAside] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


async def gently(reading: RecordReading[Message]) -> AsyncIterator[ReadRecord]:
    """Read the records; others get their turn in between."""
    for count, one in enumerate(reading, start=1):
        if count % _BETWEEN_TURNS == 0:
            await asyncio.sleep(0)
        yield one


async def take_over(context: RoleContext, incoming: Incoming[Message], kind: StateKind, owner: Peer) -> Taken:
    """Apply a push of ``owner``: our own company, or a peer.

    Raises Refusal 018, 019 or 009, or InvalidMessage, and changes nothing then (boxes M4, M5).
    """
    reading = incoming.records
    if reading is None:
        return Taken(0)
    source = OWN if owner.is_self else owner.name
    found = await _sorted(reading, kind, owner)
    if owner.is_self and any(finding.status_code == _DATA_ERROR for finding in found.findings):
        raise InvalidMessage(found.findings)
    _refuse_inconsistent(found.findings, kind)
    group = kind.group(incoming.message, incoming.party or "")
    if kind.kind is Kind.AUTHENTICATION:
        found.usable = await without_pins(context, source, found.usable)
    records = [kind.record(raw, record, group) for raw, record in found.usable]
    _refuse_repeated(records, kind)
    push = _push(incoming, kind, source, group, records)
    if push.replaces is Replaces.GROUPS and not reading.raws:
        log.warning("state.full_load_is_empty", kind=kind.kind.name.lower(), party=group.party, meaning="all withdrawn")
    applied = await context.keeper.apply(push)
    _refuse_contradictions(applied, push)
    if found.unusable:
        await quarantine.set_aside(context.store, source, incoming.operation.name, found.unusable, context.now())
    return Taken(applied.changed, len(found.unusable), found.unusable[0].reason if found.unusable else None)


async def _sorted(reading: RecordReading[Message], kind: StateKind, owner: Peer) -> _Sorted:
    found = _Sorted()
    place = 0
    async for raw, record, findings in gently(reading):
        wrong = [finding for finding in findings if finding.severity is Severity.ERROR]
        if record is not None:
            wrong += foreign(record, kind, owner, f"{reading.pointer}/{place}")
        if record is None or wrong:
            kept = redacted(raw) if kind.kind is Kind.AUTHENTICATION else raw
            found.unusable.append(SetAside(kept, tuple(wrong)))
            found.findings += wrong if len(found.findings) < _MOST_FINDINGS else ()
        else:
            found.usable.append((raw, record))
        place += 1
    return found


def foreign(record: Message, kind: StateKind, owner: Peer, at: str) -> list[Finding]:
    """Report a record of parties that its sender does not speak for."""
    code = "foreign-evse-id" if kind.foreign_code == "018" else "foreign-evco-id"
    return [
        Finding(Severity.ERROR, at, code, f"{_named(record)} belongs to {party}, for whom {owner.name} does not speak")
        for party in kind.owners(record)
        if party is None or not owner.answers_for(party)
    ]


def _named(record: Message) -> str:
    evse_id = getattr(record, "evse_id", None)
    return f"EvseID {evse_id}" if evse_id is not None else "a contract"


def _refuse_inconsistent(findings: Sequence[Finding], kind: StateKind) -> None:
    """Refuse the whole push for an id of somebody else, or one that occurs twice (018, 019)."""
    inconsistent = [finding.message for finding in findings if finding.status_code == kind.foreign_code]
    if inconsistent:
        named = "; ".join(inconsistent[:_MOST_NAMED])
        raise Refusal(kind.foreign_code, f"{len(inconsistent)} records are inconsistent: {named}")


def _refuse_repeated(records: Sequence[Record], kind: StateKind) -> None:
    counted = Counter(record.key for record in records)
    if len(counted) == len(records):
        return
    twice = [key for key, count in counted.items() if count > 1]
    code = kind.foreign_code if kind.publisher is Party.CPO else _DATA_ERROR
    raise Refusal(code, f"{len(twice)} records occur more than once: {', '.join(twice[:_MOST_NAMED])}")


def _push(incoming: Incoming[Message], kind: StateKind, source: str, group: Group, records: Sequence[Record]) -> Push:
    action = str(getattr(incoming.message, "action_type", ""))
    deletes = action == "delete"
    return Push(
        kind=kind.kind,
        source=source,
        groups=(group,),
        records=() if deletes else records,
        gone=[record.key for record in records] if deletes else (),
        must=_MUST.get(action),
        replaces=Replaces.GROUPS if action == "fullLoad" else Replaces.NOTHING,
        digest=None if source == OWN else incoming.digest,
    )


def _refuse_contradictions(applied: Applied, push: Push) -> None:
    if applied.contradictions:
        exist = "exist already" if push.must is Must.BE_NEW else "do not exist"
        named = ", ".join(applied.contradictions[:_MOST_NAMED])
        raise Refusal(_DATA_TRANSACTION_ERROR, f"{len(applied.contradictions)} records {exist}: {named}")
