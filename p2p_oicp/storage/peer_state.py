"""State of each destination that survives restarts: health and replication cursors.

**Health** is the persisted side of the circuit breaker: failures in a row, and when the destination may be tried again.
A destination is the outbox of a peer or of the own backend, or one dataset of a peer.

**Refused groups** are those of a dataset that the destination refuses, while it takes others.

**Cursors** say up to which change number a peer has each of our groups.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import orjson
from sqlalchemy import bindparam, case, delete, func, null, select, update

from p2p_oicp.errors import FailureCause
from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.storage.event_log import Event, EventType, emit
from p2p_oicp.storage.peers import name_of
from p2p_oicp.storage.schema import cursors, destinations, refused_groups
from p2p_oicp.storage.statements import compiled, inserting_named
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Transaction

_HEALTH_COLUMNS = (
    "failures",
    "next_try_at",
    "last_error",
    "last_error_type",
    "last_cause",
    "failing_since",
    "last_success_at",
)
#: Of a destination that is no dataset: that we say hello to a peer, and that we pull a dataset of it.
HELLO = "hello"
PULL_PREFIX = "pull "
_TYPES_BY_PREFIX = {"backend:": EventType.BACKEND, "ocpi:": EventType.BACKEND, "webhook:": EventType.WEBHOOK}
_MAX_EVENT_TEXT_LENGTH = 300
_INSERT_DESTINATION = inserting_named(destinations, "peer", "dataset", instead="OR IGNORE")
_by_destination = (destinations.c.peer == bindparam("peer_"), destinations.c.dataset == bindparam("dataset_"))
_MARK_SUCCESS = compiled(
    update(destinations)
    .where(*_by_destination)
    .values(failures=0, next_try_at=0, failing_since=null(), last_success_at=bindparam("last_success_at"))
)
_MARK_FAILURE = compiled(
    update(destinations)
    .where(*_by_destination)
    .values(
        {
            **{name: bindparam(name) for name in ("failures", "next_try_at")},
            **{name: bindparam(name) for name in ("last_error", "last_error_type", "last_cause")},
            "failing_since": func.coalesce(destinations.c.failing_since, bindparam("failing_since")),
        }
    )
)
# Only a success ends ``failing_since``: that the other side is alive does not prove that it takes what we send.
_RESET = compiled(update(destinations).where(*_by_destination).values(failures=0, next_try_at=0))
_GET_FAILING_SINCE = compiled(select(destinations.c.failing_since).where(*_by_destination))
_FAILS_ELSEWHERE = compiled(
    select(destinations.c.dataset)
    .where(
        destinations.c.peer == bindparam("peer_"),
        destinations.c.dataset != bindparam("dataset_"),
        destinations.c.failing_since.is_not(None),
    )
    .limit(1)
)
_GET_HEALTH = compiled(select(destinations.c.failures, destinations.c.next_try_at).where(*_by_destination))

_peer_name = name_of(destinations.c.peer)
_shown_name = case(
    (destinations.c.dataset == "", _peer_name), else_=destinations.c.dataset + " to " + _peer_name
).label("name")
#: ``name`` is for people: that of the peer or backend, or "DATASET to PEER".
ALL_DESTINATIONS = compiled(
    select(
        destinations.c.peer,
        destinations.c.dataset,
        _shown_name,
        *(destinations.c[name] for name in _HEALTH_COLUMNS),
    ).order_by(destinations.c.peer, destinations.c.dataset)
)

#: Those that fail, a refused group included, with their names for people.
FAILING = compiled(
    select(_shown_name, destinations.c.last_error)
    .where(destinations.c.failing_since.is_not(None), destinations.c.dataset != "")
    .union_all(
        select(
            (refused_groups.c.dataset + " to " + name_of(refused_groups.c.peer)).label("name"),
            refused_groups.c.last_error,
        )
    )
)


class Destination(NamedTuple):
    """What one worker delivers to: the outbox of a peer or of the own backend, or one dataset of a peer.

    Attributes:
        peer: the id of the peer, or ``backend:NAME`` of one of our own backends.
        dataset: the name of the dataset, empty for the outbox.

    """

    peer: str
    dataset: str = ""


@dataclass(frozen=True, slots=True)
class DestinationHealth:
    """Failures in a row, and when the destination may be tried again (seconds since the epoch, 0: now)."""

    failures: int = 0
    next_try_at: float = 0.0


def health(tx: Transaction, destination: Destination) -> DestinationHealth:
    """Return the health of ``destination``; one without a row is healthy."""
    row = tx.one(_GET_HEALTH, peer_=destination.peer, dataset_=destination.dataset)
    return DestinationHealth(row["failures"], row["next_try_at"]) if row else DestinationHealth()


async def health_now(store: Store, destination: Destination) -> DestinationHealth:
    """Return the same as of the last commit, without a transaction: each worker asks before it sends."""
    rows = await store.query_inline(_GET_HEALTH, peer_=destination.peer, dataset_=destination.dataset)
    return DestinationHealth(rows[0]["failures"], rows[0]["next_try_at"]) if rows else DestinationHealth()


def ensure_destination(tx: Transaction, destination: Destination) -> None:
    """Insert the row of a destination, if it has none yet."""
    tx.run(_INSERT_DESTINATION, peer=destination.peer, dataset=destination.dataset)


def _is_failing(tx: Transaction, destination: Destination) -> bool:
    row = tx.one(_GET_FAILING_SINCE, peer_=destination.peer, dataset_=destination.dataset)
    return row is not None and row["failing_since"] is not None


def _fails_elsewhere(tx: Transaction, destination: Destination) -> bool:
    """Whether anything else that is sent to the same peer, or pulled from it, fails."""
    return tx.one(_FAILS_ELSEWHERE, peer_=destination.peer, dataset_=destination.dataset) is not None


def _event_of(destination: Destination, what: str, now: float, text: str) -> Event:
    """Return an event about a peer or one of our own backends, with what it is that fails."""
    prefix, colon, name = destination.peer.partition(":")
    event_type = _TYPES_BY_PREFIX.get(prefix + colon, EventType.PEER)
    is_peer = event_type is EventType.PEER
    # The name of an OCPI partner has its prefix in all events.
    subject = destination.peer if is_peer or prefix == "ocpi" else name
    channel = destination.dataset or "outbox"
    return Event(
        event_type,
        what,
        now,
        subject,
        peer=subject if is_peer else "",
        text=f"{channel}: {text[:_MAX_EVENT_TEXT_LENGTH]}" if text else "",
    )


def mark_success(tx: Transaction, destination: Destination, now: float) -> None:
    """Record a success, and close the circuit."""
    ensure_destination(tx, destination)
    if _is_failing(tx, destination) and not _fails_elsewhere(tx, destination):
        emit(tx, _event_of(destination, "up", now, ""))
    tx.run(_MARK_SUCCESS, peer_=destination.peer, dataset_=destination.dataset, last_success_at=now)


def mark_failure(
    tx: Transaction, destination: Destination, failures: int, next_try_at: float, error: Exception, *, now: float
) -> None:
    """Record the failures in a row; nothing is tried before ``next_try_at`` (seconds since the epoch)."""
    ensure_destination(tx, destination)
    if not _is_failing(tx, destination) and not _fails_elsewhere(tx, destination):
        emit(tx, _event_of(destination, "down", now, getattr(error, "reason", str(error))))
    tx.run(
        _MARK_FAILURE,
        peer_=destination.peer,
        dataset_=destination.dataset,
        failures=failures,
        next_try_at=next_try_at,
        # Without the peer's name, which may change.
        last_error=getattr(error, "reason", str(error)),
        last_error_type=type(error).__name__,
        last_cause=getattr(error, "cause", FailureCause.OTHER),
        failing_since=now,
    )


_by_group = (
    refused_groups.c.peer == bindparam("peer_"),
    refused_groups.c.dataset == bindparam("dataset_"),
    refused_groups.c.group_key == bindparam("group_"),
)
_GROUP_COLUMNS = (
    "peer",
    "dataset",
    "group_key",
    "failures",
    "refused_since",
    "next_try_at",
    "last_error",
    "last_cause",
)
_GET_REFUSED_SINCE = compiled(select(refused_groups.c.refused_since).where(*_by_group))
_REFUSE_GROUP = inserting_named(refused_groups, *_GROUP_COLUMNS, instead="OR REPLACE")
_ACCEPT_GROUP = compiled(delete(refused_groups).where(*_by_group))
#: All groups that are refused; `ALL_DESTINATIONS` has their destinations.
REFUSED_GROUPS = compiled(select(*(refused_groups.c[name] for name in _GROUP_COLUMNS)))


def mark_group_refused(
    tx: Transaction,
    destination: Destination,
    group: str,
    error: Exception,
    *,
    failures: int,
    next_try_at: float,
    now: float,
) -> None:
    """Record that a group of a dataset is refused, for the ``failures``-th time in a row."""
    ensure_destination(tx, destination)
    row = tx.one(_GET_REFUSED_SINCE, peer_=destination.peer, dataset_=destination.dataset, group_=group)
    if row is None:
        emit(tx, _event_of(destination, "refuses", now, f"{group}: {getattr(error, 'reason', str(error))}"))
    tx.run(
        _REFUSE_GROUP,
        peer=destination.peer,
        dataset=destination.dataset,
        group_key=group,
        failures=failures,
        refused_since=row["refused_since"] if row else now,
        next_try_at=next_try_at,
        last_error=getattr(error, "reason", str(error)),
        last_cause=getattr(error, "cause", FailureCause.OTHER),
    )


def mark_group_accepted(tx: Transaction, destination: Destination, group: str, now: float) -> None:
    """Forget that a group was refused."""
    if tx.run(_ACCEPT_GROUP, peer_=destination.peer, dataset_=destination.dataset, group_=group):
        emit(tx, _event_of(destination, "accepts", now, group))


def reset_health(tx: Transaction, destination: Destination) -> None:
    """Close the circuit of a destination that is known, or believed by a person, to be up."""
    tx.run(_RESET, peer_=destination.peer, dataset_=destination.dataset)


# What a peer's last hello said stands in the row of its outbox: its database, what its node offers beside OICP.
_by_peer = (destinations.c.peer == bindparam("peer_"), destinations.c.dataset == "")
_GET_PEER_EPOCH = compiled(select(destinations.c.store_epoch).where(*_by_peer))
_SET_PEER_EPOCH = compiled(update(destinations).where(*_by_peer).values(store_epoch=bindparam("store_epoch")))
_GET_EXTENSIONS = compiled(select(destinations.c.extensions).where(*_by_peer))
_SET_EXTENSIONS = compiled(update(destinations).where(*_by_peer).values(extensions=bindparam("extensions")))


def peer_epoch(tx: Transaction, peer: str) -> int | None:
    """Return the epoch of a peer's database (`storage.epochs`), None where it never said hello."""
    row = tx.one(_GET_PEER_EPOCH, peer_=peer)
    return row["store_epoch"] if row else None


async def peer_epoch_now(store: Store, peer: str) -> int | None:
    """Return the same as of the last commit."""
    rows = await store.query_inline(_GET_PEER_EPOCH, peer_=peer)
    return rows[0]["store_epoch"] if rows else None


def set_peer_epoch(tx: Transaction, peer: str, epoch_id: int) -> None:
    """Record the epoch of a peer's database."""
    ensure_destination(tx, Destination(peer))
    tx.run(_SET_PEER_EPOCH, peer_=peer, store_epoch=epoch_id)


def extensions(tx: Transaction, peer: str) -> frozenset[str]:
    """Return the extensions (DESIGN section 4) that a peer's node has announced in its last hello."""
    row = tx.one(_GET_EXTENSIONS, peer_=peer)
    return frozenset(orjson.loads(row["extensions"])) if row else frozenset()


def set_extensions(tx: Transaction, peer: str, names: Iterable[str]) -> None:
    """Record the extensions of a peer's node."""
    ensure_destination(tx, Destination(peer))
    tx.run(_SET_EXTENSIONS, peer_=peer, extensions=orjson.dumps(sorted(names)).decode())


_GET_PUBLISH = compiled(select(destinations.c.publish).where(*_by_destination))
_SET_PUBLISH = compiled(update(destinations).where(*_by_destination).values(publish=bindparam("publish")))
_MARK_STALE = compiled(
    update(cursors)
    .where(cursors.c.peer == bindparam("peer_"), cursors.c.dataset == bindparam("dataset_"))
    .values(change=bindparam("change"))
)
#: The cursor of a copy that was made by another filter: there is one, and it needs a snapshot.
STALE = 0


async def published_filter(store: Store, destination: Destination) -> str:
    """Return the filter by which the copy of a dataset was made (`peers.publishing`), empty for none."""
    rows = await store.query_inline(_GET_PUBLISH, peer_=destination.peer, dataset_=destination.dataset)
    return str(rows[0]["publish"]) if rows else ""


def set_published_filter(tx: Transaction, destination: Destination, text: str) -> None:
    """Record that the copy of a dataset is what a filter shows."""
    ensure_destination(tx, destination)
    tx.run(_SET_PUBLISH, peer_=destination.peer, dataset_=destination.dataset, publish=text)


def mark_stale(tx: Transaction, peer: str, dataset: DatasetKind) -> int:
    """Make replication of a dataset start again with snapshots of the groups that the peer has; return how many."""
    return tx.run(_MARK_STALE, peer_=peer, dataset_=dataset, change=STALE)


_SET_CURSOR = inserting_named(cursors, "peer", "dataset", "group_key", "change", instead="OR REPLACE")
_DELETE_ALL_CURSORS = compiled(delete(cursors))
_DELETE_GROUP_CURSORS = compiled(
    delete(cursors).where(
        cursors.c.peer == bindparam("peer_"),
        cursors.c.dataset == bindparam("dataset_"),
        (cursors.c.group_key == bindparam("key_")) | cursors.c.group_key.like(bindparam("of_peer_")),
    )
)
_DELETE_PEER_CURSORS = compiled(delete(cursors).where(cursors.c.peer == bindparam("peer_")))


def set_cursor(tx: Transaction, peer: str, dataset: DatasetKind, group_key: str, change: int) -> None:
    """Record that a peer has acknowledged all changes of a group up to ``change``."""
    tx.run(_SET_CURSOR, peer=peer, dataset=dataset, group_key=group_key, change=change)


def delete_group_cursors(tx: Transaction, peer: str, dataset: DatasetKind, group_key: str) -> None:
    """Forget what a copy has of a group, whoever's it is: what has it now starts again with a snapshot."""
    tx.run(_DELETE_GROUP_CURSORS, peer_=peer, dataset_=dataset, key_=group_key, of_peer_=f"%/{group_key}")


def reset_cursors(tx: Transaction, peer: str) -> None:
    """Make replication to a peer start again with snapshots: its copies are lost, or other than recorded."""
    tx.run(_DELETE_PEER_CURSORS, peer_=peer)


def reset_all_cursors(tx: Transaction) -> None:
    """Make replication to all peers start again with snapshots: what they have is unknown."""
    tx.run(_DELETE_ALL_CURSORS)
