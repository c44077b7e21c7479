"""Peers to which a person has had deliveries paused: what is for them waits, in the outbox and behind their cursors.

A pause survives restarts, and ends when a person ends it. It is about deliveries alone: requests of drivers, which
cannot wait, are sent and served as ever.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, delete, select

from p2p_oicp.storage.event_log import Event, EventType, emit
from p2p_oicp.storage.schema import pauses
from p2p_oicp.storage.statements import compiled, inserting_named
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Transaction

_INSERT = inserting_named(pauses, "peer", "since", "reason", instead="OR REPLACE")
_DELETE = compiled(delete(pauses).where(pauses.c.peer == bindparam("peer_")))
_GET = compiled(select(pauses.c.since).where(pauses.c.peer == bindparam("peer_")))
_ALL = compiled(select(pauses.c.peer, pauses.c.since, pauses.c.reason))


class Pause(NamedTuple):
    """Since when deliveries to a peer are paused (seconds since the epoch), and why, in a person's words."""

    since: float
    reason: str


async def read_pauses(store: Store) -> dict[str, Pause]:
    """Return all pauses by the ids of the peers. Raises StoreError."""
    return {row["peer"]: Pause(row["since"], row["reason"]) for row in await store.query(_ALL)}


def begin_pause(tx: Transaction, peer: str, reason: str, now: float) -> Pause:
    """Record a pause, and that there was one (event ``paused``).

    Of a peer that is paused already only the reason changes, and since when stays.

    Args:
        tx: the transaction.
        peer: its id.
        reason: in a person's words; may be empty.
        now: seconds since the epoch.
    """
    row = tx.one(_GET, peer_=peer)
    since = now if row is None else row["since"]
    tx.run(_INSERT, peer=peer, since=since, reason=reason)
    _emit(tx, peer, "paused", reason, now)
    return Pause(since, reason)


def end_pause(tx: Transaction, peer: str, reason: str, now: float) -> bool:
    """Forget a pause; return False where there was none."""
    if not tx.run(_DELETE, peer_=peer):
        return False
    _emit(tx, peer, "resumed", reason, now)
    return True


def _emit(tx: Transaction, peer: str, what: str, reason: str, now: float) -> None:
    emit(tx, Event(EventType.PEER, what, now, peer, peer=peer, text=reason))
