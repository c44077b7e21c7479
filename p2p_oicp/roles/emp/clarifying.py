"""What became of a remote start whose answer never came? The CPO's node knows.

A worker asks about every *uncertain* session, again and again, until the CPO's node says where it stands, until a
notification or the CDR says it, or until the session expires. A peer that is no node never says; then the CDR does.
"""

from __future__ import annotations

from typing import Final

import structlog

from p2p_oicp.delivery import Enquirer, SessionReport
from p2p_oicp.delivery.bells import Bell
from p2p_oicp.errors import PeerError, StoreError
from p2p_oicp.oicp import ProviderID, SessionID
from p2p_oicp.peers import Peer
from p2p_oicp.roles.answers import Ids, acknowledgement
from p2p_oicp.roles.context import RoleContext
from p2p_oicp.storage import Transaction, sessions
from p2p_oicp.storage.lifecycle import State
from p2p_oicp.storage.sessions import Session

log = structlog.get_logger(__name__)

_ROLE = "emp"
# Nobody waits longer than a minute for an answer (CONFORMANCE D58): what has not arrived by then never will.
_ON_ITS_WAY_SECONDS = 60.0
#: What the CPO's state means for ours; ``settled`` is ours to say, when we have the record.
_MEANS: Final = {
    "authorized": State.AUTHORIZED,
    "charging": State.CHARGING,
    "ended": State.ENDED,
    "settled": State.ENDED,
    "refused": State.REFUSED,
}


class Clarifying:
    """Asks about uncertain sessions; ``interval`` is in seconds."""

    def __init__(self, context: RoleContext, enquirer: Enquirer, interval: float) -> None:
        self._context = context
        self._enquirer = enquirer
        self._interval = interval
        self._bell = Bell("uncertain sessions")

    def wanted(self, peer: Peer) -> None:
        """Say that a session with ``peer`` has become uncertain."""
        log.info("session.uncertain", peer=peer.name)
        self._bell.ring()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                left = await self.ask_about_all()
            except StoreError as error:
                log.exception("clarifying.store_failed", error=str(error))
                left = 1
            await self._bell.wait(self._interval if left else None)

    async def ask_about_all(self) -> int:
        """Ask about each uncertain session once; return how many still are."""
        rows = await self._context.store.read(sessions.UNCERTAIN, role_=_ROLE)
        left = 0
        for session in sessions.as_sessions(rows):
            left += not await self._ask_about(session)
        return left

    async def _ask_about(self, session: Session) -> bool:
        peer = self._context.registry.by_name(session.peer)
        if peer is None:
            return False
        try:
            report = await self._report(peer, session)
        except PeerError as error:
            log.info("clarifying.no_answer", peer=peer.name, session_id=session.session_id, reason=error.reason)
            return False
        state = self._verdict(session, report)
        if state is not None:
            log.info("session.clarified", peer=peer.name, session_id=session.session_id, state=state)
            await self._context.store.write(lambda tx: self._clarified(tx, session, state, report))
        return state is not None

    async def _report(self, peer: Peer, session: Session) -> SessionReport | None:
        if peer.is_self:
            row = await self._context.store.read(sessions.GET, role_="cpo", key_=session.session_key)
            return SessionReport(row[0]["state"], row[0]["cpo_partner_session_id"]) if row else None
        return await self._enquirer.ask(peer, ProviderID(session.provider_id), SessionID(session.session_id))

    def _verdict(self, session: Session, report: SessionReport | None) -> State | None:
        if report is not None:
            return _MEANS.get(report.state)
        never_arrived = self._context.now() - session.created_at > _ON_ITS_WAY_SECONDS
        return State.REFUSED if never_arrived else None

    def _clarified(self, tx: Transaction, session: Session, state: State, report: SessionReport | None) -> None:
        now = self._context.now()
        values: dict[str, object] = {}
        if state is not State.REFUSED:
            partner = report.cpo_partner_session_id if report else None
            ids = Ids(session.session_id, partner or session.cpo_partner_session_id, session.emp_partner_session_id)
            values = {"cpo_partner_session_id": ids.cpo_partner_session_id, "answer": acknowledgement(ids=ids).body}
        sessions.move(tx, _ROLE, session.session_key, now, state, **values)
        sessions.note(
            tx, _ROLE, session.session_key, now, f"the CPO's node says: {report.state if report else 'unknown'}"
        )
