"""Missing CDRs: an EMP's node asks its CPO peers for their CDRs and imports those that it does not have.

The outbox of a CPO's node delivers every CDR by itself. This finds what was lost otherwise: a peer that is no node and
has given up, a dead letter, a database that was restored from a backup.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from p2p_oicp.concurrency import periodic
from p2p_oicp.errors import P2pOicpError, PeerError, PeerProtocolError, PeerRejected, Refusal, StoreError
from p2p_oicp.oicp import (
    ChargeDetailRecord,
    ChargeDetailRecordPage,
    GetChargeDetailRecords,
    ProviderID,
    StatusCodeValue,
    read_records,
    validate,
)
from p2p_oicp.oicp.intake import rewritten
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationRequest, Services
from p2p_oicp.roles.settlement import EmpCdrHandler
from p2p_oicp.storage import cdrs, job_keys
from p2p_oicp.storage.cdrs import InsertResult

log = structlog.get_logger(__name__)

_GET = OPERATION_BY_NAME["GetChargeDetailRecords"]
_CDR = OPERATION_BY_NAME["ChargeDetailRecord"]
_DAY_SECONDS = 86_400.0
# A CDR may come a day after its session, from a station without a connection. The first run goes back a month.
_OVERLAP_SECONDS = _DAY_SECONDS
_INITIAL_WINDOW_SECONDS = 30 * _DAY_SECONDS
_PAGE_SIZE = 500
# Some implementations never say that a page is the last one (WIRE.md).
_MAX_PAGES = 10_000


@dataclass(slots=True)
class ReconciliationResult:
    """What became of one peer's CDRs.

    Attributes:
        peer: its name.
        reported: CDRs that the peer sent.
        imported: those that were new here.
        rejected: those that could not be read, or contradict what is stored.
        error: why the peer was not read to the end; None if it was.
    """

    peer: str
    reported: int = 0
    imported: int = 0
    rejected: int = 0
    error: str | None = None


class CdrReconciler:
    """Asks all CPO peers for CDRs, periodically.

    Args:
        services: of the node.
        cdr_handler: imports the CDRs as if they had been delivered.
        interval: seconds between two runs; 0: only on request.
    """

    def __init__(self, services: Services, cdr_handler: EmpCdrHandler, interval: float) -> None:
        self._services = services
        self._cdr_handler = cdr_handler
        self._interval = interval

    @property
    def is_periodic(self) -> bool:
        return self._interval > 0

    async def run(self) -> None:
        # Not at start: every peer would be asked at each restart; after a restore, `roles.recovery` asks.
        await periodic("cdr reconciliation", self._interval, self.reconcile_all, at_start=False)

    async def reconcile_all(self, since: float | None = None, name: str | None = None) -> list[ReconciliationResult]:
        """Ask all CPO peers at the same time.

        Args:
            since: beginning of the period, in seconds since 1970; by default a day before the last run.
            name: of one peer; None: all of them.
        """
        cpo_peers = [
            peer
            for peer in self._services.registry.all()
            if not peer.is_self and _is_cpo(peer) and name in {None, peer.name}
        ]
        return list(await asyncio.gather(*(self._reconcile(peer, since) for peer in cpo_peers)))

    async def fetch(self, peer: Peer, since: float) -> bool:
        """Ask one peer for the CDRs of sessions that ended since; return whether it was read to the end."""
        return not _is_cpo(peer) or (await self._reconcile(peer, since)).error is None

    async def _reconcile(self, peer: Peer, since: float | None) -> ReconciliationResult:
        result, now = ReconciliationResult(peer.name), self._services.now()
        rows = await self._services.store.query(cdrs.RECONCILED_UNTIL, peer_=peer.id)
        default_since = rows[0]["until"] - _OVERLAP_SECONDS if rows else now - _INITIAL_WINDOW_SECONDS
        try:
            for provider in self._services.local_peer.providers:
                async for raw, record in self._fetch_records(
                    peer, provider, default_since if since is None else since, now
                ):
                    await self._store_one(peer, raw, record, result)
        except PeerError as error:
            result.error = str(error)
            log.warning("reconciliation.failed", peer=peer.name, reason=error.reason)
            return result
        await self._services.store.write(
            lambda tx: cdrs.mark_reconciled(tx, peer.id, now), about=(job_keys.destination(peer.id),)
        )
        log.info(
            "reconciliation.completed",
            peer=peer.name,
            reported=result.reported,
            imported=result.imported,
            rejected=result.rejected,
        )
        return result

    async def _fetch_records(
        self, peer: Peer, provider: ProviderID, since: float, until: float
    ) -> AsyncIterator[tuple[bytes, ChargeDetailRecord | None]]:
        """Yield the CDRs of all pages, None for one that cannot be read; raise PeerError."""
        body = GetChargeDetailRecords(provider_id=provider, from_=_instant(since), to=_instant(until)).to_json()
        for number in range(_MAX_PAGES):
            query = {"page": str(number), "size": str(_PAGE_SIZE)}
            reply = await self._services.peers.call(
                peer, _GET, provider.text, body, deadline=_GET.deadline, query=query
            )
            # Order: the page's status before its content (P3).
            status = getattr(reply.message, "status_code", None)
            if not isinstance(reply.message, ChargeDetailRecordPage) or (
                status and str(status.code) != StatusCodeValue.SUCCESS
            ):
                raise PeerRejected(peer.name, f"refused {_GET.name}: {status}", http_status=reply.http_status)
            stream = read_records(ChargeDetailRecordPage, reply.body)
            for parsed in stream:
                yield parsed.raw, parsed.record if isinstance(parsed.record, ChargeDetailRecord) else None
            if reply.message.is_last or not stream.raw_records:
                return
        raise PeerProtocolError(peer.name, f"{_MAX_PAGES} pages, and none of them is the last one")

    async def _store_one(
        self, peer: Peer, raw: bytes, record: ChargeDetailRecord | None, result: ReconciliationResult
    ) -> None:
        result.reported += 1
        if record is None:
            result.rejected += 1
            log.warning("reconciliation.unparsable_record", peer=peer.name, record=raw[:200].decode(errors="replace"))
            return
        operator = record.evse_id.operator
        party = operator.text if operator else None
        warnings, record = tuple(validate(record)), rewritten(record)
        request = OperationRequest(_CDR, record, peer, party, body=record.to_json(), received=raw, warnings=warnings)
        try:
            insert_result = (await self._cdr_handler.store_cdr(request)).result
        except StoreError as error:
            result.rejected += 1
            log.warning("reconciliation.store_failed", peer=peer.name, error=error)
        except Refusal as error:
            result.rejected += 1
            log.warning(
                "reconciliation.record_rejected",
                peer=peer.name,
                session_id=str(record.session_id),
                reason=_reason(error),
            )
            return
        result.imported += insert_result is InsertResult.NEW
        result.rejected += insert_result is InsertResult.CONFLICT


def _reason(error: P2pOicpError) -> str:
    return f"{error.code} {error.info}" if isinstance(error, Refusal) else str(error)


def _is_cpo(peer: Peer) -> bool:
    return bool(peer.operators or peer.default_route) and peer.serves(_GET.name)


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
