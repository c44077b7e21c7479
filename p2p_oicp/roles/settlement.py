"""Charging notifications and charge detail records, from stop to stop.

They go from a CPO's backend to its node, to the EMP's node, to the EMP's backend. At each of the two nodes the same
happens: the message is durable, together with the letter that the next stop is owed, before it is acknowledged. A
next stop that is down for a week gets it afterwards (CPO-02: a positive result is given when the CDR is stored).
"""

from __future__ import annotations

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import ChargeDetailRecord, ChargingNotification
from p2p_oicp.roles.answers import Ids, acknowledgement
from p2p_oicp.roles.book import SESSION_IS_INVALID, SessionBook
from p2p_oicp.roles.context import Answer, Incoming, RoleContext
from p2p_oicp.roles.progress import check_evse, state_after
from p2p_oicp.storage import Transaction, cdrs, outbox, sessions
from p2p_oicp.storage.cdrs import Kept
from p2p_oicp.storage.sessions import Session, State

# How far charging has come is told once: the newest that waits is sent, not what it supersedes.
_PROGRESS = "Progress"


class Settlement:
    """Telling what happened; ``next_stop`` names the destination after this node, None: the session's peer."""

    def __init__(self, role: str, context: RoleContext, next_stop: str | None = None) -> None:
        self._role = role
        self._context = context
        self._next_stop = next_stop
        self._book = SessionBook(role, context)

    async def charging_notifications(self, incoming: Incoming[ChargingNotification]) -> Answer:
        """Take over a notification of a session."""
        session = await self._context.store.write(lambda tx: self._notify(tx, incoming))
        self._context.bells.ring(self._destination(session))
        return acknowledgement(ids=Ids.of_session(session))

    def _notify(self, tx: Transaction, incoming: Incoming[ChargingNotification]) -> Session:
        session = self._book.find(tx, incoming)
        now, kind = self._context.now(), str(incoming.message.type)
        digest, event = incoming.digest, f"notification {kind}"
        if not sessions.note(tx, self._role, session.session_key, now, event, incoming.body, digest=digest):
            return session  # the same again: its letter is on the way, or was
        sessions.change(tx, self._role, session.session_key, now, state=state_after(session, incoming.message))
        self._owe(tx, incoming, session, now, topic=_PROGRESS if kind == _PROGRESS else "")
        return session

    async def charge_detail_record(self, incoming: Incoming[ChargeDetailRecord]) -> Answer:
        """Take over the one record of a session; the same again is acknowledged again, a different one refused."""
        session, kept = await self._context.store.write(lambda tx: self._keep(tx, incoming))
        if kept is Kept.DIFFERENT:
            raise Refusal(
                SESSION_IS_INVALID, f"session {session.session_id} has a different charge detail record already"
            )
        self._context.bells.ring(self._destination(session))
        return acknowledgement(ids=Ids.of_session(session))

    def _keep(self, tx: Transaction, incoming: Incoming[ChargeDetailRecord]) -> tuple[Session, Kept]:
        session = self._book.find(tx, incoming)
        check_evse(session, incoming.message)
        now = self._context.now()
        kept = cdrs.keep(
            tx, role=self._role, session_key=session.session_key, peer=session.peer, now=now, body=incoming.body
        )
        if kept is Kept.NEW:
            sessions.change(tx, self._role, session.session_key, now, state=State.ENDED)
            sessions.note(tx, self._role, session.session_key, now, "charge detail record", incoming.body)
            self._owe(tx, incoming, session, now)
        return session, kept

    def _owe(
        self,
        tx: Transaction,
        incoming: Incoming[ChargingNotification] | Incoming[ChargeDetailRecord],
        session: Session,
        now: float,
        topic: str = "",
    ) -> None:
        outbox.put(
            tx,
            destination=self._destination(session),
            operation=incoming.operation.name,
            party=incoming.party,
            role=self._role,
            session_key=session.session_key,
            topic=topic,
            body=incoming.body,
            now=now,
        )

    def _destination(self, session: Session) -> str:
        return self._next_stop or session.peer
