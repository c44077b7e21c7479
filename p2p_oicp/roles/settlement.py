"""Charging notifications and charge detail records, from stop to stop.

They go from a CPO's backend to its node, to the EMP's node, to the EMP's backend. At each of the two nodes the same
happens: the message is durable, together with the letter that the next stop is owed, before it is acknowledged. A
next stop that is down for a week gets it afterwards (CPO-02: a positive result is given when the CDR is stored).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import ChargeDetailRecord, ChargingNotification
from p2p_oicp.roles.answers import Ids, acknowledgement
from p2p_oicp.roles.book import SESSION_IS_INVALID, SessionBook
from p2p_oicp.roles.context import Answer, Incoming, RoleContext
from p2p_oicp.roles.progress import check_evse
from p2p_oicp.storage import Transaction, cdrs, outbox, sessions
from p2p_oicp.storage.cdrs import Kept, Record
from p2p_oicp.storage.lifecycle import State, after_notification
from p2p_oicp.storage.sessions import Session

T = TypeVar("T")
Told = Incoming[ChargingNotification] | Incoming[ChargeDetailRecord]

# How far charging has come is told once: the newest that waits is sent, not what it supersedes.
_PROGRESS = "Progress"


class Settlement:
    """Telling what happened; both roles say in a subclass what they check, and where it goes next."""

    role: str

    def __init__(self, context: RoleContext) -> None:
        self._context = context
        self._book = SessionBook(self.role, context)

    async def _adopt(self, incoming: Told) -> bool:
        """Open the session of a message that speaks of none we know, if there is a reason to; say whether."""
        del incoming
        return False

    async def _stored(self, incoming: Told, job: Callable[[Transaction], T]) -> T:
        """Run a job that finds the session; what nobody knows may be adopted, and then it runs again."""
        try:
            return await self._context.store.write(job)
        except Refusal as refused:
            if refused.code != SESSION_IS_INVALID or not await self._adopt(incoming):
                raise
        return await self._context.store.write(job)

    def _check_notification(self, session: Session, notification: ChargingNotification) -> float | None:
        """Return when the session last made progress, in seconds since the epoch; raises Refusal."""
        del notification
        return session.progress_at

    def _destination(self, session: Session) -> str:
        return session.peer

    async def charging_notifications(self, incoming: Incoming[ChargingNotification]) -> Answer:
        """Take over a notification of a session; the very same one again is only acknowledged again (box H4)."""
        session = await self._stored(incoming, lambda tx: self._notify(tx, incoming))
        self._context.bells.ring(self._destination(session))
        return acknowledgement(ids=Ids.of_session(session))

    def _notify(self, tx: Transaction, incoming: Incoming[ChargingNotification]) -> Session:
        session, now = self._book.find(tx, incoming), self._context.now()
        key, kind = session.session_key, str(incoming.message.type)
        event = f"notification {kind}"
        if not sessions.note(tx, self.role, key, now, event, incoming.body, digest=incoming.digest):
            return session  # the same again: its letter is on the way, or was
        progress_at = self._check_notification(session, incoming.message)
        sessions.move(tx, self.role, key, now, after_notification(session.state, kind), progress_at=progress_at)
        self._owe(tx, incoming, session, now, topic=_PROGRESS if kind == _PROGRESS else "")
        return session

    async def charge_detail_record(self, incoming: Incoming[ChargeDetailRecord]) -> Answer:
        """Take over the one record of a session; the same again is acknowledged again, a different one refused."""
        session, kept = await self.keep(incoming)
        if kept is Kept.DIFFERENT:
            raise Refusal(
                SESSION_IS_INVALID, f"session {session.session_id} has a different charge detail record already"
            )
        return acknowledgement(ids=Ids.of_session(session))

    async def keep(self, incoming: Incoming[ChargeDetailRecord]) -> tuple[Session, Kept]:
        """Store a record with the letter that the next stop is owed; raises Refusal 400 or 022."""
        session, kept = await self._stored(incoming, lambda tx: self._keep(tx, incoming))
        self._context.bells.ring(self._destination(session))
        return session, kept

    def _keep(self, tx: Transaction, incoming: Incoming[ChargeDetailRecord]) -> tuple[Session, Kept]:
        session = self._book.find(tx, incoming)
        check_evse(session, incoming.message)
        now = self._context.now()
        kept = cdrs.keep(tx, _record(self.role, session, incoming), now)
        if kept is Kept.NEW:
            sessions.move(tx, self.role, session.session_key, now, State.ENDED)
            sessions.note(tx, self.role, session.session_key, now, "charge detail record", incoming.body)
            self._owe(tx, incoming, session, now)
        elif kept is Kept.DIFFERENT:
            sessions.note(tx, self.role, session.session_key, now, "another record refused", incoming.body)
        return session, kept

    def _owe(self, tx: Transaction, incoming: Told, session: Session, now: float, topic: str = "") -> None:
        outbox.put(
            tx,
            destination=self._destination(session),
            operation=incoming.operation.name,
            party=incoming.party,
            role=self.role,
            session_key=session.session_key,
            topic=topic,
            body=incoming.body,
            now=now,
        )


def _record(role: str, session: Session, incoming: Incoming[ChargeDetailRecord]) -> Record:
    operator = incoming.message.evse_id.operator
    provider = incoming.message.identification.provider
    return Record(
        role=role,
        session_key=session.session_key,
        peer=session.peer,
        operator_key=session.operator_key or (operator.key if operator else ""),
        provider_key=session.provider_key or (provider.key if provider else ""),
        session_end=incoming.message.session_end.timestamp(),
        body=incoming.body,
    )
