"""Taking over a push: of our own backend (our state), or of a peer (our copy of its state).

Our own backend's push is all or nothing. Of a peer's push, records that cannot be used are set aside in the quarantine,
with the reason, and the others are taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import orjson
import structlog

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import Finding, InvalidMessage, Message
from p2p_oicp.oicp.operation import Party
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import Incoming, RoleContext
from p2p_oicp.roles.state.kinds import StateKind
from p2p_oicp.roles.state.sieve import Sieve
from p2p_oicp.storage.state.model import Applied, Group, Kind, Must, Push, Record, Replaces, Request
from p2p_oicp.storage.state.recovery import Interrupted

log = structlog.get_logger(__name__)

_DATA_TRANSACTION_ERROR = "009"
_DATA_ERROR = "022"
_MOST_NAMED = 10
_DELETE = "delete"
_FULL_LOAD = "fullLoad"
# From so many records on, the digests of all that is stored are read, so that unchanged ones cost next to nothing: of a
# fullLoad, which is nearly all of it, and of others only where they are many.
_WORTH_COMPARING = 100
_WORTH_COMPARING_WITH_ALL = 1000
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
    sieve = Sieve(context, kind, owner)
    group = kind.group(incoming.message, incoming.party or "")
    push = _push(incoming, kind, sieve.source, group, await _digest(incoming))
    async with context.keeper.turn(push.kind, push.source) as turn:
        # What must be new is never the same as before.
        compared = _is_large(incoming) and push.must is not Must.BE_NEW
        known = await turn.digests(push.kind, push.source, group.key) if compared else {}
        without_pins: list[bytes] | None = [] if kind.kind is Kind.AUTHENTICATION else None
        found = await _sorted(incoming, sieve, group, known, without_pins)
        _refuse_errors(sieve.findings, found.twice, kind, is_ours=owner.is_self)
        body = incoming.body if without_pins is None else _rewritten(incoming, kind, group, without_pins)
        request = Request(incoming.party or group.party, body)
        push = replace(push, records=found.records, gone=found.gone, request=request)
        if push.replaces is Replaces.GROUPS and not found.records:
            event = log.bind(kind=kind.name, party=group.party)
            event.warning("state.full_load_is_empty", meaning="all that was there is withdrawn")
        applying = await turn.begin(push)
    applied = await applying
    _refuse_contradictions(applied, push)
    await sieve.keep_aside(incoming.operation.name)
    return Taken(applied.changed, len(sieve.unusable), sieve.unusable[0].reason if sieve.unusable else None)


async def take_over_again(
    context: RoleContext, interrupted: Interrupted, incoming: Incoming[Message], kind: StateKind, owner: Peer
) -> int:
    """Apply a large push that a crash interrupted; return how many records that changed."""
    sieve = Sieve(context, kind, owner)
    found = await _sorted(incoming, sieve, interrupted.push.groups[0], {}, None)
    changed = await context.keeper.again(interrupted, found.records, found.gone)
    await sieve.keep_aside(incoming.operation.name)
    return changed


@dataclass(slots=True)
class _Sorted:
    """What a push says: records that are to be there, keys that are to go, keys that it names more than once."""

    records: list[Record] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)


async def _sorted(
    incoming: Incoming[Message],
    sieve: Sieve,
    group: Group,
    known: Mapping[bytes, str],
    kept: list[bytes] | None,
) -> _Sorted:
    found = _Sorted()
    seen: set[str] = set()
    deletes = _action(incoming) == _DELETE
    if incoming.records is None:
        return found
    async for usable in sieve.usable(incoming.records, lambda _: group, known, kept):
        for record, _ in usable:
            if record.key in seen:
                found.twice.append(record.key)
            elif deletes:
                found.gone.append(record.key)
            else:
                found.records.append(record)
            seen.add(record.key)
    return found


def _rewritten(incoming: Incoming[Message], kind: StateKind, group: Group, records: Sequence[bytes]) -> bytes:
    """Return the body of a push with these records in the place of its own."""
    return b'{"ActionType":%b,%b' % (orjson.dumps(_action(incoming)), kind.content(group.head, records))


def _is_large(incoming: Incoming[Message]) -> bool:
    worth = _WORTH_COMPARING if _action(incoming) == _FULL_LOAD else _WORTH_COMPARING_WITH_ALL
    return incoming.records is not None and len(incoming.records.raws) >= worth


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


async def _digest(incoming: Incoming[Message]) -> bytes:
    """Return what a repeated push is told by."""
    # 10 ms for 18 MB, in which the event loop goes on.
    return await asyncio.to_thread(lambda: incoming.digest) if _is_large(incoming) else incoming.digest


def _push(incoming: Incoming[Message], kind: StateKind, source: str, group: Group, digest: bytes | None) -> Push:
    action = _action(incoming)
    return Push(
        kind=kind.kind,
        source=source,
        groups=(group,),
        must=_MUST.get(action),
        replaces=Replaces.GROUPS if action == _FULL_LOAD else Replaces.NOTHING,
        digest=digest,
    )


def _refuse_contradictions(applied: Applied, push: Push) -> None:
    if applied.contradictions:
        exist = "exist already" if push.must is Must.BE_NEW else "do not exist"
        named = ", ".join(applied.contradictions[:_MOST_NAMED])
        raise Refusal(_DATA_TRANSACTION_ERROR, f"{len(applied.contradictions)} records {exist}: {named}")
