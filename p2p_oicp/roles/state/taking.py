"""Taking over a push: of our own backend (our state), or of a peer (our copy of its state).

Our own backend's push is all or nothing. Of a peer's push, records that cannot be used are set aside in the quarantine,
with the reason, and the others are taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import Finding, InvalidMessage, Message, RecordReading
from p2p_oicp.oicp.operation import Party
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import Incoming, RoleContext
from p2p_oicp.roles.state.kinds import StateKind
from p2p_oicp.roles.state.sieve import Sieve
from p2p_oicp.storage.state.intake import Intake
from p2p_oicp.storage.state.model import OWN, Applied, Group, Must, Push, Replaces

log = structlog.get_logger(__name__)

_DATA_TRANSACTION_ERROR = "009"
_DATA_ERROR = "022"
_MOST_NAMED = 10
_DELETE = "delete"
_MUST = {"insert": Must.BE_NEW, "update": Must.BE_KNOWN}


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a push: changed records, and those set aside."""

    changed: int
    set_aside: int = 0
    reason: str | None = None


async def take_over(context: RoleContext, incoming: Incoming[Message], kind: StateKind, owner: Peer) -> Taken:
    """Apply a push of ``owner``: our own company, or a peer.

    Raises Refusal 018, 019 or 009, or InvalidMessage, and changes nothing then (boxes M4, M5).
    """
    reading = incoming.records
    if reading is None:
        return Taken(0)
    group = kind.group(incoming.message, incoming.party or "")
    sieve = Sieve(context, kind, owner)
    push = _push(incoming, kind, sieve.source, group)
    if push.replaces is Replaces.GROUPS and not reading.raws:
        log.warning("state.full_load_is_empty", kind=kind.kind.name.lower(), party=group.party, meaning="all withdrawn")
    intake = Intake(context.keeper, push)
    try:
        twice = await _take_in(intake, sieve, reading, group, deletes=_action(incoming) == _DELETE)
        _refuse_errors(sieve.findings, twice, kind, is_ours=owner.is_self)
    except BaseException:
        await asyncio.shield(intake.drop())
        raise
    applied = await intake.apply((group,))
    _refuse_contradictions(applied, push)
    await sieve.keep_aside(incoming.operation.name)
    return Taken(applied.changed, len(sieve.unusable), sieve.unusable[0].reason if sieve.unusable else None)


async def _take_in(
    intake: Intake, sieve: Sieve, reading: RecordReading[Message], group: Group, *, deletes: bool
) -> list[str]:
    """Take in all usable records; return the keys that occurred before."""
    seen: set[str] = set()
    twice: list[str] = []
    async for record, _ in sieve.usable(reading, lambda _: group):
        if record.key in seen:
            twice.append(record.key)
            continue
        seen.add(record.key)
        if deletes:
            await intake.withdraw(record.key)
        else:
            await intake.put(record)
    return twice


def _refuse_errors(findings: Sequence[Finding], twice: Sequence[str], kind: StateKind, *, is_ours: bool) -> None:
    """Refuse what forbids the whole push: our own backend's mistakes, ids of somebody else, repeated ids."""
    if is_ours and any(finding.status_code == _DATA_ERROR for finding in findings):
        raise InvalidMessage(findings)
    inconsistent = [finding.message for finding in findings if finding.status_code == kind.foreign_code]
    if inconsistent:
        named = "; ".join(inconsistent[:_MOST_NAMED])
        raise Refusal(kind.foreign_code, f"{len(inconsistent)} records are inconsistent: {named}")
    if twice:
        code = kind.foreign_code if kind.publisher is Party.CPO else _DATA_ERROR
        raise Refusal(code, f"{len(twice)} records occur more than once: {', '.join(twice[:_MOST_NAMED])}")


def _action(incoming: Incoming[Message]) -> str:
    return str(getattr(incoming.message, "action_type", ""))


def _push(incoming: Incoming[Message], kind: StateKind, source: str, group: Group) -> Push:
    action = _action(incoming)
    return Push(
        kind=kind.kind,
        source=source,
        groups=(group,),
        must=_MUST.get(action),
        replaces=Replaces.GROUPS if action == "fullLoad" else Replaces.NOTHING,
        digest=None if source == OWN else incoming.digest,
    )


def _refuse_contradictions(applied: Applied, push: Push) -> None:
    if applied.contradictions:
        exist = "exist already" if push.must is Must.BE_NEW else "do not exist"
        named = ", ".join(applied.contradictions[:_MOST_NAMED])
        raise Refusal(_DATA_TRANSACTION_ERROR, f"{len(applied.contradictions)} records {exist}: {named}")
