"""What replication sends: which parcels bring a peer's copy of a group forward."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import orjson

from p2p_oicp.oicp.operation import Operation
from p2p_oicp.peers import Peer
from p2p_oicp.storage import Store
from p2p_oicp.storage.state import behind
from p2p_oicp.storage.state.behind import Changed, Copy, GroupBehind
from p2p_oicp.storage.state.model import Kind

# Half of the largest body that a node takes by default; a peer that takes less is sent less.
MOST_BYTES = 16 * 1024 * 1024
_FEWEST_BYTES = 64 * 1024
_MOST_RECORDS = 10_000


class Action(StrEnum):
    """OICP's ActionType; NONE is a parcel that needs not be sent any more."""

    FULL_LOAD = "fullLoad"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    NONE = "none"


class StateKind(Protocol):
    """How one kind of state is written on the wire."""

    @property
    def kind(self) -> Kind:
        """Which kind it is."""

    @property
    def operation(self) -> Operation:
        """The push that brings it."""

    @property
    def head_counts(self) -> bool:
        """Whether the object around the records says something itself, so that a change of it must arrive."""

    def audiences_of(self, peer: Peer) -> Sequence[str] | None:
        """Return the audiences that this peer belongs to; None where everybody may see everything."""

    def content(self, head: bytes, records: Sequence[bytes]) -> bytes:
        """Return a push's JSON from its second member to its end."""


@dataclass(slots=True)
class Parcel:
    """One push to send; ``content`` is the body behind the ActionType."""

    party: str
    action: Action
    content: bytes
    may_have_arrived: bool = False

    def after_contradiction(self) -> Parcel | None:
        """Return what to send where the peer says 009; None where its copy is not what we thought."""
        if self.action is Action.INSERT:
            return Parcel(self.party, Action.UPDATE, self.content, self.may_have_arrived)
        if self.action is Action.DELETE and self.may_have_arrived:
            return Parcel(self.party, Action.NONE, b"")
        return None


@dataclass(slots=True)
class Shipment:
    """Parcels for one group, and where the peer's copy stands afterwards (None: in the middle of a load)."""

    group: str
    parcels: deque[Parcel]
    records: int
    reached: int | None
    is_delta: bool
    whole: int = field(init=False)

    def __post_init__(self) -> None:
        self.whole = len(self.parcels)

    @property
    def is_under_way(self) -> bool:
        """Whether the peer has, or may have, some of it."""
        return len(self.parcels) < self.whole or any(parcel.may_have_arrived for parcel in self.parcels)


@dataclass(slots=True)
class Loading:
    """A group on its way to a peer that has nothing of it: the records there were at ``reached``."""

    group: str
    party: str
    head: bytes
    ids: array[int]
    reached: int
    done: int = 0


class Packer:
    """Finds what lies behind, and packs it."""

    def __init__(self, peer: Peer, kind: StateKind, store: Store) -> None:
        audiences = kind.audiences_of(peer)
        seen = None if audiences is None else orjson.dumps(list(audiences)).decode()
        self._copy = Copy(peer.name, kind.kind, seen)
        self._kind = kind
        self._store = store
        self._most_bytes = MOST_BYTES
        self._to_load: set[str] = set()

    def pack_less(self) -> bool:
        """Make smaller parcels from now on; False where they are small already."""
        self._most_bytes //= 2
        return self._most_bytes >= _FEWEST_BYTES

    def load_next(self, group: str) -> None:
        """Remember that the peer's copy of a group is not what we thought."""
        self._to_load.add(group)

    async def next(self, but_not: Collection[str] = ()) -> Shipment | Loading | None:
        """Return what to send next, or a group that must be loaded; None if nothing is behind."""
        for group in await behind.groups(self._store, self._copy):
            if group.group_key in but_not:
                continue
            if self._must_be_loaded(group):
                ids = await behind.living(self._store, self._copy, group.group_key, group.newest)
                return Loading(group.group_key, group.party, group.head, ids, group.newest)
            return await self._delta(group, group.cursor or 0)
        return None

    def _must_be_loaded(self, group: GroupBehind) -> bool:
        cursor = group.cursor
        return (
            cursor is None
            or cursor < group.swept
            or cursor > group.newest
            or group.group_key in self._to_load
            or (self._kind.head_counts and group.head_change > cursor)
        )

    async def slice(self, loading: Loading) -> Shipment:
        """Return the next shipment of a load: the first one is a fullLoad, the others are inserts."""
        ids = loading.ids[loading.done : loading.done + _MOST_RECORDS]
        rows = await behind.raws(self._store, ids)
        sent = self._fitting([raw for _, raw in rows])
        if len(sent) < len(rows):
            ids = ids[: ids.index(rows[len(sent)][0])]
        action = Action.INSERT if loading.done else Action.FULL_LOAD
        parcels = [Parcel(loading.party, action, self._kind.content(loading.head, sent))]
        is_last = loading.done + len(ids) >= len(loading.ids)
        if is_last:
            self._to_load.discard(loading.group)
        reached = loading.reached if is_last else None
        parcels = parcels if sent or not loading.done else []
        return Shipment(loading.group, deque(parcels), len(ids), reached, is_delta=False)

    def _fitting(self, raws: Sequence[bytes]) -> Sequence[bytes]:
        """Return as many records as go into one parcel, at least one."""
        size = 0
        for count, raw in enumerate(raws):
            size += len(raw) + 1
            if count and size > self._most_bytes:
                return raws[:count]
        return raws

    async def _delta(self, group: GroupBehind, cursor: int) -> Shipment:
        rows = await behind.changed(self._store, self._copy, group.group_key, cursor, _MOST_RECORDS)
        sent = rows[: len(self._fitting([row.raw for row in rows]))]
        is_all = len(sent) == len(rows) < _MOST_RECORDS
        by_action: dict[Action, list[bytes]] = {}
        for row in sent:
            by_action.setdefault(_action(row), []).append(row.raw)
        by_action.pop(Action.NONE, None)
        if by_action.keys() == {Action.DELETE} and is_all and await self._is_emptied(group, by_action):
            by_action = {Action.FULL_LOAD: []}
        parcels = deque(
            Parcel(group.party, action, self._kind.content(group.head, records))
            for action, records in by_action.items()
        )
        last = sent[-1].change if sent else cursor
        reached = max(last, group.newest) if is_all else last
        return Shipment(group.group_key, parcels, len(sent), reached, is_delta=True)

    async def _is_emptied(self, group: GroupBehind, deletes: Mapping[Action, Sequence[bytes]]) -> bool:
        """Say whether one empty fullLoad tells the same as many deletes."""
        return len(deletes[Action.DELETE]) > 1 and await behind.is_empty(self._store, self._copy, group.group_key)


def _action(row: Changed) -> Action:
    """Return what tells a peer of a record's newest state, by whether it had the record before."""
    if row.deleted:
        return Action.DELETE if row.had else Action.NONE
    return Action.UPDATE if row.had else Action.INSERT
