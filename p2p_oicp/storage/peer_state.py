"""How each destination (a peer, or our own backend) has been doing: the persisted side of the circuit breaker.

Which store this is: a number minted when it is made, and when that was.

A peer that is met again with another store has lost what we gave it, and gets it anew.

How far each peer's copy of each of our groups has come along our change sequence.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, insert, select, update

from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.storage.schema import counters, cursors, destinations
from p2p_oicp.storage.schema import destinations as table
from p2p_oicp.storage.sqlite.writer import Transaction
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.store import Store

_INSERT_DESTINATION = compiled(insert(destinations).values(name=bindparam("name")).prefix_with("OR IGNORE"))
_by_name = destinations.c.name == bindparam("name_")
_MARK_SUCCESS = compiled(
    update(destinations).where(_by_name).values(failures=0, next_try_at=0, last_success_at=bindparam("last_success_at"))
)
_MARK_FAILURE = compiled(
    update(destinations)
    .where(_by_name)
    .values({name: bindparam(name) for name in ("failures", "next_try_at", "last_error", "last_error_type")})
)
_RESET = compiled(update(destinations).where(_by_name).values(failures=0, next_try_at=0))
_GET_HEALTH = compiled(select(destinations.c.failures, destinations.c.next_try_at).where(_by_name))

_DESTINATION_COLUMNS = ("name", "failures", "next_try_at", "last_error", "last_error_type", "last_success_at")
ALL_DESTINATIONS = compiled(
    select(*(destinations.c[name] for name in _DESTINATION_COLUMNS)).order_by(destinations.c.name)
)


@dataclass(frozen=True, slots=True)
class DestinationHealth:
    """How the last calls to a destination went: failures in a row, and when it may be tried again."""

    failures: int = 0
    next_try_at: float = 0.0


def get(tx: Transaction, destination: str) -> DestinationHealth:
    """Return how ``destination`` has been doing."""
    row = tx.one(_GET_HEALTH, name_=destination)
    return DestinationHealth(row["failures"], row["next_try_at"]) if row else DestinationHealth()


def get_now(store: Store, destination: str) -> DestinationHealth:
    """Return the same as of the last commit."""
    rows = store.query_inline(_GET_HEALTH, name_=destination)
    return DestinationHealth(rows[0]["failures"], rows[0]["next_try_at"]) if rows else DestinationHealth()


def ensure_destination(tx: Transaction, destination: str) -> None:
    """Let there be a row for ``destination``."""
    tx.run(_INSERT_DESTINATION, name=destination)


def mark_success(tx: Transaction, destination: str, now: float) -> None:
    """Close the circuit."""
    tx.run(_INSERT_DESTINATION, name=destination)
    tx.run(_MARK_SUCCESS, name_=destination, last_success_at=now)


def mark_failure(tx: Transaction, destination: str, failures: int, next_try_at: float, error: Exception) -> None:
    """Count a failure; nothing is tried before ``until``."""
    tx.run(_INSERT_DESTINATION, name=destination)
    error_type, error_message = type(error).__name__, str(error)
    tx.run(
        _MARK_FAILURE,
        name_=destination,
        failures=failures,
        next_try_at=next_try_at,
        last_error=error_message,
        last_error_type=error_type,
    )


def reset(tx: Transaction, destination: str) -> None:
    """Close the circuit of a destination that is known to be up."""
    tx.run(_RESET, name_=destination)


_EPOCH_ID, _EPOCH_CREATED_AT = "store epoch id", "store epoch created at"
_INSERT_COUNTER = compiled(
    insert(counters).values({name: bindparam(name) for name in ("name", "value")}).prefix_with("OR IGNORE")
)
_GET_COUNTER = compiled(select(counters.c.value).where(counters.c.name == bindparam("name_")))
_DELETE_COUNTER = compiled(delete(counters).where(counters.c.name == bindparam("name_")))
_GET_PEER_EPOCH = compiled(select(table.c.store_epoch).where(table.c.name == bindparam("name_")))
_MARK_EPOCH_MISMATCH = compiled(
    update(table).where(table.c.name == bindparam("name_"), table.c.saw_older_epoch == 0).values(saw_older_epoch=1)
)
#: Whether we have met a peer (its store), whether it knew an earlier store of ours, and when this one was born.
EPOCH_STATUS = compiled(
    select(table.c.store_epoch, table.c.saw_older_epoch, counters.c.value.label("created_at"))
    .select_from(counters.outerjoin(table, table.c.name == bindparam("name_")))
    .where(counters.c.name == _EPOCH_CREATED_AT)
)
_SET_PEER_EPOCH = compiled(
    update(table).where(table.c.name == bindparam("name_")).values(store_epoch=bindparam("store_epoch"))
)


@dataclass(frozen=True, slots=True)
class StoreEpoch:
    """``store_epoch`` tells stores apart, ``at`` is in seconds since the epoch."""

    epoch_id: int
    created_at: int


def ensure_epoch(tx: Transaction, now: float) -> StoreEpoch:
    """Return this store's birth; a store that has none is born now."""
    tx.run(_INSERT_COUNTER, name=_EPOCH_ID, value=secrets.randbits(48))
    tx.run(_INSERT_COUNTER, name=_EPOCH_CREATED_AT, value=int(now))
    epoch_id, created_at = (tx.one(_GET_COUNTER, name_=name) for name in (_EPOCH_ID, _EPOCH_CREATED_AT))
    return StoreEpoch(epoch_id["value"] if epoch_id else 0, created_at["value"] if created_at else 0)


def clear_epoch(tx: Transaction) -> None:
    """Let this store be born anew when it is next opened."""
    for name in (_EPOCH_ID, _EPOCH_CREATED_AT):
        tx.run(_DELETE_COUNTER, name_=name)


def peer_epoch(tx: Transaction, peer: str) -> int | None:
    """Return which store a peer had when we last met it, None where it never said."""
    row = tx.one(_GET_PEER_EPOCH, name_=peer)
    return row["store_epoch"] if row else None


def peer_epoch_now(store: Store, peer: str) -> int | None:
    """Return the same as of the last commit."""
    rows = store.query_inline(_GET_PEER_EPOCH, name_=peer)
    return rows[0]["store_epoch"] if rows else None


def record_peer_epoch(tx: Transaction, peer: str, epoch_id: int) -> bool:
    """Note which store a peer has; return whether it is another one than last time, without what we gave to that."""
    previous = peer_epoch(tx, peer)
    ensure_destination(tx, peer)
    tx.run(_SET_PEER_EPOCH, name_=peer, store_epoch=epoch_id)
    has_changed = previous not in (None, epoch_id)
    if has_changed:
        reset_cursors(tx, peer)
    return has_changed


def mark_epoch_mismatch(tx: Transaction, peer: str) -> bool:
    """Note that a peer knew an earlier store of ours, with sessions that this one does not have; False if noted."""
    ensure_destination(tx, peer)
    return tx.run(_MARK_EPOCH_MISMATCH, name_=peer) == 1


_CURSOR_COLUMNS = ("peer", "dataset", "group_key", "change")
_SET_CURSOR = compiled(
    insert(cursors).values({name: bindparam(name) for name in _CURSOR_COLUMNS}).prefix_with("OR REPLACE")
)
_DELETE_ALL_CURSORS = compiled(delete(cursors))
_DELETE_PEER_CURSORS = compiled(delete(cursors).where(cursors.c.peer == bindparam("peer_")))


def set_cursor(tx: Transaction, peer: str, dataset: DatasetKind, group_key: str, change: int) -> None:
    """Note that the peer has everything of a group up to ``change``."""
    tx.run(_SET_CURSOR, peer=peer, dataset=dataset, group_key=group_key, change=change)


def reset_cursors(tx: Transaction, peer: str) -> None:
    """Start anew with fullLoads: the peer's copy is not what we thought."""
    tx.run(_DELETE_PEER_CURSORS, peer_=peer)


def reset_all_cursors(tx: Transaction) -> None:
    """Start anew with fullLoads to all: what they have is not known."""
    tx.run(_DELETE_ALL_CURSORS)
