"""Records of a push or a pull, read one by one: the usable ones go on, the others are kept aside with the reason.

The event loop gets its turn between a few of them: a push of 10,000 records never holds up an authorization. A record's
model lives only until its bytes and columns are taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from types import MappingProxyType

from p2p_oicp.oicp import Finding, Message, Readable, RecordReading, Severity
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import RoleContext
from p2p_oicp.roles.state.kinds import OPERATOR_CODE, StateKind
from p2p_oicp.roles.state.pins import redacted, without_pin
from p2p_oicp.storage.state import quarantine
from p2p_oicp.storage.state.apply import digest_of
from p2p_oicp.storage.state.model import OWN, SAME, Group, Kind, Record
from p2p_oicp.storage.state.quarantine import SetAside

# Half a millisecond.
_BETWEEN_TURNS = 25
_MOST_FINDINGS = 100
_NOTHING: Mapping[bytes, str] = MappingProxyType({})


class Sieve:
    """Sorts the records of ``owner``: our own company, or a peer."""

    def __init__(self, context: RoleContext, kind: StateKind, owner: Peer) -> None:
        self._context = context
        self._kind = kind
        self._owner = owner
        self.source = OWN if owner.is_self else owner.name
        self.unusable: list[SetAside] = []
        #: What is wrong, as much as a sender will read.
        self.findings: list[Finding] = []

    async def usable(
        self,
        reading: RecordReading[Message],
        group_of: Callable[[Readable], Group],
        known: Mapping[bytes, str] = _NOTHING,
        kept: list[bytes] | None = None,
    ) -> AsyncIterator[list[tuple[Record, Readable | None]]]:
        """Yield what can be used, a few at a time, each with what it was made from.

        ``known`` are the digests of what is stored already, with their keys: such a record was read before, and is not
        read again. What can be used is added to ``kept``, as it may be stored.
        """
        for start in range(0, len(reading.raws), _BETWEEN_TURNS):
            if start:
                await asyncio.sleep(0)
            found: list[tuple[Record, Readable | None]] = []
            for place, raw in enumerate(reading.raws[start : start + _BETWEEN_TURNS], start):
                if known and (key := known.get(digest_of(raw))) is not None:
                    found.append((Record(key, "", SAME), None))
                elif (record := self._read(reading, place, raw)) is not None:
                    if self._kind.kind is Kind.AUTHENTICATION:
                        raw, record = await without_pin(self._context, self.source, raw, record)  # noqa: PLW2901 - its PIN is gone
                    found.append((self._kind.record(raw, record, group_of(record)), record))
                else:
                    continue
                if kept is not None:
                    kept.append(raw)
            yield found

    def _read(self, reading: RecordReading[Message], place: int, raw: bytes) -> Readable | None:
        """Read a record; None where it cannot be used, and is put aside."""
        record: Readable | None = reading.likeness(raw)
        wrong: list[Finding] = []
        if record is None:
            _, record, findings = reading.at(place)
            wrong = [finding for finding in findings if finding.severity is Severity.ERROR]
        if record is not None:
            wrong += self._foreign(record, f"{reading.pointer}/{place}")
        if record is None or wrong:
            self._put_aside(raw, wrong)
            return None
        return record

    def _foreign(self, record: Readable, at: str) -> list[Finding]:
        """Report a record of parties that its sender does not speak for."""
        owners, owner = self._kind.owners(record), self._owner
        foreign = [party for party in owners if party is None or not owner.answers_for(party)]
        if not foreign:
            return []
        code = "foreign-evse-id" if self._kind.foreign_code == OPERATOR_CODE else "foreign-evco-id"
        named = _named(record)
        return [
            Finding(Severity.ERROR, at, code, f"{named} belongs to {party}, for whom {owner.name} does not speak")
            for party in foreign
        ]

    def _put_aside(self, raw: bytes, wrong: list[Finding]) -> None:
        kept = redacted(raw) if self._kind.kind is Kind.AUTHENTICATION else raw
        self.unusable.append(SetAside(kept, tuple(wrong)))
        # Records of somebody else forbid the whole push, however much else is wrong with it.
        foreign = self._kind.foreign_code
        many = len(self.findings) >= _MOST_FINDINGS
        self.findings += [finding for finding in wrong if not many or finding.status_code == foreign]

    async def keep_aside(self, operation: str) -> int:
        """Store what could not be used; return how much of it was never seen before."""
        return await quarantine.set_aside(
            self._context.store, self.source, operation, self.unusable, self._context.now()
        )


def _named(record: Readable) -> str:
    evse_id = getattr(record, "evse_id", None)
    return f"EvseID {evse_id}" if evse_id is not None else "a contract"
