"""Records that never came: an EMP's node asks its CPO peers what they have, and takes over what it misses.

The outbox of a CPO's node brings every record by itself; this finds what was lost on other ways: a peer that is no
node and gave up, a dead letter, a database that was restored from a backup.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from p2p_oicp.delivery import Courier
from p2p_oicp.errors import P2pOicpError, PeerBroken, PeerError, PeerRejected, Refusal, StoreError
from p2p_oicp.oicp import ChargeDetailRecord, ChargeDetailRecordPage, GetChargeDetailRecords, ProviderID, read_records
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import Incoming, RoleContext
from p2p_oicp.roles.emp.settlement import EmpSettlement
from p2p_oicp.storage import cdrs
from p2p_oicp.storage.cdrs import Kept

log = structlog.get_logger(__name__)

_GET = OPERATION_BY_NAME["GetChargeDetailRecords"]
_CDR = OPERATION_BY_NAME["ChargeDetailRecord"]
_SUCCESS = "000"
_DAY = 86_400.0
# A record may be told a day after its session (a station without a connection); the first look goes back a month.
_LATE_SECONDS = _DAY
_FIRST_LOOK_SECONDS = 30 * _DAY
_RECORDS_A_PAGE = 500
# A page that never is the last one must end as well (WIRE.md).
_MOST_PAGES = 10_000


@dataclass(slots=True)
class Outcome:
    """What one peer had: records it told, how many were new here, how many were refused, and why it stopped early."""

    peer: str
    told: int = 0
    new: int = 0
    refused: int = 0
    error: str | None = None


class Reconciling:
    """Asks every ``interval`` seconds (0: never by itself), and when ``wanted`` is set."""

    def __init__(self, context: RoleContext, settlement: EmpSettlement, interval: float) -> None:
        self._context = context
        self._settlement = settlement
        self._interval = interval
        self._courier: Courier = context.courier
        self.wanted = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval or None):
                    await self.wanted.wait()
            self.wanted.clear()
            try:
                await self.reconcile_all()
            except StoreError as error:
                log.exception("reconciling.store_failed", error=str(error))

    async def reconcile_all(self, since: float | None = None) -> list[Outcome]:
        """Ask all CPO peers side by side; ``since`` (seconds since the epoch) asks for more than usual."""
        asked = [peer for peer in self._context.registry.all() if not peer.is_self and _is_cpo(peer)]
        return list(await asyncio.gather(*(self._reconcile(peer, since) for peer in asked)))

    async def _reconcile(self, peer: Peer, since: float | None) -> Outcome:
        outcome, now = Outcome(peer.name), self._context.now()
        rows = await self._context.store.read(cdrs.RECONCILED, peer_=peer.name)
        usual = rows[0]["until"] - _LATE_SECONDS if rows else now - _FIRST_LOOK_SECONDS
        try:
            for provider in self._context.me.providers:
                async for raw, record in self._records(peer, provider, usual if since is None else since, now):
                    await self._take(peer, raw, record, outcome)
        except PeerError as error:
            outcome.error = str(error)
            log.warning("reconciling.failed", peer=peer.name, reason=error.reason)
            return outcome
        await self._context.store.write(lambda tx: cdrs.mark_reconciled(tx, peer.name, now))
        log.info("reconciling.done", peer=peer.name, told=outcome.told, new=outcome.new, refused=outcome.refused)
        return outcome

    async def _records(
        self, peer: Peer, provider: ProviderID, since: float, until: float
    ) -> AsyncIterator[tuple[bytes, ChargeDetailRecord | None]]:
        """Read page after page; raises PeerError."""
        body = GetChargeDetailRecords(provider_id=provider, from_=_instant(since), to=_instant(until)).to_json()
        for number in range(_MOST_PAGES):
            query = {"page": str(number), "size": str(_RECORDS_A_PAGE)}
            reply = await self._courier.call(peer, _GET, provider.text, body, deadline=_GET.deadline, query=query)
            # The page's own status comes before its content (box P3).
            status = getattr(reply.message, "status_code", None)
            if not isinstance(reply.message, ChargeDetailRecordPage) or (status and str(status.code) != _SUCCESS):
                raise PeerRejected(peer.name, f"refused {_GET.name}: {status}", http_status=reply.http_status)
            reading = read_records(ChargeDetailRecordPage, reply.body)
            for found in reading:
                yield found.raw, found.record if isinstance(found.record, ChargeDetailRecord) else None
            if reply.message.is_last or not reading.raws:
                return
        raise PeerBroken(peer.name, f"{_MOST_PAGES} pages, and none of them is the last one")

    async def _take(self, peer: Peer, raw: bytes, record: ChargeDetailRecord | None, outcome: Outcome) -> None:
        outcome.told += 1
        if record is None:
            outcome.refused += 1
            log.warning("reconciling.unreadable", peer=peer.name, record=raw[:200].decode(errors="replace"))
            return
        operator = record.evse_id.operator
        incoming = Incoming(_CDR, record, peer, operator.text if operator else None, body=raw)
        try:
            _, kept = await self._settlement.keep(incoming)
        except (Refusal, StoreError) as error:
            outcome.refused += 1
            log.warning("reconciling.refused", peer=peer.name, session_id=str(record.session_id), reason=_reason(error))
            return
        outcome.new += kept is Kept.NEW
        outcome.refused += kept is Kept.DIFFERENT


def _reason(error: P2pOicpError) -> str:
    return f"{error.code} {error.info}" if isinstance(error, Refusal) else str(error)


def _is_cpo(peer: Peer) -> bool:
    return bool(peer.operators or peer.default_route) and peer.serves(_GET.name)


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
