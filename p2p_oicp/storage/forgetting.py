"""Forgets of sessions what nobody will ask for any more, a little at a time.

A refused start is needed as long as it may be repeated; the story of a settled session for as long as the operator of
the node says. Records and the sessions they belong to stay: they are what a dispute is settled with.
"""

from __future__ import annotations

from sqlalchemy import bindparam, delete, exists, select

from p2p_oicp.storage.lifecycle import State
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.tables import session_events, sessions
from p2p_oicp.storage.writer import Transaction

_OLD_REFUSALS = compiled(
    select(sessions.c.role, sessions.c.session_key)
    .where(sessions.c.state == State.REFUSED, sessions.c.updated_at < bindparam("before_"))
    .limit(bindparam("most"))
)
_of_session = exists().where(
    sessions.c.role == session_events.c.role,
    sessions.c.session_key == session_events.c.session_key,
    sessions.c.state != State.SETTLED,
)
_OLD_EVENTS = compiled(
    select(session_events.c.id)
    .where(session_events.c.at < bindparam("before_"), ~_of_session)
    .order_by(session_events.c.at)
    .limit(bindparam("most"))
)
_FORGET_SESSION = compiled(
    delete(sessions).where(sessions.c.role == bindparam("role_"), sessions.c.session_key == bindparam("key_"))
)
_FORGET_EVENTS_OF = compiled(
    delete(session_events).where(
        session_events.c.role == bindparam("role_"), session_events.c.session_key == bindparam("key_")
    )
)
_FORGET_EVENT = compiled(delete(session_events).where(session_events.c.id == bindparam("id_")))


def refusals(tx: Transaction, before: float, most: int) -> int:
    """Forget up to ``most`` starts that were refused before a time; return how many it were."""
    rows = tx.all(_OLD_REFUSALS, before_=before, most=most)
    for row in rows:
        tx.run(_FORGET_EVENTS_OF, role_=row["role"], key_=row["session_key"])
        tx.run(_FORGET_SESSION, role_=row["role"], key_=row["session_key"])
    return len(rows)


def stories(tx: Transaction, before: float, most: int) -> int:
    """Forget up to ``most`` events from before a time, of sessions that are over; return how many it were."""
    rows = tx.all(_OLD_EVENTS, before_=before, most=most)
    tx.run_many(_FORGET_EVENT, [{"id_": row["id"]} for row in rows])
    return len(rows)
