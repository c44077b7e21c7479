"""Store epochs: which databases this node and its peers have had, and the gaps that restores have left in them.

Each database has an *epoch*, a random id. A restored database and an empty one in the place of a lost one begin a new
epoch, with a *gap*: the time whose messages are lost, from the last commit of the backup (of an empty database: from
the node's first epoch) to the beginning of the new epoch. What a message says of the past is believed only within
a gap (DESIGN section 5, "After a restore").

The epochs stand in the database, so each backup has them, and in the file ``epochs.jsonl`` beside the node's keys,
which outlives the database: without it an empty database would be that of a new node, which has lost nothing.
Both also have the epochs that peers have told of theirs: a peer's gap is believed only if it names an earlier epoch
that was recorded before.

A copy that was made otherwise than by ``backup`` does not know that it is one. So the file ``position`` beside the keys
says how far the database has got (`Position`), a moment ago. A database that has not got so far is an older
copy, and begins a new epoch like a backup.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import orjson
from sqlalchemy import bindparam, delete, func, or_, select

from p2p_oicp.errors import StoreUnavailable
from p2p_oicp.storage.peer_state import peer_epoch, reset_all_cursors, reset_cursors, set_peer_epoch
from p2p_oicp.storage.schema import (
    counters,
    peer_epochs,
    recoveries,
    session_events,
    store_epochs,
    unknown_sessions,
)
from p2p_oicp.storage.statements import compiled, inserting_named
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Transaction

# How wrong the clocks of two nodes and a station may be, where a message is believed though nobody knows its session.
_MAX_CLOCK_SKEW_SECONDS = 300.0
#: How wrong they may be where the other side is asked, and proves what it says.
MAX_CLOCK_ERROR_SECONDS = 3600.0
# A session of the gap may be reported so long after it: a station without a connection keeps its records.
_MAX_DELAY_SECONDS = 48 * 3600.0
# A peer that names a new database in each hello must not fill the disk.
_MAX_EPOCHS_PER_PEER = 1000
_CURRENT, _COPIED_FROM, _COPIED_AT = "store epoch", "store copied from", "store copied at"


class Gap(NamedTuple):
    """A time of which a database has lost messages, in seconds since the (Unix) epoch."""

    since: float
    until: float

    def covers(self, at: float, clock_error: float = _MAX_CLOCK_SKEW_SECONDS) -> bool:
        """Return whether the session of a message that began at ``at`` may have been lost."""
        return self.since - clock_error <= at <= self.until + _MAX_DELAY_SECONDS

    def contains(self, at: float) -> bool:
        """Return whether what happened at ``at``, by another clock, may have been lost."""
        return self.since - MAX_CLOCK_ERROR_SECONDS <= at <= self.until + MAX_CLOCK_ERROR_SECONDS


@dataclass(frozen=True, slots=True)
class StoreEpoch:
    """One database of a node.

    Attributes:
        epoch_id: random, 48 bits.
        created_at: when it was first opened, in seconds since the (Unix) epoch.
        copied_from: the epoch whose backup it is, or (of an empty one) the one before it; None: the node's first.
        lost_since: where its gap begins; None: it has none.
    """

    epoch_id: int
    created_at: float
    copied_from: int | None = None
    lost_since: float | None = None

    @property
    def gap(self) -> Gap | None:
        return None if self.lost_since is None else Gap(self.lost_since, self.created_at)


@dataclass(frozen=True, slots=True)
class PeerEpoch:
    """One database of a peer as it said hello; its gap is ``proved`` if it named an epoch that was recorded before."""

    epoch_id: int
    copied_from: int | None = None
    gap: Gap | None = None
    proved: bool = False


@dataclass(frozen=True, slots=True)
class EpochFile:
    """``epochs.jsonl``: one line for each epoch of this node, and for each that a peer has named.

    Attributes:
        path: the file.
        own: this node's epochs.
        of_peers: the peers' epochs, each with the keys of the peer's parties at that time: ids of peers belong to
            a database, and change with it.
    """

    path: Path
    own: dict[int, StoreEpoch] = field(default_factory=dict)
    of_peers: list[tuple[frozenset[str], int]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> EpochFile:
        """Read the file; one that does not exist is empty. Raises StoreUnavailable."""
        file = cls(path)
        try:
            lines = path.read_bytes().splitlines() if path.exists() else []
        except OSError as error:
            raise StoreUnavailable(f"{path}: cannot be read: {error.strerror or error}") from error
        for line in lines:
            file._parse(line)
        return file

    def _parse(self, line: bytes) -> None:
        try:
            members = orjson.loads(line)
            if "peer" in members:
                self.of_peers.append((frozenset(members["peer"]), int(members["epoch"])))
            else:
                epoch = StoreEpoch(
                    int(members["epoch"]), members["created_at"], members["copied_from"], members["lost_since"]
                )
                self.own[epoch.epoch_id] = epoch
        except (ValueError, KeyError, TypeError):
            return  # what a crash left of the last line; the database has the epoch, and it is written again

    def add_own(self, epochs: Iterable[StoreEpoch]) -> None:
        """Append those of this node's epochs that are missing."""
        for epoch in epochs:
            if epoch.epoch_id not in self.own:
                self.own[epoch.epoch_id] = epoch
                self._append(
                    {
                        "epoch": epoch.epoch_id,
                        "created_at": epoch.created_at,
                        "copied_from": epoch.copied_from,
                        "lost_since": epoch.lost_since,
                    }
                )

    def add_peer(self, name: str, parties: frozenset[str], epoch_id: int, now: float) -> None:
        """Append an epoch of a peer, unless it is there, or there are too many."""
        recorded = self.epochs_of(parties)
        if epoch_id not in recorded and len(recorded) < _MAX_EPOCHS_PER_PEER:
            self.of_peers.append((parties, epoch_id))
            self._append({"peer": sorted(parties), "name": name, "epoch": epoch_id, "seen_at": now})

    def epochs_of(self, parties: frozenset[str]) -> set[int]:
        """Return the ids of the epochs that a peer with any of these parties has named."""
        return {epoch_id for others, epoch_id in self.of_peers if others & parties}

    def _append(self, members: dict[str, Any]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(fd, "rb+") as stream:
                # A line that a crash has cut off must not swallow this one.
                is_cut_off = stream.seek(0, os.SEEK_END) > 0 and os.pread(fd, 1, stream.tell() - 1) != b"\n"
                stream.write(b"\n" * is_cut_off + orjson.dumps(members) + b"\n")
                stream.flush()
                os.fsync(fd)
        except OSError as error:
            raise StoreUnavailable(f"{self.path}: cannot be written: {error.strerror or error}") from error


class Position(msgspec.Struct, frozen=True):
    """How far a database has got: its epoch, its last event of a session, and its last change of datasets and peers."""

    epoch: int
    event: int
    change: int


@dataclass(frozen=True, slots=True)
class PositionFile:
    """The file with the position that the database has reached."""

    path: Path

    def read(self) -> Position | None:
        """Return the position; None where there is none. Raises StoreUnavailable."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Position) if self.path.exists() else None
        except msgspec.MsgspecError:
            return None
        except OSError as error:
            raise StoreUnavailable(f"{self.path}: cannot be read: {error.strerror or error}") from error

    def write(self, position: Position) -> None:
        """Replace the file, not to be durable: it says nothing wrong if it is old. Raises StoreUnavailable."""
        partial = self.path.with_name(f"{self.path.name}.unfinished")
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
                stream.write(msgspec.json.encode(position) + b"\n")
            partial.replace(self.path)
        except OSError as error:
            raise StoreUnavailable(f"{self.path}: cannot be written: {error.strerror or error}") from error


_INSERT_COUNTER = inserting_named(counters, "name", "value", instead="OR REPLACE")
_GET_COUNTER = compiled(select(counters.c.value).where(counters.c.name == bindparam("name_")))
_DELETE_COUNTER = compiled(delete(counters).where(counters.c.name == bindparam("name_")))
_LAST_EVENT = compiled(select(session_events.c.at).order_by(session_events.c.id.desc()).limit(1))
_POSITION = compiled(
    select(
        select(func.coalesce(func.max(session_events.c.id), 0)).scalar_subquery().label("event"),
        select(func.coalesce(func.sum(counters.c.value), 0))
        .where(or_(counters.c.name == "change", counters.c.name == "peer"))
        .scalar_subquery()
        .label("change"),
    )
)
_INSERT_OWN = inserting_named(store_epochs, "epoch_id", "created_at", "copied_from", "lost_since", instead="OR IGNORE")
ALL_OWN = compiled(
    select(
        store_epochs.c.epoch_id, store_epochs.c.created_at, store_epochs.c.copied_from, store_epochs.c.lost_since
    ).order_by(store_epochs.c.created_at)
)


def begin_epoch(
    tx: Transaction, now: float, new_id: int, earlier: Iterable[StoreEpoch], position: Position | None = None
) -> list[StoreEpoch]:
    """Return all epochs of this node, this database's last; a new or restored database begins one with ``new_id``.

    Args:
        tx: a transaction of the database.
        now: seconds since the epoch.
        new_id: the id of a new epoch.
        earlier: the epochs that the file ``epochs.jsonl`` has.
        position: that the file ``position`` has.
    """
    stored = [StoreEpoch(*row) for row in tx.all(ALL_OWN)]
    by_id = {epoch.epoch_id: epoch for epoch in (*earlier, *stored)}
    current_id = _get_counter(tx, _CURRENT)
    if current_id is not None and position is not None and _is_older_copy(tx, current_id, stored, position):
        # Of one without an event nobody knows how old it is.
        end_epoch(tx, by_id[current_id].created_at if tx.one(_LAST_EVENT) is None else now)
        reset_all_cursors(tx)
        current_id = None
    if current_id is None:
        known, current_id = sorted(by_id.values(), key=lambda epoch: epoch.created_at), new_id
        by_id[new_id] = _new_epoch(tx, now, new_id, known)
        tx.run(_INSERT_COUNTER, name=_CURRENT, value=new_id)
        for name in (_COPIED_FROM, _COPIED_AT):
            tx.run(_DELETE_COUNTER, name_=name)
    for epoch in by_id.values():
        tx.run(
            _INSERT_OWN,
            epoch_id=epoch.epoch_id,
            created_at=epoch.created_at,
            copied_from=epoch.copied_from,
            lost_since=epoch.lost_since,
        )
    return [*(epoch for key, epoch in by_id.items() if key != current_id), by_id[current_id]]


def _new_epoch(tx: Transaction, now: float, new_id: int, known: Sequence[StoreEpoch]) -> StoreEpoch:
    copied_from, copied_at = _get_counter(tx, _COPIED_FROM), _get_counter(tx, _COPIED_AT)
    if copied_from is not None and copied_at is not None:  # a restored backup
        return StoreEpoch(new_id, now, copied_from, float(copied_at))
    if known:  # an empty database in the place of a lost one
        return StoreEpoch(new_id, now, known[-1].epoch_id, known[0].created_at)
    return StoreEpoch(new_id, now)


def _is_older_copy(tx: Transaction, current_id: int, stored: Sequence[StoreEpoch], position: Position) -> bool:
    """Return whether the database has not got as far as the file says; one of a later epoch has (a crash)."""
    if position.epoch != current_id:
        return all(epoch.epoch_id != position.epoch for epoch in stored)
    row = tx.one(_POSITION)
    return row is not None and (row["event"] < position.event or row["change"] < position.change)


async def position_now(store: Store, epoch_id: int) -> Position:
    """Return the position of the database, as of the last commit."""
    row = (await store.query_inline(_POSITION))[0]
    return Position(epoch_id, row["event"], row["change"])


def end_epoch(tx: Transaction, copied_at: float) -> None:
    """Make the database a backup of its epoch: it begins a new one when a node next opens it.

    It has everything until ``copied_at``, in seconds since the epoch, or until its last event by the node's own clock,
    which may be behind that of who makes the backup.
    """
    current_id = _get_counter(tx, _CURRENT)
    if current_id is not None:  # else no node has opened it since it was a backup itself
        last_event = tx.one(_LAST_EVENT)
        copied_at = copied_at if last_event is None else min(copied_at, last_event["at"])
        tx.run(_DELETE_COUNTER, name_=_CURRENT)
        tx.run(_INSERT_COUNTER, name=_COPIED_FROM, value=current_id)
        tx.run(_INSERT_COUNTER, name=_COPIED_AT, value=int(copied_at))


def _get_counter(tx: Transaction, name: str) -> int | None:
    row = tx.one(_GET_COUNTER, name_=name)
    return row["value"] if row else None


_INSERT_PEER_EPOCH = inserting_named(
    peer_epochs, "peer", "epoch_id", "copied_from", "lost_since", "lost_until", "proved", instead="OR IGNORE"
)
_PEER_EPOCHS = compiled(
    select(
        peer_epochs.c.epoch_id,
        peer_epochs.c.copied_from,
        peer_epochs.c.lost_since,
        peer_epochs.c.lost_until,
        peer_epochs.c.proved,
    ).where(peer_epochs.c.peer == bindparam("peer_"))
)


async def peer_epochs_now(store: Store, peer: str) -> list[PeerEpoch]:
    """Return all epochs that a peer has named, as of the last commit."""
    rows = await store.query_inline(_PEER_EPOCHS, peer_=peer)
    return [
        PeerEpoch(
            row["epoch_id"],
            row["copied_from"],
            None if row["lost_since"] is None else Gap(row["lost_since"], row["lost_until"]),
            bool(row["proved"]),
        )
        for row in rows
    ]


def record_peer_epochs(tx: Transaction, peer: str, epochs: Sequence[PeerEpoch]) -> bool:
    """Record the epochs of a peer, its present one first; return whether that is another one than at its last hello.

    Then the peer's cursors are reset: its database does not have what they say.
    """
    previous = peer_epoch(tx, peer)
    set_peer_epoch(tx, peer, epochs[0].epoch_id)
    for epoch in epochs[: max(0, _MAX_EPOCHS_PER_PEER - len(tx.all(_PEER_EPOCHS, peer_=peer)))]:
        since, until = epoch.gap or (None, None)
        tx.run(
            _INSERT_PEER_EPOCH,
            peer=peer,
            epoch_id=epoch.epoch_id,
            copied_from=epoch.copied_from,
            lost_since=since,
            lost_until=until,
            proved=int(epoch.proved),
        )
    # Without a known epoch the peer is new, or never sent one: its cursors are right, or there are none.
    has_changed = previous not in (None, epochs[0].epoch_id)
    if has_changed:
        reset_cursors(tx, peer)
    return has_changed


_by_unknown_session = (
    unknown_sessions.c.role == bindparam("role_"),
    unknown_sessions.c.session_key == bindparam("key_"),
)
_INSERT_UNKNOWN = inserting_named(unknown_sessions, "role", "session_key", "first_seen_at", instead="OR IGNORE")
_GET_UNKNOWN = compiled(select(unknown_sessions.c.first_seen_at).where(*_by_unknown_session))
_INSERT_RECOVERY = inserting_named(recoveries, "role", "peer", "epoch_id", "completed_at", instead="OR REPLACE")
_GET_RECOVERY = compiled(
    select(recoveries.c.completed_at).where(
        recoveries.c.role == bindparam("role_"),
        recoveries.c.peer == bindparam("peer_"),
        recoveries.c.epoch_id == bindparam("epoch_id_"),
    )
)


def first_seen(tx: Transaction, role: str, session_key: str, now: float) -> float:
    """Return when the first message of an unknown session came, in seconds since the epoch: ``now`` if this is it."""
    tx.run(_INSERT_UNKNOWN, role=role, session_key=session_key, first_seen_at=now)
    row = tx.one(_GET_UNKNOWN, role_=role, key_=session_key)
    return float(row["first_seen_at"]) if row else now


def complete_recovery(tx: Transaction, role: str, peer: str, epoch_id: int, now: float) -> None:
    """Record that all that a peer has of what was lost before an epoch of this node is fetched."""
    tx.run(_INSERT_RECOVERY, role=role, peer=peer, epoch_id=epoch_id, completed_at=now)


async def is_recovered(store: Store, role: str, peer: str, epoch_id: int) -> bool:
    """Return whether that is recorded, as of the last commit."""
    return bool(await store.query_inline(_GET_RECOVERY, role_=role, peer_=peer, epoch_id_=epoch_id))
