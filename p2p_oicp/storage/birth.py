"""Which store this is: a number minted when it is made, and when that was.

A peer that is met again with another store has lost what we gave it, and gets it anew.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, insert, select, update

from p2p_oicp.storage import cursors, destinations
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.tables import counters
from p2p_oicp.storage.tables import destinations as table
from p2p_oicp.storage.writer import Transaction

_ID, _BORN = "store id", "store born"
_PUT = compiled(insert(counters).values({name: bindparam(name) for name in ("name", "value")}).prefix_with("OR IGNORE"))
_GET = compiled(select(counters.c.value).where(counters.c.name == bindparam("name_")))
_FORGET = compiled(delete(counters).where(counters.c.name == bindparam("name_")))
_KNOWN = compiled(select(table.c.store_id).where(table.c.name == bindparam("name_")))
_REMEMBERS = compiled(
    update(table).where(table.c.name == bindparam("name_"), table.c.knew_another == 0).values(knew_another=1)
)
#: Whether we have met a peer (its store), whether it knew an earlier store of ours, and when this one was born.
FORMER = compiled(
    select(table.c.store_id, table.c.knew_another, counters.c.value.label("born"))
    .select_from(counters.outerjoin(table, table.c.name == bindparam("name_")))
    .where(counters.c.name == _BORN)
)
_KNOW = compiled(update(table).where(table.c.name == bindparam("name_")).values(store_id=bindparam("store_id")))


@dataclass(frozen=True, slots=True)
class Birth:
    """``store_id`` tells stores apart, ``at`` is in seconds since the epoch."""

    store_id: int
    at: int


def certificate(tx: Transaction, now: float) -> Birth:
    """Return this store's birth; a store that has none is born now."""
    tx.run(_PUT, name=_ID, value=secrets.randbits(48))
    tx.run(_PUT, name=_BORN, value=int(now))
    store_id, at = (tx.one(_GET, name_=name) for name in (_ID, _BORN))
    return Birth(store_id["value"] if store_id else 0, at["value"] if at else 0)


def forget(tx: Transaction) -> None:
    """Let this store be born anew when it is next opened."""
    for name in (_ID, _BORN):
        tx.run(_FORGET, name_=name)


def store_of(tx: Transaction, peer: str) -> int | None:
    """Return which store a peer had when we last met it, None where it never said."""
    known = tx.one(_KNOWN, name_=peer)
    return known["store_id"] if known else None


def store_now(store: Store, peer: str) -> int | None:
    """Return the same as of the last commit."""
    rows = store.look_up(_KNOWN, name_=peer)
    return rows[0]["store_id"] if rows else None


def met(tx: Transaction, peer: str, store_id: int) -> bool:
    """Note which store a peer has; return whether it is another one than last time, without what we gave to that."""
    known = store_of(tx, peer)
    destinations.ensure(tx, peer)
    tx.run(_KNOW, name_=peer, store_id=store_id)
    is_another = known not in (None, store_id)
    if is_another:
        cursors.forget(tx, peer)
    return is_another


def remembers_another(tx: Transaction, peer: str) -> bool:
    """Note that a peer knew an earlier store of ours, with sessions that this one does not have; False if noted."""
    destinations.ensure(tx, peer)
    return tx.run(_REMEMBERS, name_=peer) == 1
