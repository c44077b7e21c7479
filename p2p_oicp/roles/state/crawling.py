"""Pulling peers that do not push: every ``pull_interval`` seconds, by delta where there is one (boxes P3, S2, S3).

Nothing is cleared first: what comes is staged, and applied as a whole when the last page is there. The watermark of a
delta is the other side's clock before the first page, committed with the last one; the next pull asks from five minutes
before it. A record that cannot be read is set aside, and asked for once more: only bytes that were unreadable twice are
passed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
import structlog

from p2p_oicp.clock import wire_time
from p2p_oicp.delivery import Backoff
from p2p_oicp.errors import PeerBroken, PeerError, PeerRejected, StoreError
from p2p_oicp.oicp import EvseDataPage, InvalidMessage, StatusCode, read_records
from p2p_oicp.oicp.operation import Operation, Party
from p2p_oicp.peers import Peer
from p2p_oicp.roles.answers import SUCCESS
from p2p_oicp.roles.context import RoleContext
from p2p_oicp.roles.state.harvest import PULLS, Harvest
from p2p_oicp.storage.state import watermarks
from p2p_oicp.storage.state.intake import Intake
from p2p_oicp.storage.state.model import Kind, Push, Replaces
from p2p_oicp.transport import Reply

log = structlog.get_logger(__name__)

_PAGE_SIZE = 2000
_MOST_PAGES = 100_000
# The clocks of two companies differ, and what is being written while we ask has an earlier time (box S2).
SKEW_GUARD_SECONDS = 300.0
_LONGEST_PAUSE_AFTER_FAILURE_SECONDS = 300.0


class Crawler:
    """Pulls one peer again and again."""

    def __init__(self, context: RoleContext, peer: Peer, interval: float, backoff: Backoff) -> None:
        self._context = context
        self._peer = peer
        self._interval = interval
        self._backoff = backoff
        self._failures = 0

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            pause = await self.pull()
            await asyncio.sleep(pause)

    async def pull(self) -> float:
        """Pull every kind of state that this peer has for us; return the seconds until the next time."""
        failed = False
        for kind, pull in PULLS.items():
            if not self._is_wanted(pull.operation):
                continue
            try:
                await self._pull(kind)
            except (PeerError, StoreError) as error:
                failed = True
                log.info("crawl.failed", peer=self._peer.name, kind=kind.name.lower(), error=str(error))
        self._failures = self._failures + 1 if failed else 0
        if not failed:
            return self._interval
        return min(self._interval, self._backoff.wait(self._failures), _LONGEST_PAUSE_AFTER_FAILURE_SECONDS)

    def _is_wanted(self, operation: Operation) -> bool:
        me, peer = self._context.me, self._peer
        ours, theirs = (
            (me.providers, peer.operators) if operation.sender is Party.EMP else (me.operators, peer.providers)
        )
        return bool(ours and theirs) and peer.serves(operation.name)

    async def _pull(self, kind: Kind) -> None:
        """Pull one kind: gather all of it, then apply all of it, then commit the watermark."""
        name, store = self._peer.name, self._context.store
        since = await watermarks.get(store, name, kind) if kind is Kind.EVSE_DATA else None
        replaces = Replaces.SOURCE if since is None else Replaces.NOTHING
        push = Push(kind=kind, source=name, groups=(), replaces=replaces)
        intake = Intake(self._context.keeper, push)
        harvest = Harvest(self._context, self._peer, kind, intake)
        try:
            watermark = await self._gather(kind, harvest, since)
            if not harvest.count and since is None:
                log.warning("crawl.empty", peer=name, kind=kind.name.lower(), meaning="all withdrawn")
            applied = await intake.apply(harvest.groups)
        except BaseException as error:
            await asyncio.shield(intake.drop())
            if isinstance(error, PeerRejected) and since is not None:
                await watermarks.forget(store, name, kind)
            raise
        unseen = await harvest.set_aside()
        if kind is Kind.EVSE_DATA and not unseen:
            await watermarks.commit(store, name, kind, watermark)
        log.info("crawl.done", peer=name, kind=kind.name.lower(), records=harvest.count, changed=applied.changed)

    async def _gather(self, kind: Kind, harvest: Harvest, since: float | None) -> float:
        """Take in everything; return the other side's time before the first answer."""
        watermark: float | None = None
        answers = self._pages(since) if kind is Kind.EVSE_DATA else self._blocks(kind)
        async for reply in answers:
            watermark = watermark or reply.sent_at or self._context.now()
            try:
                await harvest.take(reply.body)
            except InvalidMessage as error:
                raise PeerBroken(self._peer.name, f"the answer is not OICP: {error}") from error
        return watermark or self._context.now()

    async def _pages(self, since: float | None) -> AsyncIterator[Reply]:
        """Ask page after page; a page that does not say whether it is the last one is (box P3)."""
        asked = {"ProviderID": self._context.me.providers[0].text, "GeoCoordinatesResponseFormat": "Google"}
        if since is not None:
            asked["LastCall"] = wire_time(since - SKEW_GUARD_SECONDS)
        body, operation = orjson.dumps(asked), PULLS[Kind.EVSE_DATA].operation
        for number in range(_MOST_PAGES):
            reply = await self._ask(
                operation, asked["ProviderID"], body, {"page": str(number), "size": str(_PAGE_SIZE)}
            )
            yield reply
            page = reply.message
            if not isinstance(page, EvseDataPage) or page.is_last or not read_records(EvseDataPage, reply.body).raws:
                return

    async def _blocks(self, kind: Kind) -> AsyncIterator[Reply]:
        for party, body in PULLS[kind].requests(self._context.me, self._peer):
            yield await self._ask(PULLS[kind].operation, party, body)

    async def _ask(self, operation: Operation, party: str, body: bytes, query: dict[str, str] | None = None) -> Reply:
        """Ask one thing; raises PeerRejected where the answer is a refusal, whatever stands beside it."""
        reply = await self._context.courier.call(
            self._peer, operation, party, body, deadline=operation.deadline, query=query
        )
        status = getattr(reply.message, "status_code", None)
        code = str(status.code) if isinstance(status, StatusCode) else SUCCESS
        if code != SUCCESS or not isinstance(reply.message, operation.response):
            raise PeerRejected(
                self._peer.name, f"refused {operation.name} with {code}", http_status=reply.http_status, code=code
            )
        return reply
