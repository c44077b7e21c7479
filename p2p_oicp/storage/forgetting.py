"""Forgets of sessions what nobody will ask for any more, a little at a time.

A refused start is needed as long as it may be repeated; the story of a settled session, a session that was given up,
and who said yes to a card, for as long as the operator of the node says. Records and the sessions they belong to stay:
they are what a dispute is settled with. Beside them, what was signed and the records that were refused stay for years.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Column, Delete, Table, bindparam, delete, exists, select

from p2p_oicp.storage.evidence import KEYS_LAG_SECONDS
from p2p_oicp.storage.lifecycle import State
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.tables import cards, evidence, evidence_keys, refused_cdrs, session_events, sessions
from p2p_oicp.storage.writer import Transaction

_OLD_SESSIONS = compiled(
    select(sessions.c.role, sessions.c.session_key)
    .where(sessions.c.state == bindparam("state_"), sessions.c.updated_at < bindparam("before_"))
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
#: Cards that were seen before a time; they are looked for beside the writer, for no index finds them.
OLD_CARDS = compiled(select(cards.c.uid_key).where(cards.c.seen_at < bindparam("before_")).limit(bindparam("most")))
_FORGET_CARD = compiled(
    delete(cards).where(cards.c.uid_key == bindparam("uid_"), cards.c.seen_at < bindparam("before_"))
)


def _old_rows(table: Table, time: Column[float]) -> Delete:
    """Return what deletes old rows of a table that is in order of time: it looks at the first ones only."""
    first = select(table.c.id, time.label("at")).order_by(table.c.id).limit(bindparam("most")).subquery()
    return delete(table).where(table.c.id.in_(select(first.c.id).where(first.c.at < bindparam("before_"))))


_FORGET_EVIDENCE = compiled(_old_rows(evidence, evidence.c.at))
_FORGET_KEYS = compiled(delete(evidence_keys).where(evidence_keys.c.used_at < bindparam("before_")))
_FORGET_REFUSED = compiled(_old_rows(refused_cdrs, refused_cdrs.c.received_at))


def refusals(tx: Transaction, before: float, most: int) -> int:
    """Forget up to ``most`` starts that were refused before a time; return how many it were."""
    return _sessions(tx, State.REFUSED, before, most)


def given_up(tx: Transaction, before: float, most: int) -> int:
    """Forget up to ``most`` sessions that have expired before a time, without a record; return how many it were."""
    return _sessions(tx, State.EXPIRED, before, most)


def _sessions(tx: Transaction, state: State, before: float, most: int) -> int:
    rows = tx.all(_OLD_SESSIONS, state_=state, before_=before, most=most)
    for row in rows:
        tx.run(_FORGET_EVENTS_OF, role_=row["role"], key_=row["session_key"])
        tx.run(_FORGET_SESSION, role_=row["role"], key_=row["session_key"])
    return len(rows)


def stories(tx: Transaction, before: float, most: int) -> int:
    """Forget up to ``most`` events from before a time, of sessions that are over; return how many it were."""
    rows = tx.all(_OLD_EVENTS, before_=before, most=most)
    tx.run_many(_FORGET_EVENT, [{"id_": row["id"]} for row in rows])
    return len(rows)


def signed_exchanges(tx: Transaction, before: float, most: int) -> int:
    """Forget those of the ``most`` oldest signed exchanges that are from before a time; return how many it were.

    The keys that nothing is signed with since then, there are few of them, go as well, and count.
    """
    keys = tx.run(_FORGET_KEYS, before_=before - KEYS_LAG_SECONDS)
    return keys + tx.run(_FORGET_EVIDENCE, before_=before, most=most)


def refused_records(tx: Transaction, before: float, most: int) -> int:
    """Forget those of the ``most`` oldest refused records that are from before a time; return how many it were."""
    return tx.run(_FORGET_REFUSED, before_=before, most=most)


def these_cards(tx: Transaction, uid_keys: Iterable[str], before: float) -> int:
    """Forget cards, unless they were seen since; return how many it were."""
    return sum(tx.run(_FORGET_CARD, uid_=uid_key, before_=before) for uid_key in uid_keys)
